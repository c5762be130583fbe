"""The learning rate in force, against the largest so far."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.diagnostics.diagnosis import Window

IDLE_SHARE = 1e-3
"""At less than this share of the largest rate the weights do not move: a loss that jumps was moved from outside."""

LOW_SHARE = 0.25
"""At less than this share a run cannot lose everything by training: it trained at four times the rate."""


@dataclass(slots=True)
class Rates:
    """What windows before this one said of the rate; without a logged rate every question is answered by no."""

    last: float = -1.0
    largest: float = 0.0

    def observe(self, window: Window) -> None:
        """Remember a window; ask about its steps before."""
        rates = window.series("lr").finite().values
        if len(rates):
            self.last = float(rates[-1])
            self.largest = max(self.largest, float(rates.max()))

    def is_idle(self, step: int, window: Window) -> bool:
        return self._is_below(IDLE_SHARE, step, window)

    def is_low(self, step: int, window: Window) -> bool:
        return self._is_below(LOW_SHARE, step, window)

    def _is_below(self, share: float, step: int, window: Window) -> bool:
        rates = window.series("lr").finite()
        until = int(np.searchsorted(rates.steps, step, side="right"))
        seen = rates.values[:until]
        last = float(seen[-1]) if until else self.last
        largest = max(self.largest, float(seen.max())) if until else self.largest
        return 0.0 <= last < share * largest
