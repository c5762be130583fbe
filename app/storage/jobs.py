"""The job queue: procrastinate's tables in the same Postgres.

The web process only asks for work, the worker does it; both know a task by its name.
"""

from __future__ import annotations

from collections.abc import Iterable

import procrastinate
from procrastinate.exceptions import AlreadyEnqueued

from app.storage.database import driver_dsn

REFIT = "refit"
COMPACT = "compact"
SCORE = "score"
DELIVER = "deliver"


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
        self._ask(DELIVER, lock=None, queueing_lock=DELIVER)

    def _ask(self, task: str, *, lock: str | None, queueing_lock: str, **arguments: str) -> None:
        try:
            self._app.configure_task(task, lock=lock, queueing_lock=queueing_lock, queue=task).defer(**arguments)
        except AlreadyEnqueued:
            pass  # the waiting one will see what this one would have
