"""A page says when the workers do not keep up, and no longer once they do."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from sqlalchemy import text

from app.storage.database import Database
from app.storage.jobs import JobQueue
from tests.dashboard.browser import Watched

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("address", ["/", "/alerts"])
def test_a_page_says_that_no_worker_runs_where_refits_wait(
    desktop: Watched, database: Database, database_url: str, address: str
) -> None:
    queue = JobQueue(database_url)
    queue.open()
    queue.ask_for_refits(["run"])
    queue.close()
    with database.write() as connection:
        connection.execute(text("UPDATE procrastinate_events SET at = at - interval '2 minutes'"))
    page = desktop.page
    desktop.open(address)
    expect(page.locator("#behind")).to_contain_text("no worker runs: start one (losscast work)")
    desktop.keep_picture("no_worker")
    with database.write() as connection:
        connection.execute(text("DELETE FROM procrastinate_jobs"))
    desktop.open(address)
    expect(page.get_by_role("link", name="Runs", exact=True)).to_be_visible()
    expect(page.locator("#behind")).to_be_empty()
