r"""Laws that are linear in all but a few parameters, and their robust point fit.

Every law of the loss in this folder has the form

.. math:: L(s) = \sum_j c_j \, \phi_j(s; \theta), \qquad c_j \ge 0, \quad \phi_0 = 1,

with few *coefficients* :math:`c` (a level and what multiplies the features; the features carry the signs) and one to
four *shapes* :math:`\theta > 0` (exponents, memories). With the shapes fixed the best coefficients are a non-negative
least-squares problem: no local optima. So the fit screens a grid of shapes, and polishes the best cells in all
parameters together by the measure of the papers, the Huber loss of the relative residual with :math:`\delta = 10^{-3}`
[1]_ [2]_. Seconds of L-BFGS from hundreds of starts become milliseconds.

The bands of a point fit are the textbook's: its parameters' covariance by the delta method, from its own residuals.

.. [1] H. Tissue, V. Wang, L. Wang, "Scaling Law with Learning Rate Annealing," arXiv:2408.11029, 2024.
.. [2] K. Luo et al., "A Multi-Power Law for Loss Curve Prediction Across Learning Rate Schedules," arXiv:2503.12811,
   2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import least_squares, nnls

from app.curves.schedule import Schedule
from app.errors import BadInput, CurveTooShort
from app.laws.annealing import effective_steps

Array = npt.NDArray[np.float64]

HUBER = 1e-3
"""Relative residuals beyond this count by their size, not by their square: the delta of both papers."""

POLISHED = 3
"""How many of the best cells of the grid are polished; the best of all always was among the first two."""

MAX_EVALUATIONS = 60

AT_BOUND = 1e-4
"""A coefficient smaller than this, in its unit, is at its bound, zero: a polished fit comes near it and stops."""

NEAR_BOUND = 0.02
"""A shape this close to its bound, as a share of the way between the bounds by the logarithm, is at it."""

MIN_POINTS = 3
"""Fewer points than this in all do not hold a level and a slope."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A parameter in which the law is not linear: searched by its logarithm from `low` to `high`."""

    name: str
    low: float
    high: float
    starts: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Units:
    """What the shapes are measured in, one for all runs of a fit.

    rate : largest learning rate
    steps : largest number of effective steps (sum of the rate over `rate`)   [steps]
    """

    rate: float
    steps: float

    def effective(self, schedule: Schedule, steps: npt.ArrayLike) -> Array:
        """Effective steps in this unit, above zero. [1]"""
        area = effective_steps(schedule, steps) * self.relative_peak(schedule) / self.steps
        return np.maximum(area, 1e-12)

    def relative_peak(self, schedule: Schedule) -> float:
        """Peak of a schedule in this unit; a schedule of zeros counts as constant."""
        return schedule.peak / self.rate if schedule.peak > 0 else 1.0


class Basis(Protocol):
    """The features of one run at given steps, for any shapes."""

    def columns(self, shapes: Array) -> Array:
        """Features, shape (n_steps, n_coefficients); the first is 1."""
        ...

    def slopes(self, shapes: Array) -> Array:
        """Derivatives of the features by the logarithm of each shape, (n_shapes, n_steps, n_coefficients)."""
        ...


