"""A run that blows up before there is any history to compare with.

The loss above 1.1 times its first value at three logged points running, from the fifth point on. Rules with a window
cannot see this: a run that was NaN at step 22 was missed by eleven of them, published ones included
(docs/diagnostics.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import ClassVar

from app.diagnostics.diagnosis import Window
from app.diagnostics.event import Event, Severity

FACTOR = 1.1
IN_A_ROW = 3
NOT_BEFORE = 4
"""Points before this one (counted from 0) are not judged: the very first steps may go up."""

COLD_POINTS = 100
"""After so many points there is history, and `app.diagnostics.divergence` judges by it."""

RECOVERED_POINTS = 10
"""So many points in a row below the first value, and it is over."""


@dataclass(slots=True)
class Early:
    """The first points of one loss."""

    points: int = 0
    first: float = 0.0
    above_since: int = 0  # the step at which the present row of high points began
    above: int = 0
    below: int = 0

    def take_in(self, step: int, value: float) -> None:
        if not math.isfinite(value):
            return  # app.diagnostics.nonfinite speaks
        if step < 0:
            return  # before training, or no step at all: nothing to compare its first points with
        self.points += 1
        if self.points == 1:
            self.first = value
            return
        # For a loss below zero "1.1 times" means a tenth of its size above it.
        is_above = value > self.first + (FACTOR - 1) * abs(self.first)
        if is_above and not self.above:
            self.above_since = step
        self.above = self.above + 1 if is_above else 0
        self.below = self.below + 1 if value <= self.first else 0


@dataclass(slots=True)
class ColdStart:
    """Watches every training loss; without one, every validation loss. The first to fail speaks for all."""

    name: ClassVar[str] = "cold_start"
    kinds: ClassVar[tuple[str, ...]] = ("cold_start",)

    losses: dict[str, Early] = field(default_factory=dict)
    event: Event | None = None

    @property
    def state(self) -> str:
        if self.event is not None:
            return "above its first value"
        points = max((early.points for early in self.losses.values()), default=0)
        return "too early" if points <= NOT_BEFORE else ("cold" if points < COLD_POINTS else "warm")

    def observe(self, window: Window) -> Iterator[Event]:
        # A validation loss rises far above its first value where a network memorises: that is no divergence.
        metrics = window.inputs.with_role("train_loss") or window.inputs.with_role("val_loss")
        points: list[tuple[int, float, str]] = []
        for metric in metrics:
            series = window.logged.get(metric)
            if series is not None and (self.event is not None or self._is_cold(metric)):
                points.extend(zip(series.steps.tolist(), series.values.tolist(), repeat(metric)))
        for step, value, metric in sorted(points, key=lambda point: (point[0], point[2])):
            yield from self._take_in(step, value, metric, window)

    def _is_cold(self, metric: str) -> bool:
        return metric not in self.losses or self.losses[metric].points < COLD_POINTS

    def _take_in(self, step: int, value: float, metric: str, window: Window) -> Iterator[Event]:
        if not self._is_cold(metric) and (self.event is None or self.event.inputs != (metric,)):
            return
        early = self.losses.setdefault(metric, Early())
        early.take_in(step, value)
        if self.event is None:
            if early.above >= IN_A_ROW and early.points > NOT_BEFORE and early.points <= COLD_POINTS:
                self.event = _raised(step, value, metric, early, window)
                yield self.event
        elif self.event.inputs == (metric,) and early.below >= RECOVERED_POINTS:
            yield self.event.resolved(step, "recovered")
            self.event = None


def _raised(step: int, value: float, metric: str, early: Early, window: Window) -> Event:
    return Event(
        kind="cold_start",
        severity=Severity.CRITICAL,
        step=early.above_since,
        raised_at=step,
        message=(
            f"At step {step:,} {metric} was {value:.4g}, and for {early.above} points running above {FACTOR} times its "
            f"first value, {early.first:.4g}. The learning rate is most likely too high."
        ),
        inputs=(metric,),
        evidence={"first_value": early.first, "value": value, "points": early.above},
        sharpen=window.missing("grad_norm", "update_norm"),
    )
