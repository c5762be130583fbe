"""The worker process: which tasks there are, when they run by themselves, and what a crash leaves to mend."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import procrastinate
from procrastinate.exceptions import UniqueViolation
from procrastinate.jobs import Job, Status
from sqlalchemy import Connection

from app import __version__
from app.errors import Unavailable
from app.storage.alerts import Target
from app.storage.compaction import compact_run, runs_to_compact
from app.storage.curves import fit_mark, runs_to_fit, uncompacted_batches
from app.storage.database import Database, driver_dsn
from app.storage.diagnoses import runs_to_diagnose
from app.storage.failures import given_up
from app.storage.forecasts import runs_to_thin, thin_forecasts
from app.storage.jobs import COMPACT, DELIVER, REFIT, SCORE, SOON, JobQueue, let_running_runs_go_first
from app.storage.priors import runs_to_offer
from app.storage.scoring import runs_to_score
from app.storage.verdicts import runs_to_judge
from app.worker.delivery import Deliveries, targets_of
from app.worker.failures import note_failure
from app.worker.priors import RULES
from app.worker.refit import refit_run
from app.worker.scoring import score_run

log = logging.getLogger(__name__)

# Batches left in the log before a run is compacted: reads decode them one by one, so that they must stay few; a
# compaction rewrites a chunk for each series, so that it should have something to do.
BATCHES_TO_COMPACT = 64

SWEEP_CRON = "* * * * * */10"  # seconds last
MEND_CRON = "* * * * * */15"
COMPACTION_CRON = "*/5 * * * *"
TIDY_CRON = "17 * * * *"
THIN_CRON = "47 * * * *"
STALLED_AFTER_SECONDS = 30.0  # a worker that has not shown itself for so long is dead
HEARTBEAT_SECONDS = 5.0
POLL_SECONDS = 1.0  # for jobs that no notification announces: retries and run locks that came free
SHUTDOWN_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Alerting:
    """Where alerts go, and what is allowed."""

    urls: Sequence[str] = ()
    allowed_schemes: Collection[str] = ()
    allowed_hosts: Collection[str] = ()
    run_url: Callable[[str], str] = str  # run id -> the page of the run

    @property
    def targets(self) -> Mapping[Target, str]:
        return targets_of(self.urls)

    def deliveries(self, database: Database) -> Deliveries:
        return Deliveries(database, self.targets, self.allowed_schemes, self.allowed_hosts, self.run_url)


def make_app(
    database: Database,
    queue: JobQueue,
    alerting: Alerting,
    deliveries: Deliveries | None = None,
    *,
    forecasts_kept: int = 0,
) -> procrastinate.App:
    """The tasks over one database. Nothing runs before `run_worker`.

    forecasts_kept : how many of each metric a run keeps once it is over; 0: all

    No task has a retry of the queue's own. A job that waits for its retry holds up all later ones of its run, and where
    another of its kind waits by then its return is refused, which leaves it "doing" for good. The sweeps are the retry:
    they ask again for whatever is still to do.
    """
    app = procrastinate.App(
        connector=procrastinate.PsycopgConnector(conninfo=driver_dsn(database.url), min_size=1, max_size=4)
    )

    deliveries = deliveries or alerting.deliveries(database)

    @app.task(name=REFIT, queue=REFIT)
    def refit(run_id: str) -> None:
        try:
            result = refit_run(database, run_id, list(alerting.targets))
        except Unavailable as error:  # no fault of the run's: the sweep asks again
            log.warning("run %s could not be refit: %s", run_id, error)
            return
        except Exception:
            note_failure(database, run_id)
            raise
        if result is None:
            return
        if result.has_messages:
            queue.ask_for_deliveries()
        if result.is_behind:
            queue.ask_for_refits([run_id])
        if result.is_finished:
            queue.ask_for_scores([run_id])
        if result.is_finished or _has_much_to_compact(database, run_id):
            queue.ask_for_compaction(run_id)

    @app.task(name=COMPACT, queue=COMPACT)
    def compact(run_id: str) -> None:
        with database.read() as connection:
            mark = fit_mark(connection, run_id)
        while mark is not None:
            with database.write() as connection:
                if not compact_run(connection, mark.run_key, up_to_arrival=mark.arrivals):
                    return

    @app.task(name=SCORE, queue=SCORE)
    def score(run_id: str) -> None:
        score_run(database, run_id)

    @app.task(name=DELIVER, queue=DELIVER)
    def deliver() -> None:
        deliveries.wake()

    @app.periodic(cron=SWEEP_CRON)
    @app.task(name="sweep", queue="sweep", queueing_lock="sweep", priority=SOON, pass_context=False)
    def sweep(timestamp: int) -> None:
        """Find what a lost hint or a dead process left undone, and put what waits into its order."""
        with database.write() as connection:
            let_running_runs_go_first(connection)
        with database.read() as connection:
            behind = left_undone(connection)
            unscored = runs_to_score(connection)
        queue.ask_for_refits(behind)
        queue.ask_for_scores(unscored)
        if alerting.urls:
            queue.ask_for_deliveries()

    @app.periodic(cron=COMPACTION_CRON)
    @app.task(name="sweep_compaction", queue="sweep", queueing_lock="sweep_compaction", pass_context=False)
    def sweep_compaction(timestamp: int) -> None:
        """Find what was left in the batch log."""
        with database.read() as connection:
            left = runs_to_compact(connection, BATCHES_TO_COMPACT)
        for run_id in left:
            queue.ask_for_compaction(run_id)

    @app.periodic(cron=MEND_CRON)
    @app.task(name="mend", queue="sweep", queueing_lock="mend", priority=SOON, pass_context=True)
    async def mend(context: procrastinate.JobContext, timestamp: int) -> None:
        """Put jobs of dead workers back into the queue: nothing else would."""
        stalled = await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED_AFTER_SECONDS)
        for job in stalled:
            log.warning("taking up %s again: its worker died", job.task_name)
            await take_up(app, job)

    @app.periodic(cron=THIN_CRON)
    @app.task(name="thin_forecasts", queue="sweep", queueing_lock="thin_forecasts", pass_context=False)
    def thin(timestamp: int) -> None:
        """Leave out some of the forecasts of runs that are over."""
        if not forecasts_kept:
            return
        with database.read() as connection:
            thick = runs_to_thin(connection, forecasts_kept)
        for key in thick:
            with database.write() as connection:
                thin_forecasts(connection, key, forecasts_kept)

    @app.periodic(cron=TIDY_CRON)
    @app.task(name="tidy", queue="sweep", queueing_lock="tidy", pass_context=True)
    async def tidy(context: procrastinate.JobContext, timestamp: int) -> None:
        await app.job_manager.delete_old_jobs(nb_hours=24, include_failed=True, include_cancelled=True)

    return app


def left_undone(connection: Connection) -> list[str]:
    """Runs that a refit would do something for, each once; without those that keep failing as they are."""
    behind = [
        *runs_to_fit(connection),
        *runs_to_offer(connection, RULES),
        *runs_to_diagnose(connection),
        *runs_to_judge(connection),
    ]
    hopeless = given_up(connection, __version__)
    return [run_id for run_id in dict.fromkeys(behind) if run_id not in hopeless]


async def take_up(app: procrastinate.App, job: Job) -> None:
    """Put a job whose worker died back into the queue, or drop it where another of its kind waits already.

    The waiting one will do what this one would have, but not before this one lets go of the run's lock.
    """
    try:
        await app.job_manager.retry_job(job)
    except UniqueViolation:
        await app.job_manager.finish_job(job, Status.FAILED, delete_job=True)


def _has_much_to_compact(database: Database, run_id: str) -> bool:
    with database.read() as connection:
        mark = fit_mark(connection, run_id)
        return mark is not None and uncompacted_batches(connection, mark.run_key) >= BATCHES_TO_COMPACT


def run_worker(database: Database, alerting: Alerting, *, forecasts_kept: int) -> None:
    """Work until SIGTERM or SIGINT; then finish what runs."""
    queue = JobQueue(database.url)
    queue.open()
    deliveries = alerting.deliveries(database)
    try:
        asyncio.run(_work(make_app(database, queue, alerting, deliveries, forecasts_kept=forecasts_kept)))
    finally:
        deliveries.close()
        queue.close()


async def _work(app: procrastinate.App) -> None:
    options: dict[str, Any] = {
        "concurrency": 1,  # refits are CPU work: one at a time in a process, more processes for more
        "fetch_job_polling_interval": POLL_SECONDS,
        "delete_jobs": "successful",
        "update_heartbeat_interval": HEARTBEAT_SECONDS,
        "stalled_worker_timeout": STALLED_AFTER_SECONDS,
        "shutdown_graceful_timeout": SHUTDOWN_SECONDS,
    }
    async with app.open_async():
        await app.run_worker_async(**options)
