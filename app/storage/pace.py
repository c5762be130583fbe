"""When a run was where: what its time to go is read from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger

from app.storage.codec import decode_batch
from app.storage.json import as_json


@dataclass(frozen=True, slots=True)
class PaceMarks:
    """When a run was where.

    arrivals : batches of the run that it knows of
    marks : (step, time), both rising   [steps], [s since 1970]
    """

    arrivals: int = 0
    marks: tuple[tuple[int, float], ...] = ()


def read_pace(connection: Connection, key: int) -> PaceMarks:
    row = connection.execute(
        text("SELECT arrivals, marks FROM run_pace WHERE run_key = :key"), {"key": key}
    ).one_or_none()
    return PaceMarks() if row is None else PaceMarks(row.arrivals, tuple((step, time) for step, time in row.marks))


def marks_since(connection: Connection, key: int, arrivals: Sequence[int]) -> list[tuple[int, float]]:
    """The last step of some batches and when the job made it, in order of arrival.

    By the job's clock; by ours where it sent none, or where the batch has been compacted since.
    """
    rows = connection.execute(
        text("""
            SELECT extract(epoch FROM received_at) AS received, step_max, series, data FROM metric_batch
            WHERE run_key = :key AND arrival = ANY(:arrivals) AND step_max IS NOT NULL ORDER BY arrival
        """).bindparams(bindparam("arrivals", type_=ARRAY(BigInteger))),
        {"key": key, "arrivals": list(arrivals)},
    )
    return [(row.step_max, _made_at(row)) for row in rows]


def _made_at(row: Row[Any]) -> float:
    received = float(row.received)
    if row.data is None:
        return received
    batch = decode_batch(row.data, tuple(str(one) for one in row.series))
    made = float(batch.times[int(np.argmax(batch.steps))])
    return made if math.isfinite(made) else received


def save_pace(connection: Connection, key: int, pace: PaceMarks) -> None:
    connection.execute(
        text("""
            INSERT INTO run_pace (run_key, arrivals, marks) VALUES (:key, :arrivals, CAST(:marks AS jsonb))
            ON CONFLICT (run_key) DO UPDATE SET arrivals = excluded.arrivals, marks = excluded.marks
        """),
        {"key": key, "arrivals": pace.arrivals, "marks": as_json(pace.marks)},
    )
