"""Learning-rate schedules of a whole batch at once: strips of a few segments each, drawn at a hundred knots.

The families are those of `app.curves.families`, and what people do by hand: jumps, re-warming, a run cut before its
decay ends. Time runs from 0 to 1, the horizon; rates are over the peak.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.curves.families import cosine_shape, linear_shape, rex_shape, sqrt_shape
from app.pfn.prior.draws import Array, Indices, chance, log_uniform, pick
from app.pfn.tasks import MAX_KNOTS

N_SEGMENTS = 12  # a warm-up and at most eleven more
LOWEST_RATE = 1e-3
"""Least final rate of an exponential decay, over the peak: one never reaches zero."""

LINEAR, COSINE, SQRT, EXPONENTIAL, POWER, REX, INVERSE_SQRT = range(7)


@dataclass(frozen=True, slots=True, eq=False)
class Schedules:
    """Piecewise linear schedules; arrays of shape (n, MAX_KNOTS) unless said.

    knots : not decreasing, from 0 to 1; two equal ones are a jump
    rates : over the highest of the run, linear between the knots
    warmup_end : shape (n,), 0 without one
    family : shape (n,), index into `FAMILIES`
    """

    knots: Array
    rates: Array
    warmup_end: Array
    family: Indices

    def __len__(self) -> int:
        return len(self.knots)

    def rows(self, chosen: npt.NDArray[np.bool_] | Indices | slice) -> Schedules:
        return Schedules(self.knots[chosen], self.rates[chosen], self.warmup_end[chosen], self.family[chosen])

    def piece_of(self, positions: Array) -> Indices:
        """Index of the knot at or before each position, shape of `positions`, at most the last knot but one.

        Positions, of shape (n, m), lie in [0, 1]; at a jump it is the piece behind it.
        """
        # One search over all rows: each is moved behind the one before it. That costs 1e-13 of precision.
        apart = 2.0 * np.arange(len(self))[:, None]
        flat = np.searchsorted((self.knots + apart).ravel(), (positions + apart).ravel(), side="right")
        index = flat.reshape(positions.shape) - MAX_KNOTS * np.arange(len(self))[:, None] - 1
        return np.asarray(np.clip(index, 0, MAX_KNOTS - 2))

    def rate_at(self, positions: Array) -> Array:
        """Rates over the peak, shape of `positions`, (n, m)."""
        piece = self.piece_of(positions)
        begin, end = np.take_along_axis(self.knots, piece, 1), np.take_along_axis(self.knots, piece + 1, 1)
        low, high = np.take_along_axis(self.rates, piece, 1), np.take_along_axis(self.rates, piece + 1, 1)
        part = np.clip((positions - begin) / np.maximum(end - begin, 1e-12), 0.0, 1.0)
        return low + part * (high - low)

    def held_at_peak(self) -> Schedules:
        """The same runs had their rate stayed where the warm-up ended, at the highest of the run."""
        part = np.clip(self.knots / np.maximum(self.warmup_end, 1e-12)[:, None], 0.0, 1.0)
        warm = np.where(self.warmup_end[:, None] > 0, part, 1.0)
        return Schedules(self.knots, warm, self.warmup_end, self.family)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One stretch of every schedule of a family: from `high` to `low` as `shape` says; arrays of shape (n,).

    length : of what follows the warm-up; together at least 1, and the horizon cuts what is beyond
    parameter : of the shape: the power, or the inverse root's timescale over the segment
    """

    length: Array
    high: Array
    low: Array
    shape: int = LINEAR
    parameter: Array | float = 1.0


Strip = list[Segment]
Family = Callable[[np.random.Generator, int], Strip]


def sample_schedules(rng: np.random.Generator, n: int) -> Schedules:
    """Schedules of every family, by `SHARES`."""
    family = pick(rng, SHARES, n)
    strips = _Strips.blank(n)
    for index, draw in enumerate(FAMILIES.values()):
        rows = np.flatnonzero(family == index)
        if len(rows):
            strips.fill(rows, draw(rng, len(rows)))
    warmup = _warmups(rng, n)
    strips.prepend_warmup(warmup)
    knots, rates = strips.at_knots()
    return Schedules(knots, rates / rates.max(axis=1, keepdims=True), warmup, family)


