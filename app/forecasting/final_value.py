"""The final value of a run: the mean of what it logs over its last steps, and by how much the noise moves it."""

from __future__ import annotations

import math

import numpy as np

from app.curves.curve import Curve
from app.forecasting.forecaster import Array, Paths
from app.forecasting.observations import MIN_BINS, point_deviation

FINAL_SHARE = 0.02
"""The final value is the mean over this last share of the steps: a single point is mostly noise."""


def final_levels(paths: Paths, curve: Curve, horizon: int) -> Array:
    """Level of each path averaged over the last 2 % of the steps; what was already seen of them counts as seen."""
    start = (1 - FINAL_SHARE) * horizon
    future = paths.steps >= start
    if not future.any():
        future[-1] = True
    steps, values = paths.steps[future].astype(np.float64), paths.values[:, future]
    ahead = values[:, -1] if len(steps) == 1 else np.trapezoid(values, steps, axis=1) / (steps[-1] - steps[0])
    seen = curve.steps >= start
    if not seen.any():
        return ahead
    share = (min(curve.cutoff, horizon) - start) / max(horizon - start, 1e-300)
    return share * float(np.average(curve.values[seen], weights=curve.counts[seen])) + (1 - share) * ahead


def final_noise(curve: Curve, horizon: int) -> float:
    """Standard deviation of the final value around the mean of the levels: the noise of the points still to come.

    As many points a step are taken to come as came in the second half of what was seen. However well the level is
    known, a mean of eighty points with a deviation of 0.3 is known to no better than 0.03 until they have come. Where
    the second half has no finite point at all, the last bin before it stands for all that time.

    Returns
    -------
    float
        0 where nothing of the last steps is left, or too few bins tell what the noise is.   [of the metric]
    """
    start = (1 - FINAL_SHARE) * horizon
    ahead = horizon - max(start, float(curve.cutoff))
    if ahead <= 0 or len(curve) < MIN_BINS:
        return 0.0
    recent = curve.steps >= min((curve.steps[0] + curve.cutoff) / 2, curve.steps[-1])
    points = float(curve.counts[recent].sum()) / max(float(curve.cutoff - curve.steps[recent][0]), 1.0)
    deviation = point_deviation(curve.steps, curve.values, curve.counts.astype(np.float64))
    return ahead / (horizon - start) * deviation / math.sqrt(max(points * ahead, 1.0))
