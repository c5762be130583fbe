"""When a number that grows will have grown too far."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

AUTOCORRELATION = 9.0
"""Variance of the fit is taken this much larger: residuals of a training run come in runs, not one by one."""

FEWEST_BLOCKS = 12
SMALLEST_T = 2.0
"""A slope within so many standard errors of zero is no trend: nothing is extrapolated."""


@dataclass(frozen=True, slots=True)
class Trend:
    r"""A power law of the step, :math:`\log y = a + b \log t`, through the recent past.

    intercept, slope : a and b
    residual : standard deviation of the residuals
    mean_x, sum_squares : of log t over the points fitted
    """

    intercept: float
    slope: float
    residual: float
    mean_x: float
    sum_squares: float
    n: int

    @property
    def slope_error(self) -> float:
        return self.residual * math.sqrt(AUTOCORRELATION / self.sum_squares) if self.sum_squares > 0 else math.inf

    @property
    def is_rising(self) -> bool:
        return self.slope > SMALLEST_T * self.slope_error

    def probability_above(self, log_level: float, step: float) -> float:
        """That the number is above a level at a step to come."""
        x = math.log(step)
        expected = self.intercept + self.slope * x
        spread = AUTOCORRELATION * (1 / self.n + (x - self.mean_x) ** 2 / self.sum_squares) + 1
        z = (log_level - expected) / max(self.residual * math.sqrt(spread), 1e-9)
        return 0.5 * math.erfc(z / math.sqrt(2))


def fit_trend(steps: Floats, logs: Floats) -> Trend | None:
    """Least squares of the logarithm of a number on the logarithm of the step; None with too few points.

    Parameters
    ----------
    steps : shape (n,), positive [steps]
    logs : shape (n,)
    """
    if len(steps) < FEWEST_BLOCKS:
        return None
    x = np.log(steps)
    mean_x, mean_y = float(x.mean()), float(logs.mean())
    sum_squares = float(((x - mean_x) ** 2).sum())
    if sum_squares == 0:
        return None
    slope = float(((x - mean_x) * (logs - mean_y)).sum()) / sum_squares
    residuals = logs - mean_y - slope * (x - mean_x)
    residual = math.sqrt(float((residuals**2).sum()) / (len(x) - 2))
    return Trend(mean_y - slope * mean_x, slope, residual, mean_x, sum_squares, len(x))
