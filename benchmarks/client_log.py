"""What one call of `losscast.log` costs a training loop, beside two other ways to note the same two numbers.

Run ``python -m benchmarks.client_log [CALLS]`` (default 100,000). Wall time of each call, one after the other without a
pause: far denser than any training loop, so that the sending thread competes for the interpreter all the while.

The peers do less or wait: a `logging.FileHandler` writes the line to a local file and ships nothing; a POST for each
call with `urllib` is what a hand-written logger does, here to a server on the same machine that answers at once. The
server is a process of its own; "no server" is an address that refuses connections.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import platform
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

import losscast
from benchmarks.usage import tell_if_asked

POSTS = 3000
"""Calls of the slow peer: enough for a 99th percentile, and over in seconds."""


def main() -> None:
    tell_if_asked(__doc__)
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    logging.getLogger("losscast").setLevel(logging.ERROR)
    print(f"Python {platform.python_version()}, {calls:,} calls of two metrics each, {POSTS:,} for the POSTs")
    print(f"{'':34}{'median':>10}{'p99':>10}{'worst':>12}{'calls/s':>12}")
    with null_server() as url:
        run = losscast.init(url=url, id="up")
        report("losscast.log", time_calls(lambda step: run.log({"loss": 2.5, "lr": 3e-4}, step=step), calls))
        began = time.perf_counter()
        run.finish(timeout=60)
        delivered_after = time.perf_counter() - began
        report("urllib POST a call", time_calls(poster(url), POSTS))
    with refusing_address() as url:
        run = losscast.init(url=url, id="down")
        report("losscast.log, no server", time_calls(lambda step: run.log({"loss": 2.5, "lr": 3e-4}, step=step), calls))
        run.finish(timeout=0)
    with tempfile.TemporaryDirectory() as directory:
        report("logging.FileHandler", time_calls(file_logger(Path(directory) / "metrics.jsonl"), calls))
    report("an empty function", time_calls(lambda step: None, calls))
    print(f"The rest of {calls:,} rows was delivered {delivered_after:.1f} s after the last call.")


def time_calls(call: Callable[[int], object], n_calls: int) -> list[int]:
    """Duration of each call [ns]."""
    durations = []
    for step in range(n_calls):
        began = time.perf_counter_ns()
        call(step)
        durations.append(time.perf_counter_ns() - began)
    return durations


def report(what: str, durations: list[int]) -> None:
    median = statistics.median(durations) / 1e3
    p99 = statistics.quantiles(durations, n=100)[98] / 1e3
    rate = len(durations) / (sum(durations) / 1e9)
    print(f"{what:34}{median:>7.1f} us{p99:>7.1f} us{max(durations) / 1e3:>9.0f} us{rate:>12,.0f}")


def poster(url: str) -> Callable[[int], object]:
    def post(step: int) -> None:
        body = json.dumps({"step": step, "loss": 2.5, "lr": 3e-4}).encode()
        request = urllib.request.Request(f"{url}/api/v1/log/run", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=5) as response:
            response.read()

    return post


def file_logger(path: Path) -> Callable[[int], object]:
    logger = logging.getLogger("benchmarks.client_log.file")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler = logging.FileHandler(path)
    logger.addHandler(handler)
    return lambda step: logger.info('{"step": %d, "loss": %r, "lr": %r}', step, 2.5, 3e-4)


@contextmanager
def null_server() -> Iterator[str]:
    """A server that reads what comes, keeps nothing and says yes."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def serve(parent: Connection) -> None:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        answer = json.dumps({"id": "up", "segment": 1, "stored": 1, "duplicate": False}).encode()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.answer)))
            self.end_headers()
            self.wfile.write(self.answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    parent.send(server.server_address[1])
    server.serve_forever()


@contextmanager
def refusing_address() -> Iterator[str]:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound but not listened on: refused for as long as we hold it
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


if __name__ == "__main__":
    main()
