"""How likely a divergence is to begin soon.

Three sources, taken as independent: P = 1 - (1 - P1)(1 - P2)(1 - P3).

1. *Base rate*: spikes and divergences so far, shrunk towards one in twenty thousand logged points.
2. *Precursors*: a gradient norm or update norm three times its level at three points running, while the loss is not
   falling; a loss scale that was cut three times running. Runs differ so much in what follows (everything, or nothing)
   that one's own warnings soon say more than the few runs in which they were counted, see `PRECURSORS`.
3. *Trends*: a scalar with a critical level, extrapolated as a power of the step. Its probability is that of the fit; no
   family of runs stands behind it yet.

A divergence that a batch of data causes gives no sign before it: loss, gradient and everything else jump in one step.
Nothing here speaks of those.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from types import MappingProxyType
from typing import ClassVar

import numpy as np

from app.diagnostics.changes import DISTURBING, WARMED_UP
from app.diagnostics.diagnosis import Window
from app.diagnostics.event import Event, Number, Risk, Severity
from app.diagnostics.history import History
from app.diagnostics.level import Surprise
from app.diagnostics.series import Series
from app.diagnostics.trend import Trend, fit_trend

HORIZONS = (10, 100, 1000)
"""[steps]"""

RAISED_ABOVE = 0.25
LOWERED_BELOW = 0.125
"""An event is raised when a probability goes above the one, and over when all are below the other."""

LIKELY = 0.5
"""Above it the event is a warning, else it is for information."""

PRIOR_FAULTS = 0.05
PRIOR_POINTS = 1000.0
"""One fault in twenty thousand points: a guess, held so weakly that the first fault outweighs it."""

MEMORY_POINTS = 1000
"""Faults come in clusters: what happened so many points ago is forgotten to a third."""

BASE_RATE = "base rate"
"""Raises no event by itself: that faults come in clusters is known once the first has been reported."""

FAULTS = frozenset({"spike", "divergence", "nonfinite", "cold_start"})

QUIET_POINTS = 50
"""After a fault the gradient needs so long to come down; until then it warns of nothing."""

TICK_POINTS = 16
"""Loss points between two evaluations; what happens in between is evaluated at once."""

SPOKEN_POINTS = 1024
SPOKEN_SHARE = 0.2
SMALLEST_SPOKEN = 0.001
"""Risks are written down at least so often, and whenever one changed by a fifth and by a thousandth."""

PRECURSOR_RATIO = math.log(3.0)
PRECURSOR_POINTS = 3
PRECURSOR_LIVES = 100
"""Steps after which a precursor that was followed by nothing is forgotten."""

FALLING_SCALES = -4.0
"""A loss so far below its level is falling: then a growing gradient is a network that begins to learn."""


PRIOR_WARNINGS = 0.5
"""For how many of a run's own warnings the other runs' record counts. Their shares are nearly all 0 or 1, which a beta
distribution of 0.6 would say (moments)."""


@dataclass(slots=True)
class Record:
    """What followed a run's own warnings of one kind."""

    warnings: int = 0  # that have come true or have been forgotten
    followed: list[int] = field(default_factory=lambda: [0, 0, 0])  # of them, within each of `HORIZONS`
    lapsed: list[int] = field(default_factory=list)  # steps of forgotten ones that the longest horizon still reaches

    def lapse(self, warned_at: int) -> None:
        self.warnings += 1
        self.lapsed.append(warned_at)

    def come_true(self, step: int, warned_at: int | None) -> None:
        """A fault at a step; `warned_at`, if a warning stands."""
        ages = [step - lapsed for lapsed in self.lapsed]
        if warned_at is not None:
            self.warnings += 1
            ages.append(step - warned_at)
        for i, horizon in enumerate(HORIZONS):
            self.followed[i] += sum(age <= horizon for age in ages)
        self.lapsed.clear()


@dataclass(frozen=True, slots=True)
class Precursor:
    """How often what was followed by a fault within each of `HORIZONS`: the mean over runs of their shares."""

    shares: tuple[float, float, float]
    counted_on: str

    def probability(self, horizon: int, age: int, record: Record) -> float:
        """Of a fault within the horizon, `age` steps after the precursor, with none so far."""
        shares = [
            (PRIOR_WARNINGS * share + followed) / (PRIOR_WARNINGS + record.warnings)
            for share, followed in zip(self.shares, record.followed, strict=True)
        ]
        by_then, so_far = np.interp((min(age + horizon, HORIZONS[-1]), age), (0, *HORIZONS), (0.0, *shares))
        return max(0.0, float((by_then - so_far) / max(1.0 - so_far, 1e-9)))


