"""One descent of the rate, made ready to be compared with every family of schedules."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from app.curves.inference.inferred import Floats
from app.curves.inference.turns import TURN

_RESOLUTION = 3e-5  # rates agree with their formula to no better than this fraction of the peak (off-by-ones, float32)
_MAX_POINTS = 100  # of the curve, thinned, that families are compared with


@dataclass(frozen=True, slots=True, eq=False)
class Descent:
    """A rate that falls from a top, thinned, in units of that top.

    steps, heights : float64, shape (n,); heights are rates / peak
    start_range : the step at which the warm-up ended lies in here
    break_range : the step at which a stable phase ended, if there was one, lies in here
    noise : standard deviation to expect of the heights
    n_falling : points on the way down
    warms_up_once : a warm-up was logged, and no decay before the top
    """

    steps: Floats
    heights: Floats
    peak: float
    start_range: tuple[float, float]
    break_range: tuple[float, float]
    noise: float
    n_falling: int
    warms_up_once: bool

    @staticmethod
    def of(steps: Floats, rates: Floats, top: int) -> Descent:
        peak = float(rates[top])
        start_range = _start_range(steps, rates, top)
        noise = max(_RESOLUTION, _rounding(rates) / peak, 0.3 / float(steps[-1] - steps[top]))
        inside = steps >= start_range[1]
        inside[top] = True
        later_steps, heights = steps[inside], rates[inside] / peak
        falling = heights < 1.0 - max(1e-3, 3.0 * noise)
        first = int(np.argmax(falling))
        n_falling = int(falling[first:].sum()) if falling.any() else 0
        leaves = float(later_steps[max(first - 1, 0)])
        slack = 0.1 * (float(later_steps[-1]) - leaves)
        # A plateau shorter than this is not told from the flat top of a cosine.
        earliest = start_range[1] + 0.05 * (float(later_steps[-1]) - start_range[1])
        break_range = max(leaves - slack, earliest), float(later_steps[first])
        thin = np.unique(np.linspace(0, len(heights) - 1, _MAX_POINTS).round().astype(int))
        if n_falling < _MAX_POINTS // 2:
            # A decay that has just begun must not drown in its plateau.
            thin = np.unique(np.concatenate([thin, np.arange(max(first - 2, 0), len(heights))]))
        fell = np.maximum.accumulate(rates[: top + 1]) - rates[: top + 1]
        warms_up_once = top > 0 and float(fell.max()) < TURN * peak
        return Descent(
            later_steps[thin], heights[thin], peak, start_range, break_range, noise, n_falling, warms_up_once
        )


def _start_range(steps: Floats, rates: Floats, top: int) -> tuple[float, float]:
    """Where the warm-up ended: about the top, or anywhere before it if no warm-up was logged."""
    if top == 0:
        return min(0.0, float(steps[0])), float(steps[0])
    after = float(steps[min(top + 1, len(steps) - 1)])
    return float(steps[top - 1]), after


def _rounding(rates: Floats) -> float:
    """Standard deviation of the rounding that the rates show: most of them are whole in some decimal place."""
    distinct = np.unique(rates[rates > 1e-6 * rates.max()])
    if len(distinct) < 8:
        return 0.0
    exponents = np.floor(np.log10(distinct))
    for digits in range(2, 7):
        unit = 10.0 ** (exponents - digits + 1)
        if np.mean(np.abs(distinct / unit - np.round(distinct / unit)) < 1e-6) > 0.5:
            return float(unit.max() / math.sqrt(12.0))
    return 0.0
