"""What no law foresees: spikes, shifts, plateaus, U-turns, delayed drops, divergence, and slow bends.

Each happens to a small share of runs, and is part of the level. Sizes are over `fall`, what the run falls by after its
transient. Positions are over the horizon.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import expit

from app.pfn.prior.draws import Array, chance, log_normal, log_uniform
from app.pfn.prior.schedules import Schedules

Draw = Callable[[np.random.Generator, Array, Array], Array]

PLATEAU_SHARE = 0.06


def with_plateaus(rng: np.random.Generator, progress: Array) -> Array:
    """Effective steps, shape (n, m), of which some runs stand still for a while: at the start (unlearned symmetry,
    a warm-up that is too cautious) or later (a saddle)."""
    n = len(progress)
    hit = chance(rng, PLATEAU_SHARE, n)
    begin = np.where(chance(rng, 0.5, n), log_uniform(rng, 1e-3, 0.05, n), log_uniform(rng, 0.05, 0.7, n))[:, None]
    length = log_uniform(rng, 0.01, 0.3, n)[:, None]
    return np.where(hit[:, None], progress - np.clip(progress - begin, 0.0, length), progress)


def add_events(rng: np.random.Generator, levels: Array, positions: Array, schedules: Schedules, fall: Array) -> Array:
    """Levels with what happened to them; levels and positions of shape (n, m), sorted; fall of shape (n,)."""
    levels = levels.copy()
    for draw, share in EVENTS:
        rows = np.flatnonzero(chance(rng, share, len(levels)))
        if len(rows):
            levels[rows] += fall[rows, None] * draw(rng, positions[rows], levels[rows])
    return _diverged(rng, levels + _shock_of_jump(rng, positions, schedules, fall), positions)


def _spikes(rng: np.random.Generator, positions: Array, levels: Array) -> Array:
    """One to eight rises that fade within 0.05 to 5 % of the run (PaLM, arXiv:2204.02311, restarted after some 20)."""
    n, most = len(positions), 8
    total = np.zeros(positions.shape)
    count = np.ceil(most * rng.random(n) ** 3)
    typical = log_uniform(rng, 0.02, 3.0, n)
    for spike in range(most):
        at, length = rng.random(n)[:, None], log_uniform(rng, 5e-4, 0.05, n)[:, None]
        height = np.where(spike < count, typical * log_normal(rng, 1.0, 0.6, n), 0.0)[:, None]
        after = positions - at
        total += height * np.where(after > 0, np.exp(-np.maximum(after, 0.0) / length), 0.0)
    return total


def _shift(rng: np.random.Generator, positions: Array, levels: Array) -> Array:
    """Another data mix, a restore, a changed batch: the level steps, up or down, and stays or comes half back."""
    n = len(positions)
    at = rng.random(n)[:, None]
    size = (rng.choice([-1.0, 1.0], n) * log_uniform(rng, 0.01, 0.4, n))[:, None]
    kept = np.where(chance(rng, 0.6, n), 1.0, rng.random(n))[:, None]
    fading = np.exp(-np.maximum(positions - at, 0.0) / log_uniform(rng, 0.005, 0.3, n)[:, None])
    return np.where(positions > at, size * (kept + (1.0 - kept) * fading), 0.0)


def _u_turn(rng: np.random.Generator, positions: Array, levels: Array) -> Array:
    """Overfitting: from somewhere on the level rises, as a power of what is past the turn."""
    n = len(positions)
    at = log_uniform(rng, 0.03, 1.0, n)[:, None]
    rise, power = log_uniform(rng, 0.1, 3.0, n)[:, None], rng.uniform(1.0, 2.2, n)[:, None]
    return rise * np.maximum(positions - at, 0.0) ** power


def _delayed_drop(rng: np.random.Generator, positions: Array, levels: Array) -> Array:
    """Grokking (Power et al., arXiv:2201.02177): late, the level drops, over 0.5 to 10 % of the run; or not in time."""
    n = len(positions)
    at, width = rng.uniform(0.03, 1.3, n)[:, None], log_uniform(rng, 0.003, 0.06, n)[:, None]
    return -log_uniform(rng, 0.2, 2.0, n)[:, None] * expit((positions - at) / width)


def _epochs(rng: np.random.Generator, positions: Array, levels: Array) -> Array:
    """Stairs of a training loss over a small data set: a little is remembered at each new epoch."""
    n = len(positions)
    n_epochs = rng.integers(2, 12, n)[:, None]
    size = log_uniform(rng, 0.01, 0.25, n)[:, None]
    epoch = np.floor(positions * n_epochs)
    within = positions * n_epochs - epoch
    return size * (np.where(chance(rng, 0.5, n)[:, None], 0.0, 0.5) * within - epoch / np.sqrt(n_epochs))


def _bends(rng: np.random.Generator, positions: Array, levels: Array) -> Array:
    """Two gentle bends on a logarithmic axis: no run follows a law exactly."""
    n = len(positions)
    total = np.zeros(positions.shape)
    logs = np.log(positions)
    for _ in range(2):
        at, width = np.log(rng.uniform(0.02, 1.2, n))[:, None], log_uniform(rng, 0.1, 1.5, n)[:, None]
        total += rng.normal(0.0, log_uniform(rng, 0.002, 0.1, n))[:, None] * np.tanh((logs - at) / width)
    return total


EVENTS: tuple[tuple[Draw, float], ...] = (
    (_spikes, 0.08),
    (_shift, 0.04),
    (_u_turn, 0.06),
    (_delayed_drop, 0.03),
    (_epochs, 0.04),
    (_bends, 0.35),
)
"""Each with its share of runs: rare enough that a 90 % band of a healthy run need not hold them."""

DIVERGENCE_SHARE = 0.03
SHOCK_SHARE = 0.5


def _shock_of_jump(rng: np.random.Generator, positions: Array, schedules: Schedules, fall: Array) -> Array:
    """A jump of the rate to more than it was throws some runs up; they come back down."""
    n = len(positions)
    jumps = np.where(np.diff(schedules.knots, axis=1) == 0, np.diff(schedules.rates, axis=1), 0.0)
    largest = jumps.argmax(axis=1)[:, None]
    jump, at = np.take_along_axis(jumps, largest, 1), np.take_along_axis(schedules.knots, largest, 1)
    height = np.where(chance(rng, SHOCK_SHARE, n), log_uniform(rng, 0.02, 1.0, n), 0.0) * fall
    after = positions - at
    fading = np.exp(-np.maximum(after, 0.0) / log_uniform(rng, 2e-3, 0.05, n)[:, None])
    return np.where((after > 0) & (at > 0) & (jump > 0), height[:, None] * jump * fading, 0.0)


def _diverged(rng: np.random.Generator, levels: Array, positions: Array) -> Array:
    """Some runs blow up, towards the loss of an untrained network and beyond; half of them recover."""
    rows = np.flatnonzero(chance(rng, DIVERGENCE_SHARE, len(levels)))
    n, here = len(rows), positions[rows]
    at, rise_length = rng.uniform(0.02, 1.1, n)[:, None], log_uniform(rng, 1e-3, 0.2, n)[:, None]
    ceiling = (1.0 + log_uniform(rng, 0.1, 8.0, n))[:, None]
    after = np.maximum(here - at, 0.0)
    risen = -np.expm1(-((after / rise_length) ** rng.uniform(1.0, 3.0, n)[:, None]))
    length = log_uniform(rng, 0.01, 0.3, n)[:, None]
    lost = np.where(chance(rng, 0.5, n)[:, None], np.exp(-after / length), 1.0)
    levels[rows] += np.maximum(ceiling - levels[rows], 0.1) * risen * lost
    return levels
