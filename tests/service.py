"""Starting the real processes of the service, for tests that talk to it from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

PATIENCE_SECONDS = 90.0

Found = TypeVar("Found")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def new_id(prefix: str = "run") -> str:
    return f"{prefix}-{uuid.uuid4().hex[:10]}"


def wait_for(find: Callable[[], Found | None], what: str, patience_seconds: float = PATIENCE_SECONDS) -> Found:
    """Ask until there is an answer."""
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        found = find()
        if found is not None:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {patience_seconds:g} s in vain for {what}")


class Process:
    """`losscast ...` as a process of its own."""

    def __init__(self, *arguments: str, env: Mapping[str, str]) -> None:
        self._arguments, self._env = arguments, env
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LOSSCAST_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app", *self._arguments], env={**inherited, **self._env}, stdin=subprocess.DEVNULL
        )

    def wait(self) -> int:
        assert self._process is not None
        return self._process.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return None if self._process is None else self._process.poll()


class Web(Process):
    """The web process over a database, with an HTTP client for it."""

    def __init__(self, database_url: str, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        named = {f"LOSSCAST_{name.upper()}": value for name, value in settings.items()}
        super().__init__(
            "serve",
            env={"DATABASE_URL": database_url, "LOSSCAST_PORT": str(self.port), "LOSSCAST_HOST": "127.0.0.1", **named},
        )
        self.http = httpx.Client(base_url=self.url, timeout=60.0, trust_env=False)

    def start(self) -> None:
        super().start()
        wait_for(self._answers, "the web process to answer")

    def _answers(self) -> bool | None:
        assert self.returncode is None, "the web process ended; its messages are above"
        try:
            return self.http.get("/livez").status_code == 200 or None
        except httpx.HTTPError:
            return None

    def stop(self) -> None:
        super().stop()
        self.http.close()

    def get(self, path: str, **parameters: Any) -> Any:
        answer = self.http.get(f"/api/v1{path}", params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = self.http.post(f"/api/v1{path}", json=body if body is not None else {})
        assert answer.status_code == status, answer.text
        return answer.json()

    def new_run(self, **said: Any) -> str:
        run_id = said.pop("id", None) or new_id()
        self.post("/runs", {"id": run_id, "session": "first", **said}, status=201)
        return run_id

    def append(
        self, run_id: str, steps: list[int], segment: int | None = None, seq: int | None = None, **metrics: Any
    ) -> Any:
        named = {"segment": segment, "seq": seq}
        body = {"steps": steps, "metrics": metrics} | {
            name: value for name, value in named.items() if value is not None
        }
        return self.post(f"/runs/{run_id}/batches", body)

    def points(self, run_id: str, metric: str = "loss", **options: Any) -> dict[int, Any]:
        found = self.get(f"/runs/{run_id}/series", metric=metric, **options)
        return dict(zip(found["steps"], found["values"], strict=True))


class Worker(Process):
    """One worker process over a database."""

    def __init__(self, database_url: str, **settings: str) -> None:
        named = {f"LOSSCAST_{name.upper()}": value for name, value in settings.items()}
        super().__init__("work", env={"DATABASE_URL": database_url, **named})
