"""What was done to a run from outside: a restart, another rate, batch size or data.

After such a change the loss may jump for a good reason. Diagnoses forget what they expected, and for a while a jump is
no spike. A change is no excuse for everything: losing half of all progress, or a NaN, is still said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.diagnostics.series import Series

RATE_UP = "rate_up"
RATE_DOWN = "rate_down"
WARMED_UP = "warmed_up"
BATCH_SIZE = "batch_size"
DATA = "data"
RESTART = "restart"

DISTURBING = frozenset({RATE_UP, BATCH_SIZE, DATA, RESTART})
"""After these a metric may have another level at once. A cut of the rate lowers the loss, which alarms nobody."""

RISE = 1.2
"""A rate is raised when it goes beyond this multiple of the lowest one since it was last raised."""

DROP = 1.5
"""A rate is cut when it falls by this factor from one logged point to the next; schedules that decay do so slower."""

STEADY_POINTS = 5
"""The first warm-up is over when the rate did not rise at so many points running."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something was changed from outside, first in force at `step`; `factor`: new over old, if that means a thing."""

    step: int
    kind: str
    factor: float = math.nan


@dataclass(slots=True)
class RateWatch:
    """Finds raises and cuts of the learning rate, the first warm-up left out."""

    is_warming_up: bool = True
    not_rising: int = 0
    lowest: float = math.inf  # since the last raise
    last: float = math.nan

    def observe(self, rate: Series) -> Iterator[Change]:
        for step, value in zip(rate.steps.tolist(), rate.values.tolist(), strict=True):
            if not (0.0 <= value < math.inf):
                continue
            if value == self.last:  # most of a constant schedule
                self.not_rising += 1
            else:
                yield from self._moved(step, value)
            if self.is_warming_up and self.not_rising >= STEADY_POINTS and self.last > 0:
                self.is_warming_up = False
                self.lowest = value
                yield Change(step, WARMED_UP)

    def _moved(self, step: int, value: float) -> Iterator[Change]:
        self.not_rising = 0 if not value <= self.last else self.not_rising + 1
        if not self.is_warming_up:
            if value > RISE * self.lowest:
                yield Change(step, RATE_UP, value / self.lowest if self.lowest > 0 else math.inf)
                self.lowest = value
            elif value < self.last / DROP:
                yield Change(step, RATE_DOWN, value / self.last)
            self.lowest = min(self.lowest, value)
        self.last = value


@dataclass(slots=True)
class ValueWatch:
    """Finds where a number that is constant by nature, such as the batch size, becomes another one."""

    kind: str
    last: float = math.nan

    def observe(self, series: Series) -> Iterator[Change]:
        for step, value in zip(series.steps.tolist(), series.values.tolist(), strict=True):
            if value != self.last:
                if math.isfinite(value) and math.isfinite(self.last):
                    yield Change(step, self.kind, value / self.last if self.last else math.inf)
                self.last = value if math.isfinite(value) else self.last


def restarts(segment_starts: Sequence[int], after: int | None, until: int) -> Iterator[Change]:
    """Restarts whose first step lies in `after < step <= until`. The first segment of a run is no restart."""
    for step in segment_starts[1:]:
        if (after is None or step > after) and step <= until:
            yield Change(step, RESTART)
