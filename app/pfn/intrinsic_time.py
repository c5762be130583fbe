r"""What a network can know of a learning rate at any step: intrinsic time, the rate, and lagged falls of the rate.

A loss answers to the rate in two ways: it advances in intrinsic time :math:`S(u) = \int_0^u \eta / \eta_\mathrm{peak}`,
and it drops, with a delay, as the rate falls (:mod:`app.laws.annealing`). So these are what the network is given: S,
the rate, and for a few memories :math:`\tau` and powers `p` the lag

.. math:: \frac{dz}{dS} = \frac{f - z}{\tau}, \qquad f(u) = \max_{v \le u} \eta(v)^p - \eta(u)^p .

They are sufficient for the annealing law and nearly so for its relatives; the path of the rate itself is not needed.

Memories are in units of the intrinsic time at the cutoff, so nothing here depends on the unit of a step. A part of the
schedule that is unknown is replaced by the rate at the cutoff, wherever its knots lie: nothing leaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from app.pfn.tasks import Tasks

Array = npt.NDArray[np.float64]
T = TypeVar("T", bound=np.generic)

MEMORIES = (0.005, 0.04, 0.25, 1.5)
"""Memories of the lags over the intrinsic time at the cutoff: 0.1 % to 30 % of runs that are 2 % to 98 % done."""

POWERS = (0.5, 1.0)
"""Powers of the rate whose fall is lagged: the annealing law's 1, and what long decays to zero look like."""

N_LAGS = len(MEMORIES) * len(POWERS)

_TINY = 1e-30


@dataclass(frozen=True, slots=True, eq=False)
class RateView:
    """The known schedule of B curves at some places.

    time : float64, (B, n), intrinsic time over that at the cutoff     [1]
    rate : float64, (B, n), over the largest known rate                [1]
    lags : float64, (B, n, N_LAGS), lagged falls of powers of it       [1]
    """

    time: Array
    rate: Array
    lags: Array


@dataclass(frozen=True, slots=True, eq=False)
class KnownSchedule:
    """The schedule of B curves with what is unknown replaced, ready to be asked at any step."""

    knots: Array  # (B, K) [unit]
    rates: Array  # (B, K) over the peak
    times: Array  # (B, K) intrinsic time at the knots [unit]
    tops: Array  # (B, K) largest rate so far
    lags: Array  # (B, K, N_LAGS)
    unit: Array  # (B, 1) intrinsic time at the cutoff [unit]

    @staticmethod
    def of(tasks: Tasks) -> KnownSchedule:
        """Solve the lags at the knots; a turn of a loop for each knot of the longest schedule."""
        cutoff = np.asarray(tasks.cutoff, dtype=np.float64)[:, None]
        knots, rates = _with_knot_at(cutoff, tasks.knots, tasks.rates)
        rates = _without_the_unknown(knots, rates, cutoff, tasks)
        passed = np.diff(knots, axis=1) * (rates[:, 1:] + rates[:, :-1]) / 2
        times = np.concatenate([rates[:, :1] * knots[:, :1], passed], axis=1).cumsum(axis=1)
        at_cutoff = (knots < cutoff).sum(axis=1)[:, None]
        unit = np.maximum(along_rows(times, at_cutoff), 1e-6 * cutoff)
        tops = np.maximum.accumulate(rates, axis=1)
        falls = _falls(tops, rates)
        kept, gains = _lag_step(falls[:, :-1], falls[:, 1:], (passed / unit)[..., None])
        lags = np.zeros((falls.shape[1], *falls[:, 0].shape))
        steps = zip(lags, lags[1:], kept.swapaxes(0, 1), gains.swapaxes(0, 1), strict=False)
        for lag, following, share, gain in steps:
            np.multiply(share, lag, out=following)
            following += gain
        return KnownSchedule(knots, rates, times, tops, lags.swapaxes(0, 1), unit)

    def at(self, steps: npt.NDArray[np.floating]) -> RateView:
        """The view from `steps`, shape (B, n) [unit]; each place by itself, whatever else is asked."""
        steps = np.asarray(steps, dtype=np.float64)
        last = self.knots.shape[1] - 1
        passed = [np.searchsorted(knots, asked, side="right") for knots, asked in zip(self.knots, steps, strict=True)]
        before = np.maximum(np.stack(passed) - 1, 0)
        after = np.minimum(before + 1, last)
        left, right = (along_rows(self.knots, index) for index in (before, after))
        rate_left, rate_right = (along_rows(self.rates, index) for index in (before, after))
        share = np.clip((steps - left) / np.maximum(right - left, _TINY), 0.0, 1.0)
        rate = rate_left + share * (rate_right - rate_left)
        elapsed = (steps - left) * (rate_left + rate) / 2
        time = along_rows(self.times, before) + elapsed
        top_left = along_rows(self.tops, before)
        kept, gains = _lag_step(
            _falls(top_left, rate_left),
            _falls(np.maximum(top_left, rate), rate),
            np.maximum(elapsed / self.unit, 0.0)[..., None],
        )
        lags = kept * along_rows(self.lags, before) + gains
        return RateView(np.maximum(time / self.unit, _TINY), rate, lags)

    def at_each(self, *steps: npt.NDArray[np.floating]) -> list[RateView]:
        """Several views; looking once at all their places costs little more than one of them."""
        view, ends = self.at(np.concatenate(steps, axis=1)), np.cumsum([0, *(each.shape[1] for each in steps)])
        parts = [slice(start, end) for start, end in pairwise(ends)]
        return [RateView(view.time[:, part], view.rate[:, part], view.lags[:, part]) for part in parts]