def _warmups(rng: np.random.Generator, n: int) -> Array:
    """Share of the run: none in a quarter of them; else 0.1 to 10 %, where published recipes lie (GPT-3: 0.1 %)."""
    return np.where(chance(rng, 0.25, n), 0.0, log_uniform(rng, 1e-3, 0.1, n))


def final_fractions(rng: np.random.Generator, n: int) -> Array:
    """Zero, a tenth (Chinchilla's, arXiv:2203.15556) or anything up to 0.3."""
    return np.choose(pick(rng, (0.35, 0.25, 0.4), n), [np.zeros(n), np.full(n, 0.1), 0.3 * rng.random(n)])


# Families. Each returns the segments that follow the warm-up.


def _constant(rng: np.random.Generator, n: int) -> Strip:
    return [_flat(np.ones(n), np.ones(n))]


def _whole_decay(shape: int, parameter: Callable[[np.random.Generator, int], Array] | None = None) -> Family:
    """From the peak down over the run: most end with it, some before, and some are cut before they end."""

    def draw(rng: np.random.Generator, n: int) -> Strip:
        final = final_fractions(rng, n)
        given = parameter(rng, n) if parameter else np.ones(n)
        # Cutting a run early is common in sweeps; training on at the final rate is Megatron's lr-decay-iters.
        kind = pick(rng, (0.8, 0.1, 0.1), n)
        length = np.choose(kind, [np.ones(n), rng.uniform(0.5, 1.0, n), np.ones(n)])
        seen_part = np.where(kind == 2, rng.uniform(0.5, 1.0, n), 1.0)
        # A cut decay is the whole shape over a segment that reaches beyond the horizon.
        return [
            Segment(length / seen_part, np.ones(n), final, shape, given),
            _flat(np.maximum(1.0 - length, 0.0), final),
        ]

    return draw


def _exponential(rng: np.random.Generator, n: int) -> Strip:
    low = log_uniform(rng, LOWEST_RATE, 0.5, n)
    return [Segment(np.ones(n), np.ones(n), low, EXPONENTIAL)]


def _inverse_sqrt(rng: np.random.Generator, n: int) -> Strip:
    timescale = log_uniform(rng, 0.002, 1.0, n)
    return [Segment(np.ones(n), np.ones(n), np.sqrt(timescale / (1 + timescale)), INVERSE_SQRT, timescale)]


def _cooldown(shape: int) -> Family:
    """Stable, then a decay over the last 3 to 60 % (Hägele et al., arXiv:2405.18392, study 5 to 60 %)."""

    def draw(rng: np.random.Generator, n: int) -> Strip:
        length = log_uniform(rng, 0.03, 0.6, n)
        # The run may be cut within its decay, or train on a little after it.
        ends = np.choose(
            pick(rng, (0.85, 0.08, 0.07), n), [np.ones(n), rng.uniform(1.0, 1.3, n), rng.uniform(0.8, 1.0, n)]
        )
        final = final_fractions(rng, n)
        if shape == EXPONENTIAL:
            final = np.maximum(final, log_uniform(rng, LOWEST_RATE, 0.1, n))
        begins = np.maximum(ends - length, 0.02)
        ones = np.ones(n)
        return [
            _flat(begins, ones),
            Segment(ends - begins, ones, final, shape),
            _flat(np.maximum(1.0 - ends, 0.0), final),
        ]

    return draw


