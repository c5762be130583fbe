"""Whole tasks from invented runs: points in bins, what is known of the plan, and what is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from app.pfn.prior.draws import Array, Flags, Indices, chance, log_uniform
from app.pfn.prior.noise import sampled_spreads
from app.pfn.prior.runs import N_FUTURE_NODES, Runs, sample_runs
from app.pfn.prior.schedules import FAMILIES, HORIZON_FREE, Schedules
from app.pfn.tasks import MAX_BINS, Floats, Labelled, Tasks

PRIOR_VERSION = 1
"""Goes into the card of every network trained on it. Anything that changes what is drawn changes it."""

NOISELESS_SHARE = 0.5
MOST_AVERAGED = 1000.0
"""Points that the asked value is the mean of: half of the questions are about the level itself."""

MINIMUM_SHARE = 0.12
"""Questions about the lowest level to come."""

FEWEST_BINS = 3
LARGEST_ANSWER = 1e6
"""Tasks that show less, or ask for more than this, are drawn again."""

CHUNK = 512
"""Curves at a time: arrays of this many rows stay in the cache, and numpy's overhead is spread over enough of them."""


def sample_tasks(rng: np.random.Generator, n: int, *, n_queries: int = 20) -> Labelled:
    """Invent `n` tasks.

    Parameters
    ----------
    rng : numpy.random.Generator
        The same state gives the same tasks.
    n : int
        At least a few hundred cost the least for each: some 0.2 ms on one core.
    n_queries : int
        Steps asked about for each, sorted; less than `N_FUTURE_NODES`.
    """

    def some(missing: int) -> Labelled:
        return tasks_of(rng, sample_runs(rng, min(max(missing + missing // 50, 16), CHUNK)), n_queries=n_queries)

    return usable_tasks(some, n)


def usable_tasks(some: Callable[[int], Labelled], n: int) -> Labelled:
    """The first `n` that are usable of what `some`, told how many are missing, gives time and again."""
    parts: list[Labelled] = []
    missing = n
    while missing > 0:
        part = some(missing)
        part = part.rows(np.flatnonzero(usable(part))[:missing])
        parts.append(part)
        missing -= len(part)
    return joined(parts)


def tasks_of(rng: np.random.Generator, runs: Runs, *, n_queries: int, whole_plan: bool = False) -> Labelled:
    """Each run as one task: a log of its past, parts of its plan or the whole, and questions about its future."""
    known = _Known.all_of(runs.schedules) if whole_plan else _what_is_known(rng, runs.schedules)
    asked = _ask(rng, runs, n_queries, horizon_known=known.horizon)
    observed, answers = _observe(rng, runs, asked)
    cutoff, seen = runs.logs.cutoff, runs.bins.seen
    knots, rates = _told(runs.schedules, cutoff, asked.queries[:, -1], known)
    tasks = Tasks(
        positions=_float(np.where(seen, runs.bins.centres, 1.0)),
        values=_float(np.where(seen, observed.values, 0.0)),
        spreads=_float(np.where(seen, observed.spreads, 0.0)),
        counts=_float(np.where(seen, runs.bins.counts, 1.0)),
        seen=seen,
        cutoff=_float(cutoff),
        horizon=_float(np.where(known.horizon, 1.0, cutoff)),
        horizon_known=known.horizon,
        knots=_float(knots),
        rates=_float(rates),
        past_known=known.past,
        future_known=known.future,
        queries=_float(asked.queries),
        averaged=_float(asked.averaged),
        minimum=asked.minimum,
    )
    return Labelled(tasks, _float(answers))


@dataclass(frozen=True, slots=True, eq=False)
class _Known:
    """What is known of the plan; bool, shape (n,)."""

    past: Flags
    future: Flags
    horizon: Flags

    @staticmethod
    def all_of(schedules: Schedules) -> _Known:
        everything = np.ones(len(schedules), dtype=np.bool_)
        return _Known(everything, everything, everything)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """Questions, shape (n, n_queries): `nodes` are indices of the runs' future nodes, the rest as in `Tasks`."""

    nodes: Indices
    queries: Array
    averaged: Array
    minimum: Flags


@dataclass(frozen=True, slots=True, eq=False)
class _Observed:
    """Bins as they were logged, in the metric's unit, shape (n, MAX_BINS)."""

    values: Array
    spreads: Array


def _what_is_known(rng: np.random.Generator, schedules: Schedules) -> _Known:
    """Runs without a logged rate often have no configuration either: then nothing is known."""
    n = len(schedules)
    past = ~chance(rng, 0.15, n)
    horizon = np.where(past, ~chance(rng, 0.15, n), ~chance(rng, 0.5, n))
    free = np.isin(schedules.family, [list(FAMILIES).index(name) for name in HORIZON_FREE])
    future = past & np.where(horizon, ~chance(rng, 0.12, n), free & chance(rng, 0.5, n))
    return _Known(past, future, horizon)


def _ask(rng: np.random.Generator, runs: Runs, n_queries: int, *, horizon_known: Flags) -> _Asked:
    """Future nodes, sorted: the horizon and others; or, where it is unknown, others up to some node anywhere."""
    n = len(runs)
    keys = rng.random((n, N_FUTURE_NODES))
    last = rng.integers(n_queries, N_FUTURE_NODES, n)
    keys[np.arange(N_FUTURE_NODES) > np.where(horizon_known, N_FUTURE_NODES, last)[:, None]] = 2.0
    keys[horizon_known, -1] = -1.0
    nodes = np.sort(np.argpartition(keys, n_queries - 1, axis=1)[:, :n_queries], axis=1)
    minimum = chance(rng, MINIMUM_SHARE, nodes.shape)
    noiseless = minimum | chance(rng, NOISELESS_SHARE, nodes.shape)
    averaged = np.where(noiseless, np.inf, log_uniform(rng, 1.0, MOST_AVERAGED, nodes.shape))
    return _Asked(nodes, np.take_along_axis(runs.future, nodes, 1), averaged, minimum)


def _observe(rng: np.random.Generator, runs: Runs, asked: _Asked) -> tuple[_Observed, Array]:
    """Bins with their noise, and the answers, with the noise of as many points as were asked to be averaged.

    Both in one go, for the noise to come is correlated with the noise seen.
    """
    counts, means = runs.bins.counts, runs.seen_levels.mean(axis=2)
    levels = np.concatenate([means, np.take_along_axis(runs.levels, asked.nodes, 1)], axis=1)
    positions = np.concatenate([runs.bins.centres, asked.queries], axis=1)
    n_points = np.concatenate([np.maximum(counts, 1.0), asked.averaged], axis=1)
    scales = runs.noise.scales(levels, runs.schedules.rate_at(positions), runs.levels[:, 0])
    errors, variances = runs.noise.means(rng, scales, positions, n_points, runs.logs.interval)

    trend = runs.seen_levels.var(axis=2) * counts / np.maximum(counts - 1.0, 1.0)
    spreads = sampled_spreads(rng, variances[:, :MAX_BINS] + trend, counts)
    grains = np.where(counts == 1.0, runs.noise.grain[:, None], 0.0)
    logged = _rounded(levels[:, :MAX_BINS] + errors[:, :MAX_BINS], grains)
    observed = _Observed(runs.units.of(logged), spreads * runs.units.size)

    lowest = np.minimum.accumulate(runs.units.of(runs.levels), axis=1)
    asked_for = runs.units.of(levels[:, MAX_BINS:] + errors[:, MAX_BINS:])
    return observed, np.where(asked.minimum, np.take_along_axis(lowest, asked.nodes, 1), asked_for)


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


def _rounded(values: Array, grains: Array) -> Array:
    """To multiples of `grains`; as they are where that is 0."""
    divisors = np.where(grains > 0, grains, 1.0)
    return np.where(grains > 0, np.round(values / divisors) * divisors, values)


def _float(values: Array) -> Floats:
    return values.astype(np.float32)


def usable(part: Labelled) -> Flags:
    """Enough of a context, and nothing that is not finite."""
    tasks = part.tasks
    usable: Flags = tasks.seen.sum(axis=1) >= FEWEST_BINS
    for each in (tasks.values, tasks.spreads, tasks.rates, part.targets):
        usable &= (np.abs(each) < LARGEST_ANSWER).all(axis=1)  # False for what is not finite
    return usable


def joined(parts: list[Labelled]) -> Labelled:
    if len(parts) == 1:
        return parts[0]
    names = Tasks.__dataclass_fields__
    tasks = Tasks(**{name: np.concatenate([getattr(part.tasks, name) for part in parts]) for name in names})
    return Labelled(tasks, np.concatenate([part.targets for part in parts]))
