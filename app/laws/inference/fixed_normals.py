"""Normal numbers that are the same every time, so that the same data gives the same paths."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

SHOCKS_AT_A_TIME = 128
"""Steps of a path that random numbers are drawn for, and kept: a few more than a forecast asks for."""


@lru_cache(maxsize=8)
def quasi_normals(n_paths: int, seed: int) -> Array:
    """Normals of low discrepancy, shape (3, n_paths): Roberts' additive sequence, shifted by `seed`."""
    # The plastic number's generalisation: root of g^4 = g + 1, whose powers are badly approximable together.
    root = 1.2207440846057596
    shift = np.random.default_rng(seed).random(3)
    multiples = np.arange(1, n_paths + 1)[None] * root ** -np.arange(1.0, 4.0)[:, None]
    normals: Array = ndtri((multiples + shift[:, None]) % 1.0 * (1 - 1e-6) + 5e-7)
    return normals


@lru_cache(maxsize=8)
def scattered_order(n_paths: int) -> Ints:
    """An order of the paths, shape (n_paths,), in which neighbours lie apart; always the same."""
    return np.random.default_rng(n_paths).permutation(n_paths)


def rounded_up(n_steps: int) -> int:
    """Runs differ by a few steps in how far ahead they are forecast: all share the shocks of one length."""
    return -(-n_steps // SHOCKS_AT_A_TIME) * SHOCKS_AT_A_TIME


@lru_cache(maxsize=8)
def shocks_of(n_paths: int, n_steps: int, seed: int) -> Array:
    """Normals for two integrated Wiener processes (shocks and bends of each) and a Wiener process.

    Shape (5, n_steps, n_paths); each path with its mirror image, so that their mean is exactly zero.
    """
    half = np.random.default_rng([seed, n_paths, n_steps]).standard_normal((5, (n_paths + 1) // 2, n_steps))
    shocks = np.concatenate([half, -half], axis=1)[:, :n_paths].swapaxes(1, 2).copy()
    shocks[[1, 3]] = shocks[[1, 3]] / np.sqrt(12.0) - shocks[[0, 2]] / 2
    return shocks
