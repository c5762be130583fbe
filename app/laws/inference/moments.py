"""What one run says of the prior that it was drawn from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

LEAST_ANNEALING = 0.01
"""A posterior mean of D below this share of the level counts as this when its logarithm is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Expected sufficient statistics of one run: weight, first and second moment, of logs where a LogNormal is meant.

    `exponent`, `misfit_*`, `correlated` and `parts` speak of the run as a lawful one, `abrupt*` as an abrupt one.
    """

    exponent: Array  # (3,)
    memory: Array  # (3,)
    powers: Array  # (n_powers,)
    reducible: Array  # (3,)
    annealing: Array  # (3,), of log D
    misfit_of_power: Array  # (3,)
    misfit_of_response: Array  # (3,)
    correlated: Array  # (n_correlated,)
    parts: Array  # (n_parts,)
    abrupt: Array  # (3,)
    abrupt_exponent: Array  # (3,)
    abrupt_parts: Array  # (n_parts,)


def moments_of(weights: Array, values: Array) -> Array:
    """Weight, first and second moment, shape (3,), of values with weights, both (n,)."""
    return np.array([weights.sum(), weights @ values, weights @ values**2])


def gaussian_moments(weights: Array, means: Array, variances: Array) -> Array:
    """The same of a mixture of Gaussians, arrays of one shape; shape (3,)."""
    total = weights.sum()
    return np.array([total, (weights * means).sum(), (weights * (means**2 + variances)).sum()])


def log_of(moments: Array) -> Array:
    """Of the logarithm of a positive quantity: of the log-normal with the same mean and variance; both (3,)."""
    weight = max(float(moments[0]), 1e-300)
    mean = float(moments[1]) / weight
    spread = max(float(moments[2]) / weight - mean**2, 0.0)
    # Of a quantity that may be zero as well, only the order of magnitude is known: that of its deviation.
    mean = max(mean, np.sqrt(spread), LEAST_ANNEALING)
    variance = np.log1p(spread / mean**2)
    centre = np.log(mean) - variance / 2
    return np.array([weight, weight * centre, weight * (centre**2 + variance)])
