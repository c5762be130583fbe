"""Level, reducible loss A and annealing D in every cell of the grid at once: linear algebra in three unknowns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from app.laws.inference.grid import Grid
from app.laws.prior import Prior

Array = npt.NDArray[np.float64]


def prior_units(prior: Prior, grid: Grid, gone: float) -> tuple[Array, Array]:
    """What turns the prior's A and D, stated at the horizon, into those at the cutoff; per exponent, per response.

    `gone` is how far, in log x, the cutoff lies behind the horizon. A power law with A left of a level of 1 at the
    horizon had more of both at the cutoff. Shapes (n_exponents, 1, n_parts), (n_exponents, n_responses, n_parts).
    """
    growth = np.exp(grid.exponents * max(gone, 0.0))[:, None, None]
    left = np.clip(prior.parts()[0][0], 0.0, 1.0)
    higher = 1.0 + left * (growth - 1.0)
    gains = grid.gains[grid.responses()[0]][:, None]
    return growth / higher, gains / higher


def prior_parts(prior: Prior, grid: Grid, gone: float) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Means and precisions of (level, A, D), each to be broadcast over (exponents, responses, parts)."""
    of_reducible, of_annealing = prior_units(prior, grid, gone)
    (reducible, annealing), (of_a, of_d), _ = prior.parts()
    means = (np.zeros(()), of_reducible * reducible, of_annealing * annealing)
    deviations = (np.full((), prior.level_deviation), of_reducible * of_a, of_annealing * of_d)
    return means, tuple(each**-2.0 for each in deviations)


def eliminate(
    grams: Array, n_exponents: int, means: tuple[Array, ...], precisions: tuple[Array, ...]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """LDL' of every cell's 3 x 3 precision and the forward-solved right-hand side.

    `grams` are the inner products of (data, one, powers, responses) in the whitened space. Every entry is
    broadcast over (sizes, exponents, responses, parts): most depend on two of the four axes, so a cell costs a few
    dozen operations.

    Returns
    -------
    (d0, d1, d2, l10, l20, l21), (u0, u1, u2)
    """
    power, response = slice(2, 2 + n_exponents), slice(2 + n_exponents, None)
    one_one = grams[:, 1, 1, None, None, None] + precisions[0]
    one_power = grams[:, 1, power, None, None]
    one_response = grams[:, 1, None, response, None]
    power_power = np.diagonal(grams[:, power, power], axis1=1, axis2=2)[:, :, None, None] + precisions[1]
    power_response = grams[:, power, response, None]
    response_diagonal = np.diagonal(grams[:, response, response], axis1=1, axis2=2)
    response_response = response_diagonal[:, None, :, None] + precisions[2]
    pulls = [mean * precision for mean, precision in zip(means, precisions, strict=True)]
    data_one = grams[:, 0, 1, None, None, None] + pulls[0]
    data_power = grams[:, 0, power, None, None] + pulls[1]
    data_response = grams[:, 0, None, response, None] + pulls[2]

    d0 = one_one
    l10, l20 = one_power / d0, one_response / d0
    d1 = power_power - l10 * one_power
    rest = power_response - l10 * one_response
    l21 = rest / d1
    d2 = response_response - l20 * one_response - l21 * rest
    u0 = data_one
    u1 = data_power - l10 * u0
    u2 = data_response - l20 * u0 - l21 * u1
    return (d0, d1, d2, l10, l20, l21), (u0, u1, u2)


def back_substitute(
    factor: tuple[Array, ...], solved: tuple[Array, ...], normals: Array | None = None
) -> tuple[Array, Array, Array]:
    """(level, A, D) of cells: posterior means, or draws where `normals`, shape (3, n_cells), are given."""
    d0, d1, d2, l10, l20, l21 = factor
    v0, v1, v2 = (u / d for u, d in zip(solved, (d0, d1, d2), strict=True))
    if normals is not None:
        v0, v1, v2 = (v + e / np.sqrt(d) for v, e, d in zip((v0, v1, v2), normals, (d0, d1, d2), strict=True))
    annealing = v2
    reducible = v1 - l21 * annealing
    level = v0 - l10 * reducible - l20 * annealing
    return level, reducible, annealing