class Law(Protocol):
    """A separable law of the loss."""

    @property
    def name(self) -> str: ...
    @property
    def coefficients(self) -> tuple[str, ...]: ...
    @property
    def shapes(self) -> tuple[Shape, ...]: ...

    def on(self, schedule: Schedule, steps: npt.ArrayLike, units: Units) -> Basis: ...


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What is known of one run.

    steps : float64, shape (n,), not before the end of the warm-up   [steps]
    values : float64, shape (n,), finite                             [of the loss]
    """

    schedule: Schedule
    steps: Array
    values: Array


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A law with its parameters.

    The loss is `offset + scale * columns @ coefficients`.

    offset : what is added to the level; below zero for a metric that reaches zero   [of the loss]
    scale : unit of the coefficients                                                 [of the loss]
    coefficients : float64, shape (n_coefficients,)                                  [scale]
    shapes : float64, shape (n_shapes,)                                              [see the law]
    covariance : float64, of (coefficients, log shapes)
    deviation : robust standard deviation of the relative residual                   [1]
    """

    law: Law
    units: Units
    offset: float
    scale: float
    coefficients: Array
    shapes: Array
    covariance: Array
    deviation: float

    def predict(self, schedule: Schedule, steps: npt.ArrayLike) -> Array:
        """The loss at `steps` under any schedule, shape (n_steps,)."""
        columns = self.law.on(schedule, steps, self.units).columns(self.shapes)
        predicted: Array = self.offset + self.scale * (columns @ self.coefficients)
        return predicted

    def sensitivities(self, schedule: Schedule, steps: npt.ArrayLike) -> Array:
        """Derivatives of the prediction by (coefficients, log shapes), shape (n_steps, n_parameters)."""
        return self.scale * _jacobian(self.law.on(schedule, steps, self.units), self.coefficients, self.shapes)

    def parameters(self) -> dict[str, float]:
        """By name, for people; coefficients in the unit of the loss."""
        level, *others = (self.scale * self.coefficients).tolist()
        named = dict(zip(self.law.coefficients, [self.offset + level, *others], strict=True))
        return named | {shape.name: float(value) for shape, value in zip(self.law.shapes, self.shapes, strict=True)}

    def at_bounds(self) -> dict[str, float]:
        """The coefficients that are the least that they may be: the bound by the name, in the unit of the loss."""
        bounds = [self.offset] + [0.0] * (len(self.coefficients) - 1)
        named = zip(self.law.coefficients, self.coefficients.tolist(), bounds, strict=True)
        return {name: bound for name, value, bound in named if value < AT_BOUND}

    def shapes_at_bounds(self) -> dict[str, float]:
        """The shapes that are the least or the most that the law allows: the bound by the name."""
        return {
            shape.name: bound
            for shape, value in zip(self.law.shapes, self.shapes.tolist(), strict=True)
            for bound in (shape.low, shape.high)
            if abs(np.log(value / bound)) < NEAR_BOUND * np.log(shape.high / shape.low)
        }


def fit(law: Law, samples: Sequence[Sample]) -> Fit:
    """The law through all samples at once, one set of parameters for all of them.

    Raises
    ------
    CurveTooShort
        With fewer than `MIN_POINTS` points in all.
    BadInput
        Where a value is not finite.
    """
    values = np.concatenate([sample.values for sample in samples]) if samples else np.empty(0)
    if len(values) < MIN_POINTS:
        raise CurveTooShort(needed=MIN_POINTS, got=len(values))
    if not np.isfinite(values).all():
        raise BadInput("A law is fitted to finite values only.")
    units = _units_of(samples)
    bases = [law.on(sample.schedule, sample.steps, units) for sample in samples]
    offset, scale, sizes = _sizes(values)
    problem = _Problem(law, bases, (values - offset) / (scale * sizes), sizes)
    starts = sorted(problem.screened(), key=lambda start: start[0])[:POLISHED]
    ends = [problem.polished(coefficients, shapes) for _, coefficients, shapes in starts]
    _, coefficients, shapes = min(ends, key=lambda end: end[0])
    covariance, deviation = problem.uncertainty(coefficients, shapes)
    return Fit(law, units, offset, scale, coefficients, shapes, covariance, deviation)


