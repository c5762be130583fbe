"""What is concluded about a schedule, and the answer where nothing can be: the last rate is held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.curves.schedule import Schedule, next_step

Floats = npt.NDArray[np.float64]

HOLD = "hold"
"""The family of a schedule that nobody knows: the last rate is kept."""


@dataclass(frozen=True, slots=True, eq=False)
class InferredSchedule:
    """What the logged rate says about the schedule.

    family : our name of the family, or `HOLD`
    schedule : the logged rate so far and the inferred one from there to `decay_end` or the total
    decay_end : the step at which the decay arrives at its floor; None for a family without one [steps]
    doubt : expected absolute error of the future rate, from the disagreement of the hypotheses [fraction of the peak]
    why : one plain sentence
    """

    family: str
    schedule: Schedule
    decay_end: int | None
    doubt: float
    why: str

    @property
    def is_known(self) -> bool:
        """Whether the data told; otherwise the last rate is merely held."""
        return self.family != HOLD


def past(steps: Floats, rates: Floats) -> Schedule:
    """The rate as it was logged."""
    return Schedule.through(steps, rates)


def held(steps: Floats, rates: Floats, total_steps: int | None, why: str) -> InferredSchedule:
    """Nothing is known of the future: the last rate is kept, to the end of the run where that is known."""
    if not len(steps):
        return InferredSchedule(HOLD, Schedule.constant(1.0, last=float(total_steps or 1)), None, 1.0, why)
    last = Schedule.constant(float(rates[-1]), first=float(steps[-1]), last=end_of(steps, total_steps))
    return InferredSchedule(HOLD, past(steps, rates).then(last), None, 1.0, why)


def end_of(steps: Floats, total_steps: int | None) -> float:
    """Where a schedule without an end of its own is drawn to."""
    return max(float(total_steps or 0), next_step(next_step(float(steps[-1]))))
