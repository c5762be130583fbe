"""A file as one curve to forecast: `losscast forecast FILE`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from app.curves.planning.total import LENGTH_ROLES
from app.curves.roles import assign_roles, forecastable
from app.curves.schedule import Schedule
from app.curves.strays import curve_range
from app.curves.unforecast import why_none_of_these
from app.errors import BadInput, UnknownMetric
from app.importers.imported_run import no_numbers
from app.importers.run_files import read_file
from app.runs import Batch, Points


@dataclass(frozen=True, slots=True, eq=False)
class FileCurve:
    """One metric of a file, and what the file says about the steps to come.

    A file may go on after its last loss with rows that hold nothing but a learning rate: that is the `planned`
    schedule, and its last step is where training ends. `rate` is as logged before it, None where the file has none;
    `lengths` holds what was logged under each of `LENGTH_ROLES`, `declared` the plan that our own export begins with.
    """

    name: str
    config: Mapping[str, Any]
    declared: Mapping[str, Any]
    metric: str
    role: str  # of `metric`
    metrics: tuple[str, ...]  # all that the file holds
    points: Points  # of `metric`
    rate: Points | None
    lengths: Mapping[str, Points]
    planned: Schedule | None
    warnings: tuple[str, ...]

    @property
    def last_value(self) -> float | None:
        """Of `metric`, as it was logged: may be NaN or infinite. None where it has no point."""
        return float(self.points.values[-1]) if len(self.points) else None


def read_curve_file(path: Path, metric: str | None = None) -> FileCurve:
    """Read one metric of a file, by default the one that a run's page would forecast first: a loss, else an accuracy.

    Raises
    ------
    UnreadableFile
        Names the file, the line and what to do.
    UnknownMetric
        The file has no `metric`.
    BadInput
        No `metric` was named and no column looks like a loss or an accuracy.
    """
    run = read_file(path)
    batches = list(run.batches)
    points = points_by_metric(batches)
    if not points:
        raise no_numbers(path, run.warnings)
    roles = {name: match.role for name, match in assign_roles(points).items()}
    metric = metric if metric is not None else _guess_metric(points)
    if metric not in points:
        raise UnknownMetric(metric, list(points))
    repeats = _repeats(metric, batches, points[metric])
    strays = _stray_steps(points[metric])
    points = {name: _without(logged, strays) for name, logged in points.items()}
    rates = _longest(points, (name for name, role in roles.items() if role == "lr"))
    others = [logged.steps[-1] for name, logged in points.items() if logged is not rates and len(logged)]
    last_logged = int(max(others)) if others else 0
    return FileCurve(
        name=run.name,
        config=run.config,
        declared=run.said.plan,
        metric=metric,
        role=roles[metric],
        metrics=tuple(points),
        points=points[metric],
        rate=None if rates is None else _until(rates, last_logged),
        lengths=_lengths(points, roles),
        planned=None if rates is None else _planned(rates, last_logged),
        warnings=(*run.warnings, *repeats, *_said_of_strays(metric, strays)),
    )


def _guess_metric(points: Mapping[str, Points]) -> str:
    found = forecastable(assign_roles(points), {name: len(logged) for name, logged in points.items()})
    if not found:
        why = "".join(f" {each}" for each in why_none_of_these(points))
        raise BadInput(
            f"No column looks like a loss or an accuracy. Name one with --metric; there are: {', '.join(points)}.{why}"
        )
    return found[0]


def _stray_steps(points: Points) -> npt.NDArray[np.int64]:
    """Steps that are no part of the metric's curve: a clock, an overflowed counter. [steps]"""
    begin, end = curve_range(points.steps)
    return np.concatenate([points.steps[:begin], points.steps[end:]])


def _without(points: Points, strays: npt.NDArray[np.int64]) -> Points:
    """A row's step is as wrong for its other metrics."""
    kept = ~np.isin(points.steps, strays)
    return points if kept.all() else Points(points.steps[kept], points.values[kept], points.times[kept])


def _said_of_strays(metric: str, strays: npt.NDArray[np.int64]) -> list[str]:
    if not len(strays):
        return []
    which = f"step {strays[0]:,}" if len(strays) == 1 else f"{len(strays):,} steps, the first {strays[0]:,},"
    return [f"{metric} at {which} lies below zero or far beyond all others and was left out."]


def _repeats(metric: str, batches: Sequence[Batch], points: Points) -> list[str]:
    logged = sum(int(batch.present[batch.metrics.index(metric)].sum()) for batch in batches if metric in batch.metrics)
    repeated = logged - len(points)
    if not repeated:
        return []
    rows = "1 row repeats" if repeated == 1 else f"{repeated:,} rows repeat"
    return [f"{rows} a step of {metric}; the last value at each step counts."]


def points_by_metric(batches: Sequence[Batch]) -> dict[str, Points]:
    """Every metric's points, steps in order; of points at the same step the later row wins."""
    parts: dict[str, list[Points]] = {}
    for batch in batches:
        for row, metric in enumerate(batch.metrics):
            present = batch.present[row]
            part = Points(batch.steps[present], batch.values[row, present], batch.times[present])
            parts.setdefault(metric, []).append(part)
    return {metric: _joined(of_metric) for metric, of_metric in parts.items()}


def _joined(parts: Sequence[Points]) -> Points:
    steps = np.concatenate([part.steps for part in parts])
    # np.unique names the first of equals, and the last row is to win: look from behind.
    unique, from_behind = np.unique(steps[::-1], return_index=True)
    newest = len(steps) - 1 - from_behind
    values = np.concatenate([part.values for part in parts])
    times = np.concatenate([part.times for part in parts])
    return Points(unique, values[newest], times[newest])


def _lengths(points: Mapping[str, Points], roles: Mapping[str, str]) -> dict[str, Points]:
    """By role; of several metrics the longest."""
    found = {role: _longest(points, (name for name in points if roles[name] == role)) for role in LENGTH_ROLES}
    return {role: logged for role, logged in found.items() if logged is not None}


def _longest(points: Mapping[str, Points], names: Iterable[str]) -> Points | None:
    return max((points[name] for name in names), key=len, default=None)


def _until(points: Points, step: int) -> Points | None:
    end = int(np.searchsorted(points.steps, step, side="right"))
    return Points(points.steps[:end], points.values[:end], points.times[:end]) if end else None


def _planned(rates: Points, last_logged: int) -> Schedule | None:
    ahead = (rates.steps > last_logged) & np.isfinite(rates.values) & (rates.values >= 0)
    if not ahead.any():
        return None
    return Schedule(rates.steps[ahead].astype(np.float64), rates.values[ahead])
