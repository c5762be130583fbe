"""The page of a run that is over: it says where the run came to, and predicts nothing."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

from app.dashboard.formatting import format_value
from app.runs import RunStatus
from app.storage import runs
from app.worker.scoring import score_run
from tests.dashboard.browser import Watched
from tests.dashboard.seeding import Seeder, decaying

pytestmark = pytest.mark.browser


TRACES = "(document.querySelector('#run-chart .js-plotly-plot')?.data || []).map(one => one.name)"


def ended(seed: Seeder, losses: np.ndarray, status: RunStatus = RunStatus.FINISHED) -> None:
    """A run of 1000 steps that declared no schedule, and is over."""
    seed.open("run", name="ended", plan={"total_steps": 1000})
    for part in np.array_split(np.arange(len(losses)), 2):
        seed.log("run", part + 1, {"loss": losses[part], "lr": np.full(len(part), 1e-3)})
    with seed.database.write() as connection:
        runs.finish_run(connection, "run", status, None)
    seed.refit("run")
    score_run(seed.database, "run")


def test_a_finished_run_shows_where_it_ended_without_a_band_and_without_advice(desktop: Watched, seed: Seeder) -> None:
    losses = decaying(np.arange(1, 1001))
    ended(seed, losses)
    page = desktop.page
    desktop.open("/runs/run")
    tile = page.locator("#run-tiles .tile-forecast")
    expect(tile).to_contain_text("Final loss")
    expect(tile).to_contain_text(format_value(float(np.mean(losses[-20:]))))
    expect(tile).not_to_contain_text("90 %")
    expect(page.locator("#run-grounds")).not_to_contain_text("eclare")
    expect(page.locator("#run-grounds")).not_to_contain_text("Chance that")
    expect(page.locator("#what-if-body")).to_be_hidden()
    desktop.open("/")
    cell = page.locator("td.col-forecast")
    expect(cell).to_contain_text("ended")
    expect(cell.locator(".range-band")).to_have_count(0)


def test_a_page_left_open_lets_go_of_the_future_when_its_run_ends(desktop: Watched, seed: Seeder) -> None:
    seed.open("run", name="about to end", plan={"total_steps": 1000})
    losses = decaying(np.arange(1, 801))
    seed.log("run", np.arange(1, 801), {"loss": losses, "lr": np.full(800, 1e-3)})
    desktop.open("/runs/run")
    page = desktop.page
    expect(page.locator("#what-if-body")).to_be_visible()
    page.wait_for_function(f"() => ({TRACES}).includes('90 % band')")
    with seed.database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FINISHED, None)
    seed.refit("run")
    expect(page.locator("#what-if-body")).to_be_hidden()
    page.wait_for_function(f"() => ({TRACES}).includes('loss') && !({TRACES}).includes('90 % band')")
    assert set(desktop.traces("run-chart")) & {"predicted", "50 % band", "planned rate"} == set()
    # Taken up again, it has a future again.
    seed.open("run")
    seed.log("run", np.arange(801, 811), {"loss": losses[:10], "lr": np.full(10, 1e-3)})
    expect(page.locator("#what-if-body")).to_be_visible()
    page.wait_for_function(f"() => ({TRACES}).includes('90 % band')")


def test_a_run_that_ended_early_says_where_it_stood_and_where_it_was_heading(desktop: Watched, seed: Seeder) -> None:
    ended(seed, decaying(np.arange(1, 401)), RunStatus.STOPPED)
    desktop.open("/runs/run")
    tile = desktop.page.locator("#run-tiles .tile-forecast")
    expect(tile).to_contain_text("Loss at the end")
    expect(tile).to_contain_text("The run ended at step 400, before its horizon.")
    expect(desktop.page.locator("#what-if-body")).to_be_visible()
    expect(desktop.page.locator("#run-grounds")).to_contain_text("on this its last forecast rested")
    desktop.page.wait_for_function(f"() => ({TRACES}).includes('loss')")
    assert "90 % band" not in desktop.traces("run-chart")
    desktop.keep_picture("run_ended_early")


def test_a_run_that_ended_in_nan_promises_no_forecast(desktop: Watched, seed: Seeder) -> None:
    losses = decaying(np.arange(1, 401))
    losses[-10:] = np.nan
    ended(seed, losses)
    desktop.open("/runs/run")
    expect(desktop.page.locator("#run-tiles .tile-forecast")).to_contain_text(
        "The loss is not finite, so nothing can be forecast."
    )
    expect(desktop.page.locator("#run-grounds")).not_to_contain_text("Chance that")
    expect(desktop.page.locator(".page-run")).not_to_contain_text("next fit")
