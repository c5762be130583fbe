"""A whole run as a stream: rows of steps, columns of metrics, in constant memory.

The form is the one that `losscast import` reads: an export imported again has the same points. JSONL begins with what
was said of the run, and is the same run again.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, text

from app.errors import BadInput
from app.runs import Run, Series
from app.storage.points import HIGHEST_STEP, LOWEST_STEP, read_series
from app.storage.runs import get_run, list_series, run_key

FORMATS = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
WINDOW_POINTS = 50_000  # of the fullest series: bounds the memory of a window


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A stretch of steps: every step at which something was logged.

    steps : int64, shape (n_rows,)
    values, present : shape (n_metrics, n_rows)
    """

    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    present: npt.NDArray[np.bool_]


def export_run(connection: Connection, run_id: str, form: str) -> Iterator[bytes]:
    """The run's points as bytes, replaced points left out.

    Raises `BadInput` for a form not in `FORMATS` and `NotFound` for an unknown run, both before the first byte.
    """
    if form not in FORMATS:
        raise BadInput(f"No export format {form!r}. Use one of: {', '.join(FORMATS)}.")
    run = get_run(connection, run_id)
    series = list_series(connection, run_id)
    windows = _windows(connection, run_key(connection, run_id), series)
    names = [one.metric for one in series]
    rows = {"csv": _as_csv, "jsonl": _as_jsonl, "parquet": _as_parquet}[form](names, windows)
    return chain([_meta_line(run)], rows) if form == "jsonl" else rows


def _windows(connection: Connection, key: int, series: list[Series]) -> Iterator[Window]:
    for lowest, highest in _stretches(connection, key, series):
        columns = [read_series(connection, key, one.id, lowest, highest) for one in series]
        logged = [column.steps for column in columns if len(column)]
        if not logged:
            continue
        steps = np.unique(np.concatenate(logged))
        values = np.full((len(series), len(steps)), np.nan)
        present = np.zeros((len(series), len(steps)), np.bool_)
        for row, column in enumerate(columns):
            at = np.searchsorted(steps, column.steps)
            values[row, at] = column.values
            present[row, at] = True
        yield Window(steps, values, present)


def _stretches(connection: Connection, key: int, series: list[Series]) -> Iterator[tuple[int, int]]:
    """Ranges of steps that together hold everything, cut where the fullest series has had its share."""
    bounds = connection.execute(
        text("""
            SELECT step_max, n_points FROM (
                SELECT c.series_id, c.step_max, c.n_points FROM series_chunk c JOIN series s ON s.id = c.series_id
                WHERE s.run_key = :key
                UNION ALL
                SELECT 0, step_max, n_points / greatest(cardinality(series), 1) FROM metric_batch
                WHERE run_key = :key AND data IS NOT NULL AND step_max IS NOT NULL
            ) stored
            ORDER BY step_max
        """),
        {"key": key},
    ).all()
    lowest, held = LOWEST_STEP, 0
    share = WINDOW_POINTS * max(1, min(len(series), 4))
    for step_max, n_points in bounds:
        held += n_points
        if held >= share and step_max >= lowest:
            yield lowest, step_max
            lowest, held = step_max + 1, 0
    yield lowest, HIGHEST_STEP


def _as_csv(names: list[str], windows: Iterator[Window]) -> Iterator[bytes]:
    text_io = io.StringIO()
    writer = csv.writer(text_io, lineterminator="\n")
    writer.writerow(["step", *names])
    for window in windows:
        columns = [
            [_csv_number(value) if here else "" for value, here in zip(values.tolist(), present.tolist(), strict=True)]
            for values, present in zip(window.values, window.present, strict=True)
        ]
        writer.writerows(zip(window.steps.tolist(), *columns, strict=True))
        yield _drained(text_io)
    rest = _drained(text_io)
    if rest:
        yield rest


def _meta_line(run: Run) -> bytes:
    """What was said of the run: without its plan and config the points alone are forecast otherwise."""
    meta = {
        "id": run.id,
        "name": run.name,
        "project": run.project,
        "status": run.status.value,
        "message": run.exit_message,
        "tags": list(run.tags),
        "config": dict(run.config),
        "plan": dict(run.declared_plan),
        "roles": dict(run.declared_roles),
    }
    return (json.dumps({"meta": meta}, ensure_ascii=False) + "\n").encode()


def _as_jsonl(names: list[str], windows: Iterator[Window]) -> Iterator[bytes]:
    for window in windows:
        present = window.present.T.tolist()
        values = window.values.T.tolist()
        lines = [
            json.dumps(
                {"step": step}
                | {name: _json_number(x) for name, x, here in zip(names, row, heres, strict=True) if here},
                ensure_ascii=False,
            )
            for step, row, heres in zip(window.steps.tolist(), values, present, strict=True)
        ]
        yield ("\n".join(lines) + "\n").encode()


def _as_parquet(names: list[str], windows: Iterator[Window]) -> Iterator[bytes]:
    # 0.2 s of imports that nothing else here needs
    import pyarrow as pa
    import pyarrow.parquet as pq

    # A metric may be called "step" too; a table must not have two columns of one name.
    step_column = "step" if "step" not in names else "_step"
    schema = pa.schema([(step_column, pa.int64()), *((name, pa.float64()) for name in names)])
    sink = _Outbox()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for window in windows:
            # A null is no value; NaN is a value.
            columns = [pa.array(v, mask=~here) for v, here in zip(window.values, window.present, strict=True)]
            writer.write_table(pa.Table.from_arrays([pa.array(window.steps), *columns], schema=schema))
            yield sink.emptied()
    yield sink.emptied()


def _drained(buffer: io.StringIO) -> bytes:
    data = buffer.getvalue().encode()
    buffer.seek(0)
    buffer.truncate()
    return data


class _Outbox(io.RawIOBase):
    """A file that only grows: what was written is handed on and forgotten, and `tell` counts it all."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        self._written += len(self._parts[-1])
        return len(self._parts[-1])

    def emptied(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def _csv_number(value: float) -> str:
    return repr(value) if math.isfinite(value) else "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
