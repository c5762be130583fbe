"""Features, classes and samples that fall into one: judged from what `losscast.probe` logs, never from the loss alone.

A loss cannot see any of this: a generator that makes one mode of eight and a network whose features share one
direction can both have a healthy one. And a rank that falls is no fault by itself: a classifier that has solved its
task needs few directions (that is neural collapse, a good end), and language models lose nearly all rank in their
first steps and regain it as they learn.

**Dimensional collapse.** The rank of the features is down to half of its maximum, and either most of their variance
lies along one direction, or they have left the sphere for a point of it. Where neither is logged: next to no rank is
left, it stays at its lowest, and the loss has not been halved on the way.

**Rank loss over tasks.** In a run over a sequence of tasks, the rank is down to three quarters: what comes before a
collapse there.

**Neural collapse.** Variability within the classes, the angles of their means and the distance to the last layer have
all fallen far below where they began.

**Mode collapse.** The samples cover half the modes they had covered before, or a quarter of their spread; or, where
they are measured beside real ones, no more than half of the real modes for so long that it is no beginning. A generator
that never made more than one mode has lost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from app.diagnostics.diagnosis import Window
from app.diagnostics.event import Event, Number, Severity

RUNNING = 3
"""Looks at the probe that must agree, to raise an event and to take it back."""

FALLEN_RANK = 0.5
ONE_DIRECTION = 0.5
FALLEN_SPREAD = 0.5

NO_RANK, NO_RANK_SHARE = 2.0, 0.05
"""Next to no rank is left: two directions, or one in twenty of those that were in use."""

AT_LOWEST = 1.1
"""Within this factor of the smallest rank so far: one that rises again, as after the first steps, is further away."""

NO_GAIN_LOSS = 0.5
"""Of the loss where the rank was largest: a rank that falls while the loss is halved paid for something."""

TASKS_RANK = 0.75

NC1_SHARE, NC2_SHARE, NC3_SHARE = 0.5, 0.5, 0.2
"""Of the first values. The second decides: without weight decay the first and the third fall too, the angles do not."""

FALLEN_MODES = 0.5
FALLEN_SAMPLES = 0.25

FEWEST_MODES = 3
"""From two modes to one is how a generator moves about that has made no more yet."""

FEW_MODES = 0.5
NEVER_MANY = 20
"""Looks at which the samples had at most this share of the real modes' perplexity, without a break: a healthy generator
is through this in ten. Chosen on the first seed of `python -m benchmarks.made_runs.gan`."""

SIGNALS_READ = (
    *("feature_rank", "top_share", "feature_spread", "dead_fraction"),
    *("nc1", "nc2", "nc3"),
    *("modes", "relative_modes", "sample_spread"),
)


@dataclass(slots=True)
class Seen:
    """What is remembered of one scalar."""

    first: float
    largest: float = -math.inf
    smallest: float = math.inf
    now: float = math.nan

    def observe(self, value: float) -> None:
        self.largest = max(self.largest, value)
        self.smallest = min(self.smallest, value)
        self.now = value


@dataclass(slots=True)
class Finding:
    """Looks running that say yes, or no once it is open."""

    running: int = 0
    since: int = 0
    event: Event | None = None


@dataclass(slots=True)
class Collapse:
    name: ClassVar[str] = "collapse"
    kinds: ClassVar[tuple[str, ...]] = ("dimensional_collapse", "rank_loss", "neural_collapse", "mode_collapse")

    seen: dict[str, Seen] = field(default_factory=dict)
    loss: float = math.nan
    loss_at_largest_rank: float = math.nan
    has_tasks: bool = False
    few_modes: int = 0  # looks running
    findings: dict[str, Finding] = field(default_factory=lambda: {kind: Finding() for kind in Collapse.kinds})

    @property
    def state(self) -> str:
        open_kinds = [kind for kind in self.kinds if self.findings[kind].event is not None]
        if open_kinds:
            return ", ".join(kind.replace("_", " ") for kind in open_kinds)
        return "calm" if self.seen else "no probe"

    def observe(self, window: Window) -> Iterator[Event]:
        series = {signal: window.series(signal).finite() for signal in SIGNALS_READ}
        loss = window.series("loss").finite()
        self.has_tasks = self.has_tasks or len(window.series("task")) > 0
        steps = sorted({step for one in series.values() for step in one.steps.tolist()})
        begins = dict.fromkeys(series, 0)
        for step in steps:
            at = int(np.searchsorted(loss.steps, step, side="right"))
            self.loss = float(loss.values[at - 1]) if at else self.loss
            looked = set()
            for signal, one in series.items():
                begin = begins[signal]
                if begin < len(one) and one.steps[begin] == step:
                    begins[signal] = begin + 1
                    self._take_in(signal, float(one.values[begin]))
                    looked.add(signal)
            yield from self._judge(step, looked, window)
        if len(loss):
            self.loss = float(loss.values[-1])

    def _take_in(self, signal: str, value: float) -> None:
        seen = self.seen.get(signal)
        if seen is None:
            seen = self.seen[signal] = Seen(value)
        if signal == "feature_rank" and value > seen.largest:
            self.loss_at_largest_rank = self.loss
        if signal == "relative_modes":
            self.few_modes = self.few_modes + 1 if value <= FEW_MODES else 0
        seen.observe(value)

    def _judge(self, step: int, looked: set[str], window: Window) -> Iterator[Event]:
        if "feature_rank" in looked:
            yield from self._follow("dimensional_collapse", self._has_collapsed(), step, window)
            loses_rank = self.has_tasks and self._share("feature_rank") <= TASKS_RANK
            yield from self._follow("rank_loss", loses_rank, step, window)
        if looked & {"nc1", "nc2", "nc3"}:
            yield from self._follow("neural_collapse", self._classes_have_collapsed(), step, window)
        if looked & {"modes", "relative_modes", "sample_spread"}:
            yield from self._follow("mode_collapse", self._samples_are_few(), step, window)

    def _share(self, signal: str) -> float:
        """Of its largest value; infinite where there is none."""
        seen = self.seen.get(signal)
        return seen.now / seen.largest if seen is not None and seen.largest > 0 else math.inf

    def _has_collapsed(self) -> bool:
        rank, top = self.seen["feature_rank"], self.seen.get("top_share")
        is_on_a_line = top is not None and ONE_DIRECTION <= top.now <= 1
        is_on_a_point = self._share("feature_spread") <= FALLEN_SPREAD
        if self._share("feature_rank") <= FALLEN_RANK and (is_on_a_line or is_on_a_point):
            return True
        is_open = self.findings["dimensional_collapse"].event is not None
        if rank.now > max(NO_RANK, NO_RANK_SHARE * rank.largest):
            return False
        if rank.now > AT_LOWEST * rank.smallest and not is_open:
            return False
        # A loss at or below zero has no share.
        return self.loss_at_largest_rank > 0 and self.loss > NO_GAIN_LOSS * self.loss_at_largest_rank

    def _samples_are_few(self) -> bool:
        modes = self.seen.get("modes")
        has_lost = modes is not None and modes.largest >= FEWEST_MODES and self._share("modes") <= FALLEN_MODES
        return has_lost or self._share("sample_spread") <= FALLEN_SAMPLES or self.few_modes >= NEVER_MANY

    def _classes_have_collapsed(self) -> bool:
        shares = (("nc1", NC1_SHARE), ("nc2", NC2_SHARE), ("nc3", NC3_SHARE))
        return all(
            (seen := self.seen.get(signal)) is not None and seen.first > 0 and seen.now <= share * seen.first
            for signal, share in shares
        )

    def _follow(self, kind: str, is_so: bool, step: int, window: Window) -> Iterator[Event]:
        finding = self.findings[kind]
        is_open = finding.event is not None
        if is_so == is_open:
            finding.running = 0
            return
        if finding.running == 0:
            finding.since = step
        finding.running += 1
        if finding.running < RUNNING:
            return
        finding.running = 0
        if finding.event is None:
            finding.event = self._event(kind, finding.since, step, window)
            yield finding.event
        else:
            yield finding.event.resolved(step, "recovered")
            finding.event = None

    def _event(self, kind: str, since: int, step: int, window: Window) -> Event:
        signals = _SIGNALS_OF[kind]
        evidence: dict[str, Number] = {}
        for signal in signals:
            seen = self.seen.get(signal)
            if seen is not None:
                evidence |= {signal: seen.now, f"{signal}_first": seen.first, f"{signal}_largest": seen.largest}
        inputs = tuple(metric for signal in signals if (metric := window.inputs.metric(signal)) is not None)
        return Event(
            kind=kind,
            severity=Severity.INFO if kind == "neural_collapse" else Severity.WARNING,
            step=since,
            raised_at=step,
            message=self._message(kind, inputs),
            inputs=inputs,
            evidence=evidence,
            sharpen=window.missing(*signals),
        )

    def _message(self, kind: str, inputs: tuple[str, ...]) -> str:
        if kind == "neural_collapse":
            return (
                "The classes have collapsed to their means, the means to a simplex and the last layer onto them: the "
                "end of training a classifier. No fault, but features for other tasks are better from before it."
            )
        if kind == "mode_collapse":
            told = self._fall("modes", "sample_spread")
            if self.few_modes >= NEVER_MANY:
                share = f"{100 * self.seen['relative_modes'].now:.0f} %"
                return f"The samples are few of what there is: {share} of the real modes, by perplexity; {told}."
            return f"The samples have become few of what they were: {told}."
        rank = self._fall("feature_rank")
        if kind == "rank_loss":
            return (
                f"The features lose rank from task to task: {rank}. Later tasks will be learned slower, or not at all."
            )
        return f"The features have collapsed to few directions: {rank}. The loss need not show it."

    def _fall(self, *signals: str) -> str:
        falls = [
            f"{signal.replace('_', ' ')} {seen.now:.3g}, at most {seen.largest:.3g} before"
            for signal in signals
            if (seen := self.seen.get(signal)) is not None
        ]
        return "; ".join(falls)


_SIGNALS_OF = {
    "dimensional_collapse": ("feature_rank", "top_share", "feature_spread", "dead_fraction"),
    "rank_loss": ("feature_rank", "dead_fraction"),
    "neural_collapse": ("nc1", "nc2", "nc3"),
    "mode_collapse": ("modes", "relative_modes", "sample_spread"),
}
