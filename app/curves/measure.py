"""Which way a metric goes as training succeeds, and between which bounds.

A loss falls. An accuracy rises towards a bound, and is forecast as what is missing from it: a share that is wrong falls
like a loss, cannot fall below zero, and every law and every question about a new lowest level holds for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.curves.curve import Curve
from app.curves.roles import ACCURACY_ROLES
from app.errors import NotAnAccuracy

Array = npt.NDArray[np.float64]

UPPER_BOUNDS = (1.0, 100.0)
"""An accuracy is a share of 1 or of 100."""

ROUNDING = 1e-6
"""By how much of its bound a mean of accuracies may lie outside: means of single-precision numbers do."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A loss, or an accuracy with its bounds.

    upper : what an accuracy cannot exceed, 1 or 100; None for a loss   [of the metric]
    """

    upper: float | None = None

    @property
    def rises(self) -> bool:
        """Whether more is better."""
        return self.upper is not None

    @property
    def bounds(self) -> tuple[float, float] | None:
        return None if self.upper is None else (0.0, self.upper)

    def as_loss(self, curve: Curve) -> Curve:
        """A loss as it is; of an accuracy, what is missing from its upper bound, never below zero."""
        if self.upper is None:
            return curve
        return replace(curve, values=self._mirrored(curve.values))

    def restored(self, values: Array) -> Array:
        """Back from what `as_loss` made of values, in the metric's own unit and inside its bounds."""
        return values if self.upper is None else self._mirrored(values)

    def within(self, values: Array) -> Array:
        """Values in the metric's own unit, none outside its bounds."""
        return values if self.upper is None else np.clip(values, 0.0, self.upper)

    def _mirrored(self, values: Array) -> Array:
        assert self.upper is not None  # asked by both callers
        return np.clip(self.upper - values, 0.0, self.upper)


LOSS = Measure()


def measure_of(role: str, curve: Curve) -> Measure:
    """What a metric of that role measures, judged by its values so far.

    An accuracy that has not come above 1 is taken for a share of 1. One in percent that starts below 1 % is mistaken
    for that until it comes above: the forecast says what it was taken for.

    Raises
    ------
    NotAnAccuracy
        The role is that of an accuracy, and values lie below 0 or above 100.
    """
    if role not in ACCURACY_ROLES or not len(curve):
        return LOSS
    low, high = float(curve.values.min()), float(curve.values.max())
    for upper in UPPER_BOUNDS:
        if low >= -ROUNDING * upper and high <= upper * (1 + ROUNDING):
            return Measure(upper)
    raise NotAnAccuracy(low, high)
