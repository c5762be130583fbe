r"""How good a forecast was, once the truth is known. Pure, and free of units where it says so.

A forecast is kept as a few quantiles. Between and beyond them it is read here as one distribution, straight lines in
the normal score :math:`z = \Phi^{-1}(p)`: exact for a normal forecast, whichever quantiles were kept, and with closed
forms for every score below [1]_.

.. [1] T. Gneiting, A. E. Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation," JASA 102, 2007.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from app.errors import BadInput

Array = npt.NDArray[np.float64]

WORST_LOG_SCORE = -10.0
"""Floor of one forecast's log score: one miss must not outweigh a thousand hits (Reich et al., PNAS 116, 2019)."""

NARROWEST = 1e-9
"""Least width of a unit of z, over the size of the quantiles: a point forecast has no density."""

LARGEST_SCORE = 40.0
"""Normal scores beyond this are certainty in double precision."""


def relative_error(predicted: float, actual: float) -> float:
    """Signed error over the size of the truth; positive where the forecast was too high. [1]"""
    return (
        float(np.sign(predicted - actual)) * absolute_percentage_error(predicted, actual)
        if predicted != actual
        else 0.0
    )


def absolute_percentage_error(predicted: float, actual: float) -> float:
    """APE as a fraction, :math:`|p - a| / |a|`. [1]"""
    return abs(predicted - actual) / abs(actual) if actual else (0.0 if predicted == 0 else float("inf"))


def pinball_loss(actual: float, quantile: float, level: float) -> float:
    r"""Loss of one quantile, :math:`(1[a < q] - p)(q - a)` (Koenker and Bassett 1978).

    Smallest in expectation where `quantile` is the quantile of that level. In the metric's own unit.
    """
    return float(((actual < quantile) - level) * (quantile - actual))


def crps_from_samples(samples: npt.ArrayLike, actual: float) -> float:
    r"""CRPS of equally likely samples, :math:`E|X - a| - E|X - X'| / 2`.

    Parameters
    ----------
    samples : array_like, shape (n_samples,), any order
    actual : float

    Returns
    -------
    float
        In the metric's own unit; the absolute error where all samples are one value.
    """
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    n = len(ordered)
    # The mean distance of two samples is a weighted sum of the ordered ones: n log n instead of n^2.
    ranks = 2 * np.arange(1, n + 1) - n - 1
    return float(np.abs(ordered - actual).mean() - (ranks * ordered).sum() / n**2)


