"""The page of a run that is NaN now: it foretells nothing, and everything again once the run has recovered."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import expect

from app.runs import RunStatus
from app.storage import runs
from tests.dashboard.browser import Watched
from tests.dashboard.seeding import Seeder, decaying

pytestmark = pytest.mark.browser

TRACES = "(document.querySelector('#run-chart .js-plotly-plot')?.data || []).map(one => one.name)"
FORETOLD = {"predicted", "50 % band", "90 % band"}
REFUSAL = "loss is not finite at its last step; a forecast of it would mean nothing."


def log(seed: Seeder, first: int, last: int, **changed: float) -> None:
    """Steps of a run of 2000 that logs a loss, a validation loss and a rate; `changed` replace columns."""
    steps = np.arange(first, last + 1)
    losses = decaying(np.arange(1, 2001))[first - 1 : last]
    columns = {"loss": losses, "val_loss": losses + 0.1, "lr": np.full(len(steps), 1e-3)}
    seed.log("run", steps, columns | {name: np.full(len(steps), value) for name, value in changed.items()})


def test_a_run_that_is_nan_foretells_nothing_until_it_has_recovered(desktop: Watched, seed: Seeder) -> None:
    page = desktop.page
    seed.open("run", name="breaks", plan={"total_steps": 2000})
    log(seed, 1, 1000)
    desktop.open("/runs/run")
    ends = page.locator("#run-others tbody td:nth-child(4)")
    page.wait_for_function(f"() => ({TRACES}).includes('90 % band')")
    expect(page.locator("#run-grounds")).to_contain_text("Chance that")
    expect(page.locator("#run-grounds .siblings-none")).to_be_visible()
    expect(page.locator("#what-if-body")).to_be_visible()
    expect(ends).not_to_have_text("–")
    log(seed, 1001, 1200, loss=np.nan)
    expect(page.locator("#run-tiles .tile-forecast")).to_contain_text(REFUSAL)
    page.wait_for_function(f"() => ({TRACES}).includes('loss') && !({TRACES}).includes('90 % band')")
    assert set(desktop.traces("run-chart")) & {*FORETOLD, "planned rate"} == set()
    expect(page.locator("#run-grounds")).to_contain_text(REFUSAL)
    expect(page.locator("#run-grounds .opinions")).to_have_count(0)
    expect(page.locator("#run-grounds .siblings-none")).to_have_count(0)
    expect(page.locator("#what-if-body")).to_be_hidden()
    # The validation loss is still finite, but a run with a broken loss does not get it anywhere.
    expect(ends).to_have_text("–")
    expect(page.locator("#run-others tbody td:nth-child(5)")).to_have_text("–")
    desktop.keep_picture("run_nan")
    log(seed, 1201, 1400)
    page.wait_for_function(f"() => ({TRACES}).includes('90 % band')")
    expect(page.locator("#run-tiles .tile-forecast")).to_contain_text("90 %")
    expect(page.locator("#what-if-body")).to_be_visible()
    expect(ends).not_to_have_text("–")


def test_a_validation_loss_that_alone_is_nan_has_no_end_and_the_run_keeps_its_own(
    desktop: Watched, seed: Seeder
) -> None:
    seed.open("run", name="breaks in part", plan={"total_steps": 2000})
    log(seed, 1, 1000)
    log(seed, 1001, 1100, val_loss=np.nan)
    desktop.open("/runs/run")
    page = desktop.page
    page.wait_for_function(f"() => ({TRACES}).includes('90 % band')")
    expect(page.locator("#run-tiles .tile-forecast")).to_contain_text("90 %")
    expect(page.locator("#run-others tbody td:nth-child(4)")).to_have_text("–")
    page.locator("#run-metric").click()
    page.get_by_role("option", name="val_loss").click()
    page.wait_for_function(f"() => !({TRACES}).includes('90 % band')")


def test_a_run_that_ended_in_nan_is_not_offered_for_other_schedules(desktop: Watched, seed: Seeder) -> None:
    seed.open("run", name="ended in NaN", plan={"total_steps": 2000})
    log(seed, 1, 1000)
    log(seed, 1001, 1100, loss=np.nan)
    with seed.database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FAILED, None)
    seed.refit("run")
    desktop.open("/runs/run")
    page = desktop.page
    expect(page.get_by_role("link", name="Compare with others")).to_be_visible()
    expect(page.get_by_role("link", name="Predict another schedule")).to_have_count(0)
    desktop.open("/fit?run=run&schedule=cosine")
    expect(page.locator("#fit-result")).to_contain_text("loss of ended in NaN is NaN or infinite at its end")
