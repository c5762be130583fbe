"""How much of what a run has gained it still has."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from app.diagnostics.level import Surprise

LOST_SHARE = 0.5
"""A run that has lost this share of its progress is on its way back to where it began."""

LOST_OF_SIZE = 0.1
"""... counted in logarithms, and this share of it counted in the loss itself: a loss that fell from 1 to 1e-4 and goes
to 0.01 has lost half of the one and a hundredth of the other."""

RECOVERED_SHARE = 0.25
FIRST_POINTS = 3
NOISE_SCALES = 6.0
SMALLEST_LOSS_OF_PROGRESS = math.log(1.1)


@dataclass(slots=True)
class Progress:
    """The way of the logarithm of the loss, from where it began down to the best level it has held."""

    points: int = 0
    first: float = -math.inf  # highest of the first points: where the run began, not where a lucky batch was
    best: float = math.inf  # lowest level held
    noise: float = 0.0  # how far points strayed while it was held: a loss that climbs strays from its own past

    def observe(self, log: float, level: float, scale: float) -> None:
        """A point, and the level and scale that were held before it; the level minus infinity while there was none."""
        self.points += 1
        if self.points <= FIRST_POINTS and log > self.first:
            self.first = log
        if -math.inf < level < self.best:
            self.best, self.noise = level, scale

    def observe_all(self, loss: Surprise) -> bool:
        """The same for many points, if none of them can be lost; otherwise False, and nothing was observed."""
        best, noise = self.best, self.noise
        held = np.where(np.isfinite(loss.excess), loss.levels, math.inf)
        lowest = int(held.argmin())
        if held[lowest] < best:
            best, noise = float(held[lowest]), float(loss.scales[lowest])
        safe = best + max(LOST_SHARE * (self.first - best), SMALLEST_LOSS_OF_PROGRESS)
        if self.points < FIRST_POINTS or (best < math.inf and loss.logs.max() > safe):
            return False
        self.points += len(loss)
        self.best, self.noise = best, noise
        return True

    def is_lost(self, log: float) -> bool:
        """Whether half of the progress is lost at this logarithm of the loss, and more than noise explains."""
        gained = self.first - self.best
        excess = log - self.best
        if excess <= max(LOST_SHARE * gained, NOISE_SCALES * self.noise, SMALLEST_LOSS_OF_PROGRESS):
            return False
        if excess >= gained:
            return True
        return math.expm1(excess) > LOST_OF_SIZE * math.expm1(gained)

    def is_regained(self, log: float) -> bool:
        """Whether no more than a quarter of the progress is lost."""
        return log - self.best <= max(RECOVERED_SHARE * (self.first - self.best), SMALLEST_LOSS_OF_PROGRESS)

    def lost_share(self, log: float) -> float:
        gained = self.first - self.best
        return (log - self.best) / gained if gained > 0 else math.inf
