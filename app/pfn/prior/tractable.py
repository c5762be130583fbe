r"""The part of the prior whose likelihood has a closed form: what a sampler can be compared with the network on.

Runs of the generator without events, with white normal noise alone, a metric that falls and lies where its levels do,
everything of the plan known, a base of one of `TRACTABLE` families and no early transient, and a gain that comes by the
annealing law: one memory, on the clock of effective steps. All else is as the generator draws it, and by its own code:
`tractable_runs` draws runs and throws away those that are outside. A network can be trained on them
(`sample_tractable_tasks`), and it and a sampler be asked about others (`sample_problems`): all three are one prior.

`Posterior` is the other side. A run's parameters are written as the generator draws them, each as a function of one
standard normal number, so that under the prior the coordinates are independent and normal, atoms and mixtures included
(a run that answers to no fall of the rate is an interval of its coordinate). Two have a density of their own: the noise
and nothing else depends on the fall. `tests/pfn/test_tractable_prior.py` holds both sides to each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy.special import ndtr

from app.pfn.prior import families, laws
from app.pfn.prior.draws import Array, Flags, Indices
from app.pfn.prior.families import Bases
from app.pfn.prior.laws import Laws, beneficial, sample_laws_alone
from app.pfn.prior.logs import NODES_PER_BIN, Logs, sample_logs
from app.pfn.prior.noise import LARGEST, SMALLEST, Noise, sample_noise
from app.pfn.prior.response import LONGEST_MEMORY, N_MODES, SHORTEST_MEMORY, Responses
from app.pfn.prior.runs import Runs, Units, future_nodes, sample_sizes
from app.pfn.prior.sampling import joined, tasks_of, usable, usable_tasks
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

COORDINATES = (
    "family",
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

FALL = COORDINATES.index("fall")
UNFOLDED = np.isin(COORDINATES, ("fall", "size", "deviation"))
"""What the others tie down, where much is seen."""

TYPICAL_FALL = 0.3


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


def _rows(record: Any, chosen: Indices) -> Any:
    """Some rows of a record of arrays, and of the records in it."""
    if isinstance(record, np.ndarray):
        return record[chosen]
    return replace(record, **{field.name: _rows(getattr(record, field.name), chosen) for field in fields(record)})


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What coordinates stand for: the laws but for the gain, which needs the schedule; and the metric; n of them.

    uncut_gain : before `laws.LARGEST_GAIN`
    of_level : bool, whether the gain is drawn as a part of the level, not of the fall
    benefit : by which part of its cost a decay is worth its while, at least
    size : of the metric; log_deviation : of the noise of a point over the level
    """

    bases: Bases
    responses: Responses
    gain: Array
    uncut_gain: Array
    of_level: Flags
    benefit: Array
    size: Array
    log_deviation: Array

    def with_fall(self, normal: Array) -> Drawn:
        """With the fall from another coordinate, and what is told in it."""
        fall = _fall(normal)
        times = fall / self.bases.fall
        bases = replace(self.bases, fall=fall, ceiling=times * self.bases.ceiling)
        gain = np.where(self.of_level, self.gain, np.minimum(times * self.uncut_gain, laws.LARGEST_GAIN))
        return replace(self, bases=bases, gain=gain, uncut_gain=times * self.uncut_gain)


