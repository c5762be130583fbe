"""What a noisy number is expected to be next, and how far it usually strays: robust, in a few floats."""

from __future__ import annotations

from dataclasses import dataclass, field

FORGET = 0.02
"""Weight of the newest point, once there are enough: a memory of fifty points."""

CLIP = 4.0
"""A point counts as at most so many scales away: a spike may not poison what it is measured against."""

MEAN_ABSOLUTE_TO_SCALE = 1.2533
"""Standard deviation of a normal variable over its mean absolute deviation, sqrt(pi / 2)."""


@dataclass(slots=True)
class Level:
    """Exponentially weighted mean and scale of a series, winsorised.

    While it is young every point weighs 1/n, so it needs no warm-up constants; `n` is how many points it has seen since
    it began or was told to forget.
    """

    smallest: float  # no scale is held smaller: a series that stood still must be able to move again [value's unit]
    delay: int = 0  # the newest points are not yet part of what is expected: what grows within them is seen to grow
    n: int = 0
    mean: float = 0.0
    deviation: float = 0.0  # mean absolute deviation
    waiting: list[float] = field(default_factory=list)

    @property
    def scale(self) -> float:
        return max(MEAN_ABSOLUTE_TO_SCALE * self.deviation, self.smallest)

    def observe(self, value: float) -> float:
        """Take in a finite value; return how far above the expectation it was. [the value's unit]"""
        expected = self.mean
        if not self.delay:
            self._learn(value)
        else:
            waiting = self.waiting
            waiting.append(value)
            if len(waiting) > self.delay:
                self._learn(waiting.pop(0))
        return value - expected if self.n > 1 else 0.0

    def _learn(self, value: float) -> None:
        self.n += 1
        if self.n == 1:
            self.mean = value
            return
        excess = value - self.mean
        reach = abs(excess)
        # The first few points have no scale worth clipping with.
        if self.n > 10:
            limit = MEAN_ABSOLUTE_TO_SCALE * self.deviation
            limit = CLIP * (limit if limit > self.smallest else self.smallest)
            if reach > limit:
                reach = limit
                excess = limit if excess > 0 else -limit
        weight = 1.0 / self.n if self.n < 50 else FORGET
        self.mean += weight * excess
        self.deviation += (reach - self.deviation) * (weight if self.n > 2 else 1.0)

    def forget(self, keep: int = 10) -> None:
        """Doubt the expectation: from now on it counts for `keep` points only."""
        self.n = min(self.n, keep)
        self.waiting.clear()
