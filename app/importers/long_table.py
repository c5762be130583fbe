"""One row a point: the metric is named in a column, as MLflow writes them (`run_id,key,value,step,timestamp`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.importers.csv_file import Head, read_rows, to_column, to_steps
from app.importers.imported_run import (
    CLOCK_NAMES,
    ImportedRun,
    SkippedCells,
    batches_of_series,
    clock_times,
    counted,
    guess_step_name,
    run_name,
)
from app.runs import Points

METRIC_NAMES = ("key", "metric", "metric_name", "tag", "variable")  # MLflow, its users, TensorBoard, pandas' melt
RUN_NAMES = ("run_id", "run_uuid", "run_name", "run")


@dataclass(frozen=True, slots=True)
class LongColumns:
    """Where in a row the parts of its point are."""

    metric: int
    value: int
    step: int
    run: int | None
    time: int | None


@dataclass(slots=True)
class _Series:
    """Points of one metric of one run on their way."""

    steps: list[npt.NDArray[np.int64]] = field(default_factory=list)
    values: list[npt.NDArray[np.float64]] = field(default_factory=list)
    times: list[npt.NDArray[np.float64]] = field(default_factory=list)

    def points(self) -> Points:
        return Points(np.concatenate(self.steps), np.concatenate(self.values), np.concatenate(self.times))


def long_columns(header: Sequence[str]) -> LongColumns | None:
    """The parts of a point by the names of the columns; None where the header is not one of such a table."""
    at = {name.lower(): i for i, name in reversed(list(enumerate(header)))}
    metric = _first(at, METRIC_NAMES)
    step_name = guess_step_name(header)
    if metric is None or "value" not in at or step_name is None:
        return None
    step = header.index(step_name)
    return LongColumns(metric, at["value"], step, _first(at, RUN_NAMES), _first(at, CLOCK_NAMES))


def read_long_table(path: Path, head: Head, columns: LongColumns) -> list[ImportedRun]:
    """A run for each that the table names, in the order of their first rows; points in any order.

    Read whole: which runs and metrics there are is known at the end alone.
    """
    warnings: list[str] = []
    runs = _read_series(path, head, columns, warnings)
    several = len(runs) > 1
    return [
        ImportedRun(
            name=name if several else run_name(path),
            part=name if several else "",
            config={},
            batches=batches_of_series({metric: series.points() for metric, series in metrics.items()}),
            warnings=[] if i else warnings,  # told once, with the first of them
        )
        for i, (name, metrics) in enumerate(runs.items())
    ] or [ImportedRun(name=run_name(path), config={}, batches=iter(()), warnings=warnings)]


def _read_series(path: Path, head: Head, columns: LongColumns, warnings: list[str]) -> dict[str, dict[str, _Series]]:
    runs: dict[str, dict[str, _Series]] = {}
    skipped, nameless = SkippedCells(), 0
    for line, rows in read_rows(path, head, warnings):
        named = [i for i, row in enumerate(rows) if row[columns.metric].strip() and row[columns.step].strip()]
        nameless += sum(any(cell.strip() for cell in row) for row in rows) - len(named)
        lines = [line + i for i in named]
        kept = [rows[i] for i in named]
        steps = to_steps(path, [row[columns.step] for row in kept], lines, head.header[columns.step], warnings)
        values = to_column("value", [row[columns.value] for row in kept], lines, skipped)
        times = np.full(len(kept), np.nan)
        if columns.time is not None:
            cells = [row[columns.time] for row in kept]
            times = clock_times(to_column("time", cells, lines, SkippedCells()).values)
        groups: dict[tuple[str, str], list[int]] = {}
        for i, row in enumerate(kept):
            if values.present[i]:
                run = "" if columns.run is None else row[columns.run].strip()
                groups.setdefault((run, row[columns.metric].strip()), []).append(i)
        for (run, metric), at in groups.items():
            series = runs.setdefault(run, {}).setdefault(metric, _Series())
            series.steps.append(steps[at])
            series.values.append(values.values[at])
            series.times.append(times[at])
    warnings.extend(skipped.warnings())
    if nameless:
        warnings.append(f"{counted(nameless, 'row')} without a step or the name of a metric left out.")
    return runs


def _first(at: Mapping[str, int], names: Sequence[str]) -> int | None:
    return next((at[name] for name in names if name in at), None)
