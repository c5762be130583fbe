"""Asking finished runs about other schedules, in a real Chromium, with real runs."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from app.importers.run_files import read_file
from app.runs import RunStatus
from app.storage import runs
from app.storage.batches import PendingBatch, write_batches
from app.storage.database import Database
from tests.conftest import TemplateOf
from tests.dashboard.browser import DESKTOP, PHONE, Watched, open_page
from tests.dashboard.seeding import Seeder

pytestmark = [pytest.mark.browser, pytest.mark.begins_with("three_finished")]

DATA = Path(__file__).parents[1] / "data"
WARMUP = np.arange(0, 2161, 120)
PATIENCE_MS = 60_000


def finished(seed: Seeder, name: str) -> None:
    """One of the multi-power law's runs, with the warm-up that the published files leave out."""
    seed.open(name, project="mpl", name=name)
    seed.log(name, WARMUP, {"lr": 3e-4 * WARMUP / WARMUP[-1]}, refit=False)
    with seed.database.write() as connection:
        for batch in read_file(DATA / f"multipowerlaw_25M_{name}.csv").batches:
            write_batches(connection, [PendingBatch(name, batch)])
        runs.finish_run(connection, name, RunStatus.FINISHED, None)
    seed.refit(name)


@pytest.fixture(scope="module")
def three_finished(template_of: TemplateOf) -> str:
    def fill(database: Database) -> None:
        for name in ("cosine_24000", "constant_24000", "wsdcon_9"):
            finished(Seeder(database), name)

    return template_of(fill)


def rows(page: Page) -> list[str]:
    return page.locator(".fit-table tbody tr").all_inner_texts()


def choose(page: Page, run: str) -> None:
    page.locator("#fit-runs").click()
    page.get_by_role("option", name=re.compile(run)).click()
    page.keyboard.press("Escape")


def test_a_finished_run_is_asked_about_the_schedules_that_people_weigh(desktop: Watched, seed: Seeder) -> None:
    seed.open("still-running", project="mpl")
    seed.log("still-running", np.arange(1, 50), {"loss": 3 + 1 / np.arange(1, 50), "lr": np.full(49, 1e-3)})
    page = desktop.page
    desktop.open("/runs/cosine_24000")
    exports = page.locator(".exports a")
    expect(exports).to_have_text(["CSV", "JSONL", "Parquet"])
    expect(exports.first).to_have_attribute("href", "/api/v1/runs/cosine_24000/export?format=csv")
    page.get_by_role("link", name="Predict another schedule").click()
    expect(page).to_have_url(re.compile(r"/fit\?run=cosine_24000"))
    expect(page).to_have_title("Other schedules · Losscast")
    expect(page.locator(".fit-table tbody tr")).to_have_count(2)
    expect(page.locator("#fit-result")).to_contain_text("cannot be judged")
    page.locator("#fit-runs").click()
    expect(page.get_by_role("option", name=re.compile("still-running"))).to_have_count(0)
    page.keyboard.press("Escape")
    choose(page, "constant_24000")
    page.get_by_role("button", name="Add a schedule").click()
    page.get_by_role("group", name="Schedule 3").locator(".fit-family").click()
    page.get_by_role("option", name="constant", exact=True).click()
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.locator(".fit-table tbody tr")).to_have_count(3)
    expect(page.locator("#fit-result")).to_contain_text("Left out and predicted")
    best, *_, worst = rows(page)
    assert "wsd linear" in best
    assert "constant" in worst
    expect(page).to_have_url(re.compile(r"run=cosine_24000&run=constant_24000&schedule=cosine.*schedule=constant"))
    assert {"1. wsd linear", "cosine_24000, fit"} <= set(desktop.traces("fit-chart"))
    again = rows(page)
    page.reload()
    expect(page.locator(".fit-table tbody tr")).to_have_count(3)
    assert rows(page) == again


def test_what_cannot_be_fitted_is_said_on_the_page(desktop: Watched) -> None:
    page = desktop.page
    desktop.open("/fit")
    expect(page.get_by_role("heading", name="Other schedules")).to_be_visible()
    page.get_by_role("button", name="Predict", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("at least one finished run")
    desktop.open("/fit?run=no-such-run")
    expect(page.get_by_role("alert")).to_contain_text("no-such-run")
    desktop.open("/fit?run=cosine_24000&schedule=cosine+peak=30")
    expect(page.get_by_role("alert")).to_contain_text("more than 10 times the highest of the fitted runs")
    desktop.open("/fit?run=cosine_24000&schedule=cosine+decay_steps=400")
    expect(page.get_by_role("alert")).to_contain_text("takes no decay_steps")
    desktop.open("/fit?run=cosine_24000&schedule=cosine+total_steps=96000+peak=1e-3")
    expect(page.locator("#fit-result")).to_contain_text("No fitted run had a peak rate of 0.001")
    expect(page.locator("#fit-result")).to_contain_text("4 times as long as the longest fitted run")


@pytest.mark.parametrize(("size", "theme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light")])
def test_the_page_fits_its_window(browser: Browser, base_url: str, size: tuple[int, int], theme: str) -> None:
    watched = open_page(browser, base_url, size=size, theme=theme, touch=size == PHONE)
    watched.open(
        "/fit?run=cosine_24000&run=constant_24000&run=wsdcon_9&schedule=cosine+final_fraction=0.1"
        "&schedule=wsd_linear+decay_steps=4000&schedule=constant"
    )
    expect(watched.page.locator(".fit-table tbody tr")).to_have_count(3)
    expect(watched.page.locator("#fit-result")).to_contain_text("“drop exponent” is at its bound, 0.5")
    watched.page.wait_for_function(
        "() => document.querySelectorAll('#fit-chart .js-plotly-plot .scatterlayer .trace').length > 6",
        timeout=PATIENCE_MS,
    )
    watched.keep_picture(f"fit-{theme}-{size[0]}")
    assert not watched.has_horizontal_scrollbar()
    watched.page.context.close()
    assert watched.errors == []
