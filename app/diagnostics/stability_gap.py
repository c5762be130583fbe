"""The loss rises after something was changed, and comes back: a re-warmed rate, other data, another batch size.

Not a spike and not a divergence: named so that nobody stops the run, and so that a gap that stays is seen.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from app.diagnostics.changes import BATCH_SIZE, DATA, RATE_UP, RESTART, Change
from app.diagnostics.diagnosis import Window
from app.diagnostics.event import Event, Severity

SMALLEST_GAP = math.log(1.03)
GAP_SCALES = 2.0
"""The short average of the loss must rise by so much above its level before the change."""

RECENT = 0.25
"""Weight of the newest point in the short average."""

WATCHED_POINTS = 50
"""A rise that begins later has another cause."""

LASTING_POINTS = 1000
"""A gap that is not closed after so many points is lasting."""

FEWEST_POINTS = 40
"""Before so many there was no level to rise above."""

WORDS = {
    RATE_UP: "the rate was raised",
    BATCH_SIZE: "the batch size was changed",
    DATA: "the data were changed",
    RESTART: "the run was restarted",
}


@dataclass(slots=True)
class StabilityGap:
    name: ClassVar[str] = "stability_gap"
    kinds: ClassVar[tuple[str, ...]] = ("stability_gap",)

    total: int = 0  # points of the loss
    pending: Change | None = None  # no point of the loss came after it yet
    change: Change | None = None
    points: int = 0  # since the change
    before: float = 0.0  # logarithm of the level before it
    scale: float = 0.0
    recent: float = 0.0
    highest: float = 0.0
    event: Event | None = None

    @property
    def state(self) -> str:
        if self.event is not None:
            return f"in a {self.event.outcome} gap" if self.event.outcome else "in a gap"
        return "watching a change" if self.change is not None else "no change"

    def observe(self, window: Window) -> Iterator[Event]:
        changes = [change for change in window.changes if change.kind in WORDS]
        loss = window.surprise("loss")
        if changes or self.pending is not None or self.change is not None:
            rows = zip(loss.steps.tolist(), loss.logs.tolist(), loss.levels.tolist(), loss.scales.tolist(), strict=True)
            for i, (step, log, level, scale) in enumerate(rows):
                while changes and changes[0].step <= step:
                    self.pending = changes.pop(0)
                if self.pending is not None:
                    self._begin(self.pending, log, level, scale, self.total + i)
                if self.change is not None:
                    yield from self._follow(step, log, window)
        self.total += len(loss)
        self.pending = changes[-1] if changes else self.pending

    def _begin(self, change: Change, log: float, level: float, scale: float, total: int) -> None:
        """Of several changes in a row, such as a rate that is raised step by step, the first counts."""
        self.pending = None
        self.points = 0
        if self.change is None and total >= FEWEST_POINTS:
            self.change, self.before, self.scale = change, level, scale
            self.recent = self.highest = min(log, level)

    def _follow(self, step: int, log: float, window: Window) -> Iterator[Event]:
        self.points += 1
        self.recent += RECENT * (log - self.recent)
        self.highest = max(self.highest, self.recent)
        gap = self.recent - self.before
        if self.event is None:
            if gap > max(SMALLEST_GAP, GAP_SCALES * self.scale):
                self.event = self._raised(step, window)
                yield self.event
            elif self.points >= WATCHED_POINTS:
                self.change = None
        elif gap <= 0.0:
            evidence = {**self.event.evidence, "highest": math.exp(self.highest)}
            yield self.event.resolved(step, "recovered", evidence=evidence)
            self.event = self.change = None
        elif self.points >= LASTING_POINTS and not self.event.outcome:
            self.event = replace(self.event, outcome="lasting")
            yield self.event

    def _raised(self, step: int, window: Window) -> Event:
        metric = window.inputs.metric("loss") or ""
        change = self.change
        assert change is not None  # the caller looked
        before, now = math.exp(self.before), math.exp(self.recent)
        return Event(
            kind="stability_gap",
            severity=Severity.INFO,
            step=change.step,
            raised_at=step,
            message=f"{metric} rose from {before:.4g} to {now:.4g} after {WORDS[change.kind]} at step {change.step:,}.",
            inputs=(metric,),
            evidence={"before": before, "now": now, "change": change.kind},
            sharpen=window.missing("val_loss"),
        )
