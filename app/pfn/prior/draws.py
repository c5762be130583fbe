"""Draws that several parts of the prior use."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]


def log_uniform(
    rng: np.random.Generator, low: npt.ArrayLike, high: npt.ArrayLike, size: int | tuple[int, ...]
) -> Array:
    """Even in the logarithm, between `low` and `high`."""
    low, high = np.log(low), np.log(high)
    return np.exp(low + (high - low) * rng.random(size))


def log_normal(rng: np.random.Generator, median: float, log_deviation: float, size: int | tuple[int, ...]) -> Array:
    return median * np.exp(log_deviation * rng.standard_normal(size))


def chance(rng: np.random.Generator, probability: float, size: int | tuple[int, ...]) -> Flags:
    return rng.random(size) < probability


def pick(rng: np.random.Generator, shares: npt.ArrayLike, size: int) -> Indices:
    """Indices drawn with the given shares, which need not sum to 1."""
    bounds = np.cumsum(shares)
    return np.searchsorted(bounds[:-1] / bounds[-1], rng.random(size), side="right")
