"""Runs to ask both sides about: what the network is given, and what a sampler needs to know besides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from app.pfn.prior.draws import Array, Flags
from app.pfn.prior.logs import NODES_PER_BIN
from app.pfn.prior.runs import Runs
from app.pfn.prior.sampling import tasks_of, usable
from app.pfn.prior.schedules import Schedules
from app.pfn.prior.tractable.sampling import LAWS_AT_A_TIME, least_deviation, tractable_runs
from app.pfn.tasks import MAX_BINS, Labelled


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One run: what the network is given, and what a sampler needs to know besides.

    task : one row, whose questions are those about means of finitely many points
    nodes : positions whose levels' mean is that of a bin, (n_bins, NODES_PER_BIN)      [horizon]
    least_deviation : of a point over the fall, as `least_deviation` has it
    counts, values, spreads : of the bins, (n_bins,), as the task has them
    spread_known : bool, (n_bins,): bins with more than one point, less those whose spread the generator cuts off below
    queries, averaged : (n_queries,); answers : (n_queries,)
    true_levels, true_deviation : levels at the queries, and the noise of a point, in the metric's unit
    """

    task: Labelled
    schedule: Schedules
    nodes: Array
    least_deviation: float
    counts: Array
    values: Array
    spreads: Array
    spread_known: Flags
    queries: Array
    averaged: Array
    answers: Array
    true_levels: Array
    true_deviation: float


def sample_problems(
    rng: np.random.Generator, *, least_seen: float, most_seen: float, n_queries: int = 40
) -> Iterator[Problem]:
    """Endless runs whose plan is known; of `n_queries` questions each, under half are about means of points."""
    while True:
        runs = tractable_runs(rng, LAWS_AT_A_TIME, least_seen=least_seen, most_seen=most_seen)
        if len(runs) == 0:
            continue
        drawn = tasks_of(rng, runs, n_queries=n_queries, whole_plan=True)
        yield from (_problem(runs, drawn, int(row)) for row in np.flatnonzero(usable(drawn)))


def _problem(runs: Runs, drawn: Labelled, row: int) -> Problem:
    one = drawn.rows(slice(row, row + 1))
    tasks = one.tasks
    asked = np.isfinite(tasks.averaged[0]) & ~tasks.minimum[0]
    seen = tasks.seen[0]
    at = [int(np.abs(runs.future[row] - query).argmin()) for query in tasks.queries[0, asked]]
    size, deviation = float(runs.units.size[row, 0]), float(runs.noise.deviation[row])
    counts, spreads = runs.bins.counts[row, seen], tasks.spreads[0, seen].astype(np.float64)
    trend = runs.seen_levels[row, seen].var(axis=1) * counts / np.maximum(counts - 1, 1)
    # A millionth of the variance is what the generator cuts chi-squared off at.
    cut = spreads**2 < 1.01e-6 * size**2 * (deviation**2 + trend)
    only = replace(
        tasks,
        queries=tasks.queries[:, asked],
        averaged=tasks.averaged[:, asked],
        minimum=tasks.minimum[:, asked],
    )
    return Problem(
        task=Labelled(only, one.targets[:, asked]),
        schedule=runs.schedules.rows(slice(row, row + 1)),
        nodes=runs.bins.nodes().reshape(len(runs), MAX_BINS, NODES_PER_BIN)[row, seen],
        least_deviation=float(least_deviation(runs.logs.n_points[row])),
        counts=counts,
        values=tasks.values[0, seen].astype(np.float64),
        spreads=spreads,
        spread_known=(counts > 1) & ~cut,
        queries=runs.future[row, at],
        averaged=tasks.averaged[0, asked].astype(np.float64),
        answers=one.targets[0, asked].astype(np.float64),
        true_levels=size * runs.levels[row, at],
        true_deviation=size * deviation,
    )
