"""Jobs that a dead worker left, and batches that nobody compacted, over the real queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from app.runs import RunStatus
from app.storage import runs
from app.storage.compaction import runs_to_compact
from app.storage.database import Database
from app.storage.jobs import REFIT, JobQueue, let_running_runs_go_first
from app.worker.refit import refit_run
from app.worker.tasks import Alerting, make_app, take_up
from tests.storing import compact, make_batch, start, store


@pytest.fixture
def queue(database: Database) -> Iterator[JobQueue]:
    opened = JobQueue(database.url)
    opened.open()
    yield opened
    opened.close()


def jobs(database: Database) -> list[tuple[str, str]]:
    with database.read() as connection:
        rows = connection.execute(text("SELECT task_name, status::text FROM procrastinate_jobs ORDER BY id"))
        return [(str(task), str(status)) for task, status in rows]


def die_at_work(database: Database) -> None:
    """As a worker does that is killed: its jobs stay, itself is forgotten."""
    with database.write() as connection:
        connection.execute(text("UPDATE procrastinate_jobs SET status = 'doing', worker_id = NULL"))


def mend(database: Database, queue: JobQueue) -> int:
    """What the periodic task does; returns how many jobs a worker could fetch now."""
    app = make_app(database, queue, Alerting())

    async def run() -> int:
        async with app.open_async():
            for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=30.0):
                await take_up(app, job)
            worker_id = await app.job_manager.register_worker()
            fetched = 0
            while await app.job_manager.fetch_job(queues=None, worker_id=worker_id):
                fetched += 1
            return fetched

    return asyncio.run(run())


def fetched(database: Database, queue: JobQueue) -> list[str]:
    """The runs of waiting refits, in the order in which a worker would take them; everything else by its task."""
    app = make_app(database, queue, Alerting())

    async def run() -> list[str]:
        async with app.open_async():
            worker_id = await app.job_manager.register_worker()
            found = []
            while job := await app.job_manager.fetch_job(queues=None, worker_id=worker_id):
                found.append(str(job.task_kwargs.get("run_id", job.task_name)))
            return found

    return asyncio.run(run())


def test_running_runs_are_refit_before_those_that_are_over_and_alerts_before_both(
    database: Database, queue: JobQueue
) -> None:
    for name in ("over", "running"):
        start(database, name)
    with database.write() as connection:
        runs.finish_run(connection, "over", RunStatus.FINISHED, None)
    queue.ask_for_refits(["over", "running"])
    queue.ask_for_deliveries()
    with database.write() as connection:
        let_running_runs_go_first(connection)
    assert fetched(database, queue) == ["deliver", "running", "over"]


def test_a_run_that_is_over_does_not_wait_for_ever(database: Database, queue: JobQueue) -> None:
    for name in ("over", "running"):
        start(database, name)
    with database.write() as connection:
        runs.finish_run(connection, "over", RunStatus.FINISHED, None)
    queue.ask_for_refits(["running", "over"])
    with database.write() as connection:
        connection.execute(text("UPDATE procrastinate_events SET at = at - interval '11 minutes'"))
        let_running_runs_go_first(connection)
    assert fetched(database, queue) == ["over", "running"]


def test_a_job_of_a_dead_worker_is_taken_up(database: Database, queue: JobQueue) -> None:
    queue.ask_for_refits(["run"])
    die_at_work(database)
    assert mend(database, queue) == 1


def test_a_job_of_a_dead_worker_does_not_block_the_one_that_waits_for_the_same_run(
    database: Database, queue: JobQueue
) -> None:
    queue.ask_for_refits(["run"])
    die_at_work(database)
    queue.ask_for_refits(["run"])
    assert mend(database, queue) == 1
    assert jobs(database) == [(REFIT, "doing")]


def test_one_that_waits_already_does_not_keep_others_from_being_taken_up(database: Database, queue: JobQueue) -> None:
    queue.ask_for_refits(["first", "second"])
    die_at_work(database)
    queue.ask_for_refits(["first"])
    assert mend(database, queue) == 2


def test_no_task_of_a_run_waits_in_the_queue_for_a_retry(database: Database, queue: JobQueue) -> None:
    """Waiting, it would hold the run's lock; coming back, it would meet the one that was asked for meanwhile."""
    tasks = make_app(database, queue, Alerting()).tasks
    ours = [task for name, task in tasks.items() if not name.startswith(("builtin", "procrastinate"))]
    assert ours
    assert all(task.retry_strategy is None for task in ours)


def test_batches_left_in_the_log_of_a_run_that_is_over_are_found(database: Database) -> None:
    start(database)
    for seq in range(3):
        store(database, make_batch([10 * seq + 1, 10 * seq + 2], loss=[2.0, 1.0]), seq=seq)

    def left(most: int) -> list[str]:
        with database.read() as connection:
            return runs_to_compact(connection, most)

    assert left(3) == []  # not fitted yet: the refit reads the batches themselves
    refit_run(database, "run", [])
    assert left(4) == []
    assert left(3) == ["run"]
    with database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FINISHED, None)
    refit_run(database, "run", [])
    assert left(4) == ["run"]
    compact(database)
    assert left(1) == []
