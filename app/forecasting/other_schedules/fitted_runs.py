"""The finished runs that are fitted together: which may be, and what all of this room asks of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from app.curves.schedule import Schedule
from app.errors import BadInput
from app.forecasting.recorded_run import RecordedRun
from app.laws.annealing import effective_steps

Array = npt.NDArray[np.float64]

MOST_RUNS = 6

SAME_SCALE = 2.0
"""Runs of one recipe never ended further apart than by a few per cent; a factor of two is another metric or model."""


def check_runs(runs: Sequence[RecordedRun]) -> None:
    """Refuse, in words, runs that cannot be fitted together."""
    if not runs:
        raise BadInput("Name at least one finished run to fit.")
    if len(runs) > MOST_RUNS:
        raise BadInput(f"At most {MOST_RUNS} runs are fitted together; there are {len(runs)}.")
    for position, run in enumerate(runs):
        if run.schedule is None or run.schedule.peak <= 0:
            raise BadInput(f"{run.name} has no learning rate, and without it a law cannot tell schedules apart.")
        if not np.isfinite(run.final_loss()):
            raise BadInput(f"{run.name}: {run.metric} is NaN or infinite at its end; a law says nothing of that.")
        for earlier in runs[:position]:
            _check_pair(earlier, run)


def _check_pair(first: RecordedRun, second: RecordedRun) -> None:
    if np.array_equal(first.steps, second.steps) and np.array_equal(first.values, second.values, equal_nan=True):
        raise BadInput(f"{first.name} and {second.name} are the same run; one that is fitted twice proves nothing.")
    if first.metric != second.metric:
        raise BadInput(
            f"{first.name} is judged by {first.metric} and {second.name} by {second.metric}: name one metric for both."
        )
    ends = [abs(run.final_loss()) for run in (first, second)]
    if max(ends) > SAME_SCALE * min(ends):
        raise BadInput(
            f"{first.metric} ends at {first.final_loss():.4g} in {first.name} and at {second.final_loss():.4g} in "
            f"{second.name}: that is another model, or another scale. Fit runs of one recipe."
        )


def schedule_of(run: RecordedRun) -> Schedule:
    assert run.schedule is not None  # `check_runs` has seen to it
    return run.schedule


def summed_rate(schedule: Schedule, steps: npt.ArrayLike) -> Array:
    """Sum of the rate up to each step, shape (n_steps,). [rate, steps]"""
    return effective_steps(schedule, steps) * schedule.peak
