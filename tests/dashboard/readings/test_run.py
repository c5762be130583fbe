"""A run's page without its charts."""

import numpy as np
import pytest
from sqlalchemy import text

from app.dashboard.pages.run_grounds import grounds
from app.dashboard.pages.run_head import header
from app.dashboard.pages.run_tiles import forecast_tile, tiles
from app.dashboard.pages.what_if import compared
from app.dashboard.pages.what_if_form import WhatIfForm
from app.dashboard.readings.charts import read_chart
from app.dashboard.readings.compared_runs import read_comparison
from app.dashboard.readings.run import read_revision, read_run
from app.dashboard.readings.runs import RunsFilter, SparklineCache, read_runs
from app.errors import NotFound
from app.runs import RunStatus
from app.storage import runs
from app.storage.database import Database
from app.storage.ends import End, read_end
from app.storage.track_record import run_track_record
from app.worker.scoring import score_run
from tests.dashboard.seeding import Seeder, decaying


def test_the_revision_moves_with_the_data_and_not_without(database: Database, seed: Seeder) -> None:
    seed.open("run")
    before = read_revision(database, "run")
    assert read_revision(database, "run") == before == read_run(database, "run").revision
    seed.log("run", np.arange(1, 30), {"loss": decaying(np.arange(1, 30))}, refit=False)
    logged = read_revision(database, "run")
    assert logged != before
    seed.refit("run")
    assert read_revision(database, "run") != logged


def test_a_run_whose_forecasts_have_missed_is_not_said_to_be_without_reservations(
    database: Database, seed: Seeder
) -> None:
    whole = np.arange(1, 1001)
    loss = decaying(whole) + np.where(whole > 600, 1.5, 0.0)  # a level that no forecast before it had foreseen
    rate = np.full(len(whole), 1e-3)
    schedule = {"family": "constant", "peak": 1e-3}
    seed.open("run", plan={"total_steps": 1200, "schedule": schedule})
    for part in np.split(whole[:600], 10):
        seed.log("run", part, {"loss": loss[part - 1], "lr": rate[part - 1]})
    before = read_run(database, "run")
    late = whole[600:]
    seed.log("run", late, {"loss": loss[late - 1], "lr": rate[late - 1]})
    after = read_run(database, "run")

    missed = "of the earlier forecasts of this run missed where it stands now."
    assert before.doubts == []
    assert missed not in str(grounds(before))
    assert missed in str(grounds(after))
    assert "No reservations" not in str(grounds(after))
    assert read_revision(database, "run") == after.revision
    with database.write() as connection:
        connection.execute(text("UPDATE run_verdict SET details = details - 'guards'"))
    assert read_revision(database, "run") != after.revision, "a verdict is stored after the forecast it is made from"


def test_a_run_that_no_worker_has_seen_shows_its_loss(database: Database, seed: Seeder) -> None:
    seed.open("run")
    steps = np.arange(1, 50)
    seed.log("run", steps, {"lr": np.full(49, 1e-3), "train/loss": decaying(steps)}, refit=False)
    assert read_run(database, "run").metric == "train/loss"
    chart = read_chart(database, "run", None, None)
    assert chart is not None
    assert chart.metric == "train/loss"
    assert len(chart.rate) == 49


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
    assert "counted from 0 or 1" in str(compared(database, "run", None, WhatIfForm()))
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
