r"""The part of the prior whose likelihood has a closed form: what a sampler can be compared with the network on.

Runs of the generator without events, with white normal noise alone, a metric that falls and lies where its levels do,
everything of the plan known, a base of one of `TRACTABLE` families and no early transient, and a gain that comes by the
annealing law: one memory, on the clock of effective steps. All else is as the generator draws it, and by its own code:
`sample_problems` draws runs and throws away those that are outside.

`Posterior` is the other side. A run's parameters are written as the generator draws them, each as a function of one
standard normal number, so that under the prior the coordinates are independent and normal, atoms and mixtures included
(a run that answers to no fall of the rate is an interval of its coordinate). Two have a density of their own: the noise
and nothing else depends on the fall. `tests/pfn/test_tractable_prior.py` holds both sides to each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.special import ndtr

from app.pfn.prior import families, laws
from app.pfn.prior.draws import Array, Flags, Indices
from app.pfn.prior.families import Bases
from app.pfn.prior.logs import NODES_PER_BIN
from app.pfn.prior.noise import LARGEST, SMALLEST
from app.pfn.prior.response import LONGEST_MEMORY, N_MODES, SHORTEST_MEMORY, Responses
from app.pfn.prior.runs import Runs, Units, sample_runs
from app.pfn.prior.sampling import CHUNK, FEWEST_BINS, tasks_of
from app.pfn.prior.schedules import Schedules
from app.pfn.tasks import MAX_BINS, Labelled

TRACTABLE = ("power", "log_power")
"""Two families of five, 61 % of the prior: both have an exponent and an offset, and nothing else."""

LEAST_NOISE = 0.01
"""Deviation of a bin with its share of the points, over the fall. Runs that are known better are left out: their
posteriors are ridges so narrow that no chain of reasonable length goes along them."""

LARGEST_GAIN = 1.0
"""Runs with more are left out: levels stay above zero then, and the metric needs no offset."""

COORDINATES = (
    "fall",
    "exponent",
    "offset",
    "ceiling",
    "answer",
    "gain",
    "progress",
    "memory",
    "fall_power",
    "benefit",
    "size",
    "deviation",
)
"""Standard normal under the prior, but for the last: the logarithm of the noise of a point over the level."""

N_COORDINATES = len(COORDINATES)


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """One run: what the network is given, and what a sampler needs to know besides.

    task : one row, whose questions are those about means of finitely many points
    family : index into `families.FAMILIES`
    nodes : positions whose levels' mean is that of a bin, (n_bins, NODES_PER_BIN)      [horizon]
    least_deviation : of a point over the fall, as `least_deviation` has it
    counts, values, spreads : of the bins, (n_bins,), as the task has them
    spread_known : bool, (n_bins,): bins with more than one point, less those whose spread the generator cuts off below
    queries, averaged : (n_queries,); answers : (n_queries,)
    true_levels, true_deviation : levels at the queries, and the noise of a point, in the metric's unit
    """

    task: Labelled
    schedule: Schedules
    family: int
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


def tractable_runs(rng: np.random.Generator, n: int, *, least_seen: float = 0.0, most_seen: float = 1.0) -> Runs:
    """What is left of `n` runs of the generator, with a cutoff between two shares of the horizon."""
    drawn = sample_runs(rng, n)
    bases = drawn.laws.bases
    inside = np.isin(bases.family, [families.FAMILIES.index(name) for name in TRACTABLE])
    inside &= (bases.transient == 0) & (drawn.laws.gain <= LARGEST_GAIN)
    responses = drawn.laws.responses
    inside &= (responses.weights[:, 0] == 1.0) & (responses.clock_power == 1.0)
    inside &= (drawn.logs.cutoff >= least_seen) & (drawn.logs.cutoff <= most_seen)
    fall, deviation = bases.fall + drawn.laws.gain, drawn.noise.deviation
    least = np.maximum(least_deviation(drawn.logs.n_points), SMALLEST)
    inside &= (deviation > least * fall) & (deviation < LARGEST * fall)  # nor held at its bounds
    runs: Runs = _rows(drawn, np.flatnonzero(inside))
    return _without_upsets(runs)


def least_deviation(n_points: Array) -> Array:
    """Of a point, over the fall, for a log of so many: what `LEAST_NOISE` says."""
    return LEAST_NOISE * np.sqrt(np.maximum(n_points / MAX_BINS, 1.0))


def _without_upsets(runs: Runs) -> Runs:
    """The same runs, with the levels of their laws, white noise, and the metric's unit alone."""
    n, zeros = len(runs), np.zeros(len(runs))
    noise = replace(
        runs.noise,
        correlated=zeros,
        level_power=zeros,
        rate_power=zeros,
        heavy=np.zeros(n, dtype=np.bool_),
        outlier_rate=zeros,
        grain=zeros,
    )
    nodes = runs.bins.nodes()
    levels = runs.laws.levels(runs.schedules, np.concatenate([nodes, runs.future], axis=1))
    return replace(
        runs,
        noise=noise,
        seen_levels=levels[:, : nodes.shape[1]].reshape(n, MAX_BINS, NODES_PER_BIN),
        levels=levels[:, nodes.shape[1] :],
        units=Units(np.ones((n, 1)), runs.units.size, np.zeros((n, 1))),
    )


