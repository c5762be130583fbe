"""A loss or gradient that is NaN or infinite, openly or written as 0.0. Needs no history and no threshold."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import ClassVar

import numpy as np

from app.curves.bins import LARGEST_VALUE
from app.diagnostics.changes import RESTART
from app.diagnostics.diagnosis import Window
from app.diagnostics.event import Event, Number, Severity
from app.diagnostics.series import Series
from app.diagnostics.signals import LOSS_ROLES

RECOVERY_POINTS = 20
"""So many finite points in a row, or `RECOVERY_SHARE` of all, whichever is more, and the metric has recovered."""

RECOVERY_SHARE = 0.01

ZEROS_IN_A_ROW = 2
"""A positive loss that is exactly 0.0 so often in a row is a NaN left out of a mean (Hugging Face's default filter)."""

SMALLEST_POSITIVE = 0.01
"""... if it was above this share of the first loss before: a loss that was nearly zero may well become zero."""


@dataclass(slots=True)
class Watched:
    """What is remembered of one metric."""

    points: int = 0
    is_broken: bool = False
    fine_since: int = 0
    zeros: int = 0  # in a row
    first: float = math.nan  # first finite value that is not zero
    last: tuple[int, float] | None = None  # step and value of the newest such
    before_break: tuple[int, float] | None = None

    def take_in(self, step: int, value: float, *, is_loss: bool) -> None:
        self.points += 1
        if is_loss and value == 0.0:
            self.zeros += 1
            breaks = self.zeros >= ZEROS_IN_A_ROW and self._was_far_from_zero()
            is_fine = not breaks
        else:
            self.zeros = 0
            is_fine = abs(value) <= LARGEST_VALUE
        if not is_fine:
            self.fine_since = 0
            if not self.is_broken:
                self.is_broken, self.before_break = True, self.last
            return
        self.fine_since += 1
        if value != 0.0:
            self.first = value if math.isnan(self.first) else self.first
            self.last = (step, value)
        if self.fine_since >= max(RECOVERY_POINTS, math.ceil(RECOVERY_SHARE * self.points)):
            self.is_broken = False

    def take_in_fine(self, series: Series) -> None:
        """The same for many points, none of which can break or mend anything."""
        if not len(series):
            return
        self.points += len(series)
        self.fine_since += len(series)
        self.zeros = 0
        self.first = float(series.values[0]) if math.isnan(self.first) else self.first
        self.last = (int(series.steps[-1]), float(series.values[-1]))

    def _was_far_from_zero(self) -> bool:
        return self.last is not None and self.last[1] > SMALLEST_POSITIVE * self.first > 0


@dataclass(slots=True)
class Nonfinite:
    """One event for all metrics: what broke first speaks; a loss that follows a gradient makes it critical."""

    name: ClassVar[str] = "nonfinite"
    kinds: ClassVar[tuple[str, ...]] = ("nonfinite",)

    watched: dict[str, Watched] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    event: Event | None = None

    @property
    def state(self) -> str:
        return "not finite" if self.broken else "finite"

    def observe(self, window: Window) -> Iterator[Event]:
        restarts = window.change_steps({RESTART})
        turns = [(step, _Turn.RESTARTED, "", 0.0) for step in restarts]
        for metric in window.inputs.with_role(*LOSS_ROLES, "grad_norm"):
            series = window.logged.get(metric)
            if series is not None:
                is_loss = window.inputs.roles[metric] in LOSS_ROLES
                watched = self.watched.setdefault(metric, Watched())
                turns.extend(_turns(watched, series, restarts, is_loss=is_loss))
        for step, turn, metric, value in sorted(turns, key=lambda turn: turn[:3]):
            if turn is _Turn.RESTARTED:
                yield from self._restarted(step)
            elif turn is _Turn.RECOVERED:
                yield from self._recovered(step, metric)
            else:
                yield from self._broke(step, metric, value, is_loss=turn is _Turn.LOSS_BROKE)

    def _restarted(self, step: int) -> Iterator[Event]:
        self.broken.clear()
        if self.event is not None:
            yield self.event.resolved(step, "restarted")
            self.event = None

    def _recovered(self, step: int, metric: str) -> Iterator[Event]:
        self.broken.remove(metric)
        if self.event is not None and not self.broken:
            yield self.event.resolved(step, "recovered")
            self.event = None

    def _broke(self, step: int, metric: str, value: float, *, is_loss: bool) -> Iterator[Event]:
        self.broken.append(metric)
        if self.event is None:
            self.event = self._raised(step, metric, value, Severity.CRITICAL if is_loss else Severity.WARNING)
        elif metric in self.event.inputs:
            return
        else:
            severity = Severity.CRITICAL if is_loss else self.event.severity
            self.event = replace(self.event, severity=severity, inputs=(*self.event.inputs, metric))
        yield self.event

    def _raised(self, step: int, metric: str, value: float, severity: Severity) -> Event:
        before = self.watched[metric].before_break
        spelled = spelled_out(value)
        message = f"{metric} is {spelled} at step {step:,}."
        if value == 0.0:
            message += " The trainer is most likely writing 0 for NaN (Hugging Face: logging_nan_inf_filter=False)."
        evidence: dict[str, Number] = {"value": spelled}
        if before is not None:
            message += f" Before that it was {before[1]:.6g}, at step {before[0]:,}."
            evidence |= {"last_finite_step": before[0], "last_finite_value": before[1]}
        return Event("nonfinite", severity, step, step, message, (metric,), evidence)


class _Turn(IntEnum):
    """What can happen at one step, in the order in which it is dealt with."""

    RESTARTED = 0
    LOSS_BROKE = 1
    GRADIENT_BROKE = 2
    RECOVERED = 3


def _turns(
    watched: Watched, series: Series, restarts: Sequence[int], *, is_loss: bool
) -> Iterator[tuple[int, _Turn, str, float]]:
    """Where the metric broke or had recovered."""
    broke = _Turn.LOSS_BROKE if is_loss else _Turn.GRADIENT_BROKE
    for restarted_at, piece in series.cut_before(restarts):
        if restarted_at is not None:
            watched.is_broken, watched.zeros = False, 0
        is_fine = np.abs(piece.values) <= LARGEST_VALUE
        if is_loss:
            is_fine &= piece.values != 0.0
        if not watched.is_broken and is_fine.all():  # nearly every window of nearly every run
            watched.take_in_fine(piece)
            continue
        for step, value in zip(piece.steps.tolist(), piece.values.tolist(), strict=True):
            was_broken = watched.is_broken
            watched.take_in(step, value, is_loss=is_loss)
            if watched.is_broken != was_broken:
                yield step, broke if watched.is_broken else _Turn.RECOVERED, series.name, value


def spelled_out(value: float) -> str | float:
    """The number itself, or the word for one that JSON lacks."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
