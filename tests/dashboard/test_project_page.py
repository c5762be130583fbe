"""The track record on the pages: what is said in words, and what a browser shows of real runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import text

from app.dashboard.components import status_badge
from app.dashboard.figures.track_record import errors_figure, reliability_figure
from app.dashboard.liveness import Liveness
from app.dashboard.pages.project import RecordReading, read_record
from app.dashboard.pages.ranking import read_ranking
from app.dashboard.pages.ranking import shown as ranking_shown
from app.dashboard.pages.record_words import empty_text, format_error, in_words, judgement, looks_at
from app.dashboard.pages.run_history import history_text
from app.dashboard.readings.history import read_history
from app.dashboard.readings.runs import RunsFilter, SparklineCache, read_runs
from app.dashboard.site import page_at
from app.dashboard.theme import Display
from app.forecasting.track_record import RunBin, buckets, coverage
from app.importers.run_files import read_file
from app.runs import RunStatus
from app.storage import runs
from app.storage.database import Database
from app.storage.project_record import ProjectTrackRecord
from app.worker.scoring import score_run
from tests.conftest import TemplateOf
from tests.dashboard.browser import DESKTOP, PHONE, open_page
from tests.dashboard.component_words import words
from tests.dashboard.seeding import Seeder

DATA = Path(__file__).parents[2] / "app" / "demo" / "data"
PROJECT = "pre/training <b>"


@pytest.fixture(scope="module")
def two_finished_and_one_running(template_of: TemplateOf) -> str:
    def fill(database: Database) -> None:
        seed = Seeder(database)
        for run_id, file, total in (("a", "lm_cosine.csv", 50_000), ("b", "lm_wsd.csv", 15_000)):
            trained(seed, run_id, file, total, project=PROJECT)
            ended(seed, run_id)
        trained(seed, "c", "lm_too_hot.csv", 50_000, project=PROJECT, share=0.6)

    return template_of(fill)


def trained(
    seed: Seeder, run_id: str, file: str, total_steps: int, *, project: str = "gpt", share: float = 1.0
) -> None:
    """A real run, or its first share, refitted sixteen times."""
    seed.open(run_id, project=project, name=f"{run_id} of {file}", plan={"total_steps": total_steps})
    whole = list(read_file(DATA / file).batches)
    steps = np.concatenate([batch.steps for batch in whole])
    losses = np.concatenate([batch.values[batch.metrics.index("train_loss")] for batch in whole])
    known = np.isfinite(losses) & (steps <= share * steps[-1])
    for part in np.array_split(np.flatnonzero(known), 16):
        seed.log(run_id, steps[part], {"train_loss": losses[part]})


def ended(seed: Seeder, run_id: str, status: RunStatus = RunStatus.FINISHED) -> None:
    with seed.database.write() as connection:
        runs.finish_run(connection, run_id, status, None)
    seed.refit(run_id)
    score_run(seed.database, run_id)


def record_of(
    runs_counted: Sequence[object] = (), *, finished: int = 0, running: int = 0, otherwise: int = 0, waiting: int = 0
) -> ProjectTrackRecord:
    return ProjectTrackRecord(runs_counted, [], finished, running, otherwise, waiting)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (record_of(), "Failed and stopped"),
        (record_of(running=2), "2 runs are still going on"),
        (record_of(finished=1), "1 run finished before the first forecast"),
        (record_of(finished=3, waiting=2), "2 finished runs are being scored"),
    ],
)
def test_an_empty_record_says_what_is_missing(record: ProjectTrackRecord, said: str) -> None:
    assert said in empty_text(record)


def project_verdict(reading: RecordReading) -> list[str]:
    return in_words(reading.record, reading.reliability, buckets(reading.record.bins))


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ([1] * 14, "Nowhere along the runs did it hold less often"),
        ([1, 0, 1], "Too few runs"),
        ([0] * 8 + [1] * 8, "too narrow"),
        ([1] * 60, "could be narrower"),
    ],
)
def test_a_band_is_judged_by_what_chance_allows(inside: list[float], said: str) -> None:
    (line,) = judgement({"half-way": coverage(0.9, inside)})
    assert said in line


def runs_at(seen_bin: int, inside: Sequence[float]) -> list[RunBin]:
    return [RunBin(f"run {at}", seen_bin, 1, 0.01, 0.01, held, held, held) for at, held in enumerate(inside)]


def test_a_record_that_holds_at_half_way_and_not_late_in_the_runs_is_not_called_kept() -> None:
    half_way = [coverage(0.9, [1] * 8 + [0])]
    shares = buckets([*runs_at(3, [1] * 9), *runs_at(10, [1] * 8 + [0]), *runs_at(19, [1] * 4 + [0] * 5)])
    (line,) = judgement(looks_at(half_way, shares))
    assert line == (
        "At 90 to 100 % seen the band held 44 % of 9 runs (95 % interval 19 to 73 %). The bands are too narrow there."
    )


def test_one_low_count_among_many_is_named_and_may_be_chance() -> None:
    shares = buckets([*runs_at(3, [1] * 9), *runs_at(10, [1] * 9), *runs_at(19, [1] * 6 + [0] * 3)])
    (line,) = judgement(looks_at([coverage(0.9, [1] * 9)], shares))
    assert line.startswith("At 90 to 100 % seen the band held 67 % of 9 runs")
    assert line.endswith("one may be so by chance.")


def test_a_promise_that_nothing_contradicts_is_told_with_its_lowest_count() -> None:
    shares = buckets([*runs_at(3, [1] * 9), *runs_at(15, [1] * 7 + [0] * 2)])
    (line,) = judgement(looks_at([coverage(0.9, [1] * 9)], shares))
    assert line.startswith("No count along the runs contradicts the promise")
    assert "at 70 to 90 % seen: 78 % of 9 runs" in line


@pytest.mark.parametrize(
    ("error", "said"), [(0.00312, "0.31 %"), (0.02, "2.0 %"), (0.2, "20 %"), (3.0, "300 %"), (0.0, "0.0 %")]
)
def test_errors_are_percent(error: float, said: str) -> None:
    assert format_error(error) == said


def test_lines_of_runs_are_kept_apart_and_errors_of_zero_are_drawn() -> None:
    bins = [RunBin(run_id, at, 1, error, 0.1, 1, 1, 1) for run_id in ("a", "b") for at, error in [(3, 0.0), (9, 0.1)]]
    each, median = errors_figure(bins, {"a": "<b>first</b>"}, Display()).data
    assert list(each.y) == [pytest.approx(1e-3), 10.0, None, pytest.approx(1e-3), 10.0, None]
    assert each.text[0] == "&lt;b&gt;first&lt;/b&gt;"
    assert list(median.y) == [pytest.approx(1e-3), 10.0]


def test_a_bands_interval_is_around_its_share() -> None:
    found = [coverage(0.5, [1, 0, 1]), coverage(0.9, [1, 1, 1])]
    promised, held = reliability_figure(found, Display()).data
    assert list(promised.x) == [50, 90]
    assert held.x[0] == pytest.approx(200 / 3)
    assert held.x[0] + held.error_x.array[0] == pytest.approx(100 * found[0].high)
    assert held.x[1] - held.error_x.arrayminus[1] == pytest.approx(100 * found[1].low)


def test_a_runs_verdict_is_one_forecast_and_the_count(database: Database, seed: Seeder) -> None:
    trained(seed, "run", "lm_cosine.csv", 50_000)
    assert "known when the run has finished" in history_text(read_history(database, "run", None))
    with database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FINISHED, None)
    seed.refit("run")
    assert "takes some seconds" in history_text(read_history(database, "run", None))
    score_run(database, "run")
    reading = read_history(database, "run", None)
    said = history_text(reading)
    assert reading.actual is not None
    told = min(reading.counted, key=lambda one: abs(one.seen - 0.5))
    when = f"At {100 * told.seen:.0f} % of the run, nearest to half-way,"
    assert said.startswith(f"{when} the forecast was {told.p05:.3f} – {told.p95:.3f}")
    assert f"it ended at {reading.actual:.3f} ({'inside' if told.p05 <= reading.actual <= told.p95 else ''}" in said
    held = sum(one.p05 <= reading.actual <= one.p95 for one in reading.counted)
    assert f"The band held in {held} of {len(reading.counted)} forecasts" in said


def test_a_run_that_ended_early_says_what_its_forecasts_were_held_to(database: Database, seed: Seeder) -> None:
    trained(seed, "run", "lm_cosine.csv", 50_000, share=0.7)
    ended(seed, "run", RunStatus.STOPPED)
    assert "ended before its horizon" in history_text(read_history(database, "run", None))


@pytest.mark.begins_with("two_finished_and_one_running")
def test_a_project_is_summed_up_in_words(database: Database, seed: Seeder) -> None:
    ended(seed, "c", RunStatus.STOPPED)
    reading = read_record(database, PROJECT)
    assert reading is not None
    assert read_record(database, PROJECT, unless=reading.revision) is None
    held = sum(run.half_way.score.cover90 for run in reading.record.runs if run.half_way)
    for run in reading.record.runs:
        assert run.half_way is not None
        told_of_run = history_text(read_history(database, run.id, None))
        assert told_of_run.startswith(f"At {100 * run.half_way.seen:.0f} % of the run, nearest to half-way"), (
            "both pages count the same forecast"
        )
    first, second, third = project_verdict(reading)
    assert first.startswith(f"Of 2 finished runs, the 90 % band at half-way held {held}. Too few runs")
    assert "% of the final loss" in second
    assert "1 run failed or stopped" in third


def test_a_finished_run_that_came_to_nan_is_named_beside_the_ranking_and_counted_beside_the_record(
    database: Database, seed: Seeder
) -> None:
    trained(seed, "a", "lm_cosine.csv", 50_000)
    ended(seed, "a")
    for run_id, state in (("b", None), ("c", RunStatus.FINISHED)):
        trained(seed, run_id, "lm_wsd.csv", 15_000, share=0.9)
        seed.log(run_id, np.arange(14_000, 14_100), {"train_loss": np.full(100, np.nan)})
        if state is not None:
            ended(seed, run_id, state)
    ranking, _ = read_ranking(database, "gpt")
    assert ranking is not None
    assert "c of lm_wsd.csv" in ranking.broken
    assert "a of lm_cosine.csv" not in ranking.broken
    ranked = {one.name for one in ranking.competitors}
    assert ranked | set(ranking.broken) == {"a of lm_cosine.csv", "b of lm_wsd.csv", "c of lm_wsd.csv"}
    assert "NaN or infinite, and so not ranked: " in str(ranking_shown(ranking, datetime.now(UTC)))
    record = read_record(database, "gpt")
    assert record is not None
    assert "1 other finished run ended in NaN" in project_verdict(record)[-1]
    listed = read_runs(database, RunsFilter(project="gpt"), SparklineCache()).ends
    badge = {run: str(status_badge(Liveness.FINISHED, end.level)) for run, end in listed.items()}
    assert "Finished in NaN" in badge["c"]
    assert "badge-finished" not in badge["c"]
    assert "badge-finished" in badge["a"]


def test_runs_that_were_stopped_or_failed_are_named_beside_the_ranking(database: Database, seed: Seeder) -> None:
    for run_id, status in (("a", RunStatus.FINISHED), ("b", RunStatus.STOPPED), ("c", RunStatus.FAILED)):
        trained(seed, run_id, "lm_cosine.csv", 50_000, share=0.6)
        ended(seed, run_id, status)
    trained(seed, "d", "lm_wsd.csv", 15_000, share=0.6)
    with database.write() as connection:
        connection.execute(text("UPDATE run_progress SET last_seen_at = now() - interval '31 minutes'"))
    ranking, revision = read_ranking(database, "gpt")
    assert ranking is not None
    assert {one.run_id for one in ranking.competitors} == {"a"}
    assert {one.run_id: one.why for one in ranking.unranked} == {"b": "stopped", "c": "failed", "d": "silent"}
    said = str(ranking_shown(ranking, datetime.now(UTC)))
    assert "A ranking needs two runs with a forecast or an end; so far only “a of lm_cosine.csv” has one." in said
    assert "Stopped before the end, and so not ranked: b of lm_cosine.csv." in said
    assert "imported with --finished" in said
    assert "Failed, and so not ranked: c of lm_cosine.csv." in said
    assert "Silent for half an hour, and so not ranked: d of lm_wsd.csv." in said
    assert read_ranking(database, "gpt", unless=revision)[0] is None, "nothing has changed"


def test_of_a_project_whose_runs_have_all_ended_no_run_is_going_to_be_the_best_and_none_can_be_stopped(
    database: Database, seed: Seeder
) -> None:
    for run_id, file, total in (("a", "lm_cosine.csv", 50_000), ("b", "lm_wsd.csv", 15_000)):
        trained(seed, run_id, file, total, share=0.2)
        ended(seed, run_id)
    said = ranking_words(database)
    assert "All ranked runs have ended; a of lm_cosine.csv ended best by train_loss" in said
    assert "likeliest" not in said
    assert "Stopping frees" not in said
    trained(seed, "c", "lm_wsd.csv", 15_000, share=0.2)
    said = ranking_words(database)
    assert "is the likeliest to be the best by train_loss" in said
    assert "Stopping frees" in said


def ranking_words(database: Database) -> str:
    reading, _ = read_ranking(database, "gpt")
    assert reading is not None
    return words(ranking_shown(reading, datetime.now(UTC)))


def test_an_unknown_project_gets_a_page_that_says_so(database: Database) -> None:
    page, title = page_at(database, "/projects/no%2Fsuch")
    assert title == "No such project"
    assert "no/such" in str(page)


def test_the_ranking_and_the_list_say_the_same_end(database: Database, seed: Seeder) -> None:
    for run_id, file, total in (("a", "lm_cosine.csv", 50_000), ("b", "lm_wsd.csv", 15_000)):
        trained(seed, run_id, file, total)
        ended(seed, run_id)
    ranking, _ = read_ranking(database, "gpt")
    assert ranking is not None
    listed = read_runs(database, RunsFilter(project="gpt"), SparklineCache()).ends
    assert {one.run_id: one.median for one in ranking.competitors} == {run: end.level for run, end in listed.items()}


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.begins_with("two_finished_and_one_running")
def test_a_project_and_its_record_are_shown(
    browser: Browser, base_url: str, seed: Seeder, size: tuple[int, int], theme: str
) -> None:
    seed.open("elsewhere", project="other")
    watched = open_page(browser, base_url, size=size, theme=theme, touch=size == PHONE)
    watched.open("/")
    page = watched.page
    page.locator(".runs").get_by_role("link", name=PROJECT, exact=True).first.click()
    expect(page.locator("h1")).to_have_text(PROJECT)
    expect(page.locator("#project-verdict")).to_contain_text("Of 2 finished runs")
    expect(page.locator("#project-errors .js-plotly-plot .scatterlayer .trace")).to_have_count(2)
    expect(page.locator("#project-reliability .js-plotly-plot .scatterlayer .trace")).to_have_count(2)
    expect(page.locator("#project-buckets tbody tr")).to_have_count(5)
    expect(page.locator(".runs tbody tr")).to_have_count(3)
    expect(page).to_have_title(f"{PROJECT} · Losscast")
    page.wait_for_timeout(500)
    watched.keep_picture(f"project-{theme}-{size[0]}")
    assert not watched.has_horizontal_scrollbar()
    page.locator("#runs-list").get_by_role("link", name="a of lm_cosine.csv").click()
    expect(page.locator("#run-history-note")).to_contain_text(re.compile(r"At \d+ % of the run, nearest to half-way"))
    assert not watched.has_horizontal_scrollbar()
    page.locator("#run-history").scroll_into_view_if_needed()
    page.wait_for_timeout(800)
    watched.keep_picture(f"run-scored-{theme}-{size[0]}")
    page.locator(".crumbs").get_by_role("link", name=PROJECT).click()
    expect(page.locator("#project-verdict")).to_contain_text("Of 2 finished runs")
    assert watched.errors == []
    page.context.close()


@pytest.mark.browser
def test_an_open_page_shows_a_record_as_soon_as_there_is_one(browser: Browser, base_url: str, seed: Seeder) -> None:
    trained(seed, "run", "lm_wsd.csv", 15_000)
    watched = open_page(browser, base_url)
    watched.open("/projects/gpt")
    expect(watched.page.locator("#project-verdict")).to_contain_text("No run of this project has finished")
    ended(seed, "run")
    expect(watched.page.locator("#project-verdict")).to_contain_text("Of 1 finished run,")
    watched.page.get_by_role("radio", name="Failed", exact=True).click()
    expect(watched.page.get_by_role("heading", name="No run matches")).to_be_visible()
    expect(watched.page).to_have_url(base_url + "/projects/gpt?status=failed")
    assert watched.errors == []
    watched.page.context.close()
