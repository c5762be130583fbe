"""How likely parameters are, given what was seen of a run: a density in closed form, for a sampler."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from app.pfn.prior.draws import Array
from app.pfn.prior.noise import LARGEST, SMALLEST
from app.pfn.prior.tractable.coordinates import (
    FALL,
    N_COORDINATES,
    TYPICAL_FALL,
    UNFOLDED,
    Drawn,
    drawn_from,
    log_density_of_deviation,
    size_at,
)
from app.pfn.prior.tractable.course import Course, Parts
from app.pfn.prior.tractable.problems import Problem
from app.pfn.prior.tractable.sampling import LARGEST_GAIN


class Posterior:
    """Log density of coordinates given what was seen, and what they say of what was asked."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        # Bins of one point have three nodes at one place.
        places, self._node = np.unique(problem.nodes, return_inverse=True)
        self._seen = Course(problem.schedule, np.append(places, 1.0))
        self._asked = Course(problem.schedule, np.append(problem.queries, 1.0))
        # Values and spreads are single-precision numbers: no sampler may know them better.
        self._rounding = np.spacing(np.abs(problem.values).astype(np.float32)).astype(np.float64) ** 2 / 12
        self._degrees = problem.counts[problem.spread_known] - 1.0

    def __call__(self, z: Array) -> Array:
        """At coordinates of shape (n, N_COORDINATES), up to a constant, (n,)."""
        total = np.full(len(z), -np.inf)
        inside = np.flatnonzero((np.abs(z[:, :-1]) < 8.0).all(axis=1) & (np.abs(z[:, -1]) < 30.0))
        drawn = drawn_from(z[inside])
        levels, gain = self._levels_seen(drawn)
        total[inside] = self._density(z[inside], drawn, levels, gain)
        return total

    def unfolded(self, z: Array) -> Array:
        """The same where `UNFOLDED` are told otherwise: how far they lie from what fits best, given all else, in about
        their standard errors.

        What is seen ties them to the rest, as tightly as it is known: a narrow ridge, bent, becomes nearly straight.
        """
        total = np.full(len(z), -np.inf)
        inside = np.flatnonzero((np.abs(z) < 8.0).all(axis=1))
        folded, drawn, log_volume, levels, gain = self._folded(z[inside])
        total[inside] = self._density(folded, drawn, levels, gain) + log_volume
        return total

    def folded(self, z: Array) -> Array:
        """Coordinates from those of `unfolded`."""
        return self._folded(z)[0]

    def starts(self, rng: np.random.Generator, n: int, *, of: int = 4000) -> Array:
        """The likeliest `n` of many draws from the prior, unfolded: what is tied down is nearly as it fits best."""
        z = rng.standard_normal((of, N_COORDINATES))
        z[:, UNFOLDED] *= 0.1
        scores = np.concatenate([self.unfolded(part) for part in np.array_split(z, max(of // 500, 1))])
        return np.asarray(z[np.argsort(scores)[::-1][:n]])

    def levels_asked(self, z: Array) -> Array:
        """Levels at the queries, (n, n_queries), in the metric's unit."""
        drawn = drawn_from(z)
        return drawn.size[:, None] * self._asked.levels(drawn)[0][:, :-1]

    @staticmethod
    def deviations(z: Array) -> Array:
        """Of single points, (n,), in the metric's unit."""
        drawn = drawn_from(z)
        return drawn.size * np.exp(drawn.log_deviation)

    def _levels_seen(self, drawn: Drawn) -> tuple[Array, Array]:
        """(n, n_bins, NODES_PER_BIN), and gains."""
        levels, gain = self._seen.levels(drawn)
        return levels[:, self._node.reshape(self.problem.nodes.shape)], gain

    def _density(self, z: Array, drawn: Drawn, levels: Array, gain: Array) -> Array:
        prior = -0.5 * (z[:, :-1] ** 2).sum(axis=1)
        prior += log_density_of_deviation(drawn.log_deviation, drawn.bases.fall + gain, self.problem.least_deviation)
        prior[(gain > LARGEST_GAIN) | (np.abs(z[:, -2]) > 8.0)] = -np.inf
        return np.asarray(prior + self._log_likelihood(drawn, levels))

    def _folded(self, z: Array) -> tuple[Array, Drawn, Array, Array, Array]:
        """Coordinates, what they stand for, the logarithm of what a volume is multiplied by, levels at nodes, gains."""
        drawn, folded = drawn_from(z), z.copy()
        parts = self._seen.parts(drawn).at(self._node.reshape(self.problem.nodes.shape))
        normal, of_fall = self._best_fall(parts.means(), drawn)
        folded[:, FALL] = normal + of_fall * z[:, FALL]
        drawn = drawn.with_fall(folded[:, FALL])
        fall, gain = drawn.bases.fall, parts.gain(drawn)
        levels = 1.0 + fall[:, None, None] * parts.above - gain[:, None, None] * parts.lags
        size, weight = self._best_size(levels.mean(axis=2))
        deviation, degrees = self._best_deviation(levels, size)
        # Short of where the prior ends: or there would be no way back from there.
        least, most = max(self.problem.least_deviation, SMALLEST), LARGEST
        deviation = np.clip(deviation, 1.02 * least * (fall + gain), 0.98 * most * (fall + gain))
        of_size, of_deviation = deviation / np.sqrt(weight), 1.0 / np.sqrt(2.0 * degrees)
        folded[:, -2] = np.log(size / 2.0) + of_size * z[:, -2]
        folded[:, -1] = np.log(deviation) + of_deviation * z[:, -1]
        drawn = replace(drawn, size=size_at(folded[:, -2]), log_deviation=folded[:, -1])
        return folded, drawn, np.log(of_fall * of_size * of_deviation), levels, gain

    def _best_fall(self, parts: Parts, drawn: Drawn) -> tuple[Array, Array]:
        """Coordinate of the fall by weighted least squares and its own prior, and its standard error; (n,).

        Given all else the value is straight in the size and in size times fall, on one side of where the gain is raised
        and on the other.
        """
        of_fall = np.where(drawn.of_level, 0.0, drawn.uncut_gain / drawn.bases.fall)
        plain = self._log_fall(1.0 - np.where(drawn.of_level, drawn.gain, 0.0)[:, None] * parts.lags, of_fall, parts)
        raised = self._log_fall(np.ones(parts.lags.shape), parts.least_gain, parts)
        is_raised = parts.least_gain * np.exp(plain[0]) > np.where(
            drawn.of_level, drawn.gain, of_fall * np.exp(plain[0])
        )
        log_fall, variance = np.where(is_raised, raised, plain)
        precision = 1.0 + 1.0 / variance
        return (log_fall - np.log(TYPICAL_FALL)) / variance / precision, 1.0 / np.sqrt(precision)

    def _log_fall(self, fixed: Array, gain: Array, parts: Parts) -> tuple[Array, Array]:
        """Logarithm of the fall, and its variance: values are size * (fixed + fall * (above - gain * lags)); (n,)."""
        counts, values = self.problem.counts, self.problem.values
        moving = parts.above - gain[:, None] * parts.lags
        ff, fm, mm = (
            (counts * one * other).sum(axis=1) for one, other in ((fixed, fixed), (fixed, moving), (moving, moving))
        )
        fv, mv = (fixed * (counts * values)).sum(axis=1), (moving * (counts * values)).sum(axis=1)
        determinant = np.maximum(ff * mm - fm**2, 1e-12 * ff * mm + 1e-300)
        a, b = (mm * fv - fm * mv) / determinant, (ff * mv - fm * fv) / determinant
        off = values - a[:, None] * fixed - b[:, None] * moving
        squares = (counts * off**2).sum(axis=1) + (
            self._degrees * self.problem.spreads[self.problem.spread_known] ** 2
        ).sum()
        noise = squares / (len(counts) + self._degrees.sum()) / determinant
        # Where nothing of a fall is seen: about as much as would not be.
        a, b = np.maximum(a, 1e-9), np.maximum(b, np.sqrt(noise * ff))
        variance = noise * (ff / b**2 + mm / a**2 + 2.0 * fm / (a * b))
        return np.log(b / a), variance + 1e-12

    def _best_size(self, means: Array) -> tuple[Array, Array]:
        """Size, and the weight of all that it is known by, in noises of a point; (n,)."""
        counts = self.problem.counts
        weight = (counts * means**2).sum(axis=1)
        return np.maximum((counts * self.problem.values * means).sum(axis=1), 1e-9) / weight, weight

    def _best_deviation(self, levels: Array, size: Array) -> tuple[Array, float]:
        """Noise of a point over the level, (n,), and the degrees of freedom that it is known by."""
        problem, known = self.problem, self.problem.spread_known
        off = problem.values / size[:, None] - levels.mean(axis=2)
        squares = (problem.counts * off**2).sum(axis=1)
        trend = levels[:, known].var(axis=2) * problem.counts[known]
        squares += (self._degrees * (problem.spreads[known] / size[:, None]) ** 2 - trend).sum(axis=1)
        degrees = len(problem.counts) + float(self._degrees.sum())
        return np.sqrt(np.maximum(squares / degrees, 0.0)), degrees

    def _log_likelihood(self, drawn: Drawn, levels: Array) -> Array:
        problem = self.problem
        size, point = drawn.size[:, None], np.exp(2 * drawn.log_deviation)[:, None]
        variance = size**2 * point / problem.counts + self._rounding
        off = problem.values - size * levels.mean(axis=2)
        total: Array = -0.5 * (off**2 / variance + np.log(variance)).sum(axis=1)
        known = problem.spread_known
        if known.any():
            total = total + self._of_spreads(size, point, levels[:, known].var(axis=2))
        return total

    def _of_spreads(self, size: Array, point: Array, trend: Array) -> Array:
        """Of the cube root of the variance inside bins, which the generator draws as normal."""
        known = self.problem.spread_known
        counts, degrees = self.problem.counts[known], self._degrees
        inside = size**2 * (point + trend * counts / degrees)
        root = np.cbrt(self.problem.spreads[known] ** 2 / inside)
        error = 2.0 / (9.0 * degrees)
        off = root - (1.0 - error)
        return np.asarray((-0.5 * off**2 / error - np.log(inside) / 3).sum(axis=1))