def sample_problems(
    rng: np.random.Generator, *, least_seen: float, most_seen: float, n_queries: int = 40
) -> Iterator[Problem]:
    """Endless runs whose plan is known; of `n_queries` questions each, under half are about means of points."""
    while True:
        runs = tractable_runs(rng, CHUNK, least_seen=least_seen, most_seen=most_seen)
        if len(runs) == 0:
            continue
        drawn = tasks_of(rng, runs, n_queries=n_queries)
        tasks = drawn.tasks
        known = tasks.past_known & tasks.future_known & tasks.horizon_known & (tasks.seen.sum(axis=1) >= FEWEST_BINS)
        yield from (_problem(runs, drawn, int(row)) for row in np.flatnonzero(known))


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
        family=int(runs.laws.bases.family[row]),
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


def _rows(record: Any, chosen: Indices) -> Any:
    """Some rows of a record of arrays, and of the records in it."""
    if isinstance(record, np.ndarray):
        return record[chosen]
    return replace(record, **{field.name: _rows(getattr(record, field.name), chosen) for field in fields(record)})


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What coordinates stand for: the laws but for the gain, which needs the schedule; and the metric; n of them.

    benefit : by which part of its cost a decay is worth its while, at least
    size : of the metric; log_deviation : of the noise of a point over the level
    """

    bases: Bases
    responses: Responses
    gain: Array
    benefit: Array
    size: Array
    log_deviation: Array


def drawn_from(z: Array, family: int) -> Drawn:
    """Parameters at coordinates, shape (n, N_COORDINATES). Their sources stand beside the generator's draws."""
    u = ndtr(z)
    part = dict(zip(COORDINATES, u.T, strict=True))
    normal = dict(zip(COORDINATES, z.T, strict=True))
    n = len(z)
    fall = np.minimum(0.3 * np.exp(normal["fall"]), 8.0)
    answer = part["answer"]
    indifferent = answer < laws.INDIFFERENT_SHARE
    of_level = answer < laws.INDIFFERENT_SHARE + 0.65 * (1.0 - laws.INDIFFERENT_SHARE)
    gain = np.where(of_level, 0.04 * np.exp(0.8 * normal["gain"]), fall * 0.4 * part["gain"])
    gain = np.where(indifferent, 0.0, np.minimum(gain, laws.LARGEST_GAIN))
    zeros, ones = np.zeros(n), np.ones(n)
    bases = Bases(
        family=np.full(n, family),
        fall=fall,
        exponent=_log_even(part["exponent"], 0.1, 1.2),
        offset=_either(part["offset"], 0.88, (1e-4, 0.03), (0.05, 3.0)),
        speed=ones,
        share=zeros,
        ceiling=fall * _log_even(part["ceiling"], families.LOWEST_CEILING, families.HIGHEST_CEILING),
        transient=zeros,
        transient_length=ones,
    )
    benefit = _log_even(part["benefit"], laws.SMALLEST_BENEFIT, laws.SMALL_BENEFIT)
    size = 2.0 * np.exp(normal["size"])
    return Drawn(bases, _responses(part, indifferent), gain, benefit, size, normal["deviation"])