def _steps(rng: np.random.Generator, n: int) -> Strip:
    """One to five drops, each by the same factor of 2 to 10, as for image classifiers (He et al., arXiv:1512.03385)."""
    n_drops = rng.integers(1, 6, n)
    factor = np.where(chance(rng, 0.4, n), 0.1, rng.uniform(0.1, 0.7, n))
    evenly = chance(rng, 0.5, n)[:, None]
    random = np.sort(rng.uniform(0.1, 1.0, (n, 5)), axis=1)
    drops = np.where(evenly, np.arange(1, 6) / (n_drops + 1)[:, None], random)
    drops = np.where(np.arange(5) < n_drops[:, None], drops, 1.0)
    drops = np.maximum.accumulate(drops, axis=1)
    lengths = np.diff(drops, axis=1, prepend=0.0, append=1.0)
    rates = factor[:, None] ** np.arange(6.0)
    return [_flat(lengths[:, i], rates[:, i]) for i in range(6)]


def _restarts(rng: np.random.Generator, n: int) -> Strip:
    """Two to ten cosines, as long as each other or doubling (SGDR, arXiv:1608.03983)."""
    doubling = chance(rng, 0.3, n)
    count = np.where(doubling, rng.integers(2, 5, n), rng.integers(2, 11, n))
    growth = np.where(doubling, 2.0, 1.0)[:, None]
    lengths = np.where(np.arange(10) < count[:, None], growth ** np.arange(10.0), 0.0)
    lengths /= lengths.sum(axis=1, keepdims=True)
    low = final_fractions(rng, n)
    fading = np.where(chance(rng, 0.2, n), rng.uniform(0.5, 1.0, n), 1.0)[:, None] ** np.arange(10.0)
    return [Segment(lengths[:, i], fading[:, i], low * fading[:, i], COSINE) for i in range(10)]


def _cyclic(rng: np.random.Generator, n: int) -> Strip:
    """One to five triangles (Smith, arXiv:1506.01186); one alone, down to zero, is his one-cycle policy."""
    count = rng.integers(1, 6, n)[:, None]
    top_at = np.where(chance(rng, 0.5, n), 0.5, rng.uniform(0.1, 0.5, n))
    low = rng.uniform(0.0, 0.3, n)
    lengths = (np.arange(5) < count) / count
    strip = []
    for i in range(5):
        strip.append(Segment(lengths[:, i] * top_at, low, np.ones(n)))
        strip.append(Segment(lengths[:, i] * (1 - top_at), np.ones(n), low))
    return strip


def _infinite(rng: np.random.Generator, n: int) -> Strip:
    """Cosine down to a constant rate, on for long, then an anneal (Ibrahim et al., arXiv:2403.08763)."""
    hold = rng.uniform(0.2, 0.8, n)
    cool, anneal = rng.uniform(0.05, 0.4, n), rng.uniform(0.0, 0.3, n)
    stay = np.maximum(1.0 - cool - anneal, 0.05)
    final = hold * final_fractions(rng, n)
    return [Segment(cool, np.ones(n), hold, COSINE), _flat(stay, hold), Segment(anneal, hold, final)]


def _by_hand(rng: np.random.Generator, n: int) -> Strip:
    """Two to six phases at rates that somebody chose, some with ramps between: the OPT-175B logbook's kind of run."""
    count = rng.integers(2, 7, n)[:, None]
    lengths = np.where(np.arange(6) < count, rng.exponential(1.0, (n, 6)) + 0.05, 0.0)
    lengths /= lengths.sum(axis=1, keepdims=True)
    levels = np.exp(
        np.cumsum(np.where(chance(rng, 0.35, (n, 6)), 1, -1) * np.abs(rng.normal(0.0, 0.8, (n, 6))), axis=1)
    )
    ramp = np.where(chance(rng, 0.4, n), rng.uniform(0.0, 0.5, n), 0.0)
    strip = []
    for i in range(5):
        strip.append(_flat(lengths[:, i] * (1 - ramp), levels[:, i]))
        following = np.where(lengths[:, i + 1] > 0, levels[:, i + 1], levels[:, i])
        strip.append(Segment(lengths[:, i] * ramp, levels[:, i], following))
    return [*strip, _flat(lengths[:, 5], levels[:, 5])][: N_SEGMENTS - 1]


