r"""Exponential decay to an asymptote, AutoLRS's forecast of the loss.

.. math:: L(s) = L_\infty + A\, e^{-s/T}

==================  ==========================================  ===========
symbol              meaning                                     unit
==================  ==========================================  ===========
:math:`s`           step                                        steps
:math:`L_\infty`    where the loss settles at this rate         of the loss
:math:`A`           height above it at step 0                   of the loss
:math:`T`           time constant, here of the effective steps  1
                    fitted
==================  ==========================================  ===========

AutoLRS [1]_ fits it to the last few hundred steps at one learning rate, after an iterated quadratic smoothing spline
has thrown out what lies far off it in the first half; :func:`without_outliers` is that spline.

.. [1] Y. Jin et al., "AutoLRS: Automatic Learning-Rate Schedule by Bayesian Optimization on the Fly," ICLR 2021,
   arXiv:2105.10762.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.interpolate import splev, splrep

from app.curves.schedule import Schedule
from app.laws.separable import Shape, Units

Array = npt.NDArray[np.float64]

SPLINE_DEGREE = 2
SPLINE_ROUNDS = 10
DROPPED_EACH_ROUND = 0.03
"""AutoLRS's constants for training losses."""


@dataclass(frozen=True, slots=True)
class ExponentialLaw:
    """L_inf + A * exp(-step / T)."""

    name: str = "exponential"
    coefficients: tuple[str, ...] = ("asymptote", "reducible_loss")
    shapes: tuple[Shape, ...] = (Shape("time_constant", 0.003, 30.0, (0.03, 0.1, 0.3, 1.0, 3.0)),)

    def on(self, schedule: Schedule, steps: npt.ArrayLike, units: Units) -> ExponentialBasis:
        """A schedule enters through the unit of length alone."""
        return ExponentialBasis(np.maximum(np.asarray(steps, dtype=np.float64), 0.0) / units.steps)


@dataclass(frozen=True, slots=True, eq=False)
class ExponentialBasis:
    """Features 1 and exp(-distance / T)."""

    distance: Array

    def columns(self, shapes: Array) -> Array:
        return np.stack([np.ones_like(self.distance), np.exp(-self.distance / shapes[0])], axis=1)

    def slopes(self, shapes: Array) -> Array:
        passed = self.distance / shapes[0]
        slope = passed * np.exp(-passed)
        return np.stack([np.zeros_like(slope), slope], axis=1)[None]


def without_outliers(steps: Array, values: Array) -> tuple[Array, Array]:
    """Points that an iterated smoothing spline believes, and the spline at them.

    In each round the 3 % that lie farthest off the spline are dropped where they are of the first half. Returns steps
    and smoothed values, both shorter than given or as long. With too few points for a spline, the points themselves.

    The spline's freedom follows the noise (residual sum of squares near n times the noise's variance, as its reference
    recommends); AutoLRS leaves it at its default, which suits noise of deviation 1 and makes a parabola of any loss.
    """
    if len(values) <= SPLINE_DEGREE + 3:
        return steps, values
    middle = steps[(len(steps) - 1) // 2]
    smoothed = _spline(steps, values)
    for _ in range(SPLINE_ROUNDS):
        n_dropped = round(DROPPED_EACH_ROUND * len(steps))
        if n_dropped == 0:
            break
        farthest = np.argsort(np.abs(values - smoothed), kind="stable")[-n_dropped:]
        kept = np.ones(len(steps), dtype=bool)
        kept[farthest[steps[farthest] < middle]] = False
        if kept.all() or kept.sum() <= SPLINE_DEGREE + 3:
            break
        steps, values = steps[kept], values[kept]
        smoothed = _spline(steps, values)
    return steps, smoothed


def _spline(steps: Array, values: Array) -> Array:
    # Second differences of noise have six times its variance and see little of the trend.
    noise = float(np.median(np.abs(np.diff(values, 2)))) / 0.6745 / np.sqrt(6)
    scale = max(noise, 1e-9 * float(np.abs(values).max()), 1e-300)
    weights = np.full(len(values), 1 / scale)
    # Quiet: where the wanted sum of squares cannot be met exactly, the nearest spline is as good.
    knots, *_ = splrep(steps, values, w=weights, k=SPLINE_DEGREE, s=len(values), full_output=1, quiet=1)
    smoothed = np.asarray(splev(steps, knots), dtype=np.float64)
    return smoothed if np.isfinite(smoothed).all() else values
