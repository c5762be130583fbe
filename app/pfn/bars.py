r"""Bar distributions with sloping tops and exponential tails.

Knots are cut once, at quantiles of what the prior asks in the unit of `app.pfn.features`, so that each stands for as
much of the prior. For each query the network says how much mass is at each knot:

.. math:: y = \mathrm{location} + \mathrm{unit} \cdot b, \qquad b \sim \mathrm{bars}.

The density of `b` is a straight line between knots and falls exponentially outside: a mixture of tents, one a knot.
Prior-fitted networks usually have flat tops [1]_; sloping ones follow a smooth density with fewer knots.

.. [1] S. Müller et al., "Transformers Can Do Bayesian Inference," arXiv:2112.10510, 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from app.pfn.intrinsic_time import Array

LARGEST_ANSWER = 1000.0
"""Values further off than this many units count as this far: what has blown up has blown up."""

LEAST_GAP = 1e-4
"""Least distance of two knots, in units."""


@dataclass(frozen=True, eq=False)
class Knots:
    """Where the density bends.

    places : float64, (n_bars,), increasing      [units]
    left_tail, right_tail : mean length of what lies outside      [units]
    """

    places: Array
    left_tail: float
    right_tail: float

    @staticmethod
    def of_equal_mass(answers: npt.NDArray[np.floating], n_bars: int) -> Knots:
        """At the middles of `n_bars` parts that hold as many of the answers each."""
        answers = np.clip(answers.astype(np.float64).ravel(), -LARGEST_ANSWER, LARGEST_ANSWER)
        places = np.quantile(answers, (np.arange(n_bars) + 0.5) / n_bars)
        # Answers that agree exactly (what has blown up) would make knots without distance.
        places += LEAST_GAP * (np.arange(n_bars) - n_bars / 2)
        below, above = np.maximum(places[0] - answers, 0.0), np.maximum(answers - places[-1], 0.0)
        # Half a part of the answers lies beyond each end.
        return Knots(places, 2 * n_bars * float(below.mean()) + LEAST_GAP, 2 * n_bars * float(above.mean()) + LEAST_GAP)

    @cached_property
    def gaps(self) -> Array:
        """Distances of neighbours, (n_bars - 1,)."""
        gaps: Array = np.diff(self.places)
        return gaps

    @cached_property
    def areas(self) -> Array:
        """Area of a tent of height 1 over each knot, its tail included, (n_bars,)."""
        sides = np.concatenate([[2 * self.left_tail], self.gaps, [2 * self.right_tail]])
        areas: Array = (sides[1:] + sides[:-1]) / 2
        return areas

    @cached_property
    def means(self) -> Array:
        """Mean of each tent, (n_bars,)."""
        places, gaps = self.places, self.gaps
        # A sloping side of length g: area g / 2, its mean a third of the way down. A tail: area and distance tau.
        right = np.concatenate([gaps**2 / 6, [self.right_tail**2]])
        left = np.concatenate([[self.left_tail**2], gaps**2 / 6])
        means: Array = places + (right - left) / self.areas
        return means


@dataclass(frozen=True, eq=False)
class Bars:
    """Distributions of B times Q asked values.

    masses : float64, (B, Q, n_bars), of the tents, sum to 1
    location, unit : float64, (B, Q): value = location + unit * b     [of the metric]
    """

    knots: Knots
    masses: Array
    location: Array
    unit: Array

    @staticmethod
    def of_logits(knots: Knots, logits: npt.NDArray[np.floating], location: Array, unit: Array) -> Bars:
        """From the network's answer, (B, Q, n_bars), in the features' location and unit."""
        masses = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
        masses /= masses.sum(axis=-1, keepdims=True)
        return Bars(knots, masses, location, unit)

    def of_queries(self, chosen: slice) -> Bars:
        """The distributions of some of the queries."""
        return Bars(self.knots, self.masses[:, chosen], self.location[:, chosen], self.unit[:, chosen])

    def cdf(self, values: npt.ArrayLike) -> Array:
        """Probability that the value asked is at most `values`, broadcast to (B, Q)."""
        place = self._place(values)
        segment, share = self._segment(place)
        start, left, right = (self._at(each, segment) for each in (self._below, self._heights, self._heights_after))
        inside = start + self.knots.gaps[segment] * share * (left + (right - left) * share / 2)
        first, last = self.knots.places[[0, -1]]
        lower = (
            self.knots.left_tail * self._heights[..., 0] * np.exp(np.minimum(place - first, 0) / self.knots.left_tail)
        )
        upper = (
            self.knots.right_tail * self._heights[..., -1] * np.exp(np.minimum(last - place, 0) / self.knots.right_tail)
        )
        cdf: Array = np.where(place < first, lower, np.where(place > last, 1 - upper, inside))
        return np.clip(cdf, 0.0, 1.0)

    def log_density(self, values: npt.ArrayLike) -> Array:
        """Natural logarithm of the density at `values`, broadcast to (B, Q).   [1 / of the metric]"""
        place = self._place(values)
        segment, share = self._segment(place)
        height = (1 - share) * self._at(self._heights, segment) + share * self._at(self._heights_after, segment)
        outside = np.maximum(self.knots.places[0] - place, 0) / self.knots.left_tail
        outside += np.maximum(place - self.knots.places[-1], 0) / self.knots.right_tail
        density: Array = np.log(np.maximum(height, 1e-300)) - outside - np.log(self.unit)
        return density

    def quantiles(self, levels: npt.ArrayLike) -> Array:
        """Values that are not exceeded with these probabilities, (n_levels, B, Q)."""
        levels = np.atleast_1d(np.asarray(levels, dtype=np.float64))
        if not ((levels > 0) & (levels < 1)).all():
            raise ValueError("Quantile levels lie between 0 and 1.")
        return self.location + self.unit * self._places_below(levels)

    def mean(self) -> Array:
        """Expected value, (B, Q)."""
        return self.location + self.unit * (self.masses @ self.knots.means)

    @cached_property
    def _heights(self) -> Array:
        """Density of b at the knots."""
        return self.masses / self.knots.areas

    @cached_property
    def _heights_after(self) -> Array:
        return self._heights[..., 1:]

    @cached_property
    def _below(self) -> Array:
        """Probability that b lies under each knot."""
        below = np.empty_like(self._heights)
        below[..., 0] = self.knots.left_tail * self._heights[..., 0]
        pieces = np.add(self._heights[..., 1:], self._heights[..., :-1], out=below[..., 1:])
        pieces *= self.knots.gaps / 2
        return np.cumsum(below, axis=-1, out=below)

    def _place(self, values: npt.ArrayLike) -> Array:
        return (np.broadcast_to(np.asarray(values, dtype=np.float64), self.location.shape) - self.location) / self.unit

    def _segment(self, place: Array) -> tuple[npt.NDArray[np.intp], Array]:
        """Which two knots each place lies between, and how far from the first to the second; clipped to the ends."""
        segment = np.clip(np.searchsorted(self.knots.places, place) - 1, 0, len(self.knots.gaps) - 1)
        return segment, np.clip((place - self.knots.places[segment]) / self.knots.gaps[segment], 0.0, 1.0)

    @staticmethod
    def _at(array: Array, segment: npt.NDArray[np.intp]) -> Array:
        n, n_queries = segment.shape
        found: Array = array[np.arange(n)[:, None], np.arange(n_queries), segment]
        return found

    def _places_below(self, levels: Array) -> Array:
        """Quantiles of b, (n_levels, B, Q): the segment by bisection, cell by cell, the place in it in closed form."""
        knots, last = self.knots, len(self.knots.gaps) - 1
        below = self._below.reshape(-1, len(knots.places))
        segment = np.stack([np.searchsorted(cell, levels) for cell in below], axis=1) - 1
        segment = np.clip(segment, 0, last)
        cell = np.arange(len(below))
        heights = self._heights.reshape(below.shape)
        left, right = heights[cell, segment], heights[cell, segment + 1]
        level = levels[:, None]
        wanted = np.maximum(level - below[cell, segment], 0.0) / knots.gaps[segment]
        # The root of left f + (right - left) f^2 / 2 = wanted, written so that a flat top divides nothing by zero.
        root = np.sqrt(np.maximum(left**2 + 2 * (right - left) * wanted, 0.0))
        share = np.clip(2 * wanted / np.maximum(left + root, 1e-300), 0.0, 1.0)
        inside = knots.places[segment] + share * knots.gaps[segment]
        # Outside, what lies beyond falls by e with every length of the tail.
        beyond_left = np.maximum(below[:, 0], 1e-300)
        beyond_right = np.maximum(knots.right_tail * heights[:, -1], 1e-300)
        lower = knots.places[0] + knots.left_tail * np.log(np.minimum(level / beyond_left, 1.0))
        upper = knots.places[-1] - knots.right_tail * np.log(np.minimum((1 - level) / beyond_right, 1.0))
        places = np.where(level < below[:, 0], lower, np.where(level > below[:, -1], upper, inside))
        return places.reshape(len(levels), *self.location.shape)
