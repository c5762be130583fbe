from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import event

from app.dashboard.compared_runs import read_comparison
from app.dashboard.pages.run_head import header
from app.dashboard.pages.run_tiles import forecast_tile, tiles
from app.dashboard.pages.what_if import compared
from app.dashboard.readings import (
    PAGE_SIZE,
    RunsFilter,
    SparklineCache,
    read_chart,
    read_history,
    read_metrics,
    read_revision,
    read_run,
    read_runs,
    steps_per_second,
)
from app.errors import NotFound
from app.runs import Points, RunStatus
from app.storage import runs
from app.storage.database import Database
from app.storage.ends import End, read_end
from app.storage.track_record import run_track_record
from app.worker.scoring import score_run
from tests.dashboard.seeding import Seeder, decaying


def timed(steps: np.ndarray, times: np.ndarray) -> Points:
    return Points(np.asarray(steps, np.int64), np.zeros(len(steps)), np.asarray(times, np.float64))


def test_a_steady_run_has_a_speed() -> None:
    steps = np.arange(0, 1000, 10)
    assert steps_per_second(timed(steps, steps / 4.0)) == pytest.approx(4.0)


@pytest.mark.parametrize(
    "times",
    [
        np.full(100, np.nan),
        np.zeros(100),
        np.concatenate([np.arange(50.0), 50 + 10 * np.arange(50.0)]),
    ],
)
def test_a_run_without_a_steady_clock_has_none(times: np.ndarray) -> None:
    assert steps_per_second(timed(np.arange(100), times)) is None


def test_a_list_of_runs_comes_in_pages_with_sparklines(database: Database, seed: Seeder) -> None:
    for number in range(PAGE_SIZE + 3):
        seed.open(f"run-{number:03d}", project="sweep")
    steps = np.arange(1, 401)
    seed.open("newest", project="gpt", plan={"total_steps": 1000})
    seed.log("newest", steps, {"loss": decaying(steps)})
    first = read_runs(database, RunsFilter(), SparklineCache())
    assert (len(first.rows), first.total) == (PAGE_SIZE, PAGE_SIZE + 4)
    assert first.rows[0].run.id == "newest"
    assert first.sparklines["newest"] is not None
    assert first.projects == ["gpt", "sweep"]
    second = read_runs(database, RunsFilter(page=1), SparklineCache())
    assert len(second.rows) == 4


def test_a_page_beyond_the_end_is_the_last_page(database: Database, seed: Seeder) -> None:
    seed.open("only")
    reading = read_runs(database, RunsFilter(page=7), SparklineCache())
    assert reading.page == 0
    assert [row.run.id for row in reading.rows] == ["only"]