def _responses(part: dict[str, Array], indifferent: Flags) -> Responses:
    plain = np.where(indifferent, 0.7, 0.1)
    n = len(indifferent)
    # From here on: progress in plain steps, in the integral of a power of the rate, in that of the rate.
    beyond = (part["progress"] - plain) / (1.0 - plain)
    progress_power = np.where(beyond < 0, 0.0, np.where(beyond < 0.2, 0.3 + 0.7 * beyond / 0.2, 1.0))
    memory = _log_even(part["memory"], SHORTEST_MEMORY, LONGEST_MEMORY)
    return Responses(
        progress_power=progress_power,
        fall_power=0.5 + 0.7 * part["fall_power"],
        clock_power=np.ones(n),
        memories=np.repeat(memory[:, None], N_MODES, axis=1),
        weights=np.tile(np.eye(N_MODES)[0], (n, 1)),
    )


def _log_even(part: Array, low: float, high: float) -> Array:
    return np.asarray(low * np.exp(part * np.log(high / low)))


def _either(part: Array, share: float, first: tuple[float, float], second: tuple[float, float]) -> Array:
    """Even in the logarithm within the first bounds, with this share, or the second."""
    return np.where(part < share, _log_even(part / share, *first), _log_even((part - share) / (1 - share), *second))


def log_density_of_deviation(log_deviation: Array, fall: Array, least: float) -> Array:
    """Of the logarithm of the noise of a point, given what the run falls by; minus infinity beyond its bounds.

    Not divided by the share between the bounds: runs outside of them were thrown away whole, which is a reason to think
    less of falls that make it more likely.
    """
    normal = np.exp(-0.5 * ((log_deviation - np.log(0.015)) / 1.1) ** 2) / (1.1 * np.sqrt(2 * np.pi))
    above = log_deviation - np.log(fall)
    even = ((above > np.log(SMALLEST)) & (above < np.log(0.1))) / np.log(0.1 / SMALLEST)
    within = (above > np.log(max(least, SMALLEST))) & (above < np.log(LARGEST))
    with np.errstate(divide="ignore"):
        return np.where(within, np.log(0.55 * normal + 0.45 * even), -np.inf)


@dataclass(frozen=True, eq=False)
class Course:
    """One schedule with places along it: levels of many runs on it at once, as `Laws.levels` has them, but faster.

    positions : (m,), the last is 1, the horizon
    """

    schedule: Schedules
    positions: Array

    def levels(self, drawn: Drawn) -> tuple[Array, Array]:
        """Levels, (n, m), and gains, raised where a decay must be worth its while, (n,)."""
        bases, responses = drawn.bases, drawn.responses
        power = responses.progress_power[:, None]
        progress = np.exp(power * self._log_rates) @ self._integral
        most = np.exp(power * self._log_held) @ self._integral[:, -1:]
        level = bases.levels(np.concatenate([progress, most], axis=1))
        lag = self._lags(responses)
        cost, fallen = level[:, -2] - level[:, -1], lag[:, -1]
        worthwhile = (drawn.gain > 0) & (progress[:, -1] >= laws.SLOWEST_SHARE * most[:, 0])
        worthwhile &= fallen > laws.LEAST_FALLEN
        least = (1.0 + drawn.benefit) * cost / np.maximum(fallen, laws.LEAST_FALLEN)
        gain = np.where(worthwhile, np.maximum(drawn.gain, least), drawn.gain)
        return level[:, :-1] - gain[:, None] * lag, gain

    @cached_property
    def _knots(self) -> Array:
        return np.asarray(self.schedule.knots[0])

    @cached_property
    def _log_rates(self) -> Array:
        return np.asarray(np.log(np.maximum(self.schedule.rates[0], 1e-300)))  # 0 to the power 0 is 1

    @cached_property
    def _log_held(self) -> Array:
        return np.asarray(np.log(np.maximum(self.schedule.held_at_peak().rates[0], 1e-300)))

    @cached_property
    def _piece(self) -> Indices:
        return np.asarray(self.schedule.piece_of(self.positions[None, :])[0])

    @cached_property
    def _integral(self) -> Array:
        """(n_knots, m): the integral up to each place of what is straight between its values at the knots."""
        return _integrals(self._knots, self.positions, self._piece)

    @cached_property
    def _passed(self) -> Array:
        """(n_knots, n_knots): the same up to each knot."""
        index = np.minimum(np.arange(len(self._knots)), len(self._knots) - 2)
        return _integrals(self._knots, self._knots, index)

    @cached_property
    def _clock(self) -> tuple[Array, Array, Array]:
        """Effective steps: at the knots; and, at the positions, since the knot before, and over the whole piece."""
        rates, piece = self.schedule.rates[0], self._piece
        passed = rates @ self._passed
        width = np.maximum(np.diff(passed)[piece], 1e-12)
        return passed, np.clip(rates @ self._integral - passed[piece], 0.0, width), width

    def _lags(self, responses: Responses) -> Array:
        """The lagged fall of the rate, (n, m), by the rules of `app.pfn.prior.response`."""
        falls = -np.expm1(responses.fall_power[:, None] * self._log_rates)
        falls[:, self._knots < self.schedule.warmup_end[0]] = 0.0
        passed, elapsed, width = self._clock
        memory, piece = responses.memories[:, :1], self._piece
        states = _states(falls, np.diff(passed), memory)[:, piece]
        rise = np.diff(falls, axis=1)[:, piece] / width
        forgotten = -np.expm1(-elapsed / memory)
        return np.asarray(states + forgotten * (falls[:, piece] - states - memory * rise) + rise * elapsed)


