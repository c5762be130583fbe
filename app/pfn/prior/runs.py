"""Invented runs up to their horizon: levels at a few hundred places, and what of them was logged."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.pfn.prior.draws import Array, chance, log_normal
from app.pfn.prior.events import add_events, with_plateaus
from app.pfn.prior.laws import Laws, sample_laws
from app.pfn.prior.logs import NODES_PER_BIN, ContextBins, Logs, sample_logs
from app.pfn.prior.noise import Noise, sample_noise
from app.pfn.prior.response import effective_steps
from app.pfn.prior.schedules import Schedules, sample_schedules
from app.pfn.tasks import MAX_BINS

N_FUTURE_NODES = 64
"""Places between the cutoff and the horizon at which the level is known; queries and minima are among them."""

RISING_SHARE = 0.12
"""Metrics that rise, such as an accuracy: the mirror image of a loss."""

MOVED_SHARE = 0.12
"""Rewards, returns, losses with entropy terms: anywhere about zero."""


@dataclass(frozen=True, slots=True, eq=False)
class Units:
    """From levels to the metric; sign, size and offset of shape (n, 1)."""

    sign: Array
    size: Array
    offset: Array

    def of(self, levels: Array) -> Array:
        return self.offset + self.sign * self.size * levels


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Levels are over the level at the end of the run at a constant rate; positions over the horizon.

    seen_levels : at `NODES_PER_BIN` nodes of every bin, shape (n, MAX_BINS, NODES_PER_BIN)
    future, levels : positions beyond the cutoff, sorted, the last is 1, shape (n, N_FUTURE_NODES); and the levels there
    """

    schedules: Schedules
    laws: Laws
    noise: Noise
    logs: Logs
    bins: ContextBins
    seen_levels: Array
    future: Array
    levels: Array
    units: Units

    def __len__(self) -> int:
        return len(self.future)


def sample_runs(rng: np.random.Generator, n: int) -> Runs:
    schedules = sample_schedules(rng, n)
    laws = sample_laws(rng, schedules)
    logs = sample_logs(rng, schedules)
    bins = logs.bins()
    future = future_nodes(rng, logs.cutoff)
    positions = np.concatenate([bins.nodes(), future], axis=1)
    progress = with_plateaus(rng, effective_steps(schedules, positions, laws.responses.progress_power))
    fall = laws.bases.fall + laws.gain
    levels = add_events(rng, laws.levels_at(progress, schedules, positions), positions, schedules, fall)
    return Runs(
        schedules,
        laws,
        sample_noise(rng, fall),
        logs,
        bins,
        levels[:, :-N_FUTURE_NODES].reshape(n, MAX_BINS, NODES_PER_BIN),
        future,
        levels[:, -N_FUTURE_NODES:],
        _sample_units(rng, levels),
    )


def future_nodes(rng: np.random.Generator, cutoff: Array) -> Array:
    """Half even between the cutoff and the horizon, half even in the logarithm of the distance from the cutoff."""
    n, half = len(cutoff), N_FUTURE_NODES // 2
    even = (np.arange(half) + rng.random((n, half))) / half
    crowded = 1e-3 ** (1.0 - (np.arange(half - 1) + rng.random((n, half - 1))) / (half - 1))
    parts = np.sort(np.concatenate([even, crowded, np.ones((n, 1))], axis=1), axis=1)
    # At least a hundred-thousandth of the cutoff away: float32 must tell them apart.
    nodes: Array = np.maximum(cutoff[:, None] + (1.0 - cutoff[:, None]) * parts, cutoff[:, None] * (1.0 + 1e-5))
    return nodes


def sample_sizes(rng: np.random.Generator, n: int) -> Array:
    """Of the metric, where the level is 1."""
    return log_normal(rng, 2.0, 1.0, n)


def _sample_units(rng: np.random.Generator, levels: Array) -> Units:
    """Mostly a positive loss; `levels`, shape (n, m), are those of the whole run."""
    n = len(levels)
    size = sample_sizes(rng, n)
    rising = chance(rng, RISING_SHARE, n)
    above_zero = np.maximum(-levels.min(axis=1), 0.0) * rng.uniform(1.0, 1.2, n)
    from_zero = np.maximum(levels[:, 0], 1.0) * rng.uniform(1.0, 1.2, n)
    offset = size * np.where(rising, from_zero, above_zero)
    offset += np.where(chance(rng, MOVED_SHARE, n), size * rng.normal(-1.0, 2.0, n), 0.0)
    sign = np.where(rising, -1.0, 1.0)
    return Units(sign[:, None], size[:, None], offset[:, None])
