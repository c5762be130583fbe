"""A stated schedule held against what was logged: the whole log, or the part that a newer statement can speak of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from app.curves.curve import Curve
from app.curves.schedule import Schedule

AGREES = 0.03
"""A logged rate within this fraction of the peak of the stated one agrees with it."""

AGREES_IN_PART = 0.01
"""The same of a part of the log: two schedules that cross are as close as `AGREES` for longer."""

_SAME_RATIO = 0.05  # a ratio of logged to stated rates that varies by less than this is one factor
_JUMP = 0.05  # of the peak: less may be the schedule's own course between two bins
_SUDDEN = 6.0  # times the moves before and after it; over two bins an even descent moves twice as far as over one
_FEWEST_BINS = 4  # of a part that no restart began: a stray value is no new schedule


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A part of the logged rate that a statement may speak of alone.

    since : from where on, in words
    restart : the job's start that began it; None where no start is known to have   [steps]
    """

    rate: Curve
    since: str
    restart: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LoggedRate:
    """The learning rate logged so far.

    restarted_at : first step of the job's newest start, where it was started more than once   [steps]
    """

    curve: Curve
    restarted_at: int | None = None

    @property
    def since_restart(self) -> Curve | None:
        """What the newest start logged; None where the job started once, or has logged nothing since."""
        if self.restarted_at is None:
            return None
        first = int(np.searchsorted(self.curve.steps, self.restarted_at))
        if first < len(self.curve) - 1 and self.curve.counts[first] > 1:
            first += 1  # that bin may hold points of both starts
        return self.since(self.curve.steps[first]) if 0 < first < len(self.curve) else None

    @property
    def jumps_at_restart(self) -> bool:
        """Whether the newest start goes on at another rate than the one before ended with."""
        newest = self.since_restart
        if newest is None:
            return False
        before = float(self.curve.values[-len(newest) - 1])
        return abs(float(newest.values[0]) - before) > _JUMP * float(self.curve.values.max())

    def since(self, step: float) -> Curve:
        """The bins from a step on; may be none."""
        rate = self.curve
        kept = rate.steps >= step
        return replace(
            rate, steps=rate.steps[kept], values=rate.values[kept], counts=rate.counts[kept], spreads=rate.spreads[kept]
        )

    def goes_on_as(self, stated: Schedule) -> bool:
        """Whether the newest start, where it is known, does as stated too."""
        newest = self.since_restart
        return newest is None or agrees(stated, newest)

    def stretches(self) -> Iterator[Stretch]:
        """Parts that a newer statement than the first may speak of: since the restart, since the rate last jumped."""
        if (newest := self.since_restart) is not None:
            yield Stretch(newest, f"since the job's restart at step {self.restarted_at:,}", self.restarted_at)
        jump = _last_jump(self.curve)
        if jump is not None and len(self.curve) - jump >= _FEWEST_BINS:
            at = float(self.curve.steps[jump])
            yield Stretch(self.since(at), f"since it jumped at about step {at:,.0f}")

    def since_decay(self, decay_end: int | None) -> Iterator[Stretch]:
        """The part since the rate came to what looks like a floor, and may be a new schedule's top."""
        if decay_end is not None and len(after := self.since(decay_end)) >= _FEWEST_BINS:
            yield Stretch(after, f"since about step {decay_end:,}")


def factor_between(stated: Schedule, rate: Curve, within: float = AGREES) -> float | None:
    """The factor from the stated rates to the logged ones: 1 where they agree, None if it is no one factor."""
    if stated.peak <= 0:
        return None
    if agrees(stated, rate, within):
        return 1.0
    expected = stated.rate_at(rate.steps)
    telling = expected > 0.05 * stated.peak
    if telling.sum() < 3:
        return None
    ratios = rate.values[telling] / expected[telling]
    low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9])
    newest = float(np.median(ratios[_latest(rate)]))
    is_one_factor = middle > 0 and high - low <= _SAME_RATIO * middle and abs(newest - middle) <= _SAME_RATIO * middle
    return float(newest) if is_one_factor else None


def agrees(stated: Schedule, rate: Curve, within: float = AGREES) -> bool:
    """Whether the log and its latest part are as stated: a job that left its schedule a while ago has left it."""
    if stated.peak <= 0:
        return False
    off = np.abs(rate.values - stated.rate_at(rate.steps)) / stated.peak
    return bool(np.median(off) <= within and np.median(off[_latest(rate)]) <= within)


def _latest(rate: Curve) -> slice:
    return slice(-max(3, len(rate) // 10), None)


def _last_jump(rate: Curve) -> int | None:
    """Index of the first bin after the last jump: one that a bin may straddle, and no part of a steep descent."""
    moves = np.abs(np.diff(rate.values))
    if len(moves) < 4:
        return None
    over_two = np.abs(rate.values[3:-1] - rate.values[1:-3])
    around = np.maximum(moves[:-3], moves[3:])
    jumps = np.flatnonzero((over_two > _JUMP * rate.values.max()) & (over_two > _SUDDEN * around))
    return int(jumps[-1]) + 3 if len(jumps) else None
