"""Refits as the worker makes them, of runs put into storage, and what came of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sqlalchemy import text

from app.importers.run_files import read_file
from app.runs import Batch, RunStatus, Summary
from app.storage import runs
from app.storage.curves import read_curve_states
from app.storage.database import Database
from app.worker.refit import refit_run
from tests.storing import make_batch

DEMO_DATA = Path(__file__).parents[2] / "app" / "demo" / "data"


def real_batches(name: str, n_batches: int, columns: Sequence[str] = ("train_loss", "lr")) -> list[Batch]:
    """A real run cut into equal batches, some of its columns."""
    whole = list(read_file(DEMO_DATA / name).batches)
    steps = np.concatenate([batch.steps for batch in whole])
    picked = {
        column: np.concatenate([
            np.where(batch.present[batch.metrics.index(column)], batch.values[batch.metrics.index(column)], np.nan)
            for batch in whole
        ])
        for column in columns
    }  # fmt: skip
    cuts = np.array_split(np.arange(len(steps)), n_batches)
    return [
        make_batch(
            steps[cut].tolist(),
            **{
                name: [None if math.isnan(value) else value for value in column[cut]] for name, column in picked.items()
            },
        )
        for cut in cuts
    ]


def refit(database: Database, run_id: str = "run") -> Summary:
    assert refit_run(database, run_id, []) is not None
    with database.read() as connection:
        summary = runs.read_summary(connection, run_id)
    assert summary is not None
    return summary


def finish(database: Database) -> None:
    with database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FINISHED, None)


def reduced_losses(database: Database) -> list[tuple[np.ndarray, np.ndarray]]:
    with database.read() as connection:
        ids = [one.id for one in runs.list_series(connection, "run")]
        curves = [state.reduction.to_curve() for state in read_curve_states(connection, ids).values()]
    return [(curve.steps, curve.values) for curve in curves]


def rebuilt(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("DELETE FROM curve_state"))
    refit(database)


def assert_rebuild_agrees(database: Database) -> None:
    refit(database)
    grown = reduced_losses(database)
    rebuilt(database)
    for (steps, values), (steps_again, values_again) in zip(grown, reduced_losses(database), strict=True):
        # The bins are the same; sums of floats in another order differ by rounding.
        np.testing.assert_allclose(steps_again, steps, rtol=1e-12)
        np.testing.assert_allclose(values_again, values, rtol=1e-9)
