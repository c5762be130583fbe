"""A file as a finished run: `losscast backtest` and `losscast fit`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from app.curves.plan import DECLARED
from app.curves.planning.declared import validate_declared_plan
from app.curves.planning.resolve import resolve_plan
from app.curves.schedule import Schedule
from app.errors import BadInput
from app.forecasting.recorded_run import RecordedRun, logged_schedule
from app.importers.curve_file import FileCurve, read_curve_file

FEWEST_POINTS = 10
"""Runs with fewer finite points are too short to be cut into a part that is seen and a rest."""

SHARE_NOT_ENDED = 0.02
"""A file whose planned rate goes on beyond its last loss by more than this share has not ended."""

SHARE_OF_RATE = 0.9
"""The rate must be logged for this share of the steps, or what was planned is not known."""


class NotARecordedRun(BadInput):
    """The file holds a curve that cannot be scored; the text says why."""


def read_recorded_run(path: Path, metric: str | None = None, *, warmup_steps: int | None = None) -> RecordedRun:
    """One metric of a finished run, by default the loss that a run's page would forecast first.

    Parameters
    ----------
    warmup_steps : int or None
        Of a linear warm-up before the first row, where the file begins after it; None where that is to be judged by
        the rows. [steps]

    Raises
    ------
    NotARecordedRun
        Too short, diverged, not ended, or its learning rate is known in part only.
    UnreadableFile, UnknownMetric, BadInput
        As `read_curve_file`.
    """
    run, why_no_rate = _read(path, metric, warmup_steps)
    n_finite = int(np.isfinite(run.values).sum())
    if n_finite < FEWEST_POINTS:
        points = "1 finite point" if n_finite == 1 else f"{n_finite} finite points"
        raise NotARecordedRun(f"{run.metric} has {points}; it takes {FEWEST_POINTS}.")
    if why_no_rate is not None:
        raise NotARecordedRun(why_no_rate)
    final = run.final_loss()
    if not np.isfinite(final):
        raise NotARecordedRun(f"{run.metric} diverged: it is NaN or infinite at its end.")
    if final == 0:
        raise NotARecordedRun(f"{run.metric} ends at zero: no relative error can be given.")
    return run


def read_ended_run(path: Path, metric: str | None = None, *, warmup_steps: int | None = None) -> RecordedRun:
    """The same however it ended: diverged, or with a learning rate that is known in part, and then taken as unknown.

    Raises
    ------
    NotARecordedRun
        Not ended.
    UnreadableFile, UnknownMetric, BadInput
        As `read_curve_file`.
    """
    return _read(path, metric, warmup_steps)[0]


def _read(path: Path, metric: str | None, warmup_steps: int | None) -> tuple[RecordedRun, str | None]:
    """The run, and why its rate is not known although it was logged."""
    read = read_curve_file(path, metric)
    total = int(max(read.points.steps[-1], read.rate.steps[-1] if read.rate is not None else 0))
    declared = validate_declared_plan(read.declared)
    if warmup_steps is None:
        warmup_steps = declared.get("schedule", {}).get("warmup_steps")
    schedule, why_not = _schedule(read, total, warmup_steps)
    if schedule is None and why_not is None:
        schedule = _declared_schedule(declared, total)
    run = RecordedRun(read.name, read.metric, read.points.steps, read.points.values, schedule, total, read.role)
    return run, why_not


def _schedule(read: FileCurve, total: int, warmup_steps: int | None) -> tuple[Schedule | None, str | None]:
    if read.planned is not None and read.planned.steps[-1] > (1 + SHARE_NOT_ENDED) * total:
        raise NotARecordedRun(
            f"the run has not ended: its rate is planned to step {int(read.planned.steps[-1]):,}, "
            f"{read.metric} ends at {total:,}."
        )
    if read.rate is None:
        return None, None
    known = np.isfinite(read.rate.values) & (read.rate.values >= 0)
    if not known.any():
        return None, None
    steps, rates = read.rate.steps[known], read.rate.values[known]
    if steps[-1] < SHARE_OF_RATE * total:
        return None, f"the learning rate is logged only up to step {int(steps[-1]):,} of {total:,}."
    return logged_schedule(steps, rates, warmup_steps=warmup_steps), None


def _declared_schedule(declared: Mapping[str, Any], total: int) -> Schedule | None:
    """Of an export of ours: what was declared of a rate that nobody logged, up to the last step."""
    plan = resolve_plan(declared=declared, config={}, rate=None, cutoff=total)
    return plan.schedule.until(float(max(total, 1))) if plan.schedule_source == DECLARED else None
