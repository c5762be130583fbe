"""From a curve's bins to what the inference takes: which bins, how noisy each is, in which unit."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from app.curves.curve import Curve
from app.curves.schedule import Schedule
from app.errors import CurveTooShort
from app.laws.annealing import effective_steps
from app.laws.inference.posterior import Observations

Array = npt.NDArray[np.float64]

MIN_BINS = 5
"""Fewer finite bins than this say nothing about where a curve is going."""

MAX_GROUPS = 40
"""Bins handed to the inference, whose cost grows with their cube. With 64 the mean pinball loss of the language-model
families was the same to 1 %, and with 48."""

EARLIEST_SHARE = 0.1
"""Bins before this share of the effective steps seen are left out: the first part of training follows no power law."""

NOISE_FLOOR = 2e-4
"""Least noise of a bin, over the scale: no loss is logged, and no law holds, more exactly than that."""

OUTLIER = 4.0
"""Bins this many deviations off their neighbours are believed less, by the square of the excess."""

TINIEST_SCALE = 1e-300
"""Unit of a curve that is zero throughout."""


@lru_cache(maxsize=4)
def observe(curve: Curve, schedule: Schedule, *, earliest_share: float = EARLIEST_SHARE) -> Observations:
    """Choose the bins that the law speaks of, and judge their noise.

    Several forecasters ask this of the same curve: the last answers are kept (curves and schedules do not change, and
    are told apart by identity).

    Raises
    ------
    CurveTooShort
        With fewer than `MIN_BINS` bins.
    """
    if len(curve) < MIN_BINS:
        raise CurveTooShort(needed=MIN_BINS, got=len(curve))
    used = _usable(curve, schedule, earliest_share)
    steps, values, counts = curve.steps[used], curve.values[used], curve.counts[used].astype(np.float64)
    level = float(np.median(values[-_tail_length(len(values)) :]))
    scale = loss_scale(values, level)
    values = (values - level) / scale

    floor = NOISE_FLOOR**2
    variances = point_deviation(steps, values, counts) ** 2 / counts + 1e-4 * floor
    variances *= _disbelief(values, variances, half_width=3)
    steps, values, variances = _grouped(steps, values, variances)
    variances *= _disbelief(values, variances, half_width=7)
    magnitudes = _magnitudes(values, level / scale)
    return Observations(
        steps=steps,
        values=values,
        variances=variances + floor * magnitudes**2,
        magnitudes=magnitudes,
        level=level,
        scale=scale,
        cutoff=float(curve.cutoff),
    )


def is_positive(values: Array) -> bool:
    """Whether the metric is a loss in the usual sense, bounded by zero, as far as one can tell from what was seen."""
    return bool((values > 0).all())


def loss_scale(values: Array, level: float) -> float:
    """The unit of the forecast: the level of a positive loss; the spread of a metric that reaches zero or below.

    An RL loss that hovers around zero has no meaningful relative error; what it moved by so far is its only unit.
    """
    if is_positive(values):
        return max(level, TINIEST_SCALE)
    low, high = np.quantile(values, [0.05, 0.95])
    # Nearly all bins the same, as of an error that has come to nothing: then the few others are the spread.
    spread = float(high - low) or float(np.ptp(values))
    return max(spread, NOISE_FLOOR * abs(level), TINIEST_SCALE)


def _tail_length(n_bins: int) -> int:
    """How many of the last bins make the level at the cutoff."""
    return int(np.clip(n_bins // 20, 3, 9))


def _usable(curve: Curve, schedule: Schedule, earliest_share: float) -> npt.NDArray[np.bool_]:
    """Bins after the warm-up and after the first part of training, or the last few where that leaves too few."""
    passed = effective_steps(schedule, curve.steps)
    seen = float(effective_steps(schedule, [float(curve.cutoff)])[0])
    after_warmup = curve.steps >= schedule.warmup_end
    # Early on, or with sparse evaluations, an earlier start is better than no forecast.
    for share in (earliest_share, earliest_share / 4, 0.0):
        used: npt.NDArray[np.bool_] = after_warmup & (passed >= share * seen)
        if used.sum() >= 2 * MIN_BINS:
            return used
    return np.arange(len(curve)) >= min(len(curve) // 4, len(curve) - MIN_BINS)


def point_deviation(steps: Array, values: Array, counts: Array) -> float:
    """Standard deviation of a single point, from how far each bin lies off the line through its neighbours.

    Robust (a median), blind to the trend, and of bin means rather than of points in bins, so that it sees noise
    which neighbouring points share.
    """
    # Against log(step): a falling loss is nearly straight there, and its curvature is not mistaken for noise.
    axis = np.log(np.maximum(steps - min(steps[0], 0.0), 1.0))
    widths = np.maximum(axis[2:] - axis[:-2], 1e-300)
    later = np.clip((axis[1:-1] - axis[:-2]) / widths, 0.0, 1.0)
    off = values[1:-1] - (1 - later) * values[:-2] - later * values[2:]
    expected = np.sqrt(1 / counts[1:-1] + (1 - later) ** 2 / counts[:-2] + later**2 / counts[2:])
    # The recent half: the noise falls with the loss and the rate.
    recent = slice(min(len(off) // 2, len(off) - (MIN_BINS - 2)), None)  # at least three
    return float(np.median(np.abs(off / expected)[recent]) / 0.6745)  # of a normal, |z| has the median 0.6745


def _running_median(values: Array, half_width: int) -> Array:
    half_width = min(half_width, len(values) - 1)
    # Reflected at both ends, by hand: `np.pad` takes longer than the medians.
    before, after = values[half_width:0:-1], values[-2 : -2 - half_width : -1]
    padded = np.concatenate([before, values, after])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half_width + 1)
    median: Array = np.partition(windows, half_width, axis=1)[:, half_width]
    return median


def _disbelief(values: Array, variances: Array, half_width: int) -> Array:
    """Factor of each variance, 1 for all but outliers: spikes, and what one of their points does to a bin."""
    smooth = _running_median(values, half_width)
    off = np.abs(values - smooth)
    # On steep stretches all bins are off: then the typical distance is the measure, not the noise.
    typical = _running_median(off, half_width) / 0.6745
    deviations = np.maximum(np.sqrt(variances), typical)
    excess: Array = np.maximum(off / (OUTLIER * deviations), 1.0)
    excess = np.where(excess > 1.0, excess * OUTLIER, 1.0)
    excess[[0, -1]] = 1.0  # the ends have neighbours on one side only
    return np.minimum(excess, 1e100) ** 2


def _grouped(steps: Array, values: Array, variances: Array) -> tuple[Array, Array, Array]:
    """Merge neighbouring bins, by their precision, until there are at most `MAX_GROUPS`.

    Half of the groups are even in the bins' order, which keeps detail near the cutoff, and half in log(step).
    """
    n = len(steps)
    if n <= MAX_GROUPS:
        return steps, values, variances
    axis = np.log(np.maximum(steps - min(steps[0], 0.0), 1.0))
    span = max(axis[-1] - axis[0], 1e-300)
    place = (np.arange(n) / (n - 1) + (axis - axis[0]) / span) / 2
    starts = np.unique(np.searchsorted(place, np.arange(MAX_GROUPS) / MAX_GROUPS))
    weights = 1 / variances
    total = np.add.reduceat(weights, starts)
    return (
        np.add.reduceat(weights * steps, starts) / total,
        np.add.reduceat(weights * values, starts) / total,
        1 / total,
    )


def _magnitudes(values: Array, level: float) -> Array:
    """Local level over the level at the cutoff, at least 1; `level` in units of the scale."""
    smooth = _running_median(values, 2)
    return np.maximum(1.0 + smooth / max(level, 1.0), 1.0)