@dataclass(frozen=True, slots=True, eq=False)
class QuantileForecast:
    """A predictive distribution known by its quantiles; straight in the normal score between and beyond them.

    levels : float64, shape (n,), n >= 2, strictly increasing, in (0, 1)
    values : float64, shape (n,), not decreasing   [of the metric]
    """

    levels: Array
    values: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", np.asarray(self.levels, dtype=np.float64))
        object.__setattr__(self, "values", np.asarray(self.values, dtype=np.float64))
        if self.levels.ndim != 1 or self.levels.shape != self.values.shape or len(self.levels) < 2:
            raise BadInput("A forecast by quantiles needs at least two, with one value a level.")
        if not ((self.levels > 0) & (self.levels < 1)).all() or (np.diff(self.levels) <= 0).any():
            raise BadInput("Levels of quantiles must increase strictly between 0 and 1.")
        if not np.isfinite(self.values).all() or (np.diff(self.values) < 0).any():
            raise BadInput("Quantiles must be finite and must not decrease with their level.")

    @staticmethod
    def from_levels(quantiles: Mapping[float, float]) -> QuantileForecast:
        """From level -> value, in any order. Rounding may cross neighbours by a hair: they are put in order."""
        levels = np.array(sorted(quantiles))
        return QuantileForecast(levels, np.maximum.accumulate([quantiles[float(level)] for level in levels]))

    def quantile(self, level: float) -> float:
        """Value that lies above the truth with probability `level`."""
        edges, starts, slopes = self._pieces()
        z = float(ndtri(level))
        piece = int(np.searchsorted(edges, z, side="right"))
        anchor = max(piece - 1, 0)
        return float(starts[anchor] + slopes[piece] * (z - edges[anchor]))

    def cdf(self, value: float) -> float:
        """Probability of a truth at or below `value`."""
        edges, starts, slopes = self._pieces()
        piece = int(np.searchsorted(starts, value, side="right"))
        anchor = max(piece - 1, 0)
        slope = float(slopes[piece])
        if slope == 0:
            # A tail without width: nothing lies below the first quantile, or all lies at or below the last.
            return float(piece > 0)
        return float(ndtr(edges[anchor] + (value - starts[anchor]) / slope))

    def normal_scores(self, values: npt.ArrayLike) -> Array:
        """The normal score of the probability of a truth at or below each value; huge where nothing lies between."""
        edges, starts, slopes = self._pieces()
        at = np.asarray(values, dtype=np.float64)
        piece = np.searchsorted(starts, at, side="right")
        anchor = np.maximum(piece - 1, 0)
        narrowest = max(NARROWEST * float(np.abs(starts).max()), 1e-300)
        scores: Array = edges[anchor] + (at - starts[anchor]) / np.maximum(slopes[piece], narrowest)
        return np.clip(scores, -LARGEST_SCORE, LARGEST_SCORE)

    def mean(self) -> float:
        """Expected value, in closed form."""
        edges, starts, slopes = self._pieces()
        anchors = np.maximum(np.arange(len(slopes)) - 1, 0)
        ends = np.concatenate([[-np.inf], edges, [np.inf]])
        masses = np.diff(ndtr(ends))
        densities = np.diff(np.exp(-0.5 * ends**2)) / np.sqrt(2 * np.pi)
        return float(((starts[anchors] - slopes * edges[anchors]) * masses - slopes * densities).sum())

    def widened(self, factor: float) -> QuantileForecast:
        """The same with every quantile so many times as far from the median."""
        middle = self.quantile(0.5)
        return QuantileForecast(self.levels, middle + factor * (self.values - middle))

    def mirrored(self) -> QuantileForecast:
        """Of the same number with its sign changed: what is better when high, as if it were better when low."""
        return QuantileForecast(1 - self.levels[::-1], -self.values[::-1])

    def covers(self, actual: float, share: float) -> bool:
        """Whether the truth lies in the central band of that probability, its edges included."""
        return self.quantile((1 - share) / 2) <= actual <= self.quantile((1 + share) / 2)

    def crps(self, actual: float) -> float:
        r"""Continuous ranked probability score, :math:`\int (F(x) - 1[x \ge a])^2 dx`, in closed form.

        In the metric's own unit: the absolute error where the forecast is one value.
        """
        edges, starts, slopes = self._pieces()
        total = 0.0
        for piece, slope in enumerate(slopes):
            anchor = max(piece - 1, 0)
            low = edges[piece - 1] if piece > 0 else -np.inf
            high = edges[piece] if piece < len(edges) else np.inf
            # Where the truth falls, in this piece's own normal score; a piece of no width lies on one side of it.
            if slope > 0:
                split = float(np.clip(edges[anchor] + (actual - starts[anchor]) / slope, low, high))
                total += slope * (_integral_of_square(low, split) + _integral_of_square(-high, -split))
        # Outside the support of a forecast without tails (a single value), the rest is plain distance.
        return float(
            total + max(actual - starts[-1], 0.0) * (slopes[-1] == 0) + max(starts[0] - actual, 0.0) * (slopes[0] == 0)
        )

    def log_score(self, actual: float, *, unit: float = 1.0) -> float:
        """Log of the predictive density at the truth, per `unit` of the metric; large is good, at least -10.

        With the truth itself as the unit, scores of runs at different levels can be averaged.
        """
        edges, starts, slopes = self._pieces()
        piece = int(np.searchsorted(starts, actual, side="right"))
        anchor = max(piece - 1, 0)
        slope = max(float(slopes[piece]), NARROWEST * float(np.abs(starts).max()), 1e-300)
        z = edges[anchor] + (actual - starts[anchor]) / slope
        density = -0.5 * z * z - 0.5 * np.log(2 * np.pi) - np.log(slope) + np.log(abs(unit))
        return float(max(density, WORST_LOG_SCORE))

    def _pieces(self) -> tuple[Array, Array, Array]:
        """Normal scores and values of the quantiles, (n,), and slopes (n + 1,): the tails go on as their neighbours."""
        edges: Array = ndtri(self.levels)
        slopes = np.diff(self.values) / np.diff(edges)
        return edges, self.values, np.concatenate([slopes[:1], slopes, slopes[-1:]])


@dataclass(frozen=True, slots=True)
class ValueScore:
    """A predictive distribution of one number against what the number came to be.

    error : signed error of the median, over the truth              [1]
    cover50, cover80, cover90 : whether the truth lies in the central band
    crps_rel : CRPS over the truth                                  [1]
    log_score : log density at the truth, per truth; large is good  [1]
    pit : probability that the forecast gave to a truth no larger; uniform over many good forecasts
    """

    error: float
    cover50: bool
    cover80: bool
    cover90: bool
    crps_rel: float
    log_score: float
    pit: float


def score_value(forecast: QuantileForecast, actual: float) -> ValueScore:
    """Every score of one forecast; `actual` must be finite and not zero."""
    return ValueScore(
        error=relative_error(forecast.quantile(0.5), actual),
        cover50=forecast.covers(actual, 0.5),
        cover80=forecast.covers(actual, 0.8),
        cover90=forecast.covers(actual, 0.9),
        crps_rel=forecast.crps(actual) / abs(actual),
        log_score=forecast.log_score(actual, unit=actual),
        pit=forecast.cdf(actual),
    )


def _integral_of_square(low: float, high: float) -> float:
    r""":math:`\int \Phi(z)^2 dz` from `low`, which may be minus infinity, to `high`."""
    return _antiderivative(high) - _antiderivative(low) if high > low else 0.0


def _antiderivative(z: float) -> float:
    if z == -np.inf:
        return 0.0
    below = float(ndtr(z))
    density = float(np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi))
    return float(z * below**2 + 2 * density * below - ndtr(np.sqrt(2) * z) / np.sqrt(np.pi))
