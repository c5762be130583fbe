"""The pages on a real server over a real database, filled by the real worker."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from playwright.sync_api import Browser, expect

from app import dashboard
from app.calculations import Calculations
from app.storage.database import Database
from tests.dashboard.browser import DESKTOP, Watched, chromium, open_page
from tests.dashboard.seeding import Seeder
from tests.dashboard.serving import Server

PATIENCE_MS = 60_000


@pytest.fixture
def seed(database: Database) -> Seeder:
    return Seeder(database)


@pytest.fixture
def asked_for() -> set[str]:
    """The runs of which the pages have asked for a refit."""
    return set()


@pytest.fixture
def calculations() -> Iterator[Calculations]:
    """For what-ifs and fits: one at a time, and four may wait."""
    bounded = Calculations(most_running=1, most_waiting=4, seconds=3.0)
    yield bounded
    bounded.close()


@pytest.fixture
def site(database: Database, asked_for: set[str], calculations: Calculations) -> FastAPI:
    app = FastAPI()
    dashboard.mount(app, database, ask_for_refit=asked_for.update, fits=calculations, what_ifs=calculations)
    return app


@pytest.fixture
def server(site: FastAPI) -> Iterator[Server]:
    """The pages, served in this process."""
    server = Server(site)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def base_url(server: Server) -> str:
    return server.url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with chromium() as started:
        yield started


@pytest.fixture
def desktop(browser: Browser, base_url: str) -> Iterator[Watched]:
    """A page in which nothing may go wrong, and that asks nobody else for anything."""
    watched = open_page(browser, base_url, size=DESKTOP)
    yield watched
    watched.page.context.close()
    assert watched.errors == []
    assert watched.foreign_requests == []
    assert watched.dialogs == []
