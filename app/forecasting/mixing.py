"""One set of quantiles out of those of several forecasters: whose median, and whose distances from it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def mixed_quantiles(quantiles: Array, median: Array, width: Array) -> Array:
    """Quantiles around the mean of the medians, at the mean of everyone's distances from their own median.

    Averages of quantiles [1]_ rather than of probabilities: where two sound forecasts differ a little, a mixture of
    their probabilities is wider than both, and no better. The outermost distances have weights of their own, since who
    is nearer need not be who knows best how far off it may be.

    Distances below the median count in parts of their own median where every quantile is positive: of forecasts that
    differ by a factor, plain distances would reach below zero.

    Parameters
    ----------
    quantiles : float64, shape (n_forecasters, n_levels, ...)
        Not decreasing along the levels, which lie evenly around the middle one, the median.   [of the metric]
    median, width : float64, shape (n_forecasters, ...)
        Weights in the median and the distances next to it, and in those of the first and the last level; each sums to 1
        over the forecasters.   [1]

    Returns
    -------
    float64, shape (n_levels, ...)
        Not decreasing along the levels; positive where all quantiles are.

    References
    ----------
    .. [1] K. C. Lichtendahl, Y. Grushka-Cockayne, R. L. Winkler, "Is It Better to Average Probabilities or
       Quantiles?", Management Science 59, 2013.
    """
    if len(quantiles) == 1:
        alone: Array = quantiles[0]  # to the last digit, so that nothing leaves its bounds by a rounding
        return alone
    middle = quantiles.shape[1] // 2
    medians = quantiles[:, middle]
    centre = (median * medians).sum(axis=0)
    positive = (quantiles[:, 0] > 0).all(axis=0)
    distances = quantiles - medians[:, None]
    # Divided first: in parts of a median they lie between -1 and 0, however small it is.
    distances[:, :middle] /= np.where(positive, medians, 1.0)[:, None]
    distances[:, :middle] *= np.where(positive, centre, 1.0)
    mixture: Array = centre + (median[:, None] * distances).sum(axis=0)
    outermost = centre + (width[:, None] * distances[:, [0, -1]]).sum(axis=0)
    if middle > 1:  # a narrow band of one and a wide one of the other must not cross
        outermost[0] = np.minimum(outermost[0], mixture[1])
        outermost[1] = np.maximum(outermost[1], mixture[-2])
    mixture[[0, -1]] = outermost
    return mixture
