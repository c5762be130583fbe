"""Short ways to put points into storage and to read them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from app.runs import Batch, Points
from app.storage.batches import PendingBatch, StoredBatch, write_batches
from app.storage.compaction import compact_run
from app.storage.database import Database
from app.storage.points import read_points
from app.storage.runs import RunRequest, open_run, run_key


def make_batch(steps: Sequence[int], **metrics: Sequence[float | None]) -> Batch:
    """Columns of values; None is no value."""
    present = np.array([[value is not None for value in column] for column in metrics.values()], np.bool_)
    values = np.array([[np.nan if value is None else value for value in column] for column in metrics.values()])
    shape = (len(metrics), len(steps))
    return Batch(
        steps=np.array(steps, np.int64),
        times=np.full(len(steps), np.nan),
        metrics=tuple(metrics),
        values=values.reshape(shape).astype(np.float64),
        present=present.reshape(shape),
    )


def start(
    database: Database, run_id: str = "run", *, session: str | None = "first", resume_step: int | None = None
) -> int:
    """Open a run; returns the segment."""
    with database.write() as connection:
        return open_run(connection, RunRequest(id=run_id, session=session, resume_step=resume_step)).segment


def store(
    database: Database, batch: Batch, *, run_id: str = "run", segment: int | None = None, seq: int | None = None
) -> StoredBatch:
    with database.write() as connection:
        (answer,) = write_batches(connection, [PendingBatch(run_id, batch, segment, seq)])
    assert isinstance(answer, StoredBatch)
    return answer


def compact(database: Database, run_id: str = "run") -> int:
    with database.write() as connection:
        return compact_run(connection, run_key(connection, run_id), up_to_arrival=2**60)


def read(database: Database, metric: str = "loss", *, run_id: str = "run", **options: int) -> Points:
    with database.read() as connection:
        return read_points(connection, run_id, metric, **options)


def shown(database: Database, metric: str = "loss") -> Mapping[int, float]:
    points = read(database, metric)
    return dict(zip(points.steps.tolist(), points.values.tolist(), strict=True))
