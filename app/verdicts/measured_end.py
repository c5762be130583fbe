r"""How surely the level at the end of a run is known: its mean over the last 2 % is a mean of noisy points.

Siblings that ended within this of each other cannot be told apart by their logs. Nothing is said of what another seed
would have come to.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from app.curves.curve import Curve
from app.forecasting.final_value import FINAL_SHARE
from app.forecasting.forecast import LEVELS
from app.forecasting.scores import QuantileForecast

SCATTER_SHARE = 0.1
"""Of the steps: the scatter is taken from the last tenth, as the last 2 % are mostly a handful of bins."""

FEWEST_BINS = 8
MOST_CORRELATION = 0.9
"""Neighbouring bins that seem more alike than this mostly are so because the line does not fit."""


def final_error(curve: Curve) -> float | None:
    r"""Standard error of the mean over the last 2 % of the steps; None where there are too few points to say.

    Around a straight line through the last tenth of the run the bins scatter by :math:`s` and neighbours correlate by
    :math:`r`. With the noise taken as autoregressive of the first order, the mean of :math:`n` bins has the variance

    .. math:: \frac{s^2}{n} \left(1 + 2 \sum_{k=1}^{n-1} \left(1 - \frac{k}{n}\right) r^k\right).

    Returns
    -------
    float or None
        [of the metric]
    """
    late = int(np.count_nonzero(curve.steps >= (1 - SCATTER_SHARE) * curve.cutoff))
    n_scatter = max(late, FEWEST_BINS)
    if len(curve) < n_scatter:
        return None
    deviation, correlation = _scatter(curve.steps[-n_scatter:], curve.values[-n_scatter:])
    n = max(int(np.count_nonzero(curve.steps >= (1 - FINAL_SHARE) * curve.cutoff)), 1)
    lags = np.arange(1, n)
    error = deviation * math.sqrt((1 + 2 * np.sum((1 - lags / n) * correlation**lags)) / n)
    return error if math.isfinite(error) else None


def measured_end(level: float, error: float | None) -> QuantileForecast | float:
    """The end of a run as one of a group that is ranked; a bare number where its error is zero or unknown."""
    values = level + (error or 0.0) * ndtri(np.array(LEVELS))
    return QuantileForecast(np.array(LEVELS), values) if (np.diff(values) > 0).all() else level


def _scatter(steps: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Standard deviation around a straight line, and the correlation of neighbours there, never below zero."""
    at = (steps - steps.mean()) / np.ptp(steps)
    size = float(np.abs(values).max()) or 1.0  # squares of what is left must not overflow
    scaled = values / size
    centred = scaled - scaled.mean()
    rest = centred - at * (at @ centred) / (at @ at)
    power = float(rest @ rest)
    if power == 0:
        return 0.0, 0.0
    correlation = float(rest[1:] @ rest[:-1]) / power
    return size * math.sqrt(power / (len(rest) - 2)), min(max(correlation, 0.0), MOST_CORRELATION)
