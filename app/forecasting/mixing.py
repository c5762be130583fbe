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

    Below the median, quantiles count in parts of their own median where none is negative: of forecasts that differ by a
    factor, plain distances would reach below zero.

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
        Not decreasing along the levels; nowhere negative where no quantile is and no median is zero.

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
    positive = (quantiles[:, 0] >= 0).all(axis=0) & (medians > 0).all(axis=0)
    distances = quantiles - medians[:, None]
    parts = quantiles[:, :middle] / np.where(positive, medians, 1.0)[:, None]

    def mixed(levels: slice, weights: Array) -> Array:
        quantiles_there: Array = centre + (weights[:, None] * distances[:, levels]).sum(axis=0)
        return quantiles_there

    def mixed_below(levels: slice, weights: Array) -> Array:
        # A sum of what is not negative. The same as a distance from the median would be rounded to below zero.
        in_parts: Array = centre * (weights[:, None] * parts[:, levels]).sum(axis=0)
        return np.where(positive, in_parts, mixed(levels, weights))

    inner = np.concatenate([mixed_below(slice(1, middle), median), centre[None], mixed(slice(middle + 1, -1), median)])
    lowest, highest = mixed_below(slice(0, 1), width), mixed(slice(-1, None), width)
    # A narrow band of one and a wide one of the other must not cross.
    mixture: Array = np.concatenate([np.minimum(lowest, inner[:1]), inner, np.maximum(highest, inner[-1:])])
    return mixture
