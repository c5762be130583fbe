"""Comparing runs in a real Chromium, over stored forecasts of real runs."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from app.dashboard.readings.compared_runs import (
    comparison_revision,
    read_comparison,
    run_options,
    runs_at_first,
    runs_beside,
)
from app.runs import RunStatus
from app.storage.database import Database
from app.storage.forecasts import latest_forecasts
from app.storage.runs import finish_run
from app.worker.scoring import score_run
from tests.conftest import TemplateOf
from tests.dashboard.browser import DESKTOP, PHONE, Watched, open_page
from tests.dashboard.seeding import Seeder, replayed

PATIENCE_MS = 60_000


@pytest.fixture(scope="module")
def siblings(template_of: TemplateOf) -> str:
    return template_of(log_siblings)


def log_siblings(database: Database) -> None:
    seed = Seeder(database)
    replayed(seed, "done", "lm_cosine.csv", 50_000, share=1.0, status=RunStatus.FINISHED)
    replayed(seed, "half", "lm_cosine.csv", 50_000, share=0.5)
    replayed(seed, "short", "lm_wsd.csv", 15_000, share=0.6)
    replayed(seed, "hot", "lm_too_hot.csv", 50_000, share=0.45)


@pytest.mark.begins_with("siblings")
def test_an_ended_run_is_compared_by_its_end_and_a_live_one_by_its_forecast(database: Database) -> None:
    done, half = read_comparison(database, ["done", "half"], None).runs
    assert done.forecast is None
    assert done.predicted is not None
    assert done.predicted[0] == done.predicted[2] == pytest.approx(3.06, abs=0.02)
    assert half.ended_at is None
    assert half.predicted is not None
    assert half.predicted[0] < half.predicted[1] < half.predicted[2]
    assert (done.total_steps, half.total_steps) == (50_000, 50_000)


def test_a_link_outlives_one_of_its_runs(database: Database, seed: Seeder) -> None:
    seed.open("here")
    reading = read_comparison(database, ["gone", "here", "here"], None)
    assert ([one.run.id for one in reading.runs], list(reading.missing)) == (["here"], ["gone"])
    assert [one["label"] for one in run_options(database, None, ["gone"])] == ["here · default", "gone (no such run)"]


def test_a_revision_changes_with_the_points_and_with_nothing_else(database: Database, seed: Seeder) -> None:
    replayed(seed, "run", "lm_wsd.csv", 15_000, share=0.3)
    before = comparison_revision(database, ["run", "gone"])
    assert comparison_revision(database, ["run", "gone"]) == before
    seed.log("run", np.asarray([14_000]), {"train_loss": np.asarray([3.0])}, refit=False)
    assert comparison_revision(database, ["run", "gone"]) != before


@pytest.mark.begins_with("siblings")
def test_a_project_begins_with_the_runs_that_go_on(database: Database, seed: Seeder) -> None:
    seed.open("empty", project="lm")
    assert runs_at_first(database, "lm") == ["hot", "short", "half", "done"]


@pytest.mark.begins_with("siblings")
def test_beside_a_run_stand_those_that_its_forecast_heard_then_the_others_of_its_project(
    database: Database, seed: Seeder
) -> None:
    seed.open("empty", project="lm")
    seed.refit("short")
    with database.read() as connection:
        heard = [one.run_id for one in latest_forecasts(connection, "short")["train_loss"].siblings]
    beside = runs_beside(database, "short")
    assert beside[0] == "short"
    assert beside[1 : 1 + len(heard)] == heard[:3]
    assert set(beside) == {"hot", "short", "half", "done"}
    assert runs_beside(database, "gone") == ["gone"]


@pytest.mark.browser
@pytest.mark.begins_with("siblings")
def test_a_projects_runs_are_compared_and_the_address_says_which(desktop: Watched) -> None:
    page = desktop.page
    desktop.open("/projects/lm")
    page.get_by_role("link", name="Compare runs").click()
    expect(page).to_have_title("Compare runs · Losscast")
    rows = page.locator(".compare-table tbody tr")
    expect(rows).to_have_count(4)
    expect(page).to_have_url(re.compile(r"/compare\?project=lm&run=hot&run=short&run=half&run=done$"))
    assert sum("90 % band" in name for name in desktop.traces("compare-chart")) == 3
    expect(rows.filter(has_text="done of")).to_contain_text("ended")
    expect(rows.filter(has_text="done of")).to_contain_text("best")
    page.get_by_role("radio", name="Share of run").click()
    expect(page).to_have_url(re.compile("along=share$"))
    page.wait_for_function(
        "() => document.querySelector('#compare-chart .js-plotly-plot').layout.xaxis.range[1] < 110",
        timeout=PATIENCE_MS,
    )
    page.get_by_role("radio", name="Log").click()
    expect(page).to_have_url(re.compile("along=share&scale=log$"))
    page.reload()
    expect(rows).to_have_count(4)
    expect(page.get_by_role("radio", name="Log")).to_be_checked()
    page.locator("#compare-metric").click()
    page.get_by_role("option", name="lr").click()
    expect(page.locator("#compare-note")).to_contain_text("only losses and accuracies are forecast")
    page.get_by_role("link", name="short of lm_wsd.csv").click()
    page.get_by_role("link", name="Compare with others").click()
    expect(page).to_have_url(re.compile(r"/compare\?project=lm&run=short&run="))
    expect(rows).to_have_count(4)
    expect(rows.first).to_contain_text("short of lm_wsd.csv")
    desktop.open("/compare?run=done")
    expect(page.locator("#compare-note")).to_contain_text("One run alone is no comparison: choose at least one more")
    expect(rows).to_have_count(1)
    expect(rows.first).not_to_contain_text("best")


@pytest.mark.browser
def test_a_comparison_follows_its_runs(desktop: Watched, seed: Seeder) -> None:
    seed.open("new", name="the new one")
    desktop.open("/compare?run=new&run=gone")
    page = desktop.page
    expect(page.locator("#compare-note")).to_contain_text("the new one has logged nothing yet")
    expect(page.locator("#compare-note")).to_contain_text("No run has the id gone")
    steps = np.arange(1, 301)
    seed.log("new", steps, {"loss": 2 + 3 * steps**-0.5}, refit=False)
    expect(page.locator("#compare-note")).to_contain_text("No forecast yet: the new one (")
    seed.refit("new")
    expect(page.locator("#compare-note")).not_to_contain_text("No forecast yet")
    expect(page.locator(".compare-table .range-band")).to_have_count(1)


@pytest.mark.browser
def test_runs_that_focus_leaves_out_are_named(desktop: Watched, seed: Seeder) -> None:
    steps = np.arange(1, 301)
    for name, floor in (("good", 2.0), ("fair", 2.1), ("way off", 30.0)):
        seed.open(name)
        seed.log(name, steps, {"loss": floor + 3 * steps**-0.5})
    desktop.open("/compare?run=good&run=fair&run=way+off")
    note = desktop.page.locator("#compare-note")
    expect(note).to_contain_text("Focus leaves out 3 (way off), which ends above the rest")
    desktop.page.get_by_role("radio", name="Full").click()
    expect(note).not_to_contain_text("Focus leaves out")


@pytest.mark.browser
def test_a_metric_that_nobody_logged_draws_a_sentence_and_no_axes(desktop: Watched, seed: Seeder) -> None:
    seed.open("run")
    seed.log("run", np.arange(1, 301), {"loss": 2 + 3 * np.arange(1, 301) ** -0.5})
    desktop.open("/compare?run=run&metric=nope")
    expect(desktop.page.locator("#compare-chart .annotation-text")).to_have_text("No run here has logged nope")
    expect(desktop.page.locator("#compare-chart .xtick")).to_have_count(0)


@pytest.mark.browser
def test_a_run_that_is_one_too_many_is_named_and_stays_in_the_address(desktop: Watched, seed: Seeder) -> None:
    for number in range(1, 9):
        seed.open(f"run-{number}")
    query = "&".join(f"run=run-{number}" for number in range(1, 9))
    desktop.open(f"/compare?{query}")
    note = desktop.page.locator("#compare-note")
    expect(note).to_contain_text("The first 6 of 8 runs are shown")
    expect(note).to_contain_text("Left out: run-7, run-8.")
    expect(desktop.page.locator(".compare-table tbody tr")).to_have_count(6)
    desktop.page.get_by_role("radio", name="Share of run").click()
    expect(desktop.page).to_have_url(f"{desktop.base_url}/compare?{query}&along=share")


@pytest.mark.browser
def test_an_ended_run_shows_its_last_value_as_such_until_its_end_is_scored(
    desktop: Watched, seed: Seeder, database: Database
) -> None:
    replayed(seed, "done", "lm_wsd.csv", 15_000, share=0.6)
    with database.write() as connection:
        finish_run(connection, "done", RunStatus.FINISHED, None)
    desktop.open("/compare?run=done")
    end = desktop.page.locator(".compare-table tbody .col-final")
    expect(end).to_contain_text("last value")
    expect(desktop.page.locator("#compare-note")).to_contain_text("its end has not been concluded")
    seed.refit("done")
    score_run(database, "done")
    expect(end).to_contain_text("ended")
    expect(desktop.page.locator("#compare-note")).not_to_contain_text("has not been concluded")


@pytest.mark.browser
def test_without_runs_the_page_says_what_to_do(desktop: Watched) -> None:
    desktop.open("/")
    desktop.page.locator("#nav-compare").click()
    expect(desktop.page.get_by_role("heading", name="No runs chosen yet")).to_be_visible()
    expect(desktop.page.locator("#compare-chart")).to_be_hidden()


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.begins_with("siblings")
def test_a_comparison_fits_its_screen(browser: Browser, base_url: str, size: tuple[int, int], theme: str) -> None:
    watched = open_page(browser, base_url, size=size, theme=theme, touch=size == PHONE)
    watched.open("/compare?project=lm")
    expect(watched.page.locator(".compare-table tbody tr")).to_have_count(4)
    watched.page.wait_for_timeout(800)
    watched.keep_picture(f"compare-{theme}-{size[0]}")
    assert not watched.has_horizontal_scrollbar()
    assert watched.errors == []
    watched.page.context.close()
