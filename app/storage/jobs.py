"""The job queue: procrastinate's tables in the same Postgres.

The web process only asks for work, the worker does it; both know a task by its name.
"""

from __future__ import annotations

from collections.abc import Iterable

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued
from sqlalchemy import Connection, text

from app.storage.database import driver_dsn

REFIT = "refit"
COMPACT = "compact"
SCORE = "score"
DELIVER = "deliver"

SOON = 10
"""Priority of what takes milliseconds and must not wait behind a backlog of refits: sweeps and alerts."""

OVERDUE = 1
LATER = -1
"""Priorities of refits of runs that are over: after those of running runs, which may yet be warned; not for ever."""

OVERDUE_SECONDS = 600.0


class JobQueue:
    """Asks for work.

    A run has at most one refit waiting (`queueing_lock`) and one running (`lock`), however many batches arrive; a
    refit that was asked for while one runs starts after it and sees everything.
    """

    def __init__(self, url: str) -> None:
        self._app = procrastinate.App(
            connector=procrastinate.SyncPsycopgConnector(conninfo=driver_dsn(url), min_size=1, max_size=2)
        )

    def open(self) -> None:
        self._app.open()

    def close(self) -> None:
        self._app.close()

    def ask_for_refits(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            self._ask(REFIT, lock=run_id, queueing_lock=f"{REFIT}:{run_id}", run_id=run_id)

    def ask_for_compaction(self, run_id: str) -> None:
        self._ask(COMPACT, lock=run_id, queueing_lock=f"{COMPACT}:{run_id}", run_id=run_id)

    def ask_for_scores(self, run_ids: Iterable[str]) -> None:
        for run_id in run_ids:
            self._ask(SCORE, lock=run_id, queueing_lock=f"{SCORE}:{run_id}", run_id=run_id)

    def ask_for_deliveries(self) -> None:
        self._ask(DELIVER, lock=None, queueing_lock=DELIVER, priority=SOON)

    def _ask(self, task: str, *, lock: str | None, queueing_lock: str, priority: int = 0, **arguments: str) -> None:
        try:
            self._app.configure_task(task, lock=lock, queueing_lock=queueing_lock, queue=task, priority=priority).defer(
                **arguments
            )
        except AlreadyEnqueued:
            pass  # the waiting one will see what this one would have


def let_running_runs_go_first(connection: Connection) -> None:
    """Put waiting refits of runs that are over behind those of running runs, and before them after ten minutes.

    A folder of finished runs that is imported must not hold up the warning of a run that diverges now. Whether a run is
    over is often known only after its refit was asked for.
    """
    connection.execute(
        text("""
            UPDATE procrastinate_jobs job SET priority = ranked.priority
            FROM (
                SELECT waiting.id, CASE WHEN min(event.at) < now() - make_interval(secs => :overdue) THEN :first
                    ELSE :later END AS priority
                FROM procrastinate_jobs waiting
                JOIN run ON run.id = waiting.args->>'run_id' AND run.status <> 'running'
                LEFT JOIN procrastinate_events event ON event.job_id = waiting.id
                WHERE waiting.task_name = :refit AND waiting.status = 'todo'
                GROUP BY waiting.id
            ) ranked
            WHERE job.id = ranked.id AND job.status = 'todo' AND job.priority <> ranked.priority
        """),
        {"refit": REFIT, "overdue": OVERDUE_SECONDS, "first": OVERDUE, "later": LATER},
    )