def _integrals(knots: Array, positions: Array, piece: Indices) -> Array:
    """Linear maps from values at the knots to the integral up to each position, (n_knots, n_positions)."""
    widths = np.diff(knots)
    whole = np.zeros((len(knots), len(knots)))  # up to each knot
    for k, width in enumerate(widths):
        whole[:, k + 1] = whole[:, k]
        whole[k : k + 2, k + 1] += width / 2
    result = whole[:, piece].copy()
    elapsed = np.clip(positions - knots[piece], 0.0, widths[piece])
    second = elapsed**2 / np.maximum(widths[piece], 1e-12) / 2
    column = np.arange(len(positions))
    result[piece, column] += elapsed - second
    result[piece + 1, column] += second
    return result


def _states(falls: Array, widths: Array, memory: Array) -> Array:
    """The lag at every knot: falls of shape (n, n_knots), widths (n_knots - 1,), memory (n, 1)."""
    elapsed = widths / memory
    forgotten = -np.expm1(-elapsed)
    follows = np.where(elapsed > 1e-7, 1.0 - forgotten / np.maximum(elapsed, 1e-7), elapsed / 2)
    added = np.ascontiguousarray((forgotten * falls[:, :-1] + follows * np.diff(falls, axis=1)).T)
    kept = np.ascontiguousarray(1.0 - forgotten.T)
    states = np.zeros((len(added) + 1, len(falls)))
    moving = np.flatnonzero(added.any(axis=1))
    for knot in range(moving[0] if len(moving) else len(added), len(added)):
        states[knot + 1] = kept[knot] * states[knot] + added[knot]
    return states.T


