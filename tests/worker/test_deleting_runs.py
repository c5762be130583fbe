"""Deleting a run with everything concluded of it, also while a worker is at it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.errors import Conflict, NotFound
from app.importers.run_files import read_file
from app.runs import Batch, RunStatus
from app.storage import forecasts, runs
from app.storage.alerts import Target
from app.storage.compaction import compact_run
from app.storage.curves import fit_mark
from app.storage.database import Database
from app.storage.deletion import delete_project, delete_run, project_runs
from app.storage.runs import RunRequest, open_run, run_key
from app.storage.tables import metadata
from app.worker.diagnosing import diagnose_run
from app.worker.judging import judge_run
from app.worker.loading import load
from app.worker.priors import current_priors
from app.worker.refit import refit_run, run_to_judge
from app.worker.run_plan import plan_of
from app.worker.scoring import score_run
from tests.storing import compact, make_batch, start, store

DATA = Path(__file__).parents[1] / "data"
FAMILY = ("multipowerlaw_25M_cosine_24000", "multipowerlaw_25M_wsd_20000_24000", "multipowerlaw_25M_wsdcon_9")
LIVE = "multipowerlaw_25M_wsdld"
PLAN = {
    "total_steps": 24_000,
    "schedule": {"family": "wsd_linear", "peak": 3e-4, "warmup_steps": 2160, "decay_steps": 4000},
}
# What a service knows besides its runs. Deliveries of an alert go with it.
NOT_OF_RUNS = {"project", "deleted_run", "project_policy", "api_key"}


def real_run(name: str, last: int = 10**9) -> Batch:
    (batch,) = read_file(DATA / f"{name}.csv").batches
    here = batch.steps <= last
    return Batch(batch.steps[here], batch.times[here], batch.metrics, batch.values[:, here], batch.present[:, here])


def log(database: Database, run_id: str, batch: Batch, *, seq: int = 0, end: RunStatus | None = None) -> None:
    with database.write() as connection:
        open_run(connection, RunRequest(run_id, project="llama", session="first", plan=PLAN))
    store(database, batch, run_id=run_id, seq=seq)
    if end is not None:
        with database.write() as connection:
            runs.finish_run(connection, run_id, end, None)
    refit_run(database, run_id, [Target("hash", "a channel")])


def delete(database: Database, run_id: str) -> list[str]:
    with database.write() as connection:
        return delete_run(connection, run_id)


def rows(database: Database) -> Mapping[str, int]:
    """Rows of each table of ours that holds something."""
    with database.read() as connection:
        counts = {
            table.name: connection.execute(text(f'SELECT count(*) FROM "{table.name}"')).scalar_one()
            for table in metadata.sorted_tables
        }
    return {name: count for name, count in counts.items() if count and name not in NOT_OF_RUNS}


def test_nothing_of_a_deleted_run_stays_in_any_table(database: Database) -> None:
    log(database, FAMILY[0], real_run(FAMILY[0]), end=RunStatus.FINISHED)
    others = rows(database)
    log(database, "run", real_run(LIVE, last=6_000))
    store(database, make_batch([8_000], val_loss=[3.3], grad_norm=[float("nan")]), run_id="run", seq=1)
    refit_run(database, "run", [Target("hash", "a channel")])
    compact(database)
    with database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FINISHED, None)
        key = run_key(connection, "run")
        connection.execute(
            text("INSERT INTO project_baseline (project_id, run_key) SELECT project_id, key FROM run WHERE key = :key"),
            {"key": key},
        )
        connection.execute(
            text("""
                INSERT INTO stop_log (run_key, segment, event, author, why, evidence)
                VALUES (:key, 1, 'ordered', 'person', '', '{}')
            """),
            {"key": key},
        )
    refit_run(database, "run", [])
    assert score_run(database, "run") > 0
    whole = rows(database)
    assert set(whole) == {table.name for table in metadata.sorted_tables} - NOT_OF_RUNS
    delete(database, "run")
    assert rows(database) == others


def test_running_siblings_are_named_and_forecast_without_the_deleted_run(database: Database) -> None:
    for name in FAMILY:
        log(database, name, real_run(name), end=RunStatus.FINISHED)
    log(database, "live", real_run(LIVE, last=12_000))
    log(database, "ended", real_run(LIVE, last=12_000), end=RunStatus.STOPPED)
    log(database, "short", make_batch([1, 2], val_loss=[3.0, 2.9]))
    assert delete(database, FAMILY[1]) == ["live"]
    refit_run(database, "live", [])
    with database.read() as connection:
        newest = forecasts.latest_forecast(connection, "live", "val_loss")
    assert newest is not None
    assert {each.run_id for each in newest.siblings} == {FAMILY[0], FAMILY[2]}


@pytest.fixture
def pausing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[threading.Event, threading.Event]]:
    """A refit that stops after its thinking: (it has come there, let it go on)."""

    def prepare() -> tuple[threading.Event, threading.Event]:
        there, go_on = threading.Event(), threading.Event()
        think = current_priors

        def thinking(*arguments: Any) -> Any:
            found = think(*arguments)
            there.set()
            assert go_on.wait(60)
            return found

        monkeypatch.setattr("app.worker.refit.current_priors", thinking)
        return there, go_on

    return prepare


def test_a_run_deleted_in_the_middle_of_its_refit_is_simply_gone(
    database: Database, pausing: Callable[[], tuple[threading.Event, threading.Event]]
) -> None:
    start(database)
    store(database, make_batch(list(range(50)), loss=[3.0 - 0.01 * step for step in range(50)]))
    there, go_on = pausing()
    results: list[Any] = []
    refit = threading.Thread(target=lambda: results.append(refit_run(database, "run", [])))
    refit.start()
    assert there.wait(60)
    delete(database, "run")
    go_on.set()
    refit.join(60)
    assert results == [None]
    assert rows(database) == {}


def test_a_deletion_waits_for_conclusions_that_are_being_stored(database: Database) -> None:
    start(database)
    store(database, make_batch(list(range(50)), loss=[3.0] * 50))
    with database.write() as connection:
        key = run_key(connection, "run")
        assert runs.hold_run(connection, key)
        deleting = threading.Thread(target=delete, args=(database, "run"))
        deleting.start()
        # Held by us: batches still come, and what is stored of the run still finds it.
        store(database, make_batch([50], loss=[3.0]))
        assert compact_run(connection, key, up_to_arrival=100) == 2
        assert deleting.is_alive()
    deleting.join(60)
    assert rows(database) == {}


def test_every_task_finds_nothing_to_do_in_a_deleted_run(database: Database) -> None:
    log(database, "run", real_run(LIVE, last=6_000))
    with database.read() as connection:
        mark = fit_mark(connection, "run")
        assert mark is not None
        loaded = load(connection, mark, "run")
    subject = run_to_judge(loaded, plan_of(loaded), {})
    delete(database, "run")
    assert refit_run(database, "run", []) is None
    assert diagnose_run(database, "run", [], is_news=True).is_behind is False
    assert judge_run(database, subject, []) is False
    assert score_run(database, "run") == 0
    with database.write() as connection:
        assert compact_run(connection, mark.run_key, up_to_arrival=100) == 0
    assert rows(database) == {}


def test_a_project_with_runs_is_not_deleted_and_one_without_is(database: Database) -> None:
    start(database)
    with database.write() as connection:
        assert project_runs(connection, "default") == ["run"]
        with pytest.raises(Conflict, match="still has 1"):
            delete_project(connection, "default")
        delete_run(connection, "run")
        delete_project(connection, "default")
        with pytest.raises(NotFound, match="No project"):
            delete_project(connection, "default")
    assert start(database) == 1
