"""What a noisy number is expected to be next, and how far it usually strays: robust, in a few floats."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from app.curves.bins import LARGEST_VALUE
from app.diagnostics.series import Series

Floats = npt.NDArray[np.float64]

FORGET = 0.02
"""Weight of the newest point, once there are enough: a memory of fifty points."""

LEVEL_ERROR = math.sqrt(FORGET / (2.0 - FORGET))
"""Standard error of a level, in scales, where points stray independently: a tenth."""

YOUNG_POINTS = 50
"""Before so many every point weighs 1/n: no constant to warm up."""

CLIP = 4.0
"""A point so many scales above the expectation is not learned from: a spike may not poison what it is measured against.
One as far below counts as so far: a loss that falls fast is to be followed. The first ten are taken as they come."""

CLIP_SCALE = 2.0
"""No point counts for more than so many scales when the scale is learned."""

NEW_LEVEL_POINTS = 100
"""So many points running too high to learn from, and this is the level now."""

DELAY = 20
"""The newest points are not yet part of what is expected, so that what grows within them is seen to grow: before a
spike of Adam's own the gradient norm rises for some twenty steps."""

SMALLEST_SCALE = 0.005
"""Of a logarithm. No scale is held smaller: a series that stood still must be able to move again."""

FEWEST_POINTS = 20
"""A level of fewer points has no scale to measure a jump with."""

MEAN_ABSOLUTE_TO_SCALE = 1.2533
"""Standard deviation of a normal variable over its mean absolute deviation, sqrt(pi / 2)."""


@dataclass(frozen=True, slots=True, eq=False)
class Surprise:
    """Points of one metric beside what was expected of each before it came; logarithms.

    steps : int64, shape (n,) [steps]
    logs : shape (n,), logarithm of the value
    levels : shape (n,), what was expected
    excess : shape (n,), how far above it; minus infinity while there is no level yet
    scales : shape (n,), how far the metric usually strays
    """

    steps: npt.NDArray[np.int64]
    logs: Floats
    levels: Floats
    excess: Floats
    scales: Floats

    def __len__(self) -> int:
        return len(self.steps)

    @staticmethod
    def empty() -> Surprise:
        none = np.empty(0)
        return Surprise(np.empty(0, np.int64), none, none, none, none)

    def slice(self, begin: int, end: int) -> Surprise:
        arrays = (self.steps, self.logs, self.levels, self.excess, self.scales)
        return Surprise(*(array[begin:end] for array in arrays))  # type: ignore[arg-type]

    @property
    def in_scales(self) -> Floats:
        return self.excess / self.scales


@dataclass(slots=True)
class Level:
    """Exponentially weighted mean and scale of the logarithm of a metric, deaf to spikes.

    n : points learned from since it began, at most as many as it was told to keep
    """

    n: int = 0
    mean: float = 0.0
    deviation: float = 0.0  # mean absolute deviation
    above: int = 0  # points running that were too high to learn from
    waiting: list[float] = field(default_factory=list)

    def observe(self, series: Series, changed_at: Sequence[int]) -> Surprise:
        """Take in points; whatever has no logarithm is left out. What was expected is doubted at each of the steps."""
        kept = (series.values > 0) & (series.values <= LARGEST_VALUE)
        logs = Series(series.name, series.steps[kept], np.log(series.values[kept]))
        levels, scales, known = np.empty(len(logs)), np.empty(len(logs)), np.empty(len(logs), np.int64)
        begin = 0
        for changed, piece in logs.cut_before(changed_at):
            if changed is not None:
                self._doubt()
            end = begin + len(piece)
            self._take_in(piece.values.tolist(), levels[begin:end], scales[begin:end], known[begin:end])
            begin = end
        excess = np.where(known >= FEWEST_POINTS, logs.values - levels, -np.inf)
        return Surprise(logs.steps, logs.values, levels, excess, scales)

    def _doubt(self) -> None:
        self.n = min(self.n, 1)  # what it was is kept as if it were one point: the new level is learned from scratch
        self.waiting.clear()

    def _take_in(self, logs: list[float], levels: Floats, scales: Floats, known: npt.NDArray[np.int64]) -> None:
        # A point costs half a microsecond here, and this is where most of the engine's time goes: no calls, no numpy.
        n, mean, deviation, above, waiting = self.n, self.mean, self.deviation, self.above, self.waiting
        all_levels, all_scales, all_known = [], [], []
        for newest in logs:
            scale = MEAN_ABSOLUTE_TO_SCALE * deviation
            if scale < SMALLEST_SCALE:
                scale = SMALLEST_SCALE
            all_levels.append(mean)
            all_scales.append(scale)
            all_known.append(n)
            waiting.append(newest)
            if len(waiting) <= DELAY:
                continue
            excess = waiting.pop(0) - mean
            if n > 10:
                if excess > CLIP * scale:
                    above += 1
                    if above == NEW_LEVEL_POINTS:
                        n = above = 0
                    continue
                if excess < -CLIP * scale:
                    excess = -CLIP * scale
            above = 0
            n += 1
            weight = FORGET if n >= YOUNG_POINTS else 1.0 / n
            reach = excess if excess >= 0 else -excess
            if n > 10 and reach > CLIP_SCALE * scale:
                reach = CLIP_SCALE * scale
            mean += weight * excess
            # The first point has no expectation to stray from, and the second sets the scale.
            deviation = 0.0 if n == 1 else reach if n == 2 else deviation + weight * (reach - deviation)
        levels[:], scales[:], known[:] = all_levels, all_scales, all_known
        self.n, self.mean, self.deviation, self.above = n, mean, deviation, above
