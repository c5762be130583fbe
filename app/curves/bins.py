"""The rule that cuts a curve into bins, and the arithmetic that merges them.

A bin is dyadic: it holds the steps `origin + [a * 2**k, (a + 1) * 2**k)`, where `origin` is the first step of the
metric. How wide a bin may be depends on where it lies and on how long the curve is, and only ever grows with the
length, so bins are merged and never split. Early in the run a bin spans at most 1/16 of the way to it (the loss falls
there as a power of the step, so bins are even on a logarithmic axis); later all are equally wide.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

UNIFORM_BINS = 448
"""The widest bins would number at most this many over the whole curve."""
BINS_PER_OCTAVE = 16
"""Early bins: this many between a step and twice that step."""
OCTAVES = 15
"""The widest bins are at most `2**OCTAVES` times as wide as the narrowest: bounds their number at any length."""
MAX_BINS = UNIFORM_BINS + BINS_PER_OCTAVE * OCTAVES
"""No curve has more bins. It is reached near 15 million steps; below 449 steps every point has its own bin."""

LARGEST_VALUE = 1e150
"""Beyond this the square of a value overflows. No loss, norm or rate lives there: such values count as not finite."""


_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Moments of the points in each bin; every array has shape (n_bins,).

    starts : uint64, first offset from the origin that the bin holds, strictly increasing       [steps]
    counts : int64, finite points
    mean_offsets : float64, mean offset of the finite points, 0 where there are none            [steps]
    means : float64, mean of the finite values, 0 where there are none
    deviations : float64, sum of squared deviations from the mean
    minima, maxima : float64, over the finite values; +inf and -inf where there are none
    nonfinite : int64, points that are NaN, infinite or beyond `LARGEST_VALUE`
    last_nonfinite : uint64, offset of the last of them; 0 (and meaningless) where there are none [steps]
    last_offsets : uint64, offset of the last point of any kind                                 [steps]
    last_values : float64, its value as it was logged
    """

    starts: npt.NDArray[np.uint64]
    counts: npt.NDArray[np.int64]
    mean_offsets: npt.NDArray[np.float64]
    means: npt.NDArray[np.float64]
    deviations: npt.NDArray[np.float64]
    minima: npt.NDArray[np.float64]
    maxima: npt.NDArray[np.float64]
    nonfinite: npt.NDArray[np.int64]
    last_nonfinite: npt.NDArray[np.uint64]
    last_offsets: npt.NDArray[np.uint64]
    last_values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.starts)

    @staticmethod
    def empty() -> Bins:
        offsets, counts, values = np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0)
        return Bins(offsets, counts, values, values, values, values, values, counts, offsets, offsets, values)

    def first(self, n_bins: int) -> Bins:
        """The first `n_bins` bins."""
        return replace(self, **{field.name: getattr(self, field.name)[:n_bins] for field in fields(self)})

    def extended(self, offsets: npt.NDArray[np.uint64], values: npt.NDArray[np.float64]) -> Bins:
        """These bins and new points behind them, cut anew for the longer curve."""
        if not len(offsets):
            return self
        narrowest, widest = widths_for(int(offsets[-1]))
        return _merged(_joined(self, _of_points(offsets, values, narrowest, widest)), narrowest, widest)


def widths_for(last_offset: int) -> tuple[int, int]:
    """Widths of the narrowest and the widest bins of a curve that reaches `last_offset`, both powers of two. [steps]"""
    widest = 1
    while UNIFORM_BINS * widest <= last_offset:
        widest *= 2
    return max(1, widest >> OCTAVES), widest


def bin_starts(offsets: npt.NDArray[np.uint64], narrowest: int, widest: int) -> npt.NDArray[np.uint64]:
    """First offset of the bin that holds each offset, shape (n,). Offsets must be sorted."""
    starts = offsets.copy()
    width = widest
    end = len(offsets)
    # From the back: each octave of the early part is half as wide as the one behind it.
    while True:
        octave_begins = BINS_PER_OCTAVE * width if width > narrowest else 0
        begin = int(np.searchsorted(offsets, np.uint64(octave_begins)))
        starts[begin:end] &= np.uint64(2**64 - width)
        if width == narrowest or begin == 0:
            return starts
        width //= 2
        end = begin


