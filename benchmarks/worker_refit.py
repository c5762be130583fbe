"""One refit as the worker does it, database and all, against the length of the run.

Run ``python -m benchmarks.worker_refit``. CPU is the worker's alone, without Postgres; the wall clock counts both, and
whatever else the machine is at.

Each run gets one more batch of 100 steps and is refitted; the median of several such refits is shown. The peer is the
same refit made from scratch: read every point, reduce, fit, which is what a monitor without kept curves would do.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the worker sets it, before numpy is loaded

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from sqlalchemy import text

from app import migrate
from app.embedded import EmbeddedPostgres
from app.runs import Batch
from app.storage.batches import PendingBatch, write_batches
from app.storage.compaction import compact_run
from app.storage.curves import fit_mark
from app.storage.database import Database
from app.storage.runs import RunRequest, open_run, run_key
from app.worker.refit import refit_run
from benchmarks.usage import tell_if_asked

LENGTHS = (1_000, 10_000, 100_000, 1_000_000)
REFITS = 15
NEW_STEPS = 100
LARGEST_BATCH = 10_000


def main() -> None:
    tell_if_asked(__doc__)
    with tempfile.TemporaryDirectory(prefix="losscast-bench-") as folder:
        os.chmod(folder, 0o711)
        with EmbeddedPostgres(Path(folder) / "data") as server:
            database = Database(server.url)
            migrate.upgrade(database)
            print(f"{'points':>12}{'refit CPU ms':>14}{'wall ms':>9}{'from scratch CPU ms':>21}{'wall ms':>9}")
            for length in LENGTHS:
                _measure(database, length)
            database.close()


def _measure(database: Database, length: int) -> None:
    run_id = f"run-{length}"
    with database.write() as connection:
        plan = {"total_steps": 2 * length, "schedule": {"family": "cosine", "warmup_steps": length // 50}}
        open_run(connection, RunRequest(id=run_id, session="one", plan=plan))
    for start in range(0, length, LARGEST_BATCH):
        _append(database, run_id, start, min(start + LARGEST_BATCH, length))
    refit_run(database, run_id, [])
    _compact(database, run_id)
    walls, cpus, scratch_walls, scratch_cpus = [], [], [], []
    # Each time far enough on for a new forecast to be due.
    ahead = max(NEW_STEPS, length // 200)
    for at in range(REFITS):
        first = length + at * ahead
        _append(database, run_id, first, first + NEW_STEPS)
        wall, cpu = time.perf_counter(), time.process_time()
        refit_run(database, run_id, [])
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    for at in range(3):
        with database.write() as connection:
            connection.execute(
                text("DELETE FROM curve_state USING series WHERE series.id = series_id AND run_key = :key"),
                {"key": run_key(connection, run_id)},
            )
        first = length + (REFITS + at) * ahead
        _append(database, run_id, first, first + NEW_STEPS)
        wall, cpu = time.perf_counter(), time.process_time()
        refit_run(database, run_id, [])
        scratch_walls.append(time.perf_counter() - wall)
        scratch_cpus.append(time.process_time() - cpu)
    shown = [1000 * statistics.median(times) for times in (cpus, walls, scratch_cpus, scratch_walls)]
    print(f"{length:>12,}{shown[0]:>14.1f}{shown[1]:>9.1f}{shown[2]:>21.1f}{shown[3]:>9.1f}")


def _append(database: Database, run_id: str, start: int, end: int) -> None:
    steps = np.arange(start + 1, end + 1)
    rng = np.random.default_rng(start)
    loss = 2.0 + 30.0 * steps**-0.4 + 0.02 * rng.normal(size=len(steps))
    rate = np.full(len(steps), 3e-4)
    values = np.stack([loss, rate])
    batch = Batch(steps, np.full(len(steps), np.nan), ("train_loss", "lr"), values, np.ones_like(values, np.bool_))
    with database.write() as connection:
        write_batches(connection, [PendingBatch(run_id, batch)])


def _compact(database: Database, run_id: str) -> None:
    with database.read() as connection:
        mark = fit_mark(connection, run_id)
    assert mark is not None
    with database.write() as connection:
        while compact_run(connection, run_key(connection, run_id), up_to_arrival=mark.arrivals):
            pass


if __name__ == "__main__":
    main()
