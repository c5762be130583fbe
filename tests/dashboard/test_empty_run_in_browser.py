"""The page of a run that has logged nothing, in a real Chromium."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from app.runs import RunStatus
from app.storage import runs
from tests.dashboard.browser import PHONE, Watched, open_page
from tests.dashboard.seeding import Seeder, decaying

pytestmark = pytest.mark.browser

EMPTY_PARTS = ("#run-tiles", "#run-chart", "#what-if-body", "#verdict", "#run-health", "#run-metrics")


def test_a_run_without_a_point_says_how_to_log_to_it_and_draws_its_curve_once_it_has(
    desktop: Watched, seed: Seeder
) -> None:
    page = desktop.page
    seed.open("my run", name="mine", project="lm")
    desktop.open("/runs/my%20run")
    expect(page.get_by_role("heading", name="Nothing logged yet")).to_be_visible()
    expect(page.locator("#snippet-curl")).to_contain_text(f"'{desktop.base_url}/api/v1/log/my%20run'")
    expect(page.locator("#snippet-python")).to_contain_text(
        f'losscast.init(url="{desktop.base_url}", project="lm", id="my run")'
    )
    for part in EMPTY_PARTS:
        expect(page.locator(part)).to_be_hidden()
    expect(page.get_by_text("Delete run")).to_be_visible()
    desktop.keep_picture("run-empty-light")
    steps = np.arange(1, 201)
    seed.log("my run", steps, {"loss": decaying(steps)})
    expect(page.get_by_role("heading", name="Nothing logged yet")).to_be_hidden()
    for part in ("#run-tiles", "#run-chart", "#verdict", "#run-health"):
        expect(page.locator(part)).to_be_visible()
    drawn = "document.querySelector('#run-chart .main-svg')?.getBoundingClientRect()"
    page.wait_for_function(f"() => {drawn}?.width > 1000 && {drawn}?.height > 300")


def test_a_run_that_ended_without_a_point_is_not_told_how_to_log(desktop: Watched, seed: Seeder) -> None:
    seed.open("run", name="over")
    with seed.database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FAILED, "out of memory")
    desktop.open("/runs/run")
    expect(desktop.page.locator("#run-banner")).to_contain_text("out of memory")
    expect(desktop.page.locator("#run-start")).to_be_hidden()
    expect(desktop.page.locator("#run-chart")).to_be_hidden()


def test_the_page_of_an_empty_run_fits_a_phone(browser: Browser, base_url: str, seed: Seeder) -> None:
    seed.open("a-run-with-quite-a-long-id-that-somebody-generated-0123456789", project="lm")
    phone = open_page(browser, base_url, size=PHONE, theme="dark")
    phone.open("/runs/a-run-with-quite-a-long-id-that-somebody-generated-0123456789")
    expect(phone.page.get_by_role("heading", name="Nothing logged yet")).to_be_visible()
    assert not phone.has_horizontal_scrollbar()
    phone.keep_picture("run-empty-dark-390")
    phone.page.context.close()
    assert phone.errors == []
