"""A smoothed line to look at; nothing is concluded from it."""

from __future__ import annotations

import numpy as np

from app.dashboard.figures.axes import Floats

WIDTH = 0.01  # standard deviation of the kernel, as a share of the steps shown
BINS = 600


def smoothed(steps: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Mean of the finite values under a Gaussian that is `WIDTH` of the shown steps wide.

    Parameters
    ----------
    steps, values : ndarray, shape (n_points,)
        Steps strictly increasing. [steps], [any]

    Returns
    -------
    steps, values : ndarray, shape (n_bins,)
        NaN where no finite value lies within three widths.

    Notes
    -----
    The points fall into equal bins first, so a stretch logged ten times as densely does not pull ten times as hard.
    Unlike an exponential average it does not lag behind the curve, and it needs no start value.
    """
    finite = np.isfinite(values)
    if finite.sum() < 3:
        return steps, np.where(finite, values, np.nan)
    edges = np.linspace(steps[0], steps[-1], BINS + 1)
    bins = np.clip(np.searchsorted(edges, steps[finite], side="right") - 1, 0, BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    sums = np.bincount(bins, weights=values[finite], minlength=BINS)
    filled = counts > 0
    means = np.where(filled, sums / np.maximum(counts, 1), 0.0)

    reach = int(3 * WIDTH * BINS)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (WIDTH * BINS)) ** 2)
    weight = np.convolve(filled.astype(np.float64), kernel, mode="same")
    total = np.convolve(means, kernel, mode="same")
    line = np.where(weight > 1e-12, total / np.maximum(weight, 1e-12), np.nan)
    # Drawn where something was measured: a curve across an unmeasured stretch would be an invention.
    return 0.5 * (edges[:-1] + edges[1:])[filled], line[filled]
