"""The pages on a real server over a real database, filled by the real worker."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI

from app import dashboard
from app.storage.database import Database
from tests.dashboard.seeding import Seeder


@pytest.fixture
def seed(database: Database) -> Seeder:
    return Seeder(database)


@pytest.fixture
def site(database: Database) -> FastAPI:
    app = FastAPI()
    dashboard.mount(app, database)
    return app


@pytest.fixture
def base_url(site: FastAPI) -> Iterator[str]:
    """Where the pages are served, in this process, so that a test can pull the database away from under them."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(site, log_level="error", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + 60
        while not server.started and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.started
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join(timeout=30)