@dataclass(frozen=True, slots=True, eq=False)
class _Problem:
    """Relative residuals of a law over several runs, rows in the order of the runs."""

    law: Law
    bases: list[Basis]
    targets: Array  # (values - offset) / (scale * sizes)
    sizes: Array  # what a relative residual is relative to, in units of the scale; 1 in the middle

    def screened(self) -> list[tuple[float, Array, Array]]:
        """(cost, coefficients, shapes) of every cell of the grid of starts."""
        cells = product(*(shape.starts for shape in self.law.shapes))
        return [self._best_coefficients(np.array(cell, dtype=np.float64)) for cell in cells]

    def polished(self, coefficients: Array, shapes: Array) -> tuple[float, Array, Array]:
        """The nearest optimum of the Huber loss in all parameters."""
        n = len(coefficients)

        def unpacked(point: Array) -> tuple[Array, Array]:
            return point[:n], np.exp(point[n:])

        def residuals(point: Array) -> Array:
            coefs, at = unpacked(point)
            return self._columns(at) @ coefs - self.targets

        def jacobian(point: Array) -> Array:
            coefs, at = unpacked(point)
            return self._slopes(coefs, at)

        low = np.concatenate([np.zeros(n), np.log([shape.low for shape in self.law.shapes])])
        high = np.concatenate([np.full(n, np.inf), np.log([shape.high for shape in self.law.shapes])])
        # Strictly inside: a start on a bound cannot leave it.
        begin = np.concatenate([np.maximum(coefficients, 1e-6), np.log(shapes)])
        found = least_squares(
            residuals,
            np.clip(begin, low + 1e-9, high - 1e-9),
            jacobian,
            bounds=(low, high),
            loss="huber",
            f_scale=HUBER,
            x_scale=1.0,
            max_nfev=MAX_EVALUATIONS,
        )
        coefs, at = unpacked(found.x)
        return float(found.cost), coefs, at

    def uncertainty(self, coefficients: Array, shapes: Array) -> tuple[Array, float]:
        """Covariance of (coefficients, log shapes), and the robust deviation of the residuals.

        Residuals that follow each other count as fewer. A shape is known to a factor e, and a coefficient to the size
        of the loss, without any data: what the data leaves open stays bounded.
        """
        residuals = self._columns(shapes) @ coefficients - self.targets
        deviation = max(float(np.median(np.abs(residuals))) / 0.6745, 1e-9)
        centred = residuals - residuals.mean()
        follows = float(centred[1:] @ centred[:-1]) / max(float(centred @ centred), 1e-300)
        inflation = (1 + np.clip(follows, 0, 0.98)) / (1 - np.clip(follows, 0, 0.98))
        slopes = self._slopes(coefficients, shapes)
        precision = slopes.T @ slopes / (deviation**2 * inflation) + np.eye(slopes.shape[1])
        covariance: Array = np.linalg.inv(precision)
        return covariance, deviation

    def _best_coefficients(self, shapes: Array) -> tuple[float, Array, Array]:
        coefficients, cost = nnls(self._columns(shapes), self.targets)
        return float(cost), coefficients, shapes

    def _columns(self, shapes: Array) -> Array:
        columns: Array = np.concatenate([basis.columns(shapes) for basis in self.bases]) / self.sizes[:, None]
        return columns

    def _slopes(self, coefficients: Array, shapes: Array) -> Array:
        slopes = np.concatenate([_jacobian(basis, coefficients, shapes) for basis in self.bases])
        relative: Array = slopes / self.sizes[:, None]
        return relative


def _jacobian(basis: Basis, coefficients: Array, shapes: Array) -> Array:
    by_shape = basis.slopes(shapes) @ coefficients  # (n_shapes, n)
    return np.concatenate([basis.columns(shapes), by_shape.T], axis=1)


def _units_of(samples: Sequence[Sample]) -> Units:
    rate = max(sample.schedule.peak for sample in samples) or 1.0
    unit = Units(rate, 1.0)
    return Units(rate, max(float(unit.effective(sample.schedule, sample.steps).max()) for sample in samples))


def _sizes(values: Array) -> tuple[float, float, Array]:
    """What the level starts from, the unit of the coefficients, and what residuals are relative to in that unit.

    Residuals are relative to the loss itself; to the spread of a metric that reaches zero.
    """
    if (values > 0).all():
        scale = float(np.median(values))
        return 0.0, scale, values / scale
    spread = max(float(np.ptp(values)), 1e-300)
    return float(values.min()) - spread, spread, np.ones(len(values))