class Posterior:
    """Log density of coordinates given what was seen, and what they say of what was asked."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        # Bins of one point have three nodes at one place.
        places, self._node = np.unique(problem.nodes, return_inverse=True)
        self._seen = Course(problem.schedule, np.append(places, 1.0))
        self._asked = Course(problem.schedule, np.append(problem.queries, 1.0))
        # Values and spreads are single-precision numbers: no sampler may know them better.
        self._rounding = np.spacing(np.abs(problem.values).astype(np.float32)).astype(np.float64) ** 2 / 12
        self._degrees = problem.counts[problem.spread_known] - 1.0

    def __call__(self, z: Array) -> Array:
        """At coordinates of shape (n, N_COORDINATES), up to a constant, (n,)."""
        inside = np.flatnonzero((np.abs(z[:, :-1]) < 8.0).all(axis=1) & (np.abs(z[:, -1]) < 30.0))
        total = np.full(len(z), -np.inf)
        drawn = drawn_from(z[inside], self.problem.family)
        levels, gain = self._levels_seen(drawn)
        prior = -0.5 * (z[inside, :-1] ** 2).sum(axis=1)
        prior += log_density_of_deviation(drawn.log_deviation, drawn.bases.fall + gain, self.problem.least_deviation)
        prior[gain > LARGEST_GAIN] = -np.inf
        total[inside] = prior + self._log_likelihood(drawn, levels)
        return total

    def starts(self, rng: np.random.Generator, n: int, *, of: int = 4000) -> Array:
        """The likeliest `n` of many draws from the prior, their size and noise fitted to them."""
        best: list[Array] = []
        scores: list[Array] = []
        for _ in range(max(of // 500, 1)):
            z = rng.standard_normal((500, N_COORDINATES))
            z = self._fitted(z)
            best.append(z)
            scores.append(self(z))
        order = np.argsort(np.concatenate(scores))[::-1][:n]
        return np.asarray(np.concatenate(best)[order])

    def levels_asked(self, z: Array) -> Array:
        """Levels at the queries, (n, n_queries), in the metric's unit."""
        drawn = drawn_from(z, self.problem.family)
        return drawn.size[:, None] * self._asked.levels(drawn)[0][:, :-1]

    @staticmethod
    def deviations(z: Array, family: int) -> Array:
        """Of single points, (n,), in the metric's unit."""
        drawn = drawn_from(z, family)
        return drawn.size * np.exp(drawn.log_deviation)

    def _levels_seen(self, drawn: Drawn) -> tuple[Array, Array]:
        """(n, n_bins, NODES_PER_BIN), and gains."""
        levels, gain = self._seen.levels(drawn)
        return levels[:, self._node.reshape(self.problem.nodes.shape)], gain

    def _fitted(self, z: Array) -> Array:
        drawn = drawn_from(z, self.problem.family)
        levels, gain = self._levels_seen(drawn)
        means, problem = levels.mean(axis=2), self.problem
        size = np.maximum((problem.counts * problem.values * means).sum(axis=1), 1e-9)
        size /= (problem.counts * means**2).sum(axis=1)
        off = problem.values / size[:, None] - means
        deviation = np.sqrt((problem.counts * off**2).mean(axis=1))
        fall = drawn.bases.fall + gain
        z = z.copy()
        z[:, -2] = np.clip(np.log(size / 2.0), -7.0, 7.0)
        z[:, -1] = np.log(np.clip(deviation, 1.1 * problem.least_deviation * fall, 0.9 * LARGEST * fall))
        return z

    def _log_likelihood(self, drawn: Drawn, levels: Array) -> Array:
        problem = self.problem
        size, point = drawn.size[:, None], np.exp(2 * drawn.log_deviation)[:, None]
        variance = size**2 * point / problem.counts + self._rounding
        off = problem.values - size * levels.mean(axis=2)
        total: Array = -0.5 * (off**2 / variance + np.log(variance)).sum(axis=1)
        known = problem.spread_known
        if known.any():
            total = total + self._of_spreads(size, point, levels[:, known].var(axis=2))
        return total

    def _of_spreads(self, size: Array, point: Array, trend: Array) -> Array:
        """Of the cube root of the variance inside bins, which the generator draws as normal."""
        known = self.problem.spread_known
        counts, degrees = self.problem.counts[known], self._degrees
        inside = size**2 * (point + trend * counts / degrees)
        root = np.cbrt(self.problem.spreads[known] ** 2 / inside)
        error = 2.0 / (9.0 * degrees)
        off = root - (1.0 - error)
        return np.asarray((-0.5 * off**2 / error - np.log(inside) / 3).sum(axis=1))


def standard_draws(rng: np.random.Generator, n: int) -> Array:
    """Coordinates drawn from the prior, but for the last, which is 0."""
    z = rng.standard_normal((n, N_COORDINATES))
    z[:, -1] = 0.0
    return z
