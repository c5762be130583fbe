r"""Several runs with uncertain ends: which is best, and what the group loses without one of them. Lower is better.

Forecasts of siblings err together: the same forecaster reads the same recipe on the same data. Their normal scores are
taken as :math:`z_i = \sqrt{\rho}\, c + \sqrt{1 - \rho}\, e_i` with one shared :math:`c` and independent :math:`e_i`
(a one-factor Gaussian copula; the forecasts themselves keep their shape). Now and then a run does what nobody foresaw,
and that is its own affair: with a small probability its score shares nothing with anybody and is several times as wide.
Normal tails take what was never seen for impossible; these only for rare. Given :math:`c` the ends are independent, so
that with :math:`F_i` and :math:`S_i = 1 - F_i` of the ends given :math:`c`

.. math:: P(i\ \text{best} \mid c) = \int \prod_{j \ne i} S_j \, dF_i, \qquad
          E[\min_{j \ne i} X_j - \min_j X_j \mid c] = \int F_i \prod_{j \ne i} S_j \, dx,

and both are averaged over :math:`c` by Gauss-Hermite quadrature. Nothing is drawn: the same forecasts give the same
numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numpy.polynomial.hermite_e import hermegauss
from scipy.special import ndtr

from app.errors import BadInput
from app.forecasting.scores import QuantileForecast

Array = npt.NDArray[np.float64]
Final = QuantileForecast | float

N_SHARED = 15
"""Nodes of the quadrature over what siblings share."""

N_LEVELS = 61
REACH = 5.0
"""Each forecast is read at so many normal scores from -5 to 5, and a surprise at a quarter of them."""

MOST_NODES = 400
"""Values at which all distributions are known; with more runs every second, third, ... is left out."""


@dataclass(frozen=True, slots=True)
class Errors:
    """How ends stray from what their forecasts say.

    correlation : of the normal scores of two forecasts, at least 0, below 1
    stretch : how much wider than they say forecasts are
    surprise : probability that a run does what nobody foresaw, which shares nothing with other runs
    reach : how many times as wide a surprise is
    """

    correlation: float = 0.0
    stretch: float = 1.0
    surprise: float = 0.0
    reach: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.correlation < 1:
            raise BadInput(f"The correlation of forecasts lies in [0, 1); got {self.correlation:g}.")
        if not (0 <= self.surprise <= 1 and self.stretch > 0 and self.reach > 0):
            raise BadInput("Forecasts are stretched by factors above 0, and a surprise has a probability.")

    def chances(self, scores: Array, shared: Array) -> Array:
        """Probability of an end below each normal score, given each value of what is shared, (n_shared, n)."""
        wide = scores[None, :] / self.stretch
        own = (wide - np.sqrt(self.correlation) * shared[:, None]) / np.sqrt(1 - self.correlation)
        return np.asarray((1 - self.surprise) * ndtr(own) + self.surprise * ndtr(wide / self.reach))

    def chance_below(self, final: QuantileForecast, value: float) -> float:
        """Probability of an end below a value, whatever is shared: the mean of `chances` over it, in closed form."""
        if value <= 0 and is_positive(final):
            return 0.0
        return float(self.alone(final.normal_scores([value]))[0])

    def alone(self, scores: Array) -> Array:
        """Probability of an end below each normal score of its forecast, whatever is shared."""
        wide = scores / self.stretch
        return np.asarray((1 - self.surprise) * ndtr(wide) + self.surprise * ndtr(wide / self.reach))


@dataclass(frozen=True, slots=True, eq=False)
class Contest:
    """The joint distribution of several ends on one grid.

    grid : float64, shape (m,), strictly increasing                                [of the metric]
    weights : float64, shape (n_shared,), of the nodes of what is shared; sum to 1
    below : float64, shape (n_shared, n_ends, m - 1), probability of an end below the middle of each cell
    steps : float64, shape (n_shared, n_ends, m - 1), probability of an end inside each cell
    """

    grid: Array
    weights: Array
    below: Array
    steps: Array

    def best(self) -> Array:
        """Probability of each end to be the lowest, shape (n_ends,); sums to 1, ties shared."""
        won = (self.steps * _product_of_others(1 - self.below)).sum(axis=2)
        chances = self.weights @ won
        return np.asarray(chances / chances.sum())

    def worth(self) -> Array:
        """By how much the lowest of all ends is expected to lie below the lowest of the others, shape (n_ends,)."""
        gained = (self.below * _product_of_others(1 - self.below)) @ np.diff(self.grid)
        return np.asarray(self.weights @ gained)

    def expected_ranks(self) -> Array:
        """Expected place of each end, 1 for the lowest, shape (n_ends,)."""
        lower = np.einsum("sim,sjm,s->ij", self.steps, self.below, self.weights, optimize=True)
        np.fill_diagonal(lower, 0.0)
        return np.asarray(1 + lower.sum(axis=1))

    def loss_without(self, left_out: npt.NDArray[np.bool_]) -> float:
        """By how much the lowest of all is expected to lie below the lowest of those that are not left out."""
        above = 1 - self.below
        lost = above[:, ~left_out].prod(axis=1) - above.prod(axis=1)
        return float(self.weights @ (lost @ np.diff(self.grid)))

    def lead_quantiles(self, levels: Sequence[float]) -> Array:
        """Quantiles of how far the first end lies below the lowest of the others, never less than zero."""
        middles = (self.grid[1:] + self.grid[:-1]) / 2
        others = 1 - (1 - self.below[:, 1:]).prod(axis=1)
        ranks = (np.arange(41) + 0.5) / 41
        leads, weights = [], []
        for weight, own, other in zip(self.weights, self.below[:, 0], others, strict=True):
            ends, rivals = _inverse(own, middles, ranks), _inverse(other, middles, ranks)
            leads.append((rivals[:, None] - ends[None, :]).ravel())
            weights.append(np.full(leads[-1].size, weight))
        lead, weight = np.concatenate(leads), np.concatenate(weights)
        order = np.argsort(lead)
        cumulated = np.cumsum(weight[order])
        places = np.searchsorted(cumulated, np.asarray(levels) * cumulated[-1])
        quantiles: Array = np.maximum(lead[order][np.minimum(places, len(lead) - 1)], 0.0)
        return quantiles


def contest(
    finals: Sequence[Final], errors: Errors | Sequence[Errors], margins: Sequence[float] | None = None
) -> Contest:
    """Lay several ends side by side.

    Parameters
    ----------
    finals : sequence of QuantileForecast or float
        A number is certain, and shares no error with anybody.
    errors : Errors, or one for each end
    margins : by how much each end is lowered first: who is to be beaten by so much is beaten at that level only
    """
    if not finals:
        raise BadInput("A contest needs somebody to take part.")
    each = [errors] * len(finals) if isinstance(errors, Errors) else list(errors)
    floors = _floors(finals, margins)
    finals = finals if margins is None else [lowered(*one) for one in zip(finals, margins, strict=True)]
    grid = _grid(finals, each, floors)
    middles = (grid[1:] + grid[:-1]) / 2
    shared, weights = hermegauss(N_SHARED)
    below = np.empty((N_SHARED, len(finals), len(middles)))
    edges = np.empty((N_SHARED, len(finals), len(grid)))
    for place, (final, erring) in enumerate(zip(finals, each, strict=True)):
        if isinstance(final, QuantileForecast):
            below[:, place] = erring.chances(final.normal_scores(middles), shared)
            edges[:, place] = erring.chances(final.normal_scores(grid), shared)
        else:
            # Half in its own cell, so that of several ends at one level each is the best now and then.
            in_cell = (grid[:-1] <= final) & (final < grid[1:])
            below[:, place] = np.where(in_cell, 0.5, middles > final)
            edges[:, place] = grid > final
    for place, floor in floors.items():
        below[:, place, middles <= floor] = 0.0
        edges[:, place, grid <= floor] = 0.0
    edges[:, :, 0], edges[:, :, -1] = 0.0, 1.0
    return Contest(grid, weights / weights.sum(), below, np.diff(edges, axis=2))


def probability_not_below(own: Final, reference: Final, errors: Errors | Sequence[Errors], delta: float = 0.0) -> float:
    """Probability that one end does not lie below another by more than `delta`.

    With a certain reference no error is shared, and no contest is needed.
    """
    if isinstance(own, QuantileForecast) and not isinstance(reference, QuantileForecast):
        erring = errors if isinstance(errors, Errors) else errors[0]
        return 1 - erring.chance_below(own, reference - delta)
    margins = (0.0, delta) if delta > 0 else None
    return float(1 - contest([own, reference], errors, margins).best()[0])


def lowered(final: Final, delta: float) -> Final:
    """The same end, lower by `delta`."""
    if isinstance(final, QuantileForecast):
        return QuantileForecast(final.levels, final.values - delta)
    return final - delta


def _floors(finals: Sequence[Final], margins: Sequence[float] | None) -> dict[int, float]:
    """Place of an end -> below what it cannot come, where some are lowered and zero is no common floor any more."""
    if margins is None:
        return {}
    return {
        place: -margin
        for place, (final, margin) in enumerate(zip(finals, margins, strict=True))
        if isinstance(final, QuantileForecast) and is_positive(final)
    }


def _grid(finals: Sequence[Final], errors: Sequence[Errors], floors: Mapping[int, float]) -> Array:
    values: list[Array] = []
    certain: list[float] = []
    for final, erring in zip(finals, errors, strict=True):
        if isinstance(final, QuantileForecast):
            values.append(_spread(final, erring.stretch, N_LEVELS))
            if erring.surprise > 0:
                values.append(_spread(final, erring.stretch * erring.reach, N_LEVELS // 4))
        else:
            certain.append(float(final))
    nodes = np.unique(np.concatenate(values)) if values else np.empty(0)
    if floors:
        certain.extend(floor for floor in floors.values() if floor > nodes[0])
    elif values and all(is_positive(final) for final in finals if isinstance(final, QuantileForecast)):
        nodes = np.unique(np.maximum(nodes, 0.0))
    nodes = nodes[:: 1 + len(nodes) // MOST_NODES]
    nodes = np.concatenate([nodes, certain])
    margin = max(float(np.ptp(nodes)), 1e-9 * float(np.abs(nodes).max()), 1e-12) * 1e-3
    # A certain end gets a cell of next to no width, in which nobody else's end lies.
    nodes = np.unique(np.concatenate([nodes, np.array(certain) + 1e-3 * margin]))
    return np.concatenate([[nodes[0] - margin], nodes, [nodes[-1] + margin]])


def is_positive(final: QuantileForecast) -> bool:
    """Whether its forecaster takes nothing below zero for possible: a surprise does not lie there either."""
    return float(final.values[0]) > 0


def _spread(final: QuantileForecast, stretch: float, count: int) -> Array:
    wide = final.widened(stretch)
    return np.array([wide.quantile(float(level)) for level in ndtr(np.linspace(-REACH, REACH, count))])


def _product_of_others(above: Array) -> Array:
    """For each end the product over all others, without dividing by what may be zero."""
    ones = np.ones_like(above[:, :1])
    before = np.cumprod(np.concatenate([ones, above[:, :-1]], axis=1), axis=1)
    after = np.cumprod(np.concatenate([ones, above[:, :0:-1]], axis=1), axis=1)[:, ::-1]
    return np.asarray(before * after)


def _inverse(below: Array, middles: Array, ranks: Array) -> Array:
    places = np.minimum(np.searchsorted(below, ranks), len(middles) - 1)
    return np.asarray(middles[places])
