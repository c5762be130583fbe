"""A web server in this process that a test can stop, and start again at the same address."""

from __future__ import annotations

import socket
import threading
import time

import uvicorn
from fastapi import FastAPI


class Server:
    def __init__(self, app: FastAPI) -> None:
        self._app, self._port = app, 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """A thread, so that a test can pull the database away from under the pages."""
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self._port))
        self._port = self._listener.getsockname()[1]
        self._server = uvicorn.Server(uvicorn.Config(self._app, log_level="error", ws="none"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._listener]}, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 60
        while not self._server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        assert self._server.started

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=30)
        self._listener.close()