def along_rows(array: npt.NDArray[T], index: npt.NDArray[np.intp]) -> npt.NDArray[T]:
    """What stands at `index`, (B, n), in each row of (B, m, ...): numpy's `take_along_axis` at a fifth of its cost."""
    return array[np.arange(len(index))[:, None], index]


def _with_knot_at(
    cutoff: Array, knots: npt.NDArray[np.floating], rates: npt.NDArray[np.floating]
) -> tuple[Array, Array]:
    """One knot more, at the cutoff, before any other knot that lies there: what comes after it must not show."""
    knots, rates = np.asarray(knots, dtype=np.float64), np.asarray(rates, dtype=np.float64)
    n = knots.shape[1]
    place = (knots < cutoff).sum(axis=1)[:, None]
    before, after = np.clip(place - 1, 0, n - 1), np.clip(place, 0, n - 1)
    left, right = along_rows(knots, before), along_rows(knots, after)
    share = np.clip((cutoff - left) / np.maximum(right - left, _TINY), 0.0, 1.0)
    low, high = along_rows(rates, before), along_rows(rates, after)
    index = np.arange(n + 1)[None, :]
    source = np.where(index > place, index - 1, np.minimum(index, n - 1))
    here = index == place
    merged_knots = np.where(here, cutoff, along_rows(knots, source))
    merged_rates = np.where(here, low + share * (high - low), along_rows(rates, source))
    return merged_knots, merged_rates


def _without_the_unknown(knots: Array, rates: Array, cutoff: Array, tasks: Tasks) -> Array:
    """Rates over the largest known one, the unknown ones held at the cutoff's; all 1 where none is known."""
    place = (knots < cutoff).sum(axis=1)[:, None]
    here = along_rows(rates, place)
    index = np.arange(knots.shape[1])[None, :]
    past_known, future_known = tasks.past_known[:, None], tasks.future_known[:, None]
    unknown = ((index < place) & ~past_known) | ((index > place) & ~future_known)
    known = np.where(unknown, here, np.maximum(rates, 0.0))
    peak = known.max(axis=1, keepdims=True)
    flat = (peak <= 0) | ~(past_known | future_known)
    return np.where(flat, 1.0, known / np.where(peak > 0, peak, 1.0))


def _falls(tops: Array, rates: Array) -> Array:
    """How far each power of the rate lies under its largest value so far, (..., N_LAGS)."""
    powers = [tops**power - rates**power for power in POWERS]
    return np.repeat(np.stack(powers, axis=-1), len(MEMORIES), axis=-1)


def _lag_step(fall_before: Array, fall_after: Array, passed: Array) -> tuple[Array, Array]:
    """What a lag keeps over a piece of intrinsic time on which the fall is a straight line, and what it takes up."""
    pieces = np.concatenate([passed / memory for memory in MEMORIES], axis=-1)
    pieces = np.concatenate([pieces] * len(POWERS), axis=-1)
    kept = np.exp(-pieces)
    follows = 1.0 - (1.0 - kept) / np.maximum(pieces, 1e-8)
    follows = np.where(pieces < 1e-4, pieces / 2, follows)
    return kept, (1.0 - kept) * fall_before + follows * (fall_after - fall_before)
