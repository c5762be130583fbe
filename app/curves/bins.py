"""The rule that cuts a curve into bins, and the arithmetic that merges them.

A bin is dyadic: it holds the steps `origin + [a * 2**k, (a + 1) * 2**k)`, where `origin` is the first step of the
metric. How wide a bin may be depends on where it lies and on how long the curve is, and only ever grows with the
length, so bins are merged and never split. Early in the run a bin spans at most 1/16 of the way to it (the loss falls
there as a power of the step, so bins are even on a logarithmic axis); later all are equally wide.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

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
        return _of_points(np.empty(0, np.uint64), np.empty(0))

    def first(self, n_bins: int) -> Bins:
        """The first `n_bins` bins."""
        return replace(self, **{field.name: getattr(self, field.name)[:n_bins] for field in fields(self)})

    def extended(self, offsets: npt.NDArray[np.uint64], values: npt.NDArray[np.float64]) -> Bins:
        """These bins and new points behind them, cut anew for the longer curve."""
        if not len(offsets):
            return self
        narrowest, widest = widths_for(int(offsets[-1]))
        return _merged(_joined(self, _of_points(offsets, values)), narrowest, widest)


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


def _of_points(offsets: npt.NDArray[np.uint64], values: npt.NDArray[np.float64]) -> Bins:
    """One bin a point."""
    finite = np.abs(values) <= LARGEST_VALUE  # False for NaN
    kept = np.where(finite, values, 0.0)
    return Bins(
        starts=offsets,
        counts=finite.astype(np.int64),
        mean_offsets=np.where(finite, offsets.astype(np.float64), 0.0),
        means=kept,
        deviations=np.zeros(len(values)),
        minima=np.where(finite, values, np.inf),
        maxima=np.where(finite, values, -np.inf),
        nonfinite=(~finite).astype(np.int64),
        last_nonfinite=np.where(finite, np.uint64(0), offsets),
        last_offsets=offsets,
        last_values=values,
    )


def _joined(first: Bins, second: Bins) -> Bins:
    return Bins(*(np.concatenate([getattr(first, f.name), getattr(second, f.name)]) for f in fields(Bins)))


def _merged(bins: Bins, narrowest: int, widest: int) -> Bins:
    """Bins merged into those that the widths allow.

    Means and squared deviations are combined as Chan, Golub and LeVeque (1983) do for pairs, here for any number of
    parts at once: no difference of large sums, so a loss of 1e9 with a spread of 1e-3 keeps its spread.
    """
    starts = bin_starts(bins.starts, narrowest, widest)
    heads = np.flatnonzero(np.concatenate([[True], starts[1:] != starts[:-1]]))
    sizes = np.diff(np.append(heads, len(starts)))
    tails = heads + sizes - 1
    counts = np.add.reduceat(bins.counts, heads)
    shares = bins.counts / np.repeat(np.maximum(counts, 1), sizes)
    means = np.add.reduceat(shares * bins.means, heads)
    between = bins.counts * (bins.means - np.repeat(means, sizes)) ** 2
    return Bins(
        starts=starts[heads],
        counts=counts,
        mean_offsets=np.add.reduceat(shares * bins.mean_offsets, heads),
        means=means,
        deviations=np.add.reduceat(bins.deviations + between, heads),
        minima=np.minimum.reduceat(bins.minima, heads),
        maxima=np.maximum.reduceat(bins.maxima, heads),
        nonfinite=np.add.reduceat(bins.nonfinite, heads),
        last_nonfinite=np.maximum.reduceat(bins.last_nonfinite, heads),
        last_offsets=bins.last_offsets[tails],
        last_values=bins.last_values[tails],
    )
