"""How much of what a run has gained it still has."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from app.diagnostics.level import LEVEL_ERROR, Surprise

LOST_SHARE = 0.5
"""A run that has lost this share of its progress is on its way back to where it began."""

LOST_OF_SIZE = 0.1
"""... counted in logarithms, and this share of it counted in the loss itself: a loss that fell from 1 to 1e-4 and goes
to 0.01 has lost half of the one and a hundredth of the other."""

RECOVERED_SHARE = 0.25
FIRST_POINTS = 3
NOISE_SCALES = 6.0
SMALLEST_LOSS_OF_PROGRESS = math.log(1.1)

BEGINNING_POINTS = 5
"""Their mean is where a level began: highest of the first points lies above it, by as much as points stray."""

LEVEL_ERRORS = 4.0
"""A level that is lost lies so many standard errors above the best one, each of the two with its own."""

SMALLEST_LOSS_OF_LEVEL = math.log(1.02)

CLIP_SCALES = 2.0
"""No point counts for more than so many scales beyond a full loss when it is looked for where the loss was lost."""


@dataclass(slots=True)
class Progress:
    """The way of the logarithm of the loss, from where it began down to the best level it has held.

    A level shows late, and for some points not at all, that it is lost. Since when it is, the points themselves tell:
    their excess over what counts as lost is summed from zero up (Page's cumulative sum), and it was lost where the
    sum left zero last [1]_. What counts as lost is half-way to all of it, where the sum tells the two apart best.

    .. [1] E. S. Page, "Continuous Inspection Schemes," Biometrika 41 (1954) 100-115.
    """

    points: int = 0
    first: float = -math.inf  # highest of the first points: where the run began, not where a lucky batch was
    best: float = math.inf  # lowest level held
    noise: float = 0.0  # how far points strayed while it was held: a loss that climbs strays from its own past
    beginning: float = 0.0  # mean of the first points
    above: float = 0.0  # sum of the excess of points over what counts as lost, since it was zero
    above_since: int = 0  # first step of it

    def observe(self, step: int, log: float, level: float, scale: float) -> None:
        """A point, and the level and scale that were held before it; the level minus infinity while there was none."""
        self.points += 1
        if self.points <= FIRST_POINTS and log > self.first:
            self.first = log
        if self.points <= BEGINNING_POINTS:
            self.beginning += (log - self.beginning) / self.points
        if -math.inf < level < self.best:
            self.best, self.noise = level, scale
        if self.best < math.inf:
            self._add_above(step, log, scale)

    def observe_all(self, loss: Surprise) -> bool:
        """The same for many points, if none of them can be lost; otherwise False, and nothing was observed."""
        best, noise = self.best, self.noise
        is_held = np.isfinite(loss.excess)
        held = np.where(is_held, loss.levels, math.inf)
        lowest = int(held.argmin())
        if held[lowest] < best:
            best, noise = float(held[lowest]), float(loss.scales[lowest])
        safe = best + max(LOST_SHARE * (min(self.first, self.beginning) - best), SMALLEST_LOSS_OF_PROGRESS)
        safe_level = best + max(LOST_SHARE * (self.beginning - best), SMALLEST_LOSS_OF_LEVEL)
        highest = float(np.where(is_held, loss.levels, -math.inf).max())
        is_high = loss.logs.max() > safe or highest > safe_level
        if self.points < BEGINNING_POINTS or (best < math.inf and is_high):
            return False
        if self.above or loss.logs.max() > safe_level:
            for row in zip(loss.steps.tolist(), loss.logs.tolist(), held.tolist(), loss.scales.tolist(), strict=True):
                self.observe(*row)
            return True
        self.points += len(loss)
        self.best, self.noise = best, noise
        return True

    def _add_above(self, step: int, log: float, scale: float) -> None:
        gained = self.beginning - self.best
        lost = max(LOST_SHARE * gained, self._level_noise(scale), SMALLEST_LOSS_OF_LEVEL)
        excess = log - self.best - lost
        above = self.above + min(excess, lost + CLIP_SCALES * scale)
        if above <= 0:
            self.forget_above()
            return
        if not self.above:
            self.above_since = step
        self.above = above

    def lost_since(self, seen_at: int) -> int:
        """The step at which was lost what the level showed to be lost from `seen_at` on."""
        return min(seen_at, self.above_since) if self.above else seen_at

    def forget_above(self) -> None:
        """What was lost so far is over, or is no loss."""
        self.above, self.above_since = 0.0, 0

    def is_lost(self, log: float) -> bool:
        """Whether half of the progress is lost at this logarithm of the loss, and more than noise explains."""
        return self._is_lost_since(self.first, log)

    def is_begun_anew(self, log: float) -> bool:
        """The same of progress counted from the mean of the first points: where new weights begin, not the worst."""
        return self._is_lost_since(self.beginning, log)

    def _is_lost_since(self, beginning: float, log: float) -> bool:
        gained = beginning - self.best
        excess = log - self.best
        if excess <= max(LOST_SHARE * gained, NOISE_SCALES * self.noise, SMALLEST_LOSS_OF_PROGRESS):
            return False
        return _is_of_size(excess, gained)

    def is_regained(self, log: float) -> bool:
        """Whether no more than a quarter of the progress is lost."""
        return log - self.best <= max(RECOVERED_SHARE * (self.first - self.best), SMALLEST_LOSS_OF_PROGRESS)

    def is_level_lost(self, level: float, scale: float) -> bool:
        """The same of a level: of points that stray by more than was ever gained, none can be lost by itself."""
        gained = self.beginning - self.best
        excess = level - self.best
        if excess <= max(LOST_SHARE * gained, self._level_noise(scale), SMALLEST_LOSS_OF_LEVEL):
            return False
        return _is_of_size(excess, gained)

    def is_level_regained(self, level: float, scale: float) -> bool:
        """Whether no more than a quarter is lost; what never gained a tenth has nothing to regain but must learn."""
        gained = self.beginning - self.best
        is_worth_it = gained > max(self._level_noise(scale), SMALLEST_LOSS_OF_PROGRESS)
        return is_worth_it and level - self.best <= RECOVERED_SHARE * gained

    def lost_share(self, log: float) -> float:
        return _share(log - self.best, self.first - self.best)

    def lost_share_of_level(self, level: float) -> float:
        return _share(level - self.best, self.beginning - self.best)

    def _level_noise(self, scale: float) -> float:
        return LEVEL_ERRORS * LEVEL_ERROR * math.hypot(self.noise, scale)


def _is_of_size(excess: float, gained: float) -> bool:
    """Whether it is much in the loss itself, too."""
    return excess >= gained or math.expm1(excess) > LOST_OF_SIZE * math.expm1(gained)


def _share(lost: float, gained: float) -> float:
    return lost / gained if gained > 0 else math.inf