_COUNTED_ON = "6 runs that warned, of 100"
PRECURSORS: Mapping[str, Precursor] = MappingProxyType(
    {
        "grad_norm": Precursor((0.29, 0.37, 0.46), _COUNTED_ON),
        "update_norm": Precursor((0.29, 0.37, 0.46), f"{_COUNTED_ON}, by grad_norm"),
        "loss_scale": Precursor((0.1, 0.3, 0.3), "nothing: a guess"),
    }
)
"""`python -m benchmarks.diagnostics` counts them."""

CRITICAL: Mapping[str, tuple[float, str]] = MappingProxyType(
    {
        "max_attn_logit": (1e3, "attention logits beyond 1,000 went before loss spikes at scale (Kimi K2's report)"),
        "max_logit": (1e3, "taken to be as for attention logits"),
        "act_rms": (1e3, "half precision ends at 65,504, and a sum of squares reaches it long before"),
    }
)
"""Signal -> level it should not reach, and why that one."""

REGIMES = frozenset({*DISTURBING, WARMED_UP})
"""After these a scalar grows by another law."""

RECENT_SHARE = 2 / 3
"""Of the past that a trend is fitted through."""

REACH = 3.0
"""A trend speaks of at most so many times the steps it has seen: a run's first steps rise towards everything. Further
ahead it is taken to stand still."""

UNSETTLED_POINTS = 50
"""Where no warm-up was seen to end, the first points may be one, in which everything grows: no trend before so many."""

STAYS_BEYOND = math.log(2.0)
"""A scalar that went beyond its level counts as beyond until it has halved."""


@dataclass(slots=True)
class Rising:
    """A scalar on its way to a critical level."""

    history: History = field(default_factory=History)
    trend: Trend | None = None
    is_settled: bool = False  # the warm-up of the rate is known to be over
    since: float = 0.0  # the step from which on it was watched
    is_beyond: bool = False


