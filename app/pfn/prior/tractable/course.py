"""Levels of many runs along one schedule at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from app.pfn.prior import laws
from app.pfn.prior.draws import Array, Indices
from app.pfn.prior.response import Responses
from app.pfn.prior.schedules import Schedules
from app.pfn.prior.tractable.coordinates import Drawn


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
