"""Runs for the pages' tests: stored and fitted by the real code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.importers.run_files import read_file
from app.runs import Batch, RunStatus
from app.storage import runs
from app.storage.batches import PendingBatch, write_batches
from app.storage.database import Database
from app.worker.refit import refit_run
from app.worker.scoring import score_run

DATA = Path(__file__).parents[2] / "app" / "demo" / "data"


@dataclass(frozen=True)
class Seeder:
    """Makes runs the way jobs do, without HTTP in between."""

    database: Database

    def open(self, run_id: str, **said: object) -> None:
        with self.database.write() as connection:
            runs.open_run(connection, runs.RunRequest(run_id, **said))  # type: ignore[arg-type]

    def log(self, run_id: str, steps: np.ndarray, metrics: Mapping[str, np.ndarray], *, refit: bool = True) -> None:
        values = np.stack([np.asarray(column, np.float64) for column in metrics.values()])
        batch = Batch(
            steps=np.asarray(steps, np.int64),
            times=1.7e9 + 0.5 * np.asarray(steps, np.float64),
            metrics=tuple(metrics),
            values=values,
            present=np.ones(values.shape, np.bool_),
        )
        with self.database.write() as connection:
            (stored,) = write_batches(connection, [PendingBatch(run_id, batch)])
        assert not isinstance(stored, Exception), stored
        if refit:
            refit_run(self.database, run_id, [])

    def refit(self, run_id: str) -> None:
        refit_run(self.database, run_id, [])


def decaying(steps: np.ndarray) -> np.ndarray:
    """A loss that falls as losses do, with noise that is the same every time."""
    noise = np.random.default_rng(0).normal(0.0, 0.03, len(steps))
    return 2.0 + 4.0 * np.asarray(steps, float) ** -0.35 + noise


def replayed(
    seed: Seeder,
    run_id: str,
    file: str,
    total_steps: int,
    *,
    share: float,
    parts: int = 1,
    project: str = "lm",
    status: RunStatus | None = None,
) -> None:
    """The first part of one of the demo's real runs, in so many refits, and its end where it has one."""
    seed.open(run_id, project=project, name=f"{run_id} of {file}", plan={"total_steps": total_steps})
    batches = list(read_file(DATA / file).batches)
    steps, times = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("steps", "times"))
    values, present = (
        np.concatenate([getattr(one, name) for one in batches], axis=1) for name in ("values", "present")
    )
    for part in np.array_split(np.arange(int(share * len(steps))), parts):
        batch = Batch(steps[part], times[part], batches[0].metrics, values[:, part], present[:, part])
        with seed.database.write() as connection:
            write_batches(connection, [PendingBatch(run_id, batch)])
        seed.refit(run_id)
    if status is not None:
        with seed.database.write() as connection:
            runs.finish_run(connection, run_id, status, None)
        seed.refit(run_id)
        score_run(seed.database, run_id)
