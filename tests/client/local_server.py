"""The part of the API that the client uses, as /api/docs states it, on a real socket; and ways to misbehave.

It keeps what it stores in memory and shows every request it got. Faults are answered one a request, in order, before
the API is asked again.
"""

from __future__ import annotations

import gzip
import json
import math
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class StoredRun:
    """What the server knows of one run."""

    descriptions: list[dict[str, Any]] = field(default_factory=list)
    segments: dict[str, int] = field(default_factory=dict)  # session -> number
    batches: dict[tuple[int, int], dict[str, Any]] = field(default_factory=dict)
    duplicates: int = 0
    heartbeats: int = 0
    verdict: dict[str, Any] = field(default_factory=dict)
    told: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] | None = None

    def points(self, metric: str) -> dict[int, float]:
        """Step -> value; the later (segment, seq) wins, and so does the later row of equal steps."""
        found: dict[int, float] = {}
        for _, batch in sorted(self.batches.items()):
            for step, value in zip(batch["steps"], batch["metrics"].get(metric, ()), strict=False):
                if value is not None:
                    found[step] = float(value)
        return found

    @property
    def n_points(self) -> int:
        columns = [column for batch in self.batches.values() for column in batch["metrics"].values()]
        return sum(value is not None for column in columns for value in column)


@dataclass(frozen=True)
class Request:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    raw: bytes
    arrived: float


@dataclass(frozen=True)
class Fault:
    """One misbehaviour. `on` is a part of the path it waits for."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"error": "fault", "message": "as the test wished"}'
    on: str = ""
    store_first: bool = False  # the request takes effect although its answer does not arrive
    cut: str | None = None
    """"silence": hang up without a byte; "reset": RST in the middle of the answer; "garbage": `body` as it is, and hang
    up; "trickle" and "trickled head": a byte every 20 ms, until nobody reads."""
    until: threading.Event | None = None  # answer only then


class LocalServer:
    def __init__(self) -> None:
        self.runs: dict[str, StoredRun] = {}
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.largest_body = 32 * 2**20
        self.api_key: str | None = None
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._http: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        self._http = _QuietServer(("127.0.0.1", self.port), self._handler())
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """Stop listening and cut every connection, as the end of a process does."""
        if self._http is None or self._thread is None:
            return
        self._http.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._connections:
                _shut(connection)
        self._http.server_close()
        self._http = None

    def sent_to(self, part: str) -> list[Request]:
        return [request for request in list(self.requests) if part in request.path]

    def run(self, run_id: str) -> StoredRun:
        return self.runs.get(run_id, StoredRun())

    def wait_until(self, condition: Callable[[], Any], seconds: float = 20) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"did not happen within {seconds} s; requests: {[r.path for r in self.requests]}")
            time.sleep(0.005)

    # The API ----------------------------------------------------------------------------------------------------------

    def answer(self, request: Request) -> tuple[int, dict[str, Any]]:
        if self.api_key is not None and request.headers.get("authorization") != f"Bearer {self.api_key}":
            return 401, {"error": "unauthorized", "message": "This server wants a key."}
        if len(request.raw) > self.largest_body:
            return 413, {"error": "too_large", "message": "Send less at once."}
        parts = request.path.removeprefix("/api/v1/").split("/")
        with self._lock:
            if parts == ["runs"]:
                return self._register(request.body)
            run = self.runs.get(parts[1])
            if run is None:
                return 404, {"error": "run_not_found", "message": f"No run {parts[1]}."}
            if parts[2] == "batches":
                return self._store(run, request.body)
            if parts[2:] == ["verdict"]:
                return 200, {"should_stop": False, "segment": len(run.segments), "sentence": "", **run.verdict}
            if parts[2:] == ["verdict", "heard"]:
                run.told.append(request.body)
                return 200, {"ok": True}
            if parts[2] == "heartbeat":
                run.heartbeats += 1
                return 200, {"ok": True}
            run.end = request.body
            return 200, {"status": request.body["status"]}

    def _register(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        run_id = body.get("id") or "made-up"
        created = run_id not in self.runs
        run = self.runs.setdefault(run_id, StoredRun())
        run.descriptions.append(body)
        segment = run.segments.setdefault(body["session"], len(run.segments) + 1)
        answer = {"id": run_id, "project": body.get("project", "default"), "name": body.get("name") or run_id}
        return (201 if created else 200), {
            **answer,
            "segment": segment,
            "url": f"{self.url}/runs/{run_id}",
            "created": created,
        }

    def _store(self, run: StoredRun, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        for metric, column in body["metrics"].items():
            assert len(column) == len(body["steps"]) == len(body["times"]), metric
            assert all(value is None or isinstance(value, str) or math.isfinite(value) for value in column)
        key = (body["segment"], body["seq"])
        duplicate = key in run.batches
        if duplicate:
            run.duplicates += 1
        else:
            run.batches[key] = body
        return 200, {"stored": 1, "duplicate": duplicate, "segment": key[0], "seq": key[1], "warnings": []}

    # HTTP -------------------------------------------------------------------------------------------------------------

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                with server._lock:
                    server._connections.add(self.connection)

            def finish(self) -> None:
                with server._lock:
                    server._connections.discard(self.connection)
                super().finish()

            def do_GET(self) -> None:
                self._answer(b"")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])))

            def _answer(self, raw: bytes) -> None:
                plain = gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.path, headers, json.loads(plain or b"{}"), plain, time.monotonic())
                server.requests.append(request)
                fault = server._next_fault(self.path)
                if fault is None:
                    self._reply(*server.answer(request))
                else:
                    self._misbehave(fault, request)

            def _misbehave(self, fault: Fault, request: Request) -> None:
                if fault.until is not None:
                    fault.until.wait(30)
                body = fault.body
                if fault.store_first:
                    body = json.dumps(server.answer(request)[1]).encode()
                if fault.cut is not None:
                    if fault.cut == "garbage":
                        self.wfile.write(body)
                    if fault.cut.startswith("trickle"):
                        self._trickle("HTTP/1.1 200 OK\r\n" + "X" * 1000 if "head" in fault.cut else _LONG_ANSWER)
                    if fault.cut == "reset":
                        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + body[:10])
                        # Linger 0: close() sends RST, not FIN.
                        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.close_connection = True
                    return
                self._reply(fault.status or 200, body, fault.headers)

            def _trickle(self, text: str) -> None:
                head, rest = text.rsplit("\n", 1)
                self.wfile.write(head.encode() + b"\n")
                for byte in rest.encode():
                    time.sleep(0.02)
                    self.wfile.write(bytes([byte]))

            def _reply(self, status: int, body: dict[str, Any] | bytes, headers: dict[str, str] | None = None) -> None:
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler

    def _next_fault(self, path: str) -> Fault | None:
        with self._lock:
            if self.faults and self.faults[0].on in path:
                return self.faults.pop(0)
        return None


_LONG_ANSWER = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + "x" * 1000


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break here on purpose."""


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