def drawn_from(z: Array) -> Drawn:
    """Parameters at coordinates, shape (n, N_COORDINATES). Their sources stand beside the generator's draws."""
    u = ndtr(z)
    part = dict(zip(COORDINATES, u.T, strict=True))
    normal = dict(zip(COORDINATES, z.T, strict=True))
    n = len(z)
    fall = _fall(normal["fall"])
    answer = part["answer"]
    indifferent = answer < laws.INDIFFERENT_SHARE
    of_level = answer < laws.INDIFFERENT_SHARE + 0.65 * (1.0 - laws.INDIFFERENT_SHARE)
    gain = np.where(of_level, 0.04 * np.exp(0.8 * normal["gain"]), fall * 0.4 * part["gain"])
    gain = np.where(indifferent, 0.0, gain)
    zeros, ones = np.zeros(n), np.ones(n)
    bases = Bases(
        family=_families(part["family"]),
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
    return Drawn(
        bases=bases,
        responses=_responses(part, indifferent),
        gain=np.minimum(gain, laws.LARGEST_GAIN),
        uncut_gain=gain,
        of_level=of_level,
        benefit=benefit,
        size=_size(normal["size"]),
        log_deviation=normal["deviation"],
    )


def _fall(normal: Array) -> Array:
    return np.minimum(TYPICAL_FALL * np.exp(normal), 8.0)


def _size(normal: Array) -> Array:
    return np.asarray(2.0 * np.exp(normal))


def _families(part: Array) -> Indices:
    indices = [families.FAMILIES.index(name) for name in TRACTABLE]
    shares = np.cumsum([families.SHARES[index] for index in indices])
    return np.asarray(indices)[np.searchsorted(shares[:-1] / shares[-1], part)]


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


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """What levels are made of: 1 + fall * above - gain * lags.

    above, lags : (n, m)
    least_gain : over the fall, (n,)
    """

    above: Array
    lags: Array
    least_gain: Array

    def levels(self, fall: Array, gain: Array) -> Array:
        return 1.0 + fall[:, None] * self.above - gain[:, None] * self.lags

    def gain(self, drawn: Drawn) -> Array:
        return np.maximum(drawn.gain, self.least_gain * drawn.bases.fall)

    def at(self, places: Indices) -> Parts:
        """At some of the positions, in any shape."""
        return Parts(self.above[:, places], self.lags[:, places], self.least_gain)

    def means(self) -> Parts:
        """Over the last axis."""
        return Parts(self.above.mean(axis=-1), self.lags.mean(axis=-1), self.least_gain)


@dataclass(frozen=True, eq=False)
class Course:
    """One schedule with places along it: levels of many runs on it at once, as `Laws.levels` has them, but faster.

    positions : (m,), the last is 1, the horizon
    """

    schedule: Schedules
    positions: Array

    def levels(self, drawn: Drawn) -> tuple[Array, Array]:
        """Levels, (n, m), and gains, raised where a decay must be worth its while, (n,)."""
        parts = self.parts(drawn)
        gain = parts.gain(drawn)
        return parts.levels(drawn.bases.fall, gain), gain

    def parts(self, drawn: Drawn) -> Parts:
        bases, responses = drawn.bases, drawn.responses
        power = responses.progress_power[:, None]
        progress = np.exp(power * self._log_rates) @ self._integral
        most = np.exp(power * self._log_held) @ self._integral[:, -1:]
        # Levels are straight in the fall: the ceiling is a multiple of it.
        of_one = replace(bases, fall=np.ones(len(power)), ceiling=bases.ceiling / bases.fall)
        above = of_one.levels(np.concatenate([progress, most], axis=1)) - 1.0
        lags = self._lags(responses)
        fallen = lags[:, -1]
        pays = (fallen > laws.LEAST_FALLEN) & (progress[:, -1] >= laws.SLOWEST_SHARE * most[:, 0])
        least = (1.0 + drawn.benefit) * (above[:, -2] - above[:, -1]) / np.maximum(fallen, laws.LEAST_FALLEN)
        return Parts(above[:, :-1], lags, np.where(pays & (drawn.gain > 0), least, 0.0))

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
    state = np.zeros(len(falls))
    states = [state]
    for keep, add in zip(kept, added, strict=True):
        state = keep * state + add
        states.append(state)
    return np.array(states).T


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
        total = np.full(len(z), -np.inf)
        inside = np.flatnonzero((np.abs(z[:, :-1]) < 8.0).all(axis=1) & (np.abs(z[:, -1]) < 30.0))
        drawn = drawn_from(z[inside])
        levels, gain = self._levels_seen(drawn)
        total[inside] = self._density(z[inside], drawn, levels, gain)
        return total

    def unfolded(self, z: Array) -> Array:
        """The same where `UNFOLDED` are told otherwise: how far they lie from what fits best, given all else, in about
        their standard errors.

        What is seen ties them to the rest, as tightly as it is known: a narrow ridge, bent, becomes nearly straight.
        """
        total = np.full(len(z), -np.inf)
        inside = np.flatnonzero((np.abs(z) < 8.0).all(axis=1))
        folded, drawn, log_volume, levels, gain = self._folded(z[inside])
        total[inside] = self._density(folded, drawn, levels, gain) + log_volume
        return total

    def folded(self, z: Array) -> Array:
        """Coordinates from those of `unfolded`."""
        return self._folded(z)[0]

    def starts(self, rng: np.random.Generator, n: int, *, of: int = 4000) -> Array:
        """The likeliest `n` of many draws from the prior, unfolded: what is tied down is nearly as it fits best."""
        z = rng.standard_normal((of, N_COORDINATES))
        z[:, UNFOLDED] *= 0.1
        scores = np.concatenate([self.unfolded(part) for part in np.array_split(z, max(of // 500, 1))])
        return np.asarray(z[np.argsort(scores)[::-1][:n]])

    def levels_asked(self, z: Array) -> Array:
        """Levels at the queries, (n, n_queries), in the metric's unit."""
        drawn = drawn_from(z)
        return drawn.size[:, None] * self._asked.levels(drawn)[0][:, :-1]

    @staticmethod
    def deviations(z: Array) -> Array:
        """Of single points, (n,), in the metric's unit."""
        drawn = drawn_from(z)
        return drawn.size * np.exp(drawn.log_deviation)

    def _levels_seen(self, drawn: Drawn) -> tuple[Array, Array]:
        """(n, n_bins, NODES_PER_BIN), and gains."""
        levels, gain = self._seen.levels(drawn)
        return levels[:, self._node.reshape(self.problem.nodes.shape)], gain

    def _density(self, z: Array, drawn: Drawn, levels: Array, gain: Array) -> Array:
        prior = -0.5 * (z[:, :-1] ** 2).sum(axis=1)
        prior += log_density_of_deviation(drawn.log_deviation, drawn.bases.fall + gain, self.problem.least_deviation)
        prior[(gain > LARGEST_GAIN) | (np.abs(z[:, -2]) > 8.0)] = -np.inf
        return np.asarray(prior + self._log_likelihood(drawn, levels))

    def _folded(self, z: Array) -> tuple[Array, Drawn, Array, Array, Array]:
        """Coordinates, what they stand for, the logarithm of what a volume is multiplied by, levels at nodes, gains."""
        drawn, folded = drawn_from(z), z.copy()
        parts = self._seen.parts(drawn).at(self._node.reshape(self.problem.nodes.shape))
        normal, of_fall = self._best_fall(parts.means(), drawn)
        folded[:, FALL] = normal + of_fall * z[:, FALL]
        drawn = drawn.with_fall(folded[:, FALL])
        fall, gain = drawn.bases.fall, parts.gain(drawn)
        levels = 1.0 + fall[:, None, None] * parts.above - gain[:, None, None] * parts.lags
        size, weight = self._best_size(levels.mean(axis=2))
        deviation, degrees = self._best_deviation(levels, size)
        # Short of where the prior ends: or there would be no way back from there.
        least, most = max(self.problem.least_deviation, SMALLEST), LARGEST
        deviation = np.clip(deviation, 1.02 * least * (fall + gain), 0.98 * most * (fall + gain))
        of_size, of_deviation = deviation / np.sqrt(weight), 1.0 / np.sqrt(2.0 * degrees)
        folded[:, -2] = np.log(size / 2.0) + of_size * z[:, -2]
        folded[:, -1] = np.log(deviation) + of_deviation * z[:, -1]
        drawn = replace(drawn, size=_size(folded[:, -2]), log_deviation=folded[:, -1])
        return folded, drawn, np.log(of_fall * of_size * of_deviation), levels, gain

    def _best_fall(self, parts: Parts, drawn: Drawn) -> tuple[Array, Array]:
        """Coordinate of the fall by weighted least squares and its own prior, and its standard error; (n,).

        Given all else the value is straight in the size and in size times fall, on one side of where the gain is raised
        and on the other.
        """
        of_fall = np.where(drawn.of_level, 0.0, drawn.uncut_gain / drawn.bases.fall)
        plain = self._log_fall(1.0 - np.where(drawn.of_level, drawn.gain, 0.0)[:, None] * parts.lags, of_fall, parts)
        raised = self._log_fall(np.ones(parts.lags.shape), parts.least_gain, parts)
        is_raised = parts.least_gain * np.exp(plain[0]) > np.where(
            drawn.of_level, drawn.gain, of_fall * np.exp(plain[0])
        )
        log_fall, variance = np.where(is_raised, raised, plain)
        precision = 1.0 + 1.0 / variance
        return (log_fall - np.log(TYPICAL_FALL)) / variance / precision, 1.0 / np.sqrt(precision)

    def _log_fall(self, fixed: Array, gain: Array, parts: Parts) -> tuple[Array, Array]:
        """Logarithm of the fall, and its variance: values are size * (fixed + fall * (above - gain * lags)); (n,)."""
        counts, values = self.problem.counts, self.problem.values
        moving = parts.above - gain[:, None] * parts.lags
        ff, fm, mm = (
            (counts * one * other).sum(axis=1) for one, other in ((fixed, fixed), (fixed, moving), (moving, moving))
        )
        fv, mv = (fixed * (counts * values)).sum(axis=1), (moving * (counts * values)).sum(axis=1)
        determinant = np.maximum(ff * mm - fm**2, 1e-12 * ff * mm + 1e-300)
        a, b = (mm * fv - fm * mv) / determinant, (ff * mv - fm * fv) / determinant
        off = values - a[:, None] * fixed - b[:, None] * moving
        squares = (counts * off**2).sum(axis=1) + (
            self._degrees * self.problem.spreads[self.problem.spread_known] ** 2
        ).sum()
        noise = squares / (len(counts) + self._degrees.sum()) / determinant
        # Where nothing of a fall is seen: about as much as would not be.
        a, b = np.maximum(a, 1e-9), np.maximum(b, np.sqrt(noise * ff))
        variance = noise * (ff / b**2 + mm / a**2 + 2.0 * fm / (a * b))
        return np.log(b / a), variance + 1e-12

    def _best_size(self, means: Array) -> tuple[Array, Array]:
        """Size, and the weight of all that it is known by, in noises of a point; (n,)."""
        counts = self.problem.counts
        weight = (counts * means**2).sum(axis=1)
        return np.maximum((counts * self.problem.values * means).sum(axis=1), 1e-9) / weight, weight

    def _best_deviation(self, levels: Array, size: Array) -> tuple[Array, float]:
        """Noise of a point over the level, (n,), and the degrees of freedom that it is known by."""
        problem, known = self.problem, self.problem.spread_known
        off = problem.values / size[:, None] - levels.mean(axis=2)
        squares = (problem.counts * off**2).sum(axis=1)
        trend = levels[:, known].var(axis=2) * problem.counts[known]
        squares += (self._degrees * (problem.spreads[known] / size[:, None]) ** 2 - trend).sum(axis=1)
        degrees = len(problem.counts) + float(self._degrees.sum())
        return np.sqrt(np.maximum(squares / degrees, 0.0)), degrees

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