def _rewarmed(rng: np.random.Generator, n: int) -> Strip:
    """A finished decay, warmed up again and decayed again: continued pretraining (arXiv:2308.04014)."""
    first, final = rng.uniform(0.15, 0.7, n), final_fractions(rng, n)
    ramp = np.where(chance(rng, 0.5, n), 0.0, log_uniform(rng, 1e-3, 0.05, n))
    again = np.where(chance(rng, 0.5, n), 1.0, rng.uniform(0.2, 1.0, n))
    again = np.maximum(again, final)
    stable = np.where(chance(rng, 0.3, n), rng.uniform(0.1, 0.6, n), 0.0)
    rest = np.maximum(1.0 - first - ramp, 0.05)
    return [
        Segment(first, np.ones(n), final, COSINE),
        Segment(ramp, final, again),
        _flat(rest * stable, again),
        Segment(rest * (1 - stable), again, again * final_fractions(rng, n), COSINE),
    ]


FAMILIES: dict[str, Family] = {
    "constant": _constant,
    "cosine": _whole_decay(COSINE),
    "linear": _whole_decay(LINEAR),
    "polynomial": _whole_decay(POWER, lambda rng, n: rng.uniform(0.5, 3.0, n)),
    "rex": _whole_decay(REX),
    "exponential": _exponential,
    "inverse_sqrt": _inverse_sqrt,
    "wsd_linear": _cooldown(LINEAR),
    "wsd_cosine": _cooldown(COSINE),
    "wsd_sqrt": _cooldown(SQRT),
    "wsd_exponential": _cooldown(EXPONENTIAL),
    "step": _steps,
    "cosine_restarts": _restarts,
    "cyclic": _cyclic,
    "infinite": _infinite,
    "by_hand": _by_hand,
    "rewarmed": _rewarmed,
}

SHARES = (0.14, 0.18, 0.09, 0.03, 0.02, 0.05, 0.05, 0.10, 0.03, 0.05, 0.05, 0.07, 0.03, 0.03, 0.02, 0.04, 0.02)
"""How often each: by how often one meets it in papers and repositories, with a floor of 2 %."""

HORIZON_FREE = ("constant", "inverse_sqrt")
"""Families whose rate to come is known without knowing where the run ends."""


def _flat(length: Array, rate: Array) -> Segment:
    return Segment(length, rate, rate)


