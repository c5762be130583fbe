"""Runs that are over keep some of their forecasts; those that run, and the newest ones, keep all."""

from __future__ import annotations

import itertools

import pytest
from sqlalchemy import text

from app.runs import RunStatus
from app.storage import forecasts, runs
from app.storage.database import Database
from app.storage.forecasts import runs_to_thin, thin_forecasts
from app.storage.runs import run_key
from app.storage.track_record import run_track_record
from app.worker.refit import refit_run
from app.worker.scoring import score_run
from tests.storing import make_batch, start, store


def many_forecasts(database: Database, count: int, run_id: str = "run") -> None:
    """A run whose one real forecast stands there many times, each with a cutoff of its own."""
    start(database, run_id)
    with database.write() as connection:
        runs.describe_run(connection, run_id, plan={"total_steps": 5_000})
    store(database, make_batch(list(range(1, 101)), loss=[3.0 - at / 100 for at in range(100)]), run_id=run_id, seq=0)
    refit_run(database, run_id, [])
    with database.write() as connection:
        connection.execute(
            text("""
                INSERT INTO forecast
                    (run_key, metric, segment, cutoff, horizon, final_mean, final_quantiles, path, details)
                SELECT run_key, metric, segment, cutoff + n, horizon, final_mean, final_quantiles, path, details
                FROM forecast, generate_series(1, :more) AS n WHERE run_key = :key ORDER BY n
            """),
            {"key": run_key(connection, run_id), "more": count - 1},
        )
    store(database, make_batch([3_000], loss=[1.0]), run_id=run_id, seq=1)
    refit_run(database, run_id, [])


def end(database: Database, run_id: str = "run", days_ago: float = 2.0) -> None:
    with database.write() as connection:
        runs.finish_run(connection, run_id, RunStatus.FINISHED, None)
    refit_run(database, run_id, [])
    score_run(database, run_id)
    with database.write() as connection:
        connection.execute(
            text("UPDATE run SET finished_at = now() - make_interval(secs => :seconds) WHERE id = :id"),
            {"seconds": 86_400 * days_ago, "id": run_id},
        )


def cutoffs(database: Database, run_id: str = "run") -> list[int]:
    with database.read() as connection:
        return [one.cutoff for one in forecasts.forecast_history(connection, run_id, "loss", limit=100_000)]


def thick(database: Database, kept: int) -> list[str]:
    with database.read() as connection:
        ids = {row.key: str(row.id) for row in connection.execute(text("SELECT key, id FROM run"))}
        return [ids[key] for key in runs_to_thin(connection, kept)]


def thin(database: Database, kept: int) -> int:
    with database.write() as connection:
        return thin_forecasts(connection, run_key(connection, "run"), kept)


@pytest.mark.parametrize("kept", [2, 7, 50])
def test_the_first_the_newest_and_evenly_many_between_stay(database: Database, kept: int) -> None:
    many_forecasts(database, 400)
    end(database)
    before = cutoffs(database)
    assert thick(database, kept) == ["run"]
    assert thin(database, kept) == len(before) - kept
    after = cutoffs(database)
    assert (len(after), after[0], after[-1]) == (kept, before[0], before[-1])
    places = [before.index(cutoff) for cutoff in after]
    gaps = {later - earlier for earlier, later in itertools.pairwise(places)}
    assert max(gaps) - min(gaps) <= 1
    # Once is enough.
    assert thick(database, kept) == []
    assert thin(database, kept) == 0


def test_what_is_left_is_still_scored_and_shown(database: Database) -> None:
    many_forecasts(database, 100)
    end(database)
    thin(database, 10)
    with database.read() as connection:
        summary = runs.read_summary(connection, "run")
        record = run_track_record(connection, "run", "loss")
        scores = connection.execute(text("SELECT count(*) FROM forecast_score")).scalar_one()
    assert summary is not None
    assert summary.forecast is not None
    assert record is not None
    assert len(record.forecasts) == 10
    assert 0 < scores <= 10


def test_runs_that_run_ended_just_now_or_are_not_scored_keep_all(database: Database) -> None:
    many_forecasts(database, 30)
    assert thick(database, 5) == []
    end(database, days_ago=0.5)
    assert thick(database, 5) == []
    end(database)
    assert thick(database, 5) == ["run"]
    with database.write() as connection:
        connection.execute(text("UPDATE run_progress SET scored_revision = NULL"))
    assert thick(database, 5) == []


def test_few_forecasts_are_left_as_they_are(database: Database) -> None:
    many_forecasts(database, 5)
    end(database)
    before = cutoffs(database)
    assert thick(database, 300) == []
    assert thin(database, 300) == 0
    assert cutoffs(database) == before