def statements_of(database: Database, read: Callable[[], object]) -> list[str]:
    """What is asked of the database meanwhile."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        read()
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    return asked


def test_the_health_of_all_runs_on_a_page_takes_one_query(database: Database, seed: Seeder) -> None:
    steps = np.arange(1, 401)
    for number in range(8):
        seed.open(f"run-{number}")
    seed.log("run-3", steps, {"loss": np.concatenate([decaying(steps[:380]), np.linspace(6.0, 9.0, 20)])})
    cache = SparklineCache()
    read_runs(database, RunsFilter(), cache)  # draws what there is to draw

    asked = statements_of(database, lambda: read_runs(database, RunsFilter(), cache))
    reading = read_runs(database, RunsFilter(in_trouble=True), cache)

    assert sum("diagnosis_event" in statement for statement in asked) == 1
    assert [row.run.id for row in reading.rows] == ["run-3"]
    assert "divergence" in {trouble.kind for trouble in reading.health["run-3"].troubles}


def test_the_sparklines_of_a_page_take_one_query(database: Database, seed: Seeder) -> None:
    steps = np.arange(1, 401)
    for number in range(4):
        seed.open(f"run-{number}", plan={"total_steps": 1000})
        seed.log(f"run-{number}", steps, {"loss": decaying(steps)})
    seed.open("empty")
    cache = SparklineCache()

    first = statements_of(database, lambda: read_runs(database, RunsFilter(), cache))
    again = statements_of(database, lambda: read_runs(database, RunsFilter(), cache))
    reading = read_runs(database, RunsFilter(), cache)

    assert sum("curve_state" in statement for statement in first) == 1
    assert len(again) == len(first) - 1
    assert {run_id for run_id, drawing in reading.sparklines.items() if drawing} == {f"run-{one}" for one in range(4)}
    assert reading.sparklines["empty"] is None


def test_a_filter_that_matches_nothing_is_not_an_empty_service(database: Database, seed: Seeder) -> None:
    assert not read_runs(database, RunsFilter(), SparklineCache()).any_run
    seed.open("only")
    reading = read_runs(database, RunsFilter(search="other"), SparklineCache())
    assert reading.any_run
    assert reading.total == 0


def test_the_revision_moves_with_the_data_and_not_without(database: Database, seed: Seeder) -> None:
    seed.open("run")
    before = read_revision(database, "run")
    assert read_revision(database, "run") == before == read_run(database, "run").revision
    seed.log("run", np.arange(1, 30), {"loss": decaying(np.arange(1, 30))}, refit=False)
    logged = read_revision(database, "run")
    assert logged != before
    seed.refit("run")
    assert read_revision(database, "run") != logged


def test_a_run_that_no_worker_has_seen_shows_its_loss(database: Database, seed: Seeder) -> None:
    seed.open("run")
    steps = np.arange(1, 50)
    seed.log("run", steps, {"lr": np.full(49, 1e-3), "train/loss": decaying(steps)}, refit=False)
    assert read_run(database, "run").metric == "train/loss"
    chart = read_chart(database, "run", None, None)
    assert chart is not None
    assert chart.metric == "train/loss"
    assert len(chart.rate) == 49


def test_a_rate_that_is_declared_and_not_logged_is_known_from_the_first_step_on(
    database: Database, seed: Seeder
) -> None:
    steps = np.arange(1, 301)
    seed.open("told", plan={"total_steps": 1000, "schedule": {"family": "cosine", "peak": 3e-4, "warmup_steps": 100}})
    seed.open("untold", plan={"total_steps": 1000})
    for run_id in ("told", "untold"):
        seed.log(run_id, steps, {"loss": decaying(steps)})
    told, untold = (read_chart(database, run_id, None, None) for run_id in ("told", "untold"))
    assert told is not None
    assert untold is not None
    assert told.unlogged_rate is not None
    assert told.unlogged_rate.rate_at([100, 1000]) == pytest.approx([3e-4, 0.0], abs=1e-6)
    assert untold.unlogged_rate is None


def test_a_run_without_numbers_has_no_chart(database: Database, seed: Seeder) -> None:
    seed.open("run")
    assert read_run(database, "run").metric is None
    assert read_chart(database, "run", None, None) is None
    assert read_history(database, "run", None).history == []


def test_a_zoom_reads_every_point_that_it_shows(database: Database, seed: Seeder) -> None:
    seed.open("run")
    steps = np.arange(1, 20_001)
    seed.log("run", steps, {"loss": decaying(steps)}, refit=False)
    whole = read_chart(database, "run", "loss", None)
    near = read_chart(database, "run", "loss", (9000.0, 9500.0))
    assert whole is not None
    assert near is not None
    assert len(whole.points) <= 3000
    inside = near.points.steps[(near.points.steps >= 9000) & (near.points.steps <= 9500)]
    assert inside.tolist() == list(range(9000, 9501))


def test_restarts_are_where_the_segments_begin(database: Database, seed: Seeder) -> None:
    seed.open("run", session="a")
    seed.log("run", np.arange(1, 100), {"loss": decaying(np.arange(1, 100))}, refit=False)
    seed.open("run", session="b", resume_step=60)
    chart = read_chart(database, "run", None, None)
    assert chart is not None
    assert [(restart.number, restart.step) for restart in chart.restarts] == [(2, 60)]


def test_a_restart_from_step_zero_is_marked(database: Database, seed: Seeder) -> None:
    seed.open("run", session="a")
    seed.log("run", np.arange(1, 100), {"loss": decaying(np.arange(1, 100))}, refit=False)
    seed.open("run", session="b", resume_step=0)
    seed.log("run", np.arange(0, 10), {"loss": np.ones(10)}, refit=False)
    chart = read_chart(database, "run", None, None)
    assert chart is not None
    assert [restart.step for restart in chart.restarts] == [0]


def test_of_an_ended_run_the_history_is_what_was_said_of_its_end(database: Database, seed: Seeder) -> None:
    for run_id, end in (("whole", 1000), ("early", 400)):
        seed.open(run_id, plan={"total_steps": 1000})
        for stop in range(100, end + 1, 100):
            steps = np.arange(stop - 99, stop + 1)
            seed.log(run_id, steps, {"loss": decaying(steps)})
        before = read_history(database, run_id, None)
        assert (before.is_over, before.actual) == (False, None)
        with database.write() as connection:
            runs.finish_run(connection, run_id, RunStatus.FINISHED, None)
        seed.refit(run_id)
        unscored = read_history(database, run_id, None)
        assert (unscored.is_over, unscored.actual) == (True, None)
        revision = read_revision(database, run_id)
        score_run(database, run_id)
        assert read_revision(database, run_id) != revision
    whole, early = (read_history(database, run_id, None) for run_id in ("whole", "early"))
    assert whole.actual == pytest.approx(2.0 + 4.0 * 1000**-0.35, abs=0.05)
    assert early.actual == pytest.approx(2.0 + 4.0 * 400**-0.35, abs=0.05)
    assert len(whole.counted) == len(whole.history) - 1  # the last was made at the end
    assert {point.horizon for point in early.history[:-1]} == {400}  # they spoke of 1000, and of 400 on the way
    assert all(one.horizon_off for one in early.counted)
    assert whole.held == (sum(one.score.cover90 for one in whole.counted), 9)


def test_forecasts_are_counted_whole_where_some_are_left_out(database: Database, seed: Seeder) -> None:
    seed.open("run", plan={"total_steps": 1000})
    for stop in range(100, 1001, 100):
        steps = np.arange(stop - 99, stop + 1)
        seed.log("run", steps, {"loss": decaying(steps)})
    with database.read() as connection:
        running = run_track_record(connection, "run", limit=3)
    with database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FINISHED, None)
    seed.refit("run")
    score_run(database, "run")
    with database.read() as connection:
        few, every = (run_track_record(connection, "run", limit=limit) for limit in (3, 500))
    assert running is not None
    assert few is not None
    assert every is not None
    assert (len(running.forecasts), running.n_forecasts, running.n_judged, running.n_held) == (3, 10, 0, 0)
    assert (len(few.forecasts), len(every.forecasts)) == (3, few.n_forecasts)
    assert (few.n_forecasts, few.n_judged, few.n_held) == (every.n_forecasts, every.n_judged, every.n_held)
    assert every.n_judged == sum(one.judged is not None and one.judged.stands for one in every.forecasts)


def test_metrics_are_found_by_a_part_of_their_name(database: Database, seed: Seeder) -> None:
    seed.open("run")
    seed.log("run", np.arange(5), {"损失/Loss": np.ones(5), "gpu": np.ones(5)}, refit=False)
    found, total = read_metrics(database, "run", "loss", 10)
    assert [series.metric for series, _ in found] == ["损失/Loss"]
    assert total == 1


def test_a_far_step_that_comes_first_is_on_no_tile_and_no_bar(database: Database, seed: Seeder) -> None:
    seed.open("run", plan={"total_steps": 1000})
    seed.log("run", np.array([10**15]), {"loss": np.array([77.0])})
    seed.log("run", np.arange(1, 400), {"loss": decaying(np.arange(1, 400))})
    reading = read_run(database, "run")
    assert reading.newest == (399, decaying(np.arange(1, 400))[-1])
    shown = str(header(reading)) + str(tiles(reading))
    assert "1,000,000,000,000,000" not in shown
    assert "100 %" not in shown
    chart = read_chart(database, "run", None, None)
    assert chart is not None
    assert chart.last_step == 399


def test_a_run_of_negative_steps_alone_has_no_bar_and_no_horizon(database: Database, seed: Seeder) -> None:
    seed.open("run")
    seed.log("run", np.arange(-40, -1), {"loss": decaying(np.arange(1, 40))})
    reading = read_run(database, "run")
    assert "total not known" in str(header(reading))
    assert "-2 steps" not in str(tiles(reading))
    assert "counted from 0 or 1" in str(compared(database, "run", None, None))
    with database.write() as connection:
        runs.describe_run(connection, "run", plan={"total_steps": 1000})
    seed.refit("run")
    assert "'width': '0.00%'" in str(header(read_run(database, "run")))


def test_an_unknown_run_is_not_found(database: Database) -> None:
    for read in (read_run, read_revision):
        with pytest.raises(NotFound):
            read(database, "nope")


def ended(
    seed: Seeder,
    run_id: str,
    last: int,
    *,
    refits: bool,
    broken: bool = False,
    status: RunStatus = RunStatus.FINISHED,
) -> None:
    """A run of 1000 steps, over after `last`; without `refits` nothing was forecast of it before its end."""
    steps = np.arange(1, last + 1)
    losses = np.where(broken & (steps > last - 5), np.nan, decaying(steps))
    seed.open(run_id, plan={"total_steps": 1000})
    for part in np.array_split(np.arange(last), 2):
        seed.log(run_id, steps[part], {"loss": losses[part]}, refit=refits)
    with seed.database.write() as connection:
        runs.finish_run(connection, run_id, status, None)
    seed.refit(run_id)


def end_of(database: Database, run_id: str) -> End | None:
    with database.read() as connection:
        return read_end(connection, run_id, "loss")


def test_an_ended_run_came_to_the_mean_of_its_last_points_forecast_or_not(database: Database, seed: Seeder) -> None:
    late_mean = float(np.mean(decaying(np.arange(1, 1001))[-20:]))
    for run_id, refits in (("forecast", True), ("never", False)):
        ended(seed, run_id, 1000, refits=refits)
    score_run(database, "forecast")
    with database.read() as connection:
        assert run_track_record(connection, "forecast") is not None
    for run_id in ("forecast", "never"):
        end = end_of(database, run_id)
        assert end is not None
        assert end.is_mean
        # The reduced curve's last bins begin some points before the last 2 %: less than the noise of their mean.
        assert end.level == pytest.approx(late_mean, abs=0.03 / np.sqrt(20))
        (compared,) = read_comparison(database, [run_id], None).runs
        assert (compared.ended_at, compared.is_level) == (end.level, True)
        assert read_run(database, run_id).end == end
        assert read_runs(database, RunsFilter(search=run_id), SparklineCache()).ends == {run_id: end}


def test_a_run_that_goes_on_has_no_end(database: Database, seed: Seeder) -> None:
    seed.open("run", plan={"total_steps": 1000})
    seed.log("run", np.arange(1, 500), {"loss": decaying(np.arange(1, 500))})
    reading = read_run(database, "run")
    assert (reading.end, reading.is_over, reading.ended_early) == (None, False, False)
    assert not read_runs(database, RunsFilter(), SparklineCache()).ends


def test_a_run_that_stopped_short_ended_early_and_one_in_nan_did_not_end_finite(
    database: Database, seed: Seeder
) -> None:
    ended(seed, "early", 400, refits=True, status=RunStatus.STOPPED)
    ended(seed, "broken", 400, refits=False, broken=True, status=RunStatus.STOPPED)
    early, broken = read_run(database, "early"), read_run(database, "broken")
    assert early.ended_early
    assert broken.end is not None
    assert not broken.end.is_finite
    assert not broken.ended_early


def test_the_tile_says_why_its_own_metric_has_no_forecast_and_leaves_out_the_others(
    database: Database, seed: Seeder
) -> None:
    seed.open("run", plan={"total_steps": 1000})
    steps = np.arange(1, 301)
    broken = np.where(steps < 250, decaying(steps), np.nan)
    seed.log("run", steps, {"train_loss": broken, "val_loss": broken})
    reading = read_run(database, "run")
    assert reading.summary is not None
    assert len(reading.summary.notes) == 2
    said = str(forecast_tile(reading, None))
    assert "train_loss is not finite" in said
    assert "val_loss" not in said
