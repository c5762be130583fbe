"""Scores of past forecasts, over a real database and real runs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sqlalchemy import text

from app.forecasting.scores import QuantileForecast, score_value
from app.runs import Batch, RunStatus
from app.storage import forecasts, runs
from app.storage.codec import decode_path
from app.storage.database import Database
from app.storage.project_record import project_track_record
from app.storage.scoring import runs_to_score
from app.storage.track_record import RunTrackRecord, run_track_record
from app.worker.refit import refit_run
from app.worker.scoring import score_run
from tests.storing import make_batch, read, start, store
from tests.worker.refits import real_batches


def train(database: Database, batches: Sequence[Batch], *, total_steps: int | None = 50_000) -> None:
    """A run that is refitted after each batch."""
    start(database)
    if total_steps is not None:
        with database.write() as connection:
            runs.describe_run(connection, "run", plan={"total_steps": total_steps})
    for seq, batch in enumerate(batches):
        store(database, batch, seq=seq)
        refit_run(database, "run", [])


def end(database: Database, status: RunStatus = RunStatus.FINISHED) -> None:
    with database.write() as connection:
        runs.finish_run(connection, "run", status, None)
    refit_run(database, "run", [])


def record(database: Database, metric: str | None = None) -> RunTrackRecord:
    with database.read() as connection:
        found = run_track_record(connection, "run", metric)
    assert found is not None
    return found


def unscored(database: Database) -> list[str]:
    with database.read() as connection:
        return runs_to_score(connection)


def table(database: Database) -> list[tuple[object, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(text("SELECT * FROM forecast_score ORDER BY forecast_id"))]


def last_two_percent(database: Database, metric: str = "train_loss") -> float:
    values = read(database, metric).values
    return float(np.mean(values[-max(1, round(0.02 * len(values))) :]))


@pytest.fixture
def finished(database: Database) -> Database:
    train(database, real_batches("lm_cosine.csv", 10))
    end(database)
    assert score_run(database, "run") > 0
    return database


def test_scores_are_those_of_the_stored_quantiles_against_the_last_two_percent(finished: Database) -> None:
    found = record(finished)
    actual = last_two_percent(finished)
    assert found.outcome is not None
    assert dataclasses.astuple(found.outcome) == (50_000, pytest.approx(actual, rel=1e-12))
    scored = [one for one in found.forecasts if one.judged is not None]
    # The last was made at the very end, where nothing was left to forecast.
    assert len(scored) == len(found.forecasts) - 1 >= 5
    assert found.forecasts[-1].point.cutoff == 50_000
    with finished.read() as connection:
        rows = connection.execute(text("SELECT id, cutoff, final_quantiles FROM forecast")).all()
    quantiles = {row.id: {float(level): value for level, value in row.final_quantiles.items()} for row in rows}
    for one in scored:
        judged = one.judged
        assert judged is not None
        assert judged.score == score_value(QuantileForecast.from_levels(quantiles[judged.forecast_id]), actual)
        assert judged.seen == one.point.cutoff / 50_000
        assert (judged.p05, judged.p50, judged.p95) == pytest.approx((one.point.p05, one.point.p50, one.point.p95))
        assert judged.stands
        assert not judged.horizon_off


def test_scoring_again_changes_nothing_and_is_not_asked_for(finished: Database) -> None:
    before = table(finished)
    assert unscored(finished) == []
    score_run(finished, "run")
    assert table(finished) == before
    refit_run(finished, "run", [])
    assert unscored(finished) == []


def test_a_run_that_ended_before_scoring_existed_is_found(finished: Database) -> None:
    with finished.write() as connection:
        connection.execute(text("DELETE FROM forecast_score"))
        connection.execute(text("DELETE FROM run_outcome"))
        connection.execute(text("UPDATE run_progress SET scored_revision = NULL"))
    assert unscored(finished) == ["run"]


def test_a_late_point_has_the_run_scored_again(finished: Database) -> None:
    before = record(finished).outcome
    store(finished, make_batch([50_000], train_loss=[5.0]), seq=100)  # a correction of the last point
    assert unscored(finished) == []  # a refit comes first
    refit_run(finished, "run", [])
    assert unscored(finished) == ["run"]
    score_run(finished, "run")
    after = record(finished).outcome
    assert before is not None
    assert after is not None
    assert after.actual == pytest.approx(last_two_percent(finished))
    assert after.actual > before.actual


def test_a_run_that_goes_on_has_no_truth_until_it_ends_again(database: Database) -> None:
    batches = real_batches("lm_cosine.csv", 10)
    train(database, batches[:6])
    end(database)
    score_run(database, "run")
    first = record(database)
    assert first.outcome is not None
    assert first.outcome.end_step == batches[5].steps[-1]
    assert all(one.judged is None or one.judged.horizon_off for one in first.forecasts)

    segment = start(database, session="second", resume_step=int(batches[6].steps[0]))
    assert record(database).outcome is None
    assert all(one.judged is None for one in record(database).forecasts)
    assert score_run(database, "run") == 0
    for seq, batch in enumerate(batches[6:]):
        store(database, batch, segment=segment, seq=seq)
        refit_run(database, "run", [])
    end(database)
    score_run(database, "run")
    second = record(database)
    assert second.outcome is not None
    assert dataclasses.astuple(second.outcome) == (50_000, pytest.approx(last_two_percent(database)))
    assert not any(one.judged.horizon_off for one in second.forecasts if one.judged)


def test_what_a_restart_went_back_behind_is_scored_but_does_not_stand(database: Database) -> None:
    batches = real_batches("lm_cosine.csv", 10)
    train(database, batches[:7])
    segment = start(database, session="second", resume_step=int(batches[4].steps[0]))
    for seq, batch in enumerate(batches[4:]):
        store(database, batch, segment=segment, seq=seq)
        refit_run(database, "run", [])
    end(database)
    score_run(database, "run")
    back_to = int(batches[4].steps[0])
    fallen = [one.point.cutoff for one in record(database).forecasts if one.judged and not one.judged.stands]
    assert fallen
    assert min(fallen) >= back_to
    with database.read() as connection:
        (run,) = project_track_record(connection, "default").runs
        n_scored = len(table(database))
    assert run.n_forecasts == n_scored - len(fallen)


def test_a_run_that_ended_early_is_judged_by_the_path_where_it_ended(database: Database) -> None:
    batches = real_batches("lm_cosine.csv", 10)
    train(database, batches[:7])
    end(database, RunStatus.STOPPED)
    score_run(database, "run")
    points = read(database, "train_loss")
    last = max(1, round(0.02 * len(points)))
    at = float(np.mean(points.steps[-last:]))
    with database.read() as connection:
        newest = forecasts.latest_forecast(connection, "run", "train_loss")
    assert newest is not None
    assert newest.horizon == 50_000
    judged = [one.judged for one in record(database).forecasts if one.judged]
    assert judged
    assert all(one.horizon_off and one.judged_step == points.steps[-1] for one in judged)
    of_id = {one.forecast_id: one for one in judged}
    newest_judged = of_id[max(of_id)]
    with database.read() as connection:
        rows = connection.execute(
            text("SELECT path, details FROM forecast WHERE id = :id"), {"id": newest_judged.forecast_id}
        ).one()
    steps, numbers = decode_path(rows.path)
    median = float(np.interp(at, steps, numbers[rows.details["levels"].index(0.5)]))
    assert newest_judged.p50 == pytest.approx(median)


def test_a_run_that_went_on_beyond_its_declared_total_is_judged_there(database: Database) -> None:
    train(database, real_batches("lm_cosine.csv", 10)[:10], total_steps=25_000)
    end(database)
    score_run(database, "run")
    points = read(database, "train_loss")
    n_points = int(np.sum(points.steps <= 25_000))
    last = max(1, round(0.02 * n_points))
    there = float(np.mean(points.values[n_points - last : n_points]))
    found = record(database)
    wrong = [one for one in found.forecasts if one.point.horizon == 25_000 and one.judged]
    assert wrong
    for one in wrong:
        assert one.judged is not None
        assert (one.judged.horizon_off, one.judged.judged_step) == (True, 25_000)
        assert one.judged.actual == pytest.approx(there)
        assert one.judged.score.error == pytest.approx((one.point.p50 - there) / there, rel=1e-6)
    with database.read() as connection:
        counted = project_track_record(connection, "default")
    # The project's record is of ends: forecasts that spoke of an earlier step do not count in it.
    of_the_end = [one.judged for one in found.forecasts if one.judged and one.judged.judged_step == 50_000]
    assert sum(run.n_forecasts for run in counted.runs) == len(of_the_end)


def test_a_run_that_ended_in_nan_has_an_end_and_no_scores(database: Database) -> None:
    batches = real_batches("deepspeech_diverges.csv", 10, columns=("train_loss",))
    diverged = [make_batch(batch.steps.tolist(), train_loss=[math.nan] * len(batch.steps)) for batch in batches[5:]]
    train(database, [*batches[:4], *diverged], total_steps=48_000)
    end(database, RunStatus.FAILED)
    assert score_run(database, "run") == 0
    found = record(database)
    assert found.outcome is not None
    assert math.isnan(found.outcome.actual)
    assert found.forecasts
    assert table(database) == []
    assert unscored(database) == []


def test_a_run_without_a_forecast_is_never_asked_for(database: Database) -> None:
    start(database)
    store(database, make_batch([1, 2], loss=[2.0, 1.9]), seq=0)
    end(database)
    assert unscored(database) == []
    assert score_run(database, "run") == 0
    assert record(database).forecasts == []


def test_a_run_that_still_goes_on_or_is_gone_is_not_scored(database: Database) -> None:
    train(database, real_batches("lm_cosine.csv", 10)[:3])
    assert score_run(database, "run") == 0
    assert score_run(database, "gone") == 0
    assert unscored(database) == []


def test_scores_go_with_their_run(finished: Database) -> None:
    with finished.write() as connection:
        connection.execute(text("DELETE FROM run WHERE id = 'run'"))
    assert table(finished) == []


def test_two_that_score_at_once_leave_one_score_each(finished: Database) -> None:
    before = table(finished)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: score_run(finished, "run"), range(8)))
    assert table(finished) == before
