"""Training that has stopped: a flat loss, or one that never fell.

**Dead.** After `DEAD_POINTS` points with a rate that is up, the loss is no better than at the first step, and nothing
says that it still falls; or all units are dead, or the gradient is gone, for fifty points running. What fell and lost
it again is a divergence (`app.diagnostics.spike`), which is said once.

**Plateau.** The loss falls by less than a percent for each doubling of the steps, with confidence, while the rate is
steady, and that rate is not the one the run was made for. A loss that is flat at the full rate is the stable phase of
warm-up, stable, decay as often as it is a plateau, and nobody can tell from the loss: the state says so, no event does.
While the rate falls, or where it is not logged, nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from app.diagnostics.changes import DISTURBING
from app.diagnostics.diagnosis import Window
from app.diagnostics.event import Event, Number, Severity
from app.diagnostics.history import History
from app.diagnostics.level import Surprise
from app.diagnostics.series import Series
from app.diagnostics.trend import fit_trend

DEAD_POINTS = 200
SMALLEST_FALL = math.log(1.02)
"""A loss within two percent of its first value, or above it, has not fallen."""

GONE_POINTS = 50
GONE_GRADIENT = 1e-7
"""Gradient norm; the limit that SageMaker's debugger uses for the mean of a gradient."""

GONE_UNITS = 0.99

RATE_IS_UP = 0.05
"""Share of the largest rate; below it a loss does not fall for want of a rate."""

FLAT_FALL = 0.01
"""A fall of the logarithm for each doubling of the steps; with confidence it is less."""

FLAT_SHARE = 0.5
FALLING_ERRORS = 4.0
"""A slope so many standard errors below zero is a fall, however small: such a loss learns, if slowly."""

FEWEST_BLOCKS = 32
FEWEST_POINTS = 200
STEADY_RATE = 0.9
FULL_RATE = 0.5
"""A rate above this share of the largest is one that the run was made for."""


