"""Whole tasks: a schedule, a law, events, noise, a log of it, what is known of the plan, and what is asked."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.pfn.prior.draws import Array, Flags, Indices, chance, log_normal, log_uniform, pick
from app.pfn.prior.events import add_events, with_plateaus
from app.pfn.prior.laws import Laws, sample_laws
from app.pfn.prior.logs import NODES_PER_BIN, ContextBins, Logs, sample_logs
from app.pfn.prior.noise import Noise, sample_noise, sampled_spreads
from app.pfn.prior.response import effective_steps
from app.pfn.prior.schedules import FAMILIES, HORIZON_FREE, Schedules, sample_schedules
from app.pfn.tasks import MAX_BINS, Floats, Labelled, Tasks

PRIOR_VERSION = 1
"""Goes into the card of every network trained on it. Anything that changes a sample changes it."""

N_FUTURE_NODES = 64
"""Places between the cutoff and the horizon at which the level is known; queries and minima are among them."""

MOST_AVERAGED = 1000.0
MINIMUM_SHARE = 0.12
FEWEST_BINS = 3
CHUNK = 512
"""Curves at a time: arrays of this many rows stay in the cache, and numpy's overhead is spread over enough of them."""


def sample_tasks(rng: np.random.Generator, n: int, *, n_queries: int = 20) -> Labelled:
    """Invent `n` tasks.

    Parameters
    ----------
    rng : numpy.random.Generator
        The same state gives the same tasks.
    n : int
        At least a few hundred cost the least for each: some 0.15 ms on one core.
    n_queries : int
        Steps asked about for each, sorted; at most `N_FUTURE_NODES`.
    """
    parts: list[Labelled] = []
    missing = n
    while missing > 0:
        part = sample_runs(rng, min(max(missing + missing // 50, 16), CHUNK)).asked(rng, n_queries)
        part = part.rows(np.flatnonzero(_usable(part))[:missing])
        parts.append(part)
        missing -= len(part)
    return _joined(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Invented runs up to the horizon, and what of them was logged; levels over the level at the end.

    seen_levels : at `NODES_PER_BIN` nodes of every bin, shape (n, MAX_BINS * NODES_PER_BIN)
    future, levels : positions beyond the cutoff, sorted, the last is 1, shape (n, N_FUTURE_NODES); and the levels there
    fall : shape (n,), what the run falls by after its transient
    """

    schedules: Schedules
    laws: Laws
    noise: Noise
    logs: Logs
    bins: ContextBins
    seen_levels: Array
    future: Array
    levels: Array
    fall: Array

    def __len__(self) -> int:
        return len(self.future)

    def asked(self, rng: np.random.Generator, n_queries: int) -> Labelled:
        """As tasks: points in bins, parts of the plan withheld, and questions with their answers."""
        n = len(self)
        known = _what_is_known(rng, self.schedules)
        chosen = _chosen_queries(rng, n, n_queries, horizon_known=known.horizon)
        queries = np.take_along_axis(self.future, chosen, 1)
        minimum = chance(rng, MINIMUM_SHARE, chosen.shape)
        averaged = np.where(chance(rng, 0.5, chosen.shape), np.inf, log_uniform(rng, 1.0, MOST_AVERAGED, chosen.shape))
        averaged = np.where(minimum, np.inf, averaged)

        seen_levels = self.seen_levels.reshape(n, MAX_BINS, NODES_PER_BIN)
        means = seen_levels.mean(axis=2)
        values = np.concatenate([means, np.take_along_axis(self.levels, chosen, 1)], axis=1)
        positions = np.concatenate([self.bins.centres, queries], axis=1)
        counts = np.concatenate([np.maximum(self.bins.counts, 1.0), averaged], axis=1)
        scales = self.noise.scales(values, self.schedules.rate_at(positions), self.levels[:, 0])
        errors, variances = self.noise.means(rng, scales, positions, counts, self.logs.interval)

        counts = self.bins.counts
        trend = seen_levels.var(axis=2) * counts / np.maximum(counts - 1.0, 1.0)
        spreads = sampled_spreads(rng, variances[:, :MAX_BINS] + trend, counts)
        grains = np.where(counts == 1.0, self.noise.grain[:, None], 0.0)
        observed = _rounded(means + errors[:, :MAX_BINS], grains)

        unit = _sample_units(rng, self)
        minima = np.take_along_axis(np.minimum.accumulate(unit.of(self.levels), axis=1), chosen, 1)
        targets = np.where(minimum, minima, unit.of(values[:, MAX_BINS:] + errors[:, MAX_BINS:]))
        knots, rates = _told(self.schedules, self.logs.cutoff, queries[:, -1], known)
        seen = self.bins.seen
        tasks = Tasks(
            positions=_float(np.where(seen, self.bins.centres, 1.0)),
            values=_float(np.where(seen, unit.of(observed), 0.0)),
            spreads=_float(np.where(seen, spreads * unit.size, 0.0)),
            counts=_float(np.where(seen, counts, 1.0)),
            seen=seen,
            cutoff=_float(self.logs.cutoff),
            horizon=_float(np.where(known.horizon, 1.0, self.logs.cutoff)),
            horizon_known=known.horizon,
            knots=_float(knots),
            rates=_float(rates),
            past_known=known.past,
            future_known=known.future,
            queries=_float(queries),
            averaged=_float(averaged),
            minimum=minimum,
        )
        return Labelled(tasks, _float(targets))


def sample_runs(rng: np.random.Generator, n: int) -> Runs:
    schedules = sample_schedules(rng, n)
    laws = sample_laws(rng, schedules)
    logs = sample_logs(rng, schedules)
    bins = logs.bins()
    future = _future_nodes(rng, logs.cutoff)
    positions = np.concatenate([bins.nodes(), future], axis=1)
    progress = with_plateaus(rng, effective_steps(schedules, positions, laws.responses.progress_power))
    fall = laws.bases.fall + laws.gain
    levels = add_events(rng, laws.levels_at(progress, schedules, positions), positions, schedules, fall)
    n_context = MAX_BINS * NODES_PER_BIN
    noise = sample_noise(rng, fall)
    return Runs(schedules, laws, noise, logs, bins, levels[:, :n_context], future, levels[:, n_context:], fall)


def _future_nodes(rng: np.random.Generator, cutoff: Array) -> Array:
    """Half even between the cutoff and the horizon, half even in the logarithm of the distance from the cutoff."""
    n, half = len(cutoff), N_FUTURE_NODES // 2
    even = (np.arange(half) + rng.random((n, half))) / half
    crowded = 1e-3 ** (1.0 - (np.arange(half - 1) + rng.random((n, half - 1))) / (half - 1))
    parts = np.sort(np.concatenate([even, crowded, np.ones((n, 1))], axis=1), axis=1)
    # At least a hundred-thousandth of the cutoff away: float32 must tell them apart.
    nodes: Array = np.maximum(cutoff[:, None] + (1.0 - cutoff[:, None]) * parts, cutoff[:, None] * (1.0 + 1e-5))
    return nodes


def _chosen_queries(rng: np.random.Generator, n: int, n_queries: int, *, horizon_known: Flags) -> Indices:
    """Indices of future nodes, sorted: the horizon and others; or, with an unknown one, up to some node anywhere."""
    keys = rng.random((n, N_FUTURE_NODES))
    last = rng.integers(n_queries, N_FUTURE_NODES, n)
    keys[np.arange(N_FUTURE_NODES) > np.where(horizon_known, N_FUTURE_NODES, last)[:, None]] = 2.0
    keys[horizon_known, -1] = -1.0
    return np.sort(np.argpartition(keys, n_queries - 1, axis=1)[:, :n_queries], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What is known of the plan; bool, shape (n,)."""

    past: Flags
    future: Flags
    horizon: Flags


def _what_is_known(rng: np.random.Generator, schedules: Schedules) -> _Known:
    """Runs without a logged rate often have no configuration either: then nothing is known."""
    n = len(schedules)
    past = ~chance(rng, 0.15, n)
    horizon = np.where(past, ~chance(rng, 0.15, n), ~chance(rng, 0.5, n))
    free = np.isin(schedules.family, [list(FAMILIES).index(name) for name in HORIZON_FREE])
    future = past & np.where(horizon, ~chance(rng, 0.12, n), free & chance(rng, 0.5, n))
    return _Known(past, future, horizon)


def _told(schedules: Schedules, cutoff: Array, last_query: Array, known: _Known) -> tuple[Array, Array]:
    """Knots and rates as a task shows them: what is unknown is held or flat, and where it would end is not shown."""
    end = np.where(known.horizon, 1.0, last_query)
    knots, rates = _held_after(schedules.knots, schedules.rates, schedules.rate_at(end[:, None]), end)
    held = _held_after(knots, rates, schedules.rate_at(cutoff[:, None]), cutoff)
    future = known.future[:, None]
    knots, rates = np.where(future, knots, held[0]), np.where(future, rates, held[1])
    knots[:, -1] = end
    rates = np.where(known.past[:, None], rates, 1.0)
    knots = np.where(known.past[:, None], knots, np.linspace(0.0, end, knots.shape[1], axis=1))
    return knots, rates / rates.max(axis=1, keepdims=True)


def _held_after(knots: Array, rates: Array, rate: Array, position: Array) -> tuple[Array, Array]:
    """Later knots move to `position`, where the rate is `rate`, shape (n, 1), from there on."""
    later = knots > position[:, None]
    return np.where(later, position[:, None], knots), np.where(later, rate, rates)


@dataclass(frozen=True, slots=True, eq=False)
class _Units:
    """From levels to the metric's unit; sign, size and offset of shape (n, 1)."""

    sign: Array
    size: Array
    offset: Array

    def of(self, levels: Array) -> Array:
        return self.offset + self.sign * self.size * levels


def _sample_units(rng: np.random.Generator, runs: Runs) -> _Units:
    """Mostly a positive loss; some rise, bounded by what they cannot reach, some hover about zero."""
    n = len(runs)
    size = log_normal(rng, 2.0, 1.0, n)
    rising = pick(rng, (0.88, 0.12), n) == 1
    highest = np.maximum(runs.seen_levels[:, 0], 1.0)
    lowest = np.minimum(runs.levels.min(axis=1), runs.seen_levels.min(axis=1))
    above_zero = np.maximum(-lowest, 0.0) * rng.uniform(1.0, 1.2, n)
    offset = size * np.where(rising, highest * rng.uniform(1.0, 1.2, n), above_zero)
    # Rewards, returns, losses with entropy terms: anywhere about zero.
    offset += np.where(chance(rng, 0.12, n), size * rng.normal(-1.0, 2.0, n), 0.0)
    sign = np.where(rising, -1.0, 1.0)
    return _Units(sign[:, None], size[:, None], offset[:, None])


def _rounded(values: Array, grains: Array) -> Array:
    grains_or_one = np.where(grains > 0, grains, 1.0)
    return np.where(grains > 0, np.round(values / grains_or_one) * grains_or_one, values)


def _float(values: Array) -> Floats:
    return values.astype(np.float32)


def _usable(part: Labelled) -> Flags:
    """Enough of a context, and nothing that is not finite."""
    tasks = part.tasks
    finite = np.isfinite(tasks.values).all(axis=1) & np.isfinite(part.targets).all(axis=1)
    finite &= np.isfinite(tasks.spreads).all(axis=1) & np.isfinite(tasks.rates).all(axis=1)
    enough = (tasks.seen.sum(axis=1) >= FEWEST_BINS) & (np.abs(part.targets) < 1e6).all(axis=1)
    usable: Flags = finite & enough
    return usable


def _joined(parts: list[Labelled]) -> Labelled:
    if len(parts) == 1:
        return parts[0]
    names = Tasks.__dataclass_fields__
    tasks = Tasks(**{name: np.concatenate([getattr(part.tasks, name) for part in parts]) for name in names})
    return Labelled(tasks, np.concatenate([part.targets for part in parts]))
