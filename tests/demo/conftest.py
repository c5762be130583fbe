"""A server with the semantics of the native API, and the troubles that a real one may have."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


@dataclass
class Stored:
    """What the server keeps of a run."""

    said: dict[str, Any]
    segment: int = 1
    sessions: list[str] = field(default_factory=list)
    batches: dict[int, dict[str, Any]] = field(default_factory=dict)  # by seq
    duplicates: int = 0
    finished: dict[str, Any] | None = None

    def column(self, metric: str) -> list[Any]:
        batches = [self.batches[seq] for seq in sorted(self.batches)]
        return [cell for batch in batches for cell in batch["metrics"].get(metric, [None] * len(batch["steps"]))]


@dataclass
class Service:
    """Runs by id; `drop_before` and `drop_after` count requests whose connection is cut, `busy` those answered 429."""

    url: str = ""
    runs: dict[str, Stored] = field(default_factory=dict)
    forecasts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by run name
    alerts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    api_key: str | None = None
    drop_before: int = 0  # cut before anything was kept
    drop_after: int = 0  # kept, and then cut: the sender cannot know
    busy: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, trouble: str) -> bool:
        with self.lock:
            left: int = getattr(self, trouble)
            setattr(self, trouble, max(0, left - 1))
            return left > 0

    def named(self, name: str) -> Stored:
        [found] = [run for run in self.runs.values() if run.said["name"] == name]
        return found


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    handler = type("Handler", (_Handler,), {"service": service})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    service.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    service: Service

    def do_POST(self) -> None:
        document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._trouble():
            return
        status, answer = self._refused() or self._write(document)
        if self.service.take("drop_after"):
            self._cut()
            return
        self._answer(status, answer)

    def do_GET(self) -> None:
        if not self._trouble():
            self._answer(*(self._refused() or self._read()))

    def _refused(self) -> tuple[int, dict[str, Any]] | None:
        key = self.service.api_key
        if key is not None and self.headers.get("Authorization") != f"Bearer {key}":
            return 401, {"error": "unauthorized", "message": "Send a key."}
        return None

    def _write(self, document: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        runs = self.service.runs
        match self.path.removeprefix("/api/v1").strip("/").split("/"):
            case ["runs"]:
                created = document["id"] not in runs
                run = runs.setdefault(document["id"], Stored(document))
                if document["session"] not in run.sessions:
                    run.sessions.append(document["session"])
                    run.segment = len(run.sessions)
                url = f"{self.service.url}/runs/{document['id']}"
                return 201 if created else 200, {"id": document["id"], "segment": run.segment, "url": url}
            case ["runs", run_id, "batches"] if run_id in runs:
                assert all(len(column) == len(document["steps"]) for column in document["metrics"].values())
                assert document["segment"] == runs[run_id].segment
                duplicate = document["seq"] in runs[run_id].batches
                runs[run_id].duplicates += duplicate
                runs[run_id].batches.setdefault(document["seq"], document)
                return 200, {"stored": 0 if duplicate else len(document["steps"]), "duplicate": duplicate}
            case ["runs", run_id, "finish"] if run_id in runs:
                runs[run_id].finished = document
                return 200, {}
        return 404, {"error": "run_not_found", "message": "No such run."}

    def _read(self) -> tuple[int, dict[str, Any]]:
        match self.path.partition("?")[0].removeprefix("/api/v1").strip("/").split("/"):
            case ["runs", run_id, ("forecasts" | "alerts") as what] if run_id in self.service.runs:
                name = self.service.runs[run_id].said["name"]
                return 200, {what: getattr(self.service, what).get(name, [])}
        return 404, {"error": "run_not_found", "message": "No such run."}

    def _trouble(self) -> bool:
        if self.service.take("drop_before"):
            self._cut()
            return True
        if self.service.take("busy"):
            self._answer(429, {"error": "overloaded", "message": "Later."}, {"Retry-After": "0"})
            return True
        return False

    def _cut(self) -> None:
        self.close_connection = True

    def _answer(self, status: int, answer: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        body = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass
