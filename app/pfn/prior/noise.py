r"""The noise of single points, and what is left of it in the mean of many.

A point is off by a white part and a correlated one, an Ornstein-Uhlenbeck process of memory :math:`\theta` (what an
AR(1) process is between its points). Over a window of :math:`w` its mean keeps the share

.. math:: v(w / \theta) = 2 (u - 1 + e^{-u}) / u^2, \quad u = w / \theta,

of its variance. Neighbouring means are as correlated here as the process is at their centres, which is exact for
windows short against the memory, and of no weight for long ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.pfn.prior.draws import Array, Flags, chance, log_normal, log_uniform

SMALLEST, LARGEST = 1e-5, 2.0
"""Deviation of a single point, over the fall: from a validation loss over the same tokens to one batch of a few
samples."""

LOWEST_RATE = 0.02
"""Noise that follows the rate falls no further than with this rate: the batches stay different."""

STUDENT_DEGREES = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """Arrays of shape (n,).

    deviation : of a single point at the cutoff [level]
    correlated : share of its variance that is correlated; memory : of that part [horizon]
    level_power, rate_power : how it follows the level and the rate
    heavy : bool, Student's t in place of the normal
    outlier_rate, outlier_size : of the points, and over the deviation: single bad batches, mostly upwards
    grain : values are logged rounded to this [level]
    """

    deviation: Array
    correlated: Array
    memory: Array
    level_power: Array
    rate_power: Array
    heavy: Flags
    outlier_rate: Array
    outlier_size: Array
    grain: Array

    def scales(self, levels: Array, rates: Array, level_at_cutoff: Array) -> Array:
        """Deviation of single points where the level and the rate, shape (n, m), are these."""
        relative = np.clip(levels / level_at_cutoff[:, None], 0.05, 20.0)
        slowed = np.maximum(rates, LOWEST_RATE)
        return self.deviation[:, None] * relative ** self.level_power[:, None] * slowed ** self.rate_power[:, None]

    def means(
        self, rng: np.random.Generator, scales: Array, positions: Array, counts: Array, interval: Array
    ) -> tuple[Array, Array]:
        """Errors of means of `counts` neighbouring points, and the variance of the points about their mean.

        All of shape (n, m), positions not decreasing, counts at least 1 and perhaps infinite; `interval`, shape (n,),
        lies between points.
        """
        kept = _kept_share(counts * interval[:, None] / self.memory[:, None])
        correlated = self.correlated[:, None]
        white = rng.standard_normal(scales.shape)
        white[self.heavy] *= _heavy_factor(rng, counts[self.heavy])
        wandering = _ornstein_uhlenbeck(rng, positions / self.memory[:, None], rows=self.correlated > 0)
        errors = np.sqrt((1.0 - correlated) / counts) * white + np.sqrt(correlated * kept) * wandering
        variances = 1.0 - correlated * kept
        outliers, outlier_variances = self._outliers(rng, counts)
        return scales * (errors + outliers), scales**2 * (variances + outlier_variances)

    def _outliers(self, rng: np.random.Generator, counts: Array) -> tuple[Array, Array]:
        """What outliers add to means and to variances, in deviations of a point."""
        rows = np.flatnonzero(self.outlier_rate > 0)
        means, variances = np.zeros(counts.shape), np.zeros(counts.shape)
        finite = np.where(np.isfinite(counts[rows]), counts[rows], 1.0)
        hit = rng.poisson(finite * self.outlier_rate[rows, None]) / finite
        hit = np.where(np.isfinite(counts[rows]), np.minimum(hit, 1.0), 0.0)
        size = self.outlier_size[rows, None]
        means[rows], variances[rows] = hit * size, hit * (1.0 - hit) * size**2
        return means, variances


def sample_noise(rng: np.random.Generator, fall: Array) -> Noise:
    """`fall`, shape (n,): what the run falls by after its transient. [level]"""
    n = len(fall)
    # A batch of a language model is off by 0.5 to 5 % of the loss, one of a small classifier by more than it has
    # fallen; an evaluation over fixed data by next to nothing.
    of_batch = log_normal(rng, 0.015, 1.1, n)
    of_evaluation = log_uniform(rng, SMALLEST, 0.1, n) * fall
    deviation = np.where(chance(rng, 0.55, n), of_batch, of_evaluation)
    is_correlated = chance(rng, 0.4, n)
    heavy = chance(rng, 0.25, n)
    with_outliers = chance(rng, 0.1, n)
    return Noise(
        deviation=np.clip(deviation, SMALLEST * fall, LARGEST * fall),
        correlated=np.where(is_correlated, rng.uniform(0.05, 0.95, n), 0.0),
        memory=log_uniform(rng, 5e-4, 0.1, n),
        level_power=np.where(chance(rng, 0.5, n), rng.uniform(0.0, 2.0, n), 0.0),
        rate_power=np.where(chance(rng, 0.4, n), rng.uniform(0.0, 1.0, n), 0.0),
        heavy=heavy,
        outlier_rate=np.where(with_outliers, log_uniform(rng, 1e-4, 0.05, n), 0.0),
        outlier_size=np.where(chance(rng, 0.85, n), 1.0, -1.0) * log_uniform(rng, 3.0, 40.0, n),
        grain=np.where(chance(rng, 0.2, n), log_uniform(rng, 1e-5, 5e-3, n), 0.0),
    )


def sampled_spreads(rng: np.random.Generator, variances: Array, counts: Array) -> Array:
    """Standard deviations within bins, divisor `counts - 1`: as uncertain as they are with few points, 0 with one."""
    degrees = np.maximum(counts - 1.0, 1.0)
    # Wilson and Hilferty's cube root of a chi-squared: within 1 % from three degrees on, and far cheaper to draw.
    cube_root = 1.0 - 2.0 / (9.0 * degrees) + np.sqrt(2.0 / (9.0 * degrees)) * rng.standard_normal(counts.shape)
    return np.where(counts > 1.0, np.sqrt(variances * np.maximum(cube_root, 0.01) ** 3), 0.0)


def _kept_share(windows: Array) -> Array:
    """v above; `windows` over the memory, perhaps infinite."""
    u = np.clip(windows, 1e-4, 1e9)
    return np.where(windows < 1e-3, 1.0 - windows / 3.0, 2.0 * (u - 1.0 + np.exp(-u)) / u**2)


def _ornstein_uhlenbeck(rng: np.random.Generator, positions: Array, *, rows: Flags) -> Array:
    """A process of unit variance and memory at positions, shape (n, m); zero outside of `rows`."""
    steps = np.maximum(np.diff(positions[rows], axis=1), 0.0).T
    kept = np.exp(-steps)
    fresh = np.sqrt(-np.expm1(-2.0 * steps))
    values = rng.standard_normal((positions.shape[1], int(rows.sum())))
    for k in range(len(steps)):
        values[k + 1] = kept[k] * values[k] + fresh[k] * values[k + 1]
    process = np.zeros(positions.shape)
    process[rows] = values.T
    return process


def _heavy_factor(rng: np.random.Generator, counts: Array) -> Array:
    """Turns unit normals into Student's t of unit variance, ever closer to normal for means of more points."""
    degrees = np.minimum(STUDENT_DEGREES + 0.5 * (counts - 1.0), 200.0)
    return np.sqrt((degrees - 2.0) / 2.0 / rng.standard_gamma(degrees / 2.0))
