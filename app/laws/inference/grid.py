"""The nodes on which the posterior of the annealing law is evaluated: where the prior is, then where the data are.

A grid that is fixed in advance is too coarse for a parameter that the data know well (an exponent to 3 %, a memory to
5 % once a jump of the rate was seen) and wastes its nodes on one that they do not speak of. So a first grid with few
sizes of the misfit finds where each parameter lies and how well it is known, and the last one has its nodes there.
Where even the next nodes of the memory are too far apart, only it and the exponent move, and the sizes are looked for
again: on a grid that misses them, misfit takes the blame. All carry the prior as density times spacing, so that nothing
is counted twice and nothing but the tails is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt

from app.laws.prior import LogNormal, Prior, spacings

Array = npt.NDArray[np.float64]

N_EXPONENTS, REACH_OF_EXPONENTS = 9, 3.0
N_MEMORIES, REACH_OF_MEMORIES = 5, 2.8
N_SIZES, N_RESPONSE_SIZES, REACH_OF_SIZES = 4, 3, 2.6
"""Nodes of a parameter, and how many posterior deviations to either side of its mean they span. The sum over evenly
spaced nodes is exact to a percent where their spacing is below two deviations of a Gaussian."""

SHARPEST = 0.125
"""A deviation is not believed to be below this share of the spacing that it was judged on."""

UNRESOLVED = 0.8
"""A node with more of the probability than this: nodes are more than two deviations apart, and may miss the peak."""

LEAST_SAY = 0.5
"""Lawful runs have at least this say in where exponent and memory lie: on a coarse grid a run may look abrupt that a
finer one finds lawful."""


@dataclass(frozen=True, slots=True, eq=False)
class Axis:
    """Nodes of one parameter and the prior mass each stands for; both of shape (n,)."""

    points: Array
    log_weights: Array

    @staticmethod
    def of(part: LogNormal, points: npt.ArrayLike | None = None) -> Axis:
        """The prior on its own nodes, or on others."""
        nodes = np.asarray(part.points if points is None else points, dtype=np.float64)
        return Axis(nodes, part.log_masses(nodes))


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Nodes of every parameter that is not known in closed form.

    exponents, memories : memories in fractions of the horizon, in effective steps
    log_exponents : (2, n_exponents), log weights of the exponents in a lawful and in an abrupt run
    powers, gains, log_powers : of the rate, D under each, log weights; (n_powers,)
    sizes : (n_sizes, 4), of the misfits: of the power law, of the response, abrupt changes, correlated residuals
    log_sizes : (n_sizes,)
    is_whole : with all alternatives; otherwise a grid to look where the posterior is
    """

    exponents: Array
    log_exponents: Array
    memories: Axis
    powers: Array
    gains: Array
    log_powers: Array
    sizes: Array
    log_sizes: Array
    is_whole: bool = True

    @property
    def is_lawful(self) -> npt.NDArray[np.bool_]:
        """Of the sizes, shape (n_sizes,)."""
        lawful: npt.NDArray[np.bool_] = self.sizes[:, 2] == 0
        return lawful

    def responses(self) -> tuple[npt.NDArray[np.intp], Array, Array]:
        """Of each pair of power and memory: index of the power, memory, log weight; (n_responses,) each."""
        n_powers, n_memories = len(self.powers), len(self.memories.points)
        log_weights = (self.log_powers[:, None] + self.memories.log_weights).ravel()
        return np.repeat(np.arange(n_powers), n_memories), np.tile(self.memories.points, n_powers), log_weights


@lru_cache(maxsize=8)
def first_grid(prior: Prior) -> Grid:
    """The prior's own nodes; of the alternatives that only widen the band, one each."""
    return _grid(prior, prior.exponent.points, prior.memory.points, _Sizes.of(prior, whole=False))


@lru_cache(maxsize=8)
def whole_grid(prior: Prior) -> Grid:
    """The prior's own nodes, all alternatives."""
    return _grid(prior, prior.exponent.points, prior.memory.points, _Sizes.of(prior, whole=True))


def zoomed_grid(prior: Prior, grid: Grid, probabilities: Array, *, last: bool = True) -> Grid:
    """Nodes where the posterior on `grid` is, with all alternatives.

    Unless this is to be the `last` one: then a grid that `is_whole` only if the nodes are near enough to each other.

    Parameters
    ----------
    prior : Prior
    grid : Grid
    probabilities : shape (n_sizes, n_exponents, n_responses, n_parts)
        Of its cells.
    """
    lawful = grid.is_lawful
    share = probabilities[lawful].sum()
    # Each kind's own posterior, mixed with the lawful kind's least say.
    say = np.clip(share, LEAST_SAY, 1.0) if lawful.any() and not lawful.all() else 1.0 * lawful.any()
    weights = np.where(lawful, say / max(share, 1e-300), (1 - say) / max(1 - share, 1e-300))[:, None, None, None]
    weighted = probabilities * weights
    n_powers = len(grid.powers)
    by_memory = weighted.sum((0, 1, 3)).reshape(n_powers, -1).sum(0)
    by_exponent = weighted.sum((0, 2, 3))
    exponents = _zoomed(grid.exponents, by_exponent, N_EXPONENTS, REACH_OF_EXPONENTS)
    memories = _zoomed(grid.memories.points, by_memory, N_MEMORIES, REACH_OF_MEMORIES)
    # The exponent is found by one zoom: its first nodes are near enough to each other.
    if not last and by_memory.max() > UNRESOLVED * by_memory.sum() and len(by_memory) > 1:
        return _grid(prior, exponents, memories, _Sizes.of(prior, whole=False))
    by_size = probabilities.sum((1, 2, 3))
    sizes = _Sizes(
        power=_zoomed_sizes(prior.misfit_of_power, grid.sizes[lawful, 0], by_size[lawful]),
        response=_zoomed_sizes(prior.misfit_of_response, grid.sizes[lawful, 1], by_size[lawful], N_RESPONSE_SIZES),
        abrupt=_zoomed_sizes(prior.abrupt, grid.sizes[~lawful, 2], by_size[~lawful]),
        whole=True,
    )
    return _grid(prior, exponents, memories, sizes)