def _of_points(offsets: npt.NDArray[np.uint64], values: npt.NDArray[np.float64], narrowest: int, widest: int) -> Bins:
    """Points, sorted by offset, in bins of the widths given."""
    groups = _Groups.of(bin_starts(offsets, narrowest, widest))
    finite = np.abs(values) <= LARGEST_VALUE  # False for NaN
    all_finite = bool(finite.all())
    weights = finite.astype(np.float64)
    kept = values if all_finite else np.where(finite, values, 0.0)
    means = groups.means(kept, weights)
    return Bins(
        starts=groups.starts,
        counts=groups.sums(finite.astype(np.int64)),
        mean_offsets=groups.means(offsets.astype(np.float64), weights),
        means=means,
        deviations=groups.sums(weights * (kept - groups.spread_out(means)) ** 2),
        minima=groups.minima(kept if all_finite else np.where(finite, values, np.inf)),
        maxima=groups.maxima(kept if all_finite else np.where(finite, values, -np.inf)),
        nonfinite=groups.sums((~finite).astype(np.int64)),
        last_nonfinite=groups.maxima(np.where(finite, np.uint64(0), offsets)),
        last_offsets=offsets[groups.tails],
        last_values=values[groups.tails],
    )


def _merged(bins: Bins, narrowest: int, widest: int) -> Bins:
    """Bins merged into those that the widths allow.

    Means and squared deviations are combined as Chan, Golub and LeVeque (1983) do for pairs, here for any number of
    parts at once: no difference of large sums, so a loss of 1e9 with a spread of 1e-3 keeps its spread.
    """
    groups = _Groups.of(bin_starts(bins.starts, narrowest, widest))
    weights = bins.counts.astype(np.float64)
    means = groups.means(bins.means, weights)
    return Bins(
        starts=groups.starts,
        counts=groups.sums(bins.counts),
        mean_offsets=groups.means(bins.mean_offsets, weights),
        means=means,
        deviations=groups.sums(bins.deviations + weights * (bins.means - groups.spread_out(means)) ** 2),
        minima=groups.minima(bins.minima),
        maxima=groups.maxima(bins.maxima),
        nonfinite=groups.sums(bins.nonfinite),
        last_nonfinite=groups.maxima(bins.last_nonfinite),
        last_offsets=bins.last_offsets[groups.tails],
        last_values=bins.last_values[groups.tails],
    )


def _joined(first: Bins, second: Bins) -> Bins:
    return Bins(*(np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(Bins)))


@dataclass(frozen=True, slots=True, eq=False)
class _Groups:
    """Neighbouring entries that share a bin: where each group begins, and what it comes to."""

    starts: npt.NDArray[np.uint64]
    heads: npt.NDArray[np.intp]
    sizes: npt.NDArray[np.intp]

    @staticmethod
    def of(starts: npt.NDArray[np.uint64]) -> _Groups:
        heads = np.flatnonzero(np.concatenate([[True], starts[1:] != starts[:-1]]))
        return _Groups(starts[heads], heads, np.diff(np.append(heads, len(starts))))

    @property
    def tails(self) -> npt.NDArray[np.intp]:
        return self.heads + self.sizes - 1

    def sums(self, entries: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        return np.add.reduceat(entries, self.heads)

    def minima(self, entries: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        return np.minimum.reduceat(entries, self.heads)

    def maxima(self, entries: npt.NDArray[_Number]) -> npt.NDArray[_Number]:
        return np.maximum.reduceat(entries, self.heads)

    def spread_out(self, group_values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.repeat(group_values, self.sizes)

    def means(self, entries: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Weighted mean of each group, 0 where the weights are."""
        # Measured from the group's lowest entry, so that equal entries give exactly that entry and a constant
        # learning rate has no spread.
        seen = weights > 0
        lows = self.minima(np.where(seen, entries, np.inf))
        lows = np.where(np.isfinite(lows), lows, 0.0)
        totals = self.sums(weights)
        excess = self.sums(weights * (entries - self.spread_out(lows)))
        return lows + excess / np.maximum(totals, 1.0)
