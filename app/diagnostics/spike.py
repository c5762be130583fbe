"""A sudden jump of the loss and what becomes of it; and progress that is being lost, suddenly or not.

**Spike.** Loss and gradient norm are compared, on a logarithmic scale, with a robust level and scale of their own
(`Level`). Where the gradient norm is logged both must jump: in healthy runs each does so alone, hardly ever both. Where
it is not, the loss must jump further. A change of rate, batch size or data and a restart suspend the watch while the
level is found anew.

**Divergence.** Three points running that have lost half of all progress, whatever the cause: no change from outside
excuses it. A re-warmed rate gives back a quarter; bad batches all of it, but for a moment, so a run in a spike that
was already reported has ten points to come back. Where points stray by more than the run has gained, none of them shows
that: then the level (`Level`, fifty points) has lost half of what it had gained, for a hundred points running. So a run
is found that learned a little while its rate warmed up, fell back to where guessing is as good, and stayed there; and
one that only ever climbed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from app.diagnostics.changes import DISTURBING
from app.diagnostics.diagnosis import Window
from app.diagnostics.event import Event, Severity
from app.diagnostics.level import Surprise
from app.diagnostics.progress import Progress
from app.diagnostics.rates import Rates

BOTH_SCALES = 4.0
"""Scales above the level, for loss and gradient norm together."""

ALONE_SCALES = 6.0
"""Scales above the level, for a loss whose gradient norm is not logged."""

TOGETHER_POINTS = 3
"""The gradient norm must have jumped within so many of its newest points; so long may the loss wait for it."""

HIGH_POINTS = 2
"""Of `TOGETHER_POINTS` running, so many must be high: a single one is a hard batch, of which real data have one in a
thousand. One suffices where it loses half of all progress and the gradient norm jumps with it."""

SMALLEST_JUMP = math.log(1.05)
"""A loss less than this above its level is no news, however quiet it was before."""

SETTLE_POINTS = 50
"""Loss points for which the watch is suspended after a change."""

AFTERSHOCK_POINTS = 20
"""... and after a spike: what follows so closely belongs to it."""

RECENT = 0.25
"""Weight of the newest point in the short average that decides whether the loss is back."""

BACK_SHARE = 0.1
"""Back: the short average is within this share of the jump, or one scale, of what was expected before it."""

LASTING_POINTS = 20
LASTING_STEPS = 300
"""A spike that is not back after so many points and steps is lasting."""

GIVEN_UP = 10
"""After so many times as long a lasting spike is the new level."""

LOST_POINTS = 3
LOST_POINTS_IN_SPIKE = 10
"""So many points running with half of the progress lost are a divergence."""

BACK_POINTS = 20
"""So many points running with three quarters of the progress regained, and it is over."""

LEVEL_POINTS = 100
"""So many points running with a level that has lost half of what it had gained are a divergence, too, and so many with
three quarters regained its end. With 50 or 200 the same runs were found, and the same healthy ones were not."""


@dataclass(slots=True)
class Candidate:
    """A high loss that waits for a second one, or for the gradient norm; logarithms."""

    step: int
    expected: float
    scale: float
    log: float  # the highest since
    high: int = 0  # points that were as high as it takes
    age: int = 0

    def excess(self, log: float) -> float:
        """[scales]"""
        return (log - self.expected) / self.scale


@dataclass(slots=True)
class Jump:
    """A spike that is under way; logarithms of the loss."""

    expected: float
    scale: float
    peak: float
    recent: float
    event: Event
    points: int = 0

    @property
    def is_back(self) -> bool:
        """The short average is where it was expected."""
        return self.recent <= self.expected + max(self.scale, BACK_SHARE * (self.peak - self.expected))


@dataclass(slots=True)
class Newest:
    """How many scales above their level the newest gradient norms of earlier windows were."""

    points: list[float] = field(default_factory=list)

    def keep(self, gradient: Surprise) -> None:
        newest = gradient.slice(max(0, len(gradient) - TOGETHER_POINTS), len(gradient))
        self.points += newest.in_scales.tolist()
        del self.points[:-TOGETHER_POINTS]

    def largest(self, gradient: Surprise, until: int) -> float | None:
        """Of the newest norms up to a step; None where none was logged."""
        end = int(np.searchsorted(gradient.steps, until, side="right"))
        seen = gradient.slice(max(0, end - TOGETHER_POINTS), end).in_scales.tolist()
        newest = (self.points + seen)[-TOGETHER_POINTS:]
        return max(newest, default=None)


@dataclass(slots=True)
class Spike:
    name: ClassVar[str] = "spike"
    kinds: ClassVar[tuple[str, ...]] = ("spike", "divergence")

    progress: Progress = field(default_factory=Progress)
    rates: Rates = field(default_factory=Rates)
    settling: int = 0  # loss points until the watch for spikes goes on
    gradient_jumps: Newest = field(default_factory=Newest)
    candidate: Candidate | None = None
    jump: Jump | None = None
    lost: int = 0  # points running with half of the progress lost
    lost_since: int = 0
    new: int = 0  # points running that could be those of other weights
    new_at_low_rate: bool = False
    level_lost: int = 0  # points running whose level has lost half of what it had gained
    level_lost_since: int = 0
    back: int = 0
    divergence: Event | None = None
    is_of_level: bool = False  # it was the level that showed the divergence: a point does not tell that it is over

    @property
    def state(self) -> str:
        if self.divergence is not None:
            return "diverging"
        if self.jump is not None:
            return "in a spike" if not self.jump.event.outcome else f"in a {self.jump.event.outcome} spike"
        return "too early" if self.progress.best == math.inf else "calm"

    def observe(self, window: Window) -> Iterator[Event]:
        changes = window.change_steps(DISTURBING)
        loss, gradient = window.surprise("loss"), window.surprise("grad_norm")
        ends = [*np.searchsorted(loss.steps, changes).tolist(), len(loss)]
        begin = 0
        for changed_at, end in zip((None, *changes), ends, strict=True):
            if changed_at is not None:
                yield from self._changed(changed_at)
            yield from self._observe_loss(loss.slice(begin, end), gradient, window)
            begin = end
        self.gradient_jumps.keep(gradient)
        self.rates.observe(window)

    def _changed(self, step: int) -> Iterator[Event]:
        self.settling, self.candidate = SETTLE_POINTS, None
        if self.jump is not None:
            yield self.jump.event.resolved(step, self.jump.event.outcome or "cut short")
            self.jump = None

    def _observe_loss(self, loss: Surprise, gradient: Surprise, window: Window) -> Iterator[Event]:
        high = (loss.in_scales > BOTH_SCALES) & (loss.excess > SMALLEST_JUMP)
        if not len(loss) or (self._is_quiet and not high.any() and self.progress.observe_all(loss)):
            return  # nearly every window of nearly every run
        held = np.where(np.isfinite(loss.excess), loss.levels, -np.inf)
        rows = zip(loss.steps.tolist(), loss.logs.tolist(), loss.levels.tolist(), held.tolist(), loss.scales.tolist(),
                   high.tolist(), strict=True)  # fmt: skip
        for step, log, expected, level, scale, is_high in rows:
            self.progress.observe(step, log, level, scale)
            if self.jump is not None:
                yield from self._follow(step, log)
            elif self.settling:
                self.settling -= 1
            elif is_high or self.candidate is not None:
                yield from self._consider(step, log, expected, scale, gradient, window)
            yield from self._judge_progress(step, log, window)
            yield from self._judge_level(step, level, scale, window)
            yield from self._ask_whether_it_is_back(step, log, level, scale)

    @property
    def _is_quiet(self) -> bool:
        busy = self.jump is not None or self.candidate is not None or self.divergence is not None
        return not (busy or self.settling or self.lost or self.new or self.level_lost)

    def _consider(
        self, step: int, log: float, expected: float, scale: float, gradient: Surprise, window: Window
    ) -> Iterator[Event]:
        """A high loss, or the points after one."""
        if self.rates.is_idle(step, window):
            return
        if self.candidate is None:
            self.candidate = Candidate(step, expected, scale, log)
        candidate = self.candidate
        candidate.log = max(candidate.log, log)
        candidate.age += 1
        gradient_jump = self.gradient_jumps.largest(gradient, step)
        with_gradient = gradient_jump is not None
        candidate.high += candidate.excess(log) > (BOTH_SCALES if with_gradient else ALONE_SCALES)
        is_huge = candidate.high > 0 and self.progress.is_lost(candidate.log)
        if (candidate.high >= HIGH_POINTS or (is_huge and with_gradient)) and (
            gradient_jump is None or gradient_jump > BOTH_SCALES
        ):
            event = self._spiked(step, candidate, gradient_jump, window)
            self.jump = Jump(candidate.expected, candidate.scale, candidate.log, log, event)
            self.candidate = None
            yield event
        elif candidate.age >= TOGETHER_POINTS:
            self.candidate = None

    def _follow(self, step: int, log: float) -> Iterator[Event]:
        jump = self.jump
        assert jump is not None  # the caller looked
        jump.points += 1
        jump.peak = max(jump.peak, log)
        jump.recent += RECENT * (log - jump.recent)
        steps = step - jump.event.step
        is_late = jump.points >= LASTING_POINTS and steps >= LASTING_STEPS
        if jump.is_back:
            evidence = {**jump.event.evidence, "peak": math.exp(jump.peak)}
            yield jump.event.resolved(step, jump.event.outcome or "benign", evidence=evidence)
            self.jump, self.settling = None, AFTERSHOCK_POINTS
        elif is_late and not jump.event.outcome:
            jump.event = replace(
                jump.event,
                outcome="lasting",
                evidence={**jump.event.evidence, "peak": math.exp(jump.peak), "still": math.exp(jump.recent)},
            )
            yield jump.event
        elif jump.points >= GIVEN_UP * LASTING_POINTS and steps >= GIVEN_UP * LASTING_STEPS:
            yield jump.event.resolved(step, jump.event.outcome)  # the loss has a new level
            self.jump = None

    def _spiked(self, step: int, candidate: Candidate, gradient_jump: float | None, window: Window) -> Event:
        metric, norm = window.inputs.metric("loss") or "", window.inputs.metric("grad_norm")
        expected, value = math.exp(candidate.expected), math.exp(candidate.log)
        evidence: dict[str, float | int | str | bool | None] = {
            "expected": expected,
            "value": value,
            "scales": candidate.excess(candidate.log),
        }
        text = f"{metric} jumped to {value:.4g} at step {candidate.step:,}, where {expected:.4g} was expected"
        if norm is not None and gradient_jump is not None:
            evidence["grad_norm_scales"] = gradient_jump
            text += f"; {norm} is {gradient_jump:.1f} scales above its level"
        return Event(
            kind="spike",
            severity=Severity.WARNING,
            step=candidate.step,
            raised_at=step,
            message=f"{text}.",
            inputs=(metric,) if norm is None else (metric, norm),
            evidence=evidence,
            sharpen=window.missing("grad_norm", "lr", "update_norm"),
        )

    def _judge_progress(self, step: int, log: float, window: Window) -> Iterator[Event]:
        if self.progress.best == math.inf:
            return
        is_lost, is_new = self.progress.is_lost(log), self.progress.is_begun_anew(log)
        if is_lost and not self.lost:
            self.lost_since = step
        if is_new and not self.new:
            self.new_at_low_rate = self.rates.is_low(step, window)
        self.lost = self.lost + 1 if is_lost else 0
        self.new = self.new + 1 if is_new else 0
        needed = LOST_POINTS if self.jump is None else LOST_POINTS_IN_SPIKE
        if self.new == needed and self.new_at_low_rate:
            self._started_over()
        elif self.divergence is None and self.lost >= needed:
            yield from self._diverge(self._diverged(step, log, window), is_of_level=False)

    def _judge_level(self, step: int, level: float, scale: float, window: Window) -> Iterator[Event]:
        """What no single point shows. A level just after a change, which no points made yet, says nothing."""
        if level == -math.inf:
            return
        is_lost = self.progress.is_level_lost(level, scale)
        if is_lost and not self.level_lost:
            if self.rates.is_low(step, window):
                self.progress.forget_above()
                return  # no training loses that much at such a rate
            self.level_lost_since = step
        self.level_lost = self.level_lost + 1 if is_lost else 0
        if self.level_lost >= LEVEL_POINTS and self.divergence is None:
            yield from self._diverge(self._fell_back(step, level, window), is_of_level=True)

    def _diverge(self, event: Event, *, is_of_level: bool) -> Iterator[Event]:
        self.divergence, self.is_of_level, self.back = event, is_of_level, 0
        yield event
        if self.jump is not None:
            self.jump.event = replace(self.jump.event, outcome="divergent", severity=Severity.CRITICAL)
            yield self.jump.event

    def _ask_whether_it_is_back(self, step: int, log: float, level: float, scale: float) -> Iterator[Event]:
        if self.divergence is None:
            return
        if self.is_of_level:
            is_back = level > -math.inf and self.progress.is_level_regained(level, scale)
        else:
            is_back = self.progress.is_regained(log)
        self.back = self.back + 1 if is_back else 0
        if self.back >= (LEVEL_POINTS if self.is_of_level else BACK_POINTS):
            yield self.divergence.resolved(step, "recovered")
            self.divergence = None
            self.progress.forget_above()

    def _started_over(self) -> None:
        """The rate is a small part of what this run has trained at, and all is lost: these are other weights."""
        self.progress = Progress()
        self.lost = self.new = self.level_lost = 0
        self.settling, self.candidate = SETTLE_POINTS, None

    def _diverged(self, step: int, log: float, window: Window) -> Event:
        metric = window.inputs.metric("loss") or ""
        first, best, value = math.exp(self.progress.first), math.exp(self.progress.best), math.exp(log)
        share = self.progress.lost_share(log)
        how_much = f"{100 * share:.0f} % of" if share <= 1 else "more than"
        return Event(
            kind="divergence",
            severity=Severity.CRITICAL,
            step=self.lost_since,
            raised_at=step,
            message=(
                f"At step {step:,} {metric} was {value:.4g}, up from {best:.4g}: it had lost {how_much} what it had "
                f"gained since it began at {first:.4g}."
            ),
            inputs=(metric,),
            evidence={"first": first, "best": best, "value": value, "lost_share": share if share < math.inf else None},
            sharpen=window.missing("grad_norm", "update_norm", "max_attn_logit"),
        )

    def _fell_back(self, step: int, level: float, window: Window) -> Event:
        metric = window.inputs.metric("loss") or ""
        first, best, value = (math.exp(log) for log in (self.progress.beginning, self.progress.best, level))
        share = self.progress.lost_share_of_level(level)
        if share < 1:
            text = f"up from {best:.4g}: it had lost {100 * share:.0f} % of what it had gained since {first:.4g}"
        else:
            text = f"above {first:.4g}, where it began: whatever it had gained was lost"
        return Event(
            kind="divergence",
            severity=Severity.CRITICAL,
            step=self.progress.lost_since(self.level_lost_since),
            raised_at=step,
            message=f"At step {step:,} {metric} stood at {value:.4g} on average, {text}.",
            inputs=(metric,),
            evidence={"first": first, "best": best, "value": value, "lost_share": share if share < math.inf else None},
            sharpen=window.missing("grad_norm", "lr", "max_attn_logit"),
        )