class _Order(IntEnum):
    """What can happen at one step, in the order in which it is dealt with."""

    CHANGE = 0
    FAULT_OVER = 1
    FAULT = 2
    FITTED = 3
    WARNED = 4
    TICK = 5


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that changes the risk. `signal`: which one, or the id of a fault."""

    step: int
    order: _Order
    signal: str = ""
    trend: Trend | None = None
    log: float = 0.0  # of the newest block that the trend was fitted through
    since: float = 0.0  # step of the oldest block


@dataclass(slots=True)
class DivergenceRisk:
    name: ClassVar[str] = "divergence_risk"
    kinds: ClassVar[tuple[str, ...]] = ("divergence_risk",)

    points: int = 0  # of the loss
    first_step: int | None = None
    faults: float = 0.0  # remembered at `fault_at`
    fault_at: int = 0  # points of the loss when the last fault was raised or over
    open_faults: list[str] = field(default_factory=list)
    high: dict[str, int] = field(default_factory=dict)  # precursor -> points running that it was high
    warned_at: dict[str, int] = field(default_factory=dict)  # precursor -> the step of its newest warning
    records: dict[str, Record] = field(default_factory=dict)  # precursor -> what followed its warnings so far
    loss_scale: float = math.nan
    rising: dict[str, Rising] = field(default_factory=dict)
    is_falling: bool = False  # the loss, at its newest point
    said: list[float] = field(default_factory=list)
    said_at: int = 0  # points of the loss
    event: Event | None = None

    @property
    def state(self) -> str:
        if self.open_faults:
            return "a fault is here: risk of another"
        return "at risk" if self.event is not None else "no sign"

    def observe(self, window: Window) -> Iterator[Event | Risk]:
        loss = window.surprise("loss")
        if self.first_step is None and len(loss):
            self.first_step = int(loss.steps[0])
        before = self.points
        moments = sorted(self._moments(window, loss), key=lambda moment: (moment.step, moment.order, moment.signal))
        for moment in moments:
            self.points = before + int(np.searchsorted(loss.steps, moment.step, side="right"))
            yield from self._at(moment, window)
        self.points = before + len(loss)
        if len(loss):
            self.is_falling = bool(loss.in_scales[-1] < FALLING_SCALES)

    def _moments(self, window: Window, loss: Surprise) -> Iterator[Moment]:
        for step in window.change_steps(DISTURBING):
            yield Moment(step, _Order.CHANGE)
        for event in window.said:
            if event.kind in FAULTS and event.resolved_at is not None:
                yield Moment(event.resolved_at, _Order.FAULT_OVER, event.id)
            elif event.kind in FAULTS:
                yield Moment(event.raised_at, _Order.FAULT, event.id)
        for signal in ("grad_norm", "update_norm"):
            for step in self._warnings(signal, window.surprise(signal), loss):
                yield Moment(step, _Order.WARNED, signal)
        for step in self._cuts_of_scale(window.series("loss_scale")):
            yield Moment(step, _Order.WARNED, "loss_scale")
        for signal in CRITICAL:
            yield from self._fits(signal, window.series(signal), window.change_steps(REGIMES))
        to_tick = TICK_POINTS - 1 - self.points % TICK_POINTS
        yield from (Moment(step, _Order.TICK) for step in loss.steps[to_tick::TICK_POINTS].tolist())

    def _warnings(self, signal: str, norm: Surprise, loss: Surprise) -> Iterator[int]:
        """Steps at which a norm has been high for long enough, while the loss was not falling."""
        is_high = norm.excess > PRECURSOR_RATIO
        if not is_high.any():
            if len(norm):
                self.high[signal] = 0
            return
        falling = np.concatenate([[self.is_falling], loss.in_scales < FALLING_SCALES])
        is_high &= ~falling[np.searchsorted(loss.steps, norm.steps, side="right")]
        running = self.high.get(signal, 0)
        for step, high in zip(norm.steps.tolist(), is_high.tolist(), strict=True):
            running = running + 1 if high else 0
            if running >= PRECURSOR_POINTS:
                yield step
        self.high[signal] = running

    def _cuts_of_scale(self, scale: Series) -> Iterator[int]:
        """Steps at which the loss scale was cut for the third time with no rise in between."""
        cuts = self.high.get("loss_scale", 0)
        for step, value in zip(scale.steps.tolist(), scale.values.tolist(), strict=True):
            if value < self.loss_scale:
                cuts += 1
                if cuts >= PRECURSOR_POINTS:
                    yield step
            elif value > self.loss_scale:
                cuts = 0
            self.loss_scale = value
        if len(scale):
            self.high["loss_scale"] = cuts

    def _fits(self, signal: str, series: Series, anew: list[int]) -> Iterator[Moment]:
        """A trend through a scalar's recent past, whenever a block of it is whole; its past begins anew at changes."""
        kept = (series.values > 0) & np.isfinite(series.values)
        if not kept.any():
            return
        rising = self.rising.setdefault(signal, Rising())
        logs = Series(signal, series.steps[kept], np.log(series.values[kept]))
        for changed_at, piece in logs.cut_before(anew):
            if changed_at is not None:
                rising.history, rising.is_settled = History(), True
            for step in rising.history.observe(piece.steps, piece.values):
                steps, recent = rising.history.recent(RECENT_SHARE)
                is_settled = rising.is_settled or rising.history.points >= UNSETTLED_POINTS
                trend = fit_trend(np.maximum(steps, 1.0), recent) if is_settled else None
                yield Moment(step, _Order.FITTED, signal, trend, float(recent[-1]), rising.history.steps[0])

    def _at(self, moment: Moment, window: Window) -> Iterator[Event | Risk]:
        self._forget_warnings(moment.step)
        if moment.order is _Order.CHANGE:
            self.warned_at.clear()
        elif moment.order is _Order.FAULT_OVER:
            self.open_faults = [fault for fault in self.open_faults if fault != moment.signal]
            self.fault_at = self.points
        elif moment.order is _Order.FAULT:
            yield from self._fault(moment)
        elif moment.order is _Order.FITTED:
            yield from self._fitted(moment)
        elif moment.order is _Order.WARNED and self._may_warn:
            self.warned_at[moment.signal] = moment.step
            self.records.setdefault(moment.signal, Record())
        if not self.open_faults and moment.order is not _Order.FAULT_OVER:
            yield from self._evaluate(moment.step, window)

    def _forget_warnings(self, step: int) -> None:
        for signal, warned_at in list(self.warned_at.items()):
            if step - warned_at > PRECURSOR_LIVES:
                self.records[signal].lapse(warned_at)
                del self.warned_at[signal]

    @property
    def _may_warn(self) -> bool:
        return not self.open_faults and (not self.faults or self.points - self.fault_at > QUIET_POINTS)

    def _fault(self, moment: Moment) -> Iterator[Event]:
        if moment.signal in self.open_faults:
            return  # only more was said about it
        if not self.open_faults:
            self.faults = self._remembered() + 1.0
            self.fault_at = self.points
            for signal, record in self.records.items():
                record.come_true(moment.step, self.warned_at.get(signal))
        self.open_faults.append(moment.signal)
        self.warned_at.clear()
        if self.event is not None:
            yield self.event.resolved(moment.step, "came true")
            self.event = None

    def _fitted(self, moment: Moment) -> Iterator[Event]:
        rising = self.rising[moment.signal]
        rising.trend, rising.since = moment.trend, moment.since
        level = math.log(CRITICAL[moment.signal][0])
        rising.is_beyond = moment.log > (level - STAYS_BEYOND if rising.is_beyond else level)
        if rising.is_beyond and self.event is not None and self.event.evidence["source"] == moment.signal:
            yield self.event.resolved(moment.step, "came true")
            self.event = None

    def _remembered(self) -> float:
        return self.faults * math.exp(-(self.points - self.fault_at) / MEMORY_POINTS)

    def _evaluate(self, step: int, window: Window) -> Iterator[Event | Risk]:
        sources = self._sources(step)
        risks = _together(sources)
        if self.points - self.said_at >= SPOKEN_POINTS or not self.said or _differ(risks, self.said):
            self.said, self.said_at = risks, self.points
            yield from (Risk(step, horizon, risk) for horizon, risk in zip(HORIZONS, risks, strict=True))
        signs = {name: source for name, source in sources.items() if name != BASE_RATE}
        signalled = max(_together(signs))
        severity = Severity.WARNING if signalled > LIKELY else Severity.INFO
        if self.event is None and signalled > RAISED_ABOVE:
            self.event = replace(self._raised(step, risks, signs, window), severity=severity)
            yield self.event
        elif self.event is not None and self.event.severity is Severity.INFO and severity is Severity.WARNING:
            likelier = self._raised(step, risks, signs, window)
            self.event = replace(
                likelier, step=self.event.step, raised_at=self.event.raised_at, inputs=self.event.inputs
            )
            yield self.event
        elif self.event is not None and signalled < LOWERED_BELOW:
            yield self.event.resolved(step, "passed")
            self.event = None

    def _sources(self, step: int) -> dict[str, list[float]]:
        """Probability of a fault within each of `HORIZONS`, by what says so."""
        first = self.first_step if self.first_step is not None else step
        steps_a_point = max(1.0, (step - first) / max(1, self.points - 1))
        faults = PRIOR_FAULTS + self._remembered()
        points = PRIOR_POINTS + min(self.points, MEMORY_POINTS)
        sources = {BASE_RATE: [1.0 - (points / (points + h / steps_a_point)) ** faults for h in HORIZONS]}
        for signal, warned_at in self.warned_at.items():
            record = self.records[signal]
            sources[signal] = [PRECURSORS[signal].probability(h, step - warned_at, record) for h in HORIZONS]
        for signal, rising in self.rising.items():
            if rising.trend is not None and rising.trend.is_rising and not rising.is_beyond:
                level = math.log(CRITICAL[signal][0])
                reach = int(REACH * (step - rising.since))
                ahead = [max(1, step) + min(h, reach) for h in HORIZONS]
                sources[signal] = [rising.trend.probability_above(level, then) for then in ahead]
        return sources

    def _raised(self, step: int, risks: list[float], signs: dict[str, list[float]], window: Window) -> Event:
        wanted = LIKELY if max(risks) > LIKELY else RAISED_ABOVE
        i = next(i for i, risk in enumerate(risks) if risk > wanted)
        source = max(signs, key=lambda name: signs[name][i])
        metric = window.inputs.metric(source) or window.inputs.metric("loss") or ""
        evidence: dict[str, Number] = {f"p_{h}": risk for h, risk in zip(HORIZONS, risks, strict=True)}
        evidence |= {"source": source, "horizon": HORIZONS[i], "calibrated_on": _counted_on(source)}
        return Event(
            kind="divergence_risk",
            severity=Severity.WARNING,
            step=step,
            raised_at=step,
            message=f"{_why(source, metric)} within {HORIZONS[i]:,} steps: {100 * risks[i]:.0f} %.",
            inputs=(metric,),
            evidence=evidence,
            probability=risks[i],
            sharpen=window.missing("grad_norm", "update_norm", "max_attn_logit"),
        )


def _together(sources: Mapping[str, list[float]]) -> list[float]:
    """That one of them comes true, by horizon, as if each were alone."""
    return [1.0 - math.prod(1.0 - source[i] for source in sources.values()) for i in range(len(HORIZONS))]


def _differ(now: list[float], before: list[float]) -> bool:
    return any(abs(a - b) > max(SPOKEN_SHARE * b, SMALLEST_SPOKEN) for a, b in zip(now, before, strict=True))


def _counted_on(source: str) -> str:
    return PRECURSORS[source].counted_on if source in PRECURSORS else "nothing: the probability of the fit"


def _why(source: str, metric: str) -> str:
    if source in CRITICAL:
        level, reason = CRITICAL[source]
        return f"{metric} is on its way to {level:,.0f} ({reason}); there"
    if source == "loss_scale":
        return f"{metric} was cut three times running; a fault"
    return f"{metric} is three times its level while the loss does not fall; a spike or divergence"
