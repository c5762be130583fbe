"""A run that has ended, as data for backtests and for fits across runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.curves.curve import Curve
from app.curves.plan import ASSUMED, DECLARED, Plan
from app.curves.schedule import Schedule
from app.curves.warmup import unseen_warmup
from app.laws.separable import Sample

Array = npt.NDArray[np.float64]

FINAL_SHARE_OF_POINTS = 0.02
"""The final loss is the mean of this last share of the points, of the last one where they are few."""

ROWS_AT_A_RATE = 3
"""A rate that is the same over so many rows before and after a change has jumped, not slid."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedRun:
    """One metric of a run that ended, with the schedule it followed.

    steps : int64, shape (n_points,), strictly increasing         [steps]
    values : float64, shape (n_points,); NaN and infinite points are data
    schedule : learning rate of the whole run, None where it was not logged
    total_steps : last step of training                           [steps]
    role : what the metric is, by its name (`app.curves.roles`)
    end : its final loss where that was measured from more points than these; None: from these   [of the loss]
    warmup_steps : length of its warm-up where somebody said it                                  [steps]
    """

    name: str
    metric: str
    steps: npt.NDArray[np.int64]
    values: Array
    schedule: Schedule | None
    total_steps: int
    role: str = "train_loss"
    end: float | None = None
    warmup_steps: int | None = None

    @property
    def n_final_points(self) -> int:
        """How many points the final loss is the mean of."""
        return n_final_points(len(self.values))

    def final_loss(self) -> float:
        """What the forecasts are held to; NaN where one of the last points is not finite."""
        return float(np.mean(self.values[-self.n_final_points :])) if self.end is None else self.end

    def seen(self, fraction: float) -> Curve:
        """The curve as it was after that fraction of the steps."""
        known = self.steps <= fraction * self.total_steps
        return Curve.from_points(self.steps[known], self.values[known])

    def plan(self) -> Plan:
        """The run's own length and rate; a rate that was not logged is taken as constant, and said to be assumed."""
        last = float(max(self.total_steps, 1))
        return Plan(
            total_steps=self.total_steps,
            total_source=DECLARED,
            total_why="The run's last step.",
            schedule=self.schedule or Schedule.constant(1.0, last=last),
            schedule_source=DECLARED if self.schedule else ASSUMED,
            schedule_family="explicit" if self.schedule else "hold",
            schedule_why="The run's own rate." if self.schedule else "No learning rate was logged.",
        )

    def sample(self) -> Sample:
        """Its finite points from the end of the warm-up on, reduced to bins: what a law is fitted to."""
        return sample_of(Curve.from_points(self.steps, self.values), self.plan().schedule)


def n_final_points(n_points: int) -> int:
    """How many of a run's points the final loss is the mean of."""
    return max(1, round(FINAL_SHARE_OF_POINTS * n_points))


def sample_of(curve: Curve, schedule: Schedule) -> Sample:
    """What laws speak of: the bins from the end of the warm-up on; all of them where it has not ended."""
    after = curve.steps >= schedule.warmup_end
    if not after.any():
        after[:] = True
    return Sample(schedule, curve.steps[after], curve.values[after])


def logged_schedule(steps: npt.ArrayLike, rates: npt.ArrayLike, *, warmup_steps: int | None = None) -> Schedule:
    """The schedule behind a logged rate.

    Between rows the rate is taken as straight, with one exception: where it stays the same for some rows, changes, and
    stays the same again, it has jumped, and the jump is put in the middle of the gap.

    Parameters
    ----------
    steps, rates : shape (n_rows,)
        Strictly increasing steps, finite rates of at least 0.
    warmup_steps : int or None
        A linear warm-up from zero over this many steps, which the rows (they begin later) do not show. By default one
        that ends where the rows begin, if they begin late and at their highest rate: published logs often leave the
        warm-up out. Zero: none. [steps]
    """
    at, rate = np.asarray(steps, dtype=np.float64), np.asarray(rates, dtype=np.float64)
    jumps = _jumps(at, rate)
    middles = np.floor((at[jumps] + at[jumps + 1]) / 2)
    knots = np.concatenate([at, middles - 1, middles])
    values = np.concatenate([rate, rate[jumps], rate[jumps + 1]])
    top = unseen_warmup(at, rate) if warmup_steps is None else min(float(warmup_steps), at[0] - 1)
    if top > 0:
        knots, values = np.append(knots, [0.0, top]), np.append(values, [0.0, rate[0]])
    order = np.argsort(knots, kind="stable")
    return Schedule.through(knots[order], values[order])


def _jumps(steps: Array, rates: Array) -> npt.NDArray[np.intp]:
    """Rows after which the rate jumps, where the gap is wide enough to put the jump inside it."""
    same = np.diff(rates) == 0
    changes = np.flatnonzero(~same)
    reach = ROWS_AT_A_RATE - 1
    flat = [
        change
        for change in changes
        if change >= reach
        and change + reach < len(same)
        and same[change - reach : change].all()
        and same[change + 1 : change + 1 + reach].all()
        and steps[change + 1] - steps[change] > 3
    ]
    return np.array(flat, dtype=np.intp)
