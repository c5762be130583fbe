"""Runs for the pages' tests: stored and fitted by the real code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from app.runs import Batch
from app.storage import runs
from app.storage.batches import PendingBatch, write_batches
from app.storage.database import Database
from app.worker.refit import refit_run


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
