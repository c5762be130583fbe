"""A page whose server does not answer says so, by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from tests.dashboard.browser import PHONE, Watched, open_page
from tests.dashboard.seeding import Seeder, decaying
from tests.dashboard.serving import Server

pytestmark = pytest.mark.browser

SILENT = re.compile(r"^No answer from Losscast since \d\d:\d\d:\d\d: what you see is from then\. Trying again\.$")


@pytest.fixture
def watched(browser: Browser, base_url: str) -> Iterator[Watched]:
    """The browser logs each call that nobody answers, so errors are not counted."""
    watched = open_page(browser, base_url, size=PHONE)
    yield watched
    watched.page.context.close()


def test_a_page_says_when_the_server_stopped_answering_and_when_it_answers_again(
    watched: Watched, server: Server, seed: Seeder
) -> None:
    seed.open("run", plan={"total_steps": 2000})
    steps = np.arange(1, 301)
    seed.log("run", steps, {"loss": decaying(steps)})
    page = watched.page
    watched.open("/runs/run")
    badge = page.locator("#run-head .badge-running")
    expect(badge).to_be_visible()
    live = badge.evaluate("badge => getComputedStyle(badge).color")
    expect(page.locator("#silence")).to_be_empty()

    server.stop()
    expect(page.locator("#silence")).to_have_text(SILENT)
    assert badge.evaluate("badge => getComputedStyle(badge).color") != live
    watched.keep_picture("server_silent_phone")

    server.start()
    expect(page.locator("#silence")).to_be_empty()
    assert badge.evaluate("badge => getComputedStyle(badge).color") == live
    seed.log("run", np.arange(301, 401), {"loss": decaying(np.arange(301, 401))})
    expect(page.locator("#run-head")).to_contain_text("400 / 2,000")


def test_a_page_that_asks_nothing_by_itself_says_so_once_it_is_used(
    watched: Watched, server: Server, seed: Seeder
) -> None:
    seed.open("run", name="a run")
    page = watched.page
    watched.open("/fit")
    expect(page.get_by_role("heading", name="Other schedules")).to_be_visible()
    server.stop()
    page.get_by_role("link", name="Runs").click()
    expect(page.locator("#silence")).to_have_text(SILENT)
    server.start()
    expect(page.locator("#silence")).to_be_empty()
