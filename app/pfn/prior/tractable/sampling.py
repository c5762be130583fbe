"""Runs of the generator that have a likelihood, and tasks of them to train a network on."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np

from app.pfn.prior import families
from app.pfn.prior.draws import Array, Flags, Indices
from app.pfn.prior.laws import Laws, beneficial, sample_laws_alone
from app.pfn.prior.logs import NODES_PER_BIN, Logs, sample_logs
from app.pfn.prior.noise import LARGEST, SMALLEST, Noise, sample_noise
from app.pfn.prior.runs import Runs, Units, future_nodes, sample_sizes
from app.pfn.prior.sampling import joined, tasks_of, usable_tasks
from app.pfn.prior.schedules import Schedules, sample_schedules
from app.pfn.tasks import MAX_BINS, Labelled

TRACTABLE = ("power", "log_power")
"""Two families of five, 61 % of the prior: both have an exponent and an offset, and nothing else."""

LEAST_NOISE = 0.01
"""Deviation of a bin with its share of the points, over the fall. Runs that are known better are left out: their
posteriors are ridges so narrow that no chain of reasonable length goes along them."""

LARGEST_GAIN = 1.0
"""Runs with more are left out: levels stay above zero then, and the metric needs no offset."""

EARLY, EARLY_SHARE = (0.07, 0.3), 0.6
"""Cutoffs, over the horizon, that a training can be given more of, and the chance of a task to be drawn from these
alone: 30 % of all have one, and with that 72 %."""

LAWS_AT_A_TIME = 8192
"""Some 400 are left of them."""


def tractable_runs(rng: np.random.Generator, n: int, *, least_seen: float = 0.0, most_seen: float = 1.0) -> Runs:
    """What is left of `n` runs of the generator, with a cutoff between two shares of the horizon.

    Thrown away as early as can be: a law outside needs no schedule, and a run outside needs no levels.
    """
    laws: Laws = sample_laws_alone(rng, n)
    laws = _rows(laws, np.flatnonzero(_has_likelihood(laws)))
    schedules = sample_schedules(rng, len(laws.gain))
    laws, logs = beneficial(rng, laws, schedules), sample_logs(rng, schedules)
    fall = laws.bases.fall + laws.gain
    noise = sample_noise(rng, fall)
    inside = (laws.gain <= LARGEST_GAIN) & (logs.cutoff >= least_seen) & (logs.cutoff <= most_seen)
    least = np.maximum(least_deviation(logs.n_points), SMALLEST)
    inside &= (noise.deviation > least * fall) & (noise.deviation < LARGEST * fall)  # nor held at its bounds
    chosen = np.flatnonzero(inside)
    return _levelled(rng, *(_rows(each, chosen) for each in (schedules, laws, noise, logs)))


def _has_likelihood(laws: Laws) -> Flags:
    bases, responses = laws.bases, laws.responses
    inside = np.isin(bases.family, [families.FAMILIES.index(name) for name in TRACTABLE]) & (bases.transient == 0)
    return np.asarray(inside & (responses.weights[:, 0] == 1.0) & (responses.clock_power == 1.0))


def least_deviation(n_points: Array) -> Array:
    """Of a point, over the fall, for a log of so many: what `LEAST_NOISE` says."""
    return LEAST_NOISE * np.sqrt(np.maximum(n_points / MAX_BINS, 1.0))


def _levelled(rng: np.random.Generator, schedules: Schedules, laws: Laws, noise: Noise, logs: Logs) -> Runs:
    """Runs with the levels of their laws, white noise, and the metric's size alone."""
    n, zeros, bins = len(schedules), np.zeros(len(schedules)), logs.bins()
    white = replace(
        noise,
        correlated=zeros,
        level_power=zeros,
        rate_power=zeros,
        heavy=np.zeros(n, dtype=np.bool_),
        outlier_rate=zeros,
        grain=zeros,
    )
    nodes, future = bins.nodes(), future_nodes(rng, logs.cutoff)
    levels = laws.levels(schedules, np.concatenate([nodes, future], axis=1))
    return Runs(
        schedules,
        laws,
        white,
        logs,
        bins,
        levels[:, : nodes.shape[1]].reshape(n, MAX_BINS, NODES_PER_BIN),
        future,
        levels[:, nodes.shape[1] :],
        Units(np.ones((n, 1)), sample_sizes(rng, n)[:, None], np.zeros((n, 1))),
    )


def sample_tractable_tasks(
    rng: np.random.Generator, n: int, *, n_queries: int = 20, early_share: float = 0.0
) -> Labelled:
    """`n` tasks of this part of the prior, with all of the plan known: what a network is trained on to be compared.

    Each has an `EARLY` cutoff for certain with a chance of `early_share`. What follows from what is seen, the cutoff
    among it, is the same however often it is seen: a network learns the same posterior, more of it there.
    """

    def some(missing: int, least: float = 0.0, most: float = 1.0) -> Labelled:
        runs = tractable_runs(rng, LAWS_AT_A_TIME, least_seen=least, most_seen=most)
        return tasks_of(rng, runs, n_queries=n_queries, whole_plan=True)

    n_early = int(rng.binomial(n, early_share)) if early_share else 0
    if n_early == 0:
        return usable_tasks(some, n)
    parts = [usable_tasks(partial(some, least=EARLY[0], most=EARLY[1]), n_early)]
    if n_early < n:
        parts.append(usable_tasks(some, n - n_early))
    return joined(parts).rows(rng.permutation(n))


def _rows(record: Any, chosen: Indices) -> Any:
    """Some rows of a record of arrays, and of the records in it."""
    if isinstance(record, np.ndarray):
        return record[chosen]
    return replace(record, **{field.name: _rows(getattr(record, field.name), chosen) for field in fields(record)})