@dataclass(slots=True)
class Plateau:
    name: ClassVar[str] = "plateau"
    kinds: ClassVar[tuple[str, ...]] = ("plateau", "dead")

    history: History = field(default_factory=History)  # of the logarithm of the loss, since the last change
    rates: History = field(default_factory=History)
    largest_rate: float = 0.0
    rate: float = math.nan
    rates_until: int | None = None
    first: list[float] = field(default_factory=list)  # logarithms of the first three points of the run
    newest: float = math.nan  # logarithm of the loss
    lowest: float = math.inf  # logarithm of the lowest level held: what fell and was lost again diverged
    points_at_rate: int = 0  # since the run began, at a rate that is up
    gone: dict[str, int] = field(default_factory=dict)  # metric -> points running that it was gone
    word: str = "too early"
    flat: Event | None = None
    dead: Event | None = None
    diverges: bool = False  # a divergence was open where the last window ended

    @property
    def state(self) -> str:
        if self.dead is not None:
            return "dead"
        return "not judged: it diverges" if self.diverges and self.flat is None else self.word

    def observe(self, window: Window) -> Iterator[Event]:
        yield from self._ask_what_is_gone(window)
        yield from self._ask_what_stands_still(window)
        self.diverges = self._diverges_at(window.last_step, window)

    def _ask_what_stands_still(self, window: Window) -> Iterator[Event]:
        loss, rates = window.surprise("loss"), window.series("lr").finite()
        if not len(loss):
            self._keep_rates(rates, window.last_step)
            return
        at_rate = self._at_rate(rates, loss)
        self.first += loss.logs[: max(0, 3 - len(self.first))].tolist()
        before = self.points_at_rate
        changes = window.change_steps(DISTURBING)
        ends = [*np.searchsorted(loss.steps, changes).tolist(), len(loss)]
        begin = 0
        for changed_at, end in zip((None, *changes), ends, strict=True):
            if changed_at is not None:
                yield from self._changed(changed_at)
            piece = loss.slice(begin, end)
            for step in self.history.observe(piece.steps, piece.logs):
                self._keep_rates(rates, step)
                done = int(np.searchsorted(loss.steps, step, side="right"))
                self.points_at_rate = before + int(at_rate[:done].sum())
                yield from self._judge(step, window)
            begin = end
        self.points_at_rate = before + int(at_rate.sum())
        self.newest = float(loss.logs[-1])
        self._keep_rates(rates, window.last_step)

    def _changed(self, step: int) -> Iterator[Event]:
        self.history = History()
        self.word = "too early"
        if self.flat is not None:
            yield self.flat.resolved(step, "cut short")
            self.flat = None

    def _at_rate(self, rates: Series, loss: Surprise) -> npt.NDArray[np.bool_]:
        """Which points of the loss had a rate that is up: not one that still rises for the first time."""
        if not len(rates) and math.isnan(self.rate):
            return np.ones(len(loss), np.bool_)
        values = np.concatenate([[self.rate if math.isfinite(self.rate) else 0.0], rates.values])
        largest = np.maximum.accumulate(np.concatenate([[self.largest_rate], values]))[:-1]
        is_up = (values <= largest) & (values >= RATE_IS_UP * largest) & (largest > 0)
        return is_up[np.searchsorted(rates.steps, loss.steps, side="right")]

    def _keep_rates(self, rates: Series, until: int) -> None:
        """Take in the rates up to a step that were not taken in yet."""
        known = self.rates_until + 1 if self.rates_until is not None else None
        new = rates.between(known, until)
        if len(new):
            for _ in self.rates.observe(new.steps, new.values):
                pass
            self.rates_until = int(new.steps[-1])
            self.rate = float(new.values[-1])
            self.largest_rate = max(self.largest_rate, float(new.values.max()))

    def _judge(self, step: int, window: Window) -> Iterator[Event]:
        if len(self.history) < FEWEST_BLOCKS or self.history.points < FEWEST_POINTS:
            return
        steps, logs = self.history.recent(FLAT_SHARE)
        trend = fit_trend(np.maximum(steps, 1.0), logs)
        is_flat = trend is not None and (-trend.slope + 2.0 * trend.slope_error) * math.log(2.0) < FLAT_FALL
        falls = trend is not None and trend.slope < -FALLING_ERRORS * trend.slope_error
        level = float(logs[len(logs) // 2 :].mean())
        yield from self._judge_dead(step, level, is_flat and not falls, window)
        self.word = self._word(is_flat, float(steps[0]))
        if self.word == "plateau" and self.flat is None and self.dead is None:
            self.flat = _flat(step, int(steps[0]), level, self.rate, window)
            yield self.flat
        elif self.word != "plateau" and self.flat is not None:
            yield self.flat.resolved(step, self.word)
            self.flat = None

    def _word(self, is_flat: bool, since: float) -> str:
        if not is_flat:
            return "falling or too noisy to tell"
        if not len(self.rates):
            return "flat, rate not logged"
        rate_then = float(np.interp(since, self.rates.steps, self.rates.values))
        if self.rate < STEADY_RATE * rate_then or self.rate == 0.0:
            return "flat, rate falling"
        return "flat at the full rate" if self.rate > FULL_RATE * self.largest_rate else "plateau"

    def _judge_dead(self, step: int, level: float, stands_still: bool, window: Window) -> Iterator[Event]:
        self.lowest = min(self.lowest, level)
        never_fell = self.lowest > min(self.first) - SMALLEST_FALL
        is_due = stands_still and self.points_at_rate >= DEAD_POINTS and not self._diverges_at(step, window)
        if self.dead is None and never_fell and is_due:
            metric = window.inputs.metric("loss") or ""
            first, now = math.exp(min(self.first)), math.exp(level)
            yield from self._died(
                step,
                f"At step {step:,} {metric} was {now:.4g} after {self.history.points:,} points and had begun at "
                f"{first:.4g}: it had never fallen",
                (metric,),
                {"first": first, "value": now, "points": self.history.points},
                window,
            )
        elif self.dead is not None and self.dead.evidence.get("first") is not None and not never_fell:
            yield self.dead.resolved(step, "it learns")
            self.dead = None

    def _diverges_at(self, step: int, window: Window) -> bool:
        """Whether a divergence was open at a step of this window; `diverges` is how it was before the window."""
        diverges = self.diverges
        for event in window.said:
            said_at = event.raised_at if event.resolved_at is None else event.resolved_at
            if event.kind == "divergence" and said_at <= step:
                diverges = event.is_open
        return diverges

    def _ask_what_is_gone(self, window: Window) -> Iterator[Event]:
        norms, dead = window.series("grad_norm"), window.series("dead_fraction")
        # What is below zero is no norm, whatever it is called.
        is_gone = (norms.values >= 0) & (norms.values < GONE_GRADIENT)
        for series, gone in ((norms, is_gone), (dead, dead.values >= GONE_UNITS)):
            if not gone.any():
                if len(series):
                    self.gone[series.name] = 0
                continue
            running = self.gone.get(series.name, 0)
            for step, value, is_now in zip(series.steps.tolist(), series.values.tolist(), gone.tolist(), strict=True):
                running = running + 1 if is_now else 0
                if running == GONE_POINTS and self.dead is None and not self._is_solved(step, window):
                    text = f"At step {step:,} {series.name} had been {value:.3g} or so for {GONE_POINTS} points"
                    yield from self._died(step, text, (series.name,), {"value": value}, window)
            self.gone[series.name] = running

    def _is_solved(self, step: int, window: Window) -> bool:
        """The loss has halved at least: a gradient is gone, too, where there is nothing left to learn."""
        loss = window.surprise("loss")
        seen = int(np.searchsorted(loss.steps, step, side="right"))
        log = float(loss.logs[seen - 1]) if seen else self.newest
        first = self.first or loss.logs[:1].tolist()
        return bool(first) and log < first[0] - math.log(2.0)

    def _died(
        self, step: int, text: str, inputs: tuple[str, ...], evidence: dict[str, Number], window: Window
    ) -> Iterator[Event]:
        self.dead = Event(
            kind="dead",
            severity=Severity.CRITICAL,
            step=step,
            raised_at=step,
            message=f"{text}.",
            inputs=inputs,
            evidence=evidence,
            sharpen=window.missing("grad_norm", "dead_fraction", "lr"),
        )
        yield self.dead


def _flat(step: int, since: int, level: float, rate: float, window: Window) -> Event:
    metric = window.inputs.metric("loss") or ""
    return Event(
        kind="plateau",
        severity=Severity.WARNING,
        step=since,
        raised_at=step,
        message=(
            f"At step {step:,} {metric} had been flat at {math.exp(level):.4g} since step {since:,}, at a rate of "
            f"{rate:.3g}."
        ),
        inputs=(metric, window.inputs.metric("lr") or ""),
        evidence={"value": math.exp(level), "since": since, "rate": rate},
        sharpen=window.missing("val_loss", "grad_norm"),
    )
