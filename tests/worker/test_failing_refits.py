"""Refits that fail by a fault of ours are tried some times, not for ever."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from sqlalchemy import text

from app.runs import RunStatus
from app.storage import failures, runs
from app.storage.database import Database
from app.storage.failures import MOST_FAILURES, given_up, record_failure
from app.storage.jobs import REFIT, JobQueue
from app.storage.runs import describe_run
from app.worker import consequences, tasks
from app.worker.refit import refit_run
from app.worker.tasks import Alerting, left_undone, make_app
from tests.storing import make_batch, start, store


def behind(database: Database) -> list[str]:
    with database.read() as connection:
        return left_undone(connection)


def execute(database: Database, statement: str) -> None:
    with database.write() as connection:
        connection.execute(text(statement))


def finished_run(database: Database) -> None:
    start(database)
    store(database, make_batch(list(range(60)), loss=[3.0 - at / 100 for at in range(60)]), seq=0)
    with database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FINISHED, None)


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(consequences, "_final_level", fail)


def test_a_finished_run_that_cannot_be_judged_is_left_alone_after_some_tries(
    database: Database, failing: None, caplog: pytest.LogCaptureFixture
) -> None:
    finished_run(database)
    tries = 0
    while behind(database):
        refit_run(database, "run", [])
        tries += 1
        assert tries <= 2 * MOST_FAILURES
    assert tries == MOST_FAILURES
    told = [record for record in caplog.records if "left alone" in record.getMessage()]
    assert [record.levelno for record in told] == [logging.ERROR]


@pytest.mark.usefixtures("failing")
def test_new_points_another_plan_or_an_upgrade_are_tried_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished_run(database)
    for _ in range(MOST_FAILURES):
        refit_run(database, "run", [])
    assert behind(database) == []
    monkeypatch.setattr(tasks, "__version__", "another")
    assert behind(database) == ["run"]
    monkeypatch.undo()
    store(database, make_batch([60], loss=[2.4]), seq=1)
    assert behind(database) == ["run"]
    refit_run(database, "run", [])
    with database.write() as connection:
        describe_run(connection, "run", plan={"total_steps": 100})
    assert behind(database) == ["run"]


def test_failures_are_counted_by_run_and_state(database: Database) -> None:
    start(database)
    start(database, "other")
    with database.write() as connection:
        assert [record_failure(connection, "run", "1.0") for _ in range(3)] == [1, 2, 3]
        assert record_failure(connection, "other", "1.0") == 1
        assert record_failure(connection, "run", "2.0") == 1
        assert record_failure(connection, "never-heard-of", "1.0") == 0
        for _ in range(failures.MOST_FAILURES):
            record_failure(connection, "run", "2.0")
        assert given_up(connection, "2.0") == {"run"}
        assert given_up(connection, "1.0") == set()


def test_a_full_disk_is_no_fault_of_the_runs_that_wait_for_it(
    database: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    start(database)
    store(database, make_batch(list(range(60)), loss=[3.0 - at / 100 for at in range(60)]), seq=0)
    execute(
        database,
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'could not extend file "base/5/16": No space left on device' USING ERRCODE = 'disk_full';
        END $$;
        CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON run_summary EXECUTE FUNCTION refuse();
        """,
    )
    refit = make_app(database, JobQueue(database_url), Alerting()).tasks[REFIT]
    for _ in range(MOST_FAILURES + 1):
        refit(run_id="run")
    assert behind(database) == ["run"]
    told = [record for record in caplog.records if "could not be refit" in record.getMessage()]
    assert len(told) == MOST_FAILURES + 1
    assert all(record.exc_info is None for record in told)
    execute(database, "DROP TRIGGER full_disk ON run_summary")
    refit(run_id="run")
    with database.read() as connection:
        assert runs.read_summary(connection, "run") is not None