@dataclass(frozen=True, slots=True, eq=False)
class _Sizes:
    power: Axis
    response: Axis
    abrupt: Axis
    whole: bool

    @staticmethod
    def of(prior: Prior, *, whole: bool) -> _Sizes:
        parts = (prior.misfit_of_power, prior.misfit_of_response, prior.abrupt)
        power, response, abrupt = (Axis.of(part) for part in parts)
        return _Sizes(power, response, abrupt, whole)

    def table(self, prior: Prior) -> tuple[Array, Array]:
        """Sizes (n_sizes, 4) and their log weights."""
        power, response, abrupt = (
            list(zip(axis.points, axis.log_weights, strict=True)) for axis in (self.power, self.response, self.abrupt)
        )
        correlated = list(zip(prior.correlated, np.log(prior.correlated_weights), strict=True))
        # Beside abrupt changes the other processes hardly show: a coarser grid of them will do.
        smooth, widest = prior.misfit_of_power.points[::2], prior.misfit_of_response.points[-1]
        if not self.whole:
            correlated, smooth, response = correlated[-1:], smooth[-1:], [response[0], *response[1:][-1:]]
        lawful_share, abrupt_share = (
            float(np.log(max(p, 1e-300))) for p in (1 - prior.abrupt_probability, prior.abrupt_probability)
        )
        lawful = [
            (p, r, 0.0, o, lawful_share + wp + wr + wo)
            for (p, wp), (r, wr), (o, wo) in product(power, response, correlated)
        ]
        unlawful = [
            (p, widest, a, 0.0, abrupt_share + wa - np.log(len(smooth))) for p, (a, wa) in product(smooth, abrupt)
        ]
        table = np.array(lawful + unlawful)
        return table[:, :4], table[:, 4]


def _grid(prior: Prior, exponents: npt.ArrayLike, memories: npt.ArrayLike, sizes: _Sizes) -> Grid:
    exponents = np.asarray(exponents, dtype=np.float64)
    table, log_sizes = sizes.table(prior)
    return Grid(
        exponents=exponents,
        log_exponents=np.stack([part.log_masses(exponents) for part in (prior.exponent, prior.abrupt_exponent)]),
        memories=Axis.of(prior.memory, memories),
        powers=np.asarray(prior.rate_powers),
        gains=np.asarray(prior.annealing_gains),
        log_powers=np.log(prior.rate_power_weights),
        sizes=table,
        log_sizes=log_sizes,
        is_whole=sizes.whole,
    )


def _zoomed_sizes(part: LogNormal, sizes: Array, probabilities: Array, count: int = N_SIZES) -> Axis:
    """The axis of one misfit, from the table's column of it."""
    if not len(sizes):
        return Axis.of(part)
    points, place = np.unique(sizes, return_inverse=True)
    by_size = np.bincount(place, probabilities).astype(np.float64)
    return Axis.of(part, _zoomed(points, by_size, count, REACH_OF_SIZES))


def _zoomed(points: Array, probabilities: Array, count: int, reach: float) -> Array:
    """Nodes that span `reach` deviations to either side of the mean, inside what `points` span."""
    total = float(probabilities.sum())
    if len(points) == 1 or total < 1e-200:  # nothing to choose, or nothing said: a kind of run that it surely is not
        return points
    logs, weights = np.log(points), probabilities / total
    mean = float(weights @ logs)
    deviation = max(float(np.sqrt(weights @ (logs - mean) ** 2)), _deviation_by_curvature(logs, weights))
    nodes: Array = np.exp(
        np.linspace(max(logs[0], mean - reach * deviation), min(logs[-1], mean + reach * deviation), count)
    )
    return nodes


def _deviation_by_curvature(logs: Array, weights: Array) -> float:
    """Of the Gaussian through the best node and its neighbours: tells less than a spacing where moments cannot."""
    best = int(np.argmax(weights))
    spacing = float(np.diff(logs)[max(best - 1, 0) : best + 1].max())
    if not 0 < best < len(logs) - 1:
        return SHARPEST * spacing
    density = np.log(np.maximum(weights, 1e-30)) - np.log(spacings(logs))
    below = (density[best] - density[best - 1]) / (logs[best] - logs[best - 1])
    above = (density[best + 1] - density[best]) / (logs[best + 1] - logs[best])
    curvature = 2 * (below - above) / (logs[best + 1] - logs[best - 1])
    return max(float(1 / np.sqrt(max(curvature, 1e-12))), SHARPEST * spacing) if curvature > 0 else SHARPEST * spacing
