"""Steps as the law sees them from the cutoff: how far away, what the rate does on the way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.curves.schedule import Schedule
from app.laws.annealing import RateFall, annealed_fraction, effective_steps
from app.laws.inference.grid import Grid

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Ahead:
    """Steps as the law sees them from the cutoff: what does not depend on the grid.

    distance : (n,), in log x from the cutoff; negative before it
    fall : of the rate, at the steps and, last, at the cutoff
    swing : (n,), total variation of the rate from the cutoff, negative before it     [1]
    """

    distance: Array
    fall: RateFall
    swing: Array
    horizon: float

    @staticmethod
    def of(schedule: Schedule, steps: Array, cutoff: float, horizon: float) -> Ahead:
        """`steps`, shape (n,), on either side of the cutoff, under a schedule that reaches the horizon. [steps]"""
        to_cutoff = np.append(steps, cutoff)
        logs, travelled = log_effective(schedule, to_cutoff), _rate_travelled(schedule, to_cutoff, horizon)
        return Ahead(
            distance=logs[:-1] - logs[-1],
            fall=RateFall.of(schedule, to_cutoff),
            swing=travelled[:-1] - travelled[-1],
            horizon=horizon,
        )

    def features(self, grid: Grid) -> tuple[Array, Array]:
        """What multiplies A, shape (n_exponents, n), and D, shape (n_responses, n); both zero at the cutoff."""
        memories = np.maximum(grid.memories.points * self.horizon, 1.0)
        at = self.fall.response(memories, grid.powers)
        responses = at[:, :, -1:] - at[:, :, :-1]
        return np.expm1(-grid.exponents[:, None] * self.distance), responses.reshape(-1, len(self.distance))


def log_effective(schedule: Schedule, steps: npt.ArrayLike) -> Array:
    """log x; the first effective step is the smallest distance there is."""
    logs: Array = np.log(np.maximum(effective_steps(schedule, steps), 1.0))
    return logs


def _rate_travelled(schedule: Schedule, steps: npt.ArrayLike, horizon: float) -> Array:
    """Total variation of the annealed fraction up to each step. [1]"""
    knots = np.unique(np.concatenate([schedule.steps, [schedule.warmup_end, horizon]]))
    travelled = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(annealed_fraction(schedule, knots))))])
    passed: Array = np.interp(np.asarray(steps, dtype=np.float64), knots, travelled)
    return passed
