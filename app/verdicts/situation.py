"""Everything that is known when a verdict is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from app.curves.curve import Curve
from app.diagnostics.changes import RATE_UP, RateWatch
from app.diagnostics.series import Series
from app.verdicts.history import History
from app.verdicts.outlook import Outlook
from app.verdicts.rivals import Rival

HELD_SHARE = 0.05

TOO_LITTLE = "There is no forecast yet: too little has been seen."

BROKEN_SHARE = 0.01
"""A metric that is NaN for so long, as a share of the run, stays so: optimizers carry NaN on, and a loss scaler that
skips steps is through sooner."""


@dataclass(frozen=True, slots=True, eq=False)
class Situation:
    """One run at one moment.

    outlook : its newest forecast; None where there is none
    why_no_forecast : in words, where there is none
    history : the metric so far
    total_steps : the last step of the run as planned                                       [steps]
    rivals : what it is compared with besides its own best and the target, which are added
    target : the level that somebody wants                                                  [of the metric]
    delta : by how much others and the own best must be beaten for going on to be worth it, at least 0 [of the metric]
    states : diagnosis -> where the run stands (`app.diagnostics.engine.Engine.states`)
    raised_at : step at which the learning rate was last raised, its first warm-up aside; None: never
    broken_since : step since which every point of the metric was NaN or infinite; None where the last is finite
    missed : share of the run's earlier forecasts whose band did not hold the level of now; None: not known
    now : last step seen, finite or not; None: that of the outlook, or of the history           [steps]
    """

    outlook: Outlook | None
    history: History
    total_steps: int
    rivals: tuple[Rival, ...] = ()
    target: float | None = None
    delta: float = 0.0
    states: Mapping[str, str] = field(default_factory=dict)
    raised_at: int | None = None
    broken_since: int | None = None
    missed: float | None = None
    now: int | None = None
    lower_is_better: bool = True
    why_no_forecast: str = TOO_LITTLE

    @property
    def cutoff(self) -> int:
        """Last step seen."""
        if self.now is not None:
            return self.now
        if self.outlook is not None:
            return self.outlook.cutoff
        return int(self.history.steps[-1]) if len(self.history) else 0

    @property
    def best_so_far(self) -> float | None:
        """The best level that the run has held, over a twentieth of its length: one lucky point is none."""
        if self.lower_is_better:
            return self.history.reached(HELD_SHARE * self.total_steps)
        lowest = self.history.mirrored().reached(HELD_SHARE * self.total_steps)
        return None if lowest is None else -lowest

    @property
    def is_broken(self) -> bool:
        """Whether the metric has not been finite for so long that it will not come back by itself."""
        if self.broken_since is None:
            return False
        return self.cutoff - self.broken_since >= BROKEN_SHARE * self.total_steps

    @property
    def steps_left(self) -> int:
        return max(self.total_steps - self.cutoff, 0)

    def oriented(self) -> Situation:
        """The same with the metric better when lower."""
        if self.lower_is_better:
            return self
        return replace(
            self,
            lower_is_better=True,
            outlook=None if self.outlook is None else replace(self.outlook, lower_is_better=False).oriented(),
            history=self.history.mirrored(),
            rivals=tuple(rival.mirrored() for rival in self.rivals),
            target=None if self.target is None else -self.target,
        )


def last_raise(rate: Curve | None) -> int | None:
    """The step at which a logged learning rate was last raised after its first warm-up."""
    if rate is None or not len(rate):
        return None
    changes = RateWatch().observe(Series("lr", np.rint(rate.steps).astype(np.int64), rate.values))
    raised = [int(change.step) for change in changes if change.kind == RATE_UP]
    return raised[-1] if raised else None
