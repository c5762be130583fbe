"""Which points of an invented run were logged, and the bins that they fall in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.pfn.prior.draws import Array, Flags, chance, log_uniform
from app.pfn.prior.schedules import Schedules
from app.pfn.tasks import MAX_BINS, bin_edges

NODES_PER_BIN = 3
"""Places at which the level is evaluated, for its mean over a bin: exact for a cubic."""

FEWEST_SEEN, MOST_SEEN = 5, 1e6
"""Points in the context: from a handful of evaluations to every step of a long run."""

LEAST_SEEN_SHARE, MOST_SEEN_SHARE = 0.02, 0.98
"""Of the horizon, that lies before the cutoff."""


@dataclass(frozen=True, slots=True, eq=False)
class Logs:
    """Evenly logged points; arrays of shape (n,).

    first, cutoff, interval : of the points seen [horizon]
    n_points : how many there are
    gap_begin, gap_end : nothing was logged between these [horizon]
    """

    first: Array
    cutoff: Array
    interval: Array
    n_points: Array
    gap_begin: Array
    gap_end: Array

    def bins(self) -> ContextBins:
        first, interval = self.first[:, None], self.interval[:, None]
        edges = bin_edges(self.first, self.cutoff)
        upto = np.floor((edges - first) / interval + 1.0 + 1e-6)
        upto[:, 0], upto[:, -1] = 0.0, self.n_points
        counts = np.diff(upto, axis=1)
        begin, end = first + upto[:, :-1] * interval, first + (upto[:, 1:] - 1.0) * interval
        in_gap = (end > self.gap_begin[:, None]) & (begin < self.gap_end[:, None])
        return ContextBins((begin + end) / 2, counts, end - begin, (counts > 0) & ~in_gap)


@dataclass(frozen=True, slots=True, eq=False)
class ContextBins:
    """Bins of points; arrays of shape (n, MAX_BINS).

    centres : mean position of the points [horizon]
    counts : points in each, some 0
    spans : from the first point to the last [horizon]
    seen : whether anything was logged
    """

    centres: Array
    counts: Array
    spans: Array
    seen: Flags

    def nodes(self) -> Array:
        """Positions, shape (n, MAX_BINS * NODES_PER_BIN), with the mean and the variance of the points' positions."""
        counts = np.maximum(self.counts, 2.0)
        reach = np.maximum(self.spans, 0.0) * np.sqrt((counts + 1.0) / (8.0 * (counts - 1.0)))
        nodes = self.centres[:, :, None] + reach[:, :, None] * np.array([-1.0, 0.0, 1.0])
        flat: Array = np.maximum(nodes.reshape(len(counts), MAX_BINS * NODES_PER_BIN), 0.0)
        return flat


def sample_logs(rng: np.random.Generator, schedules: Schedules) -> Logs:
    n = len(schedules)
    share = np.where(
        chance(rng, 0.5, n),
        rng.uniform(LEAST_SEEN_SHARE, MOST_SEEN_SHARE, n),
        log_uniform(rng, LEAST_SEEN_SHARE, MOST_SEEN_SHARE, n),
    )
    sparse = chance(rng, 0.25, n)
    n_points = np.floor(log_uniform(rng, np.where(sparse, FEWEST_SEEN, 40), np.where(sparse, 41, MOST_SEEN), n))
    # Some logs leave the warm-up out, some are windows of a longer one.
    after_warmup = np.where(chance(rng, 0.2, n), schedules.warmup_end * rng.uniform(0.8, 1.3, n), 0.0)
    window = np.where(chance(rng, 0.08, n), share * rng.uniform(0.0, 0.5, n), 0.0)
    start = np.where(after_warmup < 0.4 * share, np.maximum(after_warmup, window), window)
    first = np.maximum(start, share / n_points)
    gap_begin = first + (share - first) * rng.uniform(0.0, 0.9, n)
    gap = np.where(chance(rng, 0.08, n), rng.uniform(0.05, 0.5, n) * (share - gap_begin), 0.0)
    return Logs(first, share, (share - first) / (n_points - 1.0), n_points, gap_begin, gap_begin + gap)
