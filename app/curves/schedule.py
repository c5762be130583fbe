"""Learning rate against step: knots with straight lines between them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.errors import BadInput

MAX_KNOTS = 700
"""Knots that a simplified schedule may have; the same order as a curve's bins."""

NEAR_PEAK = 0.99
"""The warm-up ends where the rate reaches this fraction of its peak."""


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Learning rate against step: linear between knots, constant outside them; a jump is two knots one step apart.

    Parameters
    ----------
    steps : float64, shape (n_knots,), n_knots >= 1
        Strictly increasing. [steps]
    rates : float64, shape (n_knots,)
        Learning rates, finite and at least 0.
    """

    steps: npt.NDArray[np.float64]
    rates: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", np.asarray(self.steps, dtype=np.float64))
        object.__setattr__(self, "rates", np.asarray(self.rates, dtype=np.float64))
        if self.steps.ndim != 1 or self.steps.shape != self.rates.shape or not len(self.steps):
            raise BadInput("A schedule needs as many rates as steps, and at least one knot.")
        if not (np.isfinite(self.steps).all() and np.isfinite(self.rates).all()):
            raise BadInput("A schedule's steps and rates must be finite numbers.")
        if (np.diff(self.steps) <= 0).any():
            raise BadInput("A schedule's steps must be strictly increasing; write a jump as two knots one step apart.")
        if (self.rates < 0).any():
            raise BadInput("A learning rate cannot be negative.")

    def __len__(self) -> int:
        return len(self.steps)

    def rate_at(self, steps: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Learning rate at each step, any shape."""
        rates: npt.NDArray[np.float64] = np.interp(np.asarray(steps, dtype=np.float64), self.steps, self.rates)
        return rates

    @property
    def peak(self) -> float:
        """Largest rate."""
        return float(self.rates.max())

    @property
    def warmup_end(self) -> float:
        """First step at which the rate is within 1 % of its peak before any decay; the first knot without a warm-up."""
        best_so_far = np.maximum.accumulate(self.rates)
        decayed = np.flatnonzero(self.rates < NEAR_PEAK * best_so_far)
        top = best_so_far[decayed[0] - 1] if len(decayed) else best_so_far[-1]
        knot = int(np.argmax(self.rates >= NEAR_PEAK * top))
        if knot == 0:
            return float(self.steps[0])
        before, after = self.rates[knot - 1], self.rates[knot]
        share = (NEAR_PEAK * top - before) / (after - before)
        return float(self.steps[knot - 1] + share * (self.steps[knot] - self.steps[knot - 1]))

    def until(self, step: float) -> Schedule:
        """The part up to and including `step`, with a knot there."""
        kept = self.steps < step
        return Schedule(np.append(self.steps[kept], step), np.append(self.rates[kept], self.rate_at(step)))

    def since(self, step: float) -> Schedule:
        """The part from `step` on, with a knot there."""
        kept = self.steps > step
        return Schedule(np.append(step, self.steps[kept]), np.append(self.rate_at(step), self.rates[kept]))

    def between(self, first: float, last: float) -> Schedule:
        """The part from `first` to `last`, with knots at both ends."""
        return self.until(last).since(first) if last > first else Schedule(np.array([first]), self.rate_at([first]))

    def then(self, later: Schedule) -> Schedule:
        """This schedule up to its last knot, `later` from there on (a jump, one step wide, where they disagree)."""
        seam = float(self.steps[-1])
        onward = next_step(seam)
        rest = later.steps > onward
        steps = np.concatenate([self.steps, [onward], later.steps[rest]])
        rates = np.concatenate([self.rates, later.rate_at([onward]), later.rates[rest]])
        return Schedule(steps, rates)

    def scaled(self, factor: float) -> Schedule:
        """The same shape with every rate times `factor`."""
        return Schedule(self.steps, self.rates * factor)

    @staticmethod
    def constant(rate: float, *, first: float = 0.0, last: float) -> Schedule:
        """One rate from `first` to `last`."""
        return Schedule(np.array([first, max(last, next_step(first))]), np.array([rate, rate]))

    @staticmethod
    def through(
        steps: npt.ArrayLike, rates: npt.ArrayLike, *, tolerance: float = 1e-4, max_knots: int = MAX_KNOTS
    ) -> Schedule:
        """The fewest-knot schedule, nearly, that passes within `tolerance` of the peak of every given rate.

        Straight stretches collapse to their ends; both sides of a jump are kept. With more detail than `max_knots`
        can hold, the largest errors go first.

        Parameters
        ----------
        steps, rates : float64, shape (n,), any n
            Strictly increasing steps and the rates at them, e.g. a logged learning rate.
        """
        full = Schedule(np.asarray(steps, dtype=np.float64), np.asarray(rates, dtype=np.float64))
        chosen = _knots_within(full, tolerance * full.peak, max_knots)
        return Schedule(full.steps[chosen], full.rates[chosen])


def next_step(step: float) -> float:
    """The step after `step`; beyond 2**53, where float64 skips whole numbers, the next one that there is."""
    return max(step + 1.0, math.nextafter(step, math.inf))


def _knots_within(full: Schedule, tolerance: float, max_knots: int) -> npt.NDArray[np.intp]:
    """Indices of knots: the ends, then in rounds the worst point of every stretch that is still off."""
    n = len(full)
    chosen = np.unique([0, n - 1])
    while len(chosen) < min(n, max_knots):
        errors = np.abs(np.interp(full.steps, full.steps[chosen], full.rates[chosen]) - full.rates)
        worst = np.maximum.reduceat(errors, chosen[:-1])
        off = np.flatnonzero(worst > tolerance)
        if not len(off):
            break
        room = max_knots - len(chosen)
        off = off[np.argsort(-worst[off], kind="stable")[:room]]
        new = [chosen[i] + int(np.argmax(errors[chosen[i] : chosen[i + 1]])) for i in off]
        chosen = np.unique(np.append(chosen, new))
    return chosen
