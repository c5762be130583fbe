"""How the service does, as its database knows it: is work done, how much waits, is there room."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, text

from app.storage.failures import given_up
from app.storage.jobs import REFIT

ALIVE_SECONDS = 30.0
"""A worker that has not shown itself for so long is dead; it does so every 5 s."""

WORKERLESS_SECONDS = 60.0
"""A refit may wait so long while no worker shows itself: a restart takes a few seconds."""

IDLE_SECONDS = 300.0
"""A refit may wait so long while workers are there and none is made: the tasks before it in the queue take seconds."""

BEHIND_SECONDS = 60.0
"""A refit that has waited so long while others are made is late: forecasts and diagnoses of runs come as late."""


@dataclass(frozen=True, slots=True)
class WorkHealth:
    """What the workers do. Times by the clock of the database."""

    workers: int  # that have shown themselves of late
    heartbeat_seconds: float | None  # since any worker did; None: none is known
    refits_waiting: int
    oldest_refit_seconds: float | None  # how long the first of them has waited; None: none waits
    last_refit_seconds: float | None  # since any run was refit; None: none ever was


@dataclass(frozen=True, slots=True)
class StoredCounts:
    """How much there is, for those who draw curves of it."""

    runs: dict[str, int]  # by status
    points: int
    jobs: dict[str, int]  # those that wait, by task
    runs_given_up: int  # their refits keep failing as they are
    open_alerts: int
    deliveries: dict[str, int]  # "delivered", "waiting", "failed" for good
    database_bytes: int


def read_work_health(connection: Connection) -> WorkHealth:
    row = connection.execute(
        text("""
            SELECT
                (SELECT count(*) FROM procrastinate_workers
                    WHERE last_heartbeat > now() - make_interval(secs => :alive)) AS workers,
                (SELECT extract(epoch FROM now() - max(last_heartbeat))::float8
                    FROM procrastinate_workers) AS heartbeat,
                waiting.jobs,
                waiting.seconds,
                (SELECT extract(epoch FROM now() - max(updated_at))::float8 FROM run_summary) AS last_refit
            FROM (
                SELECT count(DISTINCT job.id) AS jobs, extract(epoch FROM now() - min(event.at))::float8 AS seconds
                FROM procrastinate_jobs job LEFT JOIN procrastinate_events event ON event.job_id = job.id
                WHERE job.status = 'todo' AND job.task_name = :refit
            ) waiting
        """),
        {"alive": ALIVE_SECONDS, "refit": REFIT},
    ).one()
    return WorkHealth(*row)


def read_stored_counts(connection: Connection, version: str) -> StoredCounts:
    """`version` of the software: an upgrade tries again what it gave up."""

    def by_word(sql: str) -> dict[str, int]:
        return {str(word): int(count) for word, count in connection.execute(text(sql))}

    totals = connection.execute(
        text("""
            SELECT
                (SELECT coalesce(sum(points), 0)::bigint FROM series) AS points,
                (SELECT count(*) FROM alert JOIN run ON run.key = alert.run_key
                    WHERE alert.resolved_at IS NULL AND run.status = 'running') AS open_alerts,
                pg_database_size(current_database()) AS bytes
        """)
    ).one()
    return StoredCounts(
        runs=by_word("SELECT status, count(*) FROM run GROUP BY status"),
        points=totals.points,
        jobs=by_word("SELECT task_name, count(*) FROM procrastinate_jobs WHERE status = 'todo' GROUP BY task_name"),
        runs_given_up=len(given_up(connection, version)),
        open_alerts=totals.open_alerts,
        deliveries=by_word("""
            SELECT CASE WHEN delivered_at IS NOT NULL THEN 'delivered' WHEN next_attempt_at IS NOT NULL THEN 'waiting'
                ELSE 'failed' END AS state, count(*) FROM alert_delivery GROUP BY state
        """),
        database_bytes=totals.bytes,
    )


def free_bytes(connection: Connection) -> int | None:
    """Room on the disk that holds the data; None where it cannot be seen from here.

    Only over a Unix socket is the server surely on this machine, and only some users may ask where its data is.
    """
    folder = connection.execute(
        text("""
            SELECT CASE WHEN inet_server_addr() IS NULL AND pg_has_role(current_user, 'pg_read_all_settings', 'member')
                THEN current_setting('data_directory') END
        """)
    ).scalar_one()
    if folder is None:
        return None
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def work_problems(work: WorkHealth) -> Iterator[str]:
    """What keeps runs from being refit although some wait for it."""
    waited = work.oldest_refit_seconds
    if waited is None:
        return
    waits = f"Refits wait ({work.refits_waiting}, the first for {waited:.0f} s)"
    if not work.workers and waited > WORKERLESS_SECONDS:
        yield f"{waits}, and no worker runs: start one (losscast work)."
    elif waited > IDLE_SECONDS and (work.last_refit_seconds is None or work.last_refit_seconds > IDLE_SECONDS):
        yield f"{waits}, and none was made meanwhile: see the workers' output."


def lateness(work: WorkHealth) -> str | None:
    """What to say of a worker that works but is behind; None where it is not."""
    waited = work.oldest_refit_seconds
    if waited is None or waited < BEHIND_SECONDS:
        return None
    runs = "1 run waits" if work.refits_waiting == 1 else f"{work.refits_waiting:,} runs wait"
    return (
        f"{runs} for a refit, the first for {waited:.0f} s: forecasts and diagnoses are late. "
        "Running runs go first; more processes of losscast work are faster."
    )