@dataclass(frozen=True, slots=True, eq=False)
class _Strips:
    """Segments of the whole batch, padded with empty ones; arrays of shape (n, N_SEGMENTS)."""

    lengths: Array
    highs: Array
    lows: Array
    shapes: Indices
    parameters: Array

    @staticmethod
    def blank(n: int) -> _Strips:
        size = (n, N_SEGMENTS)
        return _Strips(np.zeros(size), np.ones(size), np.ones(size), np.zeros(size, np.intp), np.ones(size))

    def fill(self, rows: Indices, strip: Strip) -> None:
        """Write a family's segments behind the place of the warm-up."""
        for place, segment in enumerate(strip, start=1):
            self.lengths[rows, place] = segment.length
            self.highs[rows, place] = segment.high
            self.lows[rows, place] = segment.low
            self.shapes[rows, place] = segment.shape
            self.parameters[rows, place] = segment.parameter

    def prepend_warmup(self, warmup: Array) -> None:
        self.lengths[:, 1:] *= (1.0 - warmup)[:, None]
        self.lengths[:, 0] = warmup
        self.highs[:, 0] = 0.0
        self.lows[:, 0] = self.highs[:, 1]

    def at_knots(self) -> tuple[Array, Array]:
        """Positions and rates, each of shape (n, MAX_KNOTS): both ends of every segment, the rest where it bends."""
        self._even_out_empty()
        n_fill = MAX_KNOTS - 2 * N_SEGMENTS
        n = len(self.lengths)
        segment, part = self._filling(n_fill)
        ends = np.repeat(np.arange(N_SEGMENTS), 2)
        segment = np.concatenate([np.broadcast_to(ends, (n, len(ends))), segment], axis=1)
        part = np.concatenate([np.broadcast_to(np.tile([0.0, 1.0], N_SEGMENTS), (n, len(ends))), part], axis=1)
        order = np.argsort(segment + 0.999 * part, axis=1, kind="stable")
        segment, part = np.take_along_axis(segment, order, 1), np.take_along_axis(part, order, 1)

        bounds = np.cumsum(np.pad(self.lengths, ((0, 0), (1, 0))), axis=1)
        begin, end = np.take_along_axis(bounds, segment, 1), np.take_along_axis(bounds, segment + 1, 1)
        # Exactly at the ends: at a jump both knots must be one and the same number.
        position = np.where(part == 1.0, end, begin + part * (end - begin))
        high, low = np.take_along_axis(self.highs, segment, 1), np.take_along_axis(self.lows, segment, 1)
        shape, parameter = np.take_along_axis(self.shapes, segment, 1), np.take_along_axis(self.parameters, segment, 1)
        rates = _rates(part, high, low, shape, parameter)
        return _cut_at_one(np.maximum.accumulate(position, axis=1), rates)

    def _even_out_empty(self) -> None:
        """Segments of no length go on at the rate before them, or the first begins at the rate behind it: no jump."""
        empty = self.lengths <= 0
        for place in range(1, N_SEGMENTS):
            before = self.lows[:, place - 1]
            self.highs[:, place] = np.where(empty[:, place], before, self.highs[:, place])
            self.lows[:, place] = np.where(empty[:, place], before, self.lows[:, place])
        self.highs[:, 0] = np.where(empty[:, 0], self.lows[:, 0], self.highs[:, 0])

    def _filling(self, n_fill: int) -> tuple[Indices, Array]:
        """Segments and places within them of the knots that no end needs: few where the rate is flat."""
        weights = self.lengths * np.where(self.highs == self.lows, 0.1, 1.0) + 1e-9
        upto = np.cumsum(weights, axis=1)
        places = (np.arange(n_fill) + 0.5) / n_fill * upto[:, -1:]
        segment = (places[:, :, None] > upto[:, None, :-1]).sum(axis=2)
        weight = np.take_along_axis(weights, segment, 1)
        part = (places - np.take_along_axis(upto, segment, 1)) / weight + 1.0
        return segment, np.clip(part, 0.0, 1.0)


def _rates(part: Array, high: Array, low: Array, shape: Indices, parameter: Array) -> Array:
    """Rates at `part` (0 to 1) of segments, all arrays of one shape."""
    left = [
        linear_shape(part),
        cosine_shape(part),
        sqrt_shape(part),
        part,  # exponential: replaced below
        linear_shape(part) ** parameter,
        rex_shape(part),
        part,  # inverse root: replaced below
    ]
    rates = low + (high - low) * np.choose(shape, left)
    falling = np.exp(np.log(np.maximum(high, 1e-9)) * (1 - part) + np.log(np.maximum(low, 1e-9)) * part)
    rates = np.where(shape == EXPONENTIAL, falling, rates)
    return np.where(shape == INVERSE_SQRT, high * np.sqrt(parameter / (part + parameter)), rates)


def _cut_at_one(knots: Array, rates: Array) -> tuple[Array, Array]:
    """End every schedule at 1: knots beyond it move there, with the rate at 1."""
    beyond = knots > 1.0
    first = np.where(beyond.any(axis=1), beyond.argmax(axis=1), MAX_KNOTS - 1)[:, None]
    before = np.maximum(first - 1, 0)
    begin, end = np.take_along_axis(knots, before, 1), np.take_along_axis(knots, first, 1)
    low, high = np.take_along_axis(rates, before, 1), np.take_along_axis(rates, first, 1)
    at_one = low + (high - low) * np.clip((1.0 - begin) / np.maximum(end - begin, 1e-12), 0.0, 1.0)
    knots = np.where(beyond, 1.0, knots)
    knots[:, -1] = 1.0  # within rounding
    return knots, np.where(beyond, at_one, rates)
