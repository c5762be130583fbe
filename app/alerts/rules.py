"""When an alert fires and when it resolves.

A rule looks at the facts of a run and says, for every alert it is able to judge, one of three things: a `Finding`
(this is wrong now), an `AllClear` (this is right now), or nothing (too early to tell: leave things as they are).
`decide` compares that with the alerts that are open. So an alert whose rule could not be evaluated stays open, a rule
gets hysteresis by keeping silent, and a new kind of alert is one more function in `RULES`.

Everything here is O(1) in the length of a run: facts come from the incremental reduction of each metric.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from app.curves.bins import LARGEST_VALUE
from app.curves.reduction import Reduction
from app.diagnostics.event import Severity as Severity

# A metric has recovered once this many points in a row were finite, or this share of all its points, whichever is more.
# Twenty rides out a loss that is NaN every other logging step; the share keeps a long run from flapping.
RECOVERY_POINTS = 20
RECOVERY_SHARE = 0.01

# So many infinite gradient norms may be a loss scale being found.
FEW = 3

LOSS_ROLES = frozenset({"train_loss", "val_loss"})

NONFINITE_LOSS = "nonfinite_loss"
NONFINITE_GRAD_NORM = "nonfinite_grad_norm"


@dataclass(frozen=True, slots=True)
class AlertKey:
    """What an alert is about. A run has at most one open alert of each key."""

    kind: str
    metric: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something is wrong now."""

    kind: str
    severity: Severity
    metric: str | None
    step: int  # where it began [steps]
    message: str
    evidence: Mapping[str, Any] = field(default_factory=dict)  # fit for JSON: "NaN" and "Infinity" are spelled out
    calls: bool = True  # False: people were called for its cause already, so that it is only shown

    @property
    def key(self) -> AlertKey:
        return AlertKey(self.kind, self.metric)


@dataclass(frozen=True, slots=True)
class AllClear:
    """What an alert of this key would be about has passed, or never was."""

    kind: str
    metric: str | None
    step: int | None  # the last step seen [steps]
    message: str

    @property
    def key(self) -> AlertKey:
        return AlertKey(self.kind, self.metric)


Judgement = Finding | AllClear


@dataclass(frozen=True, slots=True)
class Decisions:
    """What to store and to send."""

    fire: tuple[Finding, ...] = ()
    resolve: tuple[AllClear, ...] = ()


@dataclass(frozen=True, slots=True)
class MetricFacts:
    """What the rules know of one metric.

    Counts are of points; `finite_since` is how many finite ones came after the last non-finite one. `last_finite_*` is
    the last finite point before trouble began, or the newest one if there was none; both come from the reduced curve,
    so in a long run they are a mean over a bin until `with_points` has seen the points themselves.
    """

    metric: str
    role: str
    points: int
    nonfinite: int
    last_step: int | None
    last_value: float | None
    first_nonfinite_step: int | None = None
    last_nonfinite_step: int | None = None
    finite_between: int = 0  # from the first non-finite point to the last one
    finite_since: int = 0
    last_finite_step: int | None = None
    last_finite_value: float | None = None
    largest: float | None = None

    @staticmethod
    def from_reduction(metric: str, role: str, reduction: Reduction) -> MetricFacts:
        curve = reduction.to_curve()
        first, last = reduction.first_nonfinite_step, reduction.last_nonfinite_step
        start, end = (math.inf, math.inf) if first is None or last is None else (first, last)
        finite_between = int(curve.counts[(curve.steps > start) & (curve.steps <= end)].sum())
        trouble = start if finite_between < _recovery_points(reduction.n_points) else end
        before = int((curve.steps < trouble).sum()) - 1
        return MetricFacts(
            metric=metric,
            role=role,
            points=reduction.n_points,
            nonfinite=reduction.nonfinite,
            last_step=reduction.last_step,
            last_value=reduction.last_value,
            first_nonfinite_step=first,
            last_nonfinite_step=last,
            finite_between=finite_between,
            finite_since=int(curve.counts[curve.steps > end].sum()),
            last_finite_step=None if before < 0 else round(float(curve.steps[before])),
            last_finite_value=None if before < 0 else float(curve.values[before]),
            largest=float(curve.values.max()) if len(curve.values) else None,
        )

    def with_points(self, steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> MetricFacts:
        """With the last finite one of the points before the trouble, in order, in place of a bin's mean."""
        finite = np.flatnonzero(np.abs(values) <= LARGEST_VALUE)
        if not len(finite):
            return self
        last = finite[-1]
        return replace(self, last_finite_step=int(steps[last]), last_finite_value=float(values[last]))


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the rules know of a run."""

    metrics: Mapping[str, MetricFacts]
    segment_start: int | None = None  # where the current (re)start began to log; None while it has not [steps]

    def with_role(self, roles: Collection[str]) -> Iterator[MetricFacts]:
        return (facts for facts in self.metrics.values() if facts.role in roles)


Rule = Callable[[RunFacts], Iterator[Judgement]]


def nonfinite_loss(run: RunFacts) -> Iterator[Judgement]:
    """A loss that is NaN or infinite, openly or written as 0.0.

    Of several broken losses only the one that broke first is found: the others, measured with the same weights, are
    no news, and one cause should not page twice.
    """
    findings: list[Finding] = []
    for facts in run.with_role(LOSS_ROLES):
        if _is_broken(facts, run.segment_start):
            findings.append(_nonfinite_finding(NONFINITE_LOSS, Severity.CRITICAL, facts, run.segment_start))
        elif (grad_norm := _broken_grad_norm(run)) is not None and _is_zeroed(facts):
            findings.append(_zeroed_finding(facts, grad_norm))
        else:
            yield _all_clear(NONFINITE_LOSS, facts)
    if findings:
        yield min(findings, key=lambda finding: finding.step)


def nonfinite_grad_norm(run: RunFacts) -> Iterator[Judgement]:
    """A gradient norm that is NaN or infinite: the last warning before the loss goes, or loss scaling at work.

    Silent while a loss is broken: that alert says it all, and one cause should not page twice.
    """
    loss_is_broken = any(isinstance(said, Finding) for said in nonfinite_loss(run))
    for facts in run.with_role({"grad_norm"}):
        if not _is_broken(facts, run.segment_start):
            yield _all_clear(NONFINITE_GRAD_NORM, facts)
        elif not loss_is_broken:
            yield _nonfinite_finding(NONFINITE_GRAD_NORM, Severity.WARNING, facts, run.segment_start)


RULES: tuple[Rule, ...] = (nonfinite_loss, nonfinite_grad_norm)


def judge(run: RunFacts, rules: Iterable[Rule] = RULES) -> list[Judgement]:
    return [judgement for rule in rules for judgement in rule(run)]


def decide(open_alerts: Collection[AlertKey], judgements: Iterable[Judgement]) -> Decisions:
    """Compare what is judged now with the alerts that are open.

    A finding fires unless an alert of its key is open. An all-clear resolves the open alert of its key. Where both are
    said of one key the finding holds, and of two findings the first.
    """
    findings: dict[AlertKey, Finding] = {}
    clear: dict[AlertKey, AllClear] = {}
    for judgement in judgements:
        if isinstance(judgement, Finding):
            findings.setdefault(judgement.key, judgement)
        else:
            clear.setdefault(judgement.key, judgement)
    still_open = set(open_alerts)
    return Decisions(
        fire=tuple(finding for key, finding in findings.items() if key not in still_open),
        resolve=tuple(said for key, said in clear.items() if key in still_open and key not in findings),
    )


def before_trouble(
    facts: MetricFacts, reduction: Reduction, segment_start: int | None
) -> tuple[int | None, int] | None:
    """Between which steps the last finite point before the trouble lies, both included; None: there is no trouble.

    From None on: from the first step. A bin may hold points of before and after, so the one before it is read too.
    """
    if not _is_broken(facts, segment_start):
        return None
    start = _episode_start(facts, segment_start)
    steps = reduction.to_curve().steps
    earlier = steps[steps < start]
    return (math.floor(earlier[-2]) if len(earlier) > 1 else None), start - 1


def _recovery_points(points: int) -> int:
    return max(RECOVERY_POINTS, math.ceil(RECOVERY_SHARE * points))


def _is_broken(facts: MetricFacts, segment_start: int | None) -> bool:
    """Non-finite points were logged, and neither a recovery nor a restart came after them."""
    if facts.last_nonfinite_step is None:
        return False
    if segment_start is not None and facts.last_nonfinite_step < segment_start:
        return False
    return facts.finite_since < _recovery_points(facts.points)


def _broken_grad_norm(run: RunFacts) -> MetricFacts | None:
    broken = (facts for facts in run.with_role({"grad_norm"}) if _is_broken(facts, run.segment_start))
    return next(broken, None)


def _is_zeroed(facts: MetricFacts) -> bool:
    """A loss that was positive and is now exactly 0.0.

    Hugging Face's Trainer by default (`logging_nan_inf_filter=True`) leaves NaN losses out of the mean it logs, so
    that a run that has blown up logs a loss of exactly 0.0 beside a gradient norm of NaN.
    """
    return facts.last_value == 0.0 and facts.largest is not None and facts.largest > 0.0


def _nonfinite_finding(kind: str, severity: Severity, facts: MetricFacts, segment_start: int | None) -> Finding:
    step = _episode_start(facts, segment_start)
    message = f"{_what_is_wrong(facts, step)} {_last_good(facts)}{_how_many(facts)}"
    if kind == NONFINITE_GRAD_NORM and facts.nonfinite <= FEW:
        message += " Now and then that is normal under fp16 loss scaling; again and again it is not."
    return Finding(kind, severity, facts.metric, step, message, _evidence(facts))


def _episode_start(facts: MetricFacts, segment_start: int | None) -> int:
    """The first non-finite step, unless a recovery or a restart lies between it and the last one."""
    assert facts.first_nonfinite_step is not None  # callers have asked _is_broken
    assert facts.last_nonfinite_step is not None
    recovered = facts.finite_between >= _recovery_points(facts.points)
    restarted = segment_start is not None and facts.first_nonfinite_step < segment_start
    return facts.last_nonfinite_step if recovered or restarted else facts.first_nonfinite_step


def _zeroed_finding(facts: MetricFacts, grad_norm: MetricFacts) -> Finding:
    message = (
        f"{facts.metric} is exactly 0.0 at step {facts.last_step:,} while {grad_norm.metric} is not finite since step "
        f"{grad_norm.first_nonfinite_step:,}: the trainer is most likely writing 0 for NaN "
        f"(Hugging Face does unless logging_nan_inf_filter=False)."
    )
    evidence = _evidence(facts) | {"grad_norm": _evidence(grad_norm)}
    return Finding(NONFINITE_LOSS, Severity.CRITICAL, facts.metric, facts.last_step or 0, message, evidence)


def _all_clear(kind: str, facts: MetricFacts) -> AllClear:
    if facts.last_nonfinite_step is None:
        message = f"Every value of {facts.metric} is finite."
    elif facts.finite_since:
        since = f"since step {facts.last_nonfinite_step:,}"
        message = f"{facts.metric} has been finite for {facts.finite_since:,} points, {since}."
    else:
        message = f"{facts.metric} was restarted after its last non-finite value at step {facts.last_nonfinite_step:,}."
    return AllClear(kind, facts.metric, facts.last_step, message)


def _what_is_wrong(facts: MetricFacts, step: int) -> str:
    if not _is_nonfinite(facts.last_value):
        again = "" if step == facts.last_nonfinite_step else f" and last at step {facts.last_nonfinite_step:,}"
        return f"{facts.metric} was not finite at step {step:,}{again}."
    if step == facts.last_step:
        return f"{facts.metric} is {_spell(facts.last_value)} at step {step:,}."
    if facts.finite_between and step == facts.first_nonfinite_step:
        return f"{facts.metric} is {_spell(facts.last_value)}, first so at step {step:,} and finite now and then since."
    return f"{facts.metric} is {_spell(facts.last_value)} and has not been finite since step {step:,}."


def _last_good(facts: MetricFacts) -> str:
    if facts.last_finite_value is None:
        return "It was never finite."
    return f"Its last finite value was {facts.last_finite_value:.6g} at step {facts.last_finite_step:,}."


def _how_many(facts: MetricFacts) -> str:
    """As of now, and said so: the sentence is read long after."""
    if facts.nonfinite <= 1:
        return ""
    return f" By step {facts.last_step:,}, {facts.nonfinite:,} of {facts.points:,} points were not finite."


def _evidence(facts: MetricFacts) -> dict[str, Any]:
    return {
        "value": _spell(facts.last_value) if _is_nonfinite(facts.last_value) else facts.last_value,
        "last_step": facts.last_step,
        "first_nonfinite_step": facts.first_nonfinite_step,
        "last_nonfinite_step": facts.last_nonfinite_step,
        "nonfinite_points": facts.nonfinite,
        "points": facts.points,
        "last_finite_step": facts.last_finite_step,
        "last_finite_value": facts.last_finite_value,
    }


def _is_nonfinite(value: float | None) -> bool:
    return value is not None and not math.isfinite(value)


def _spell(value: float | None) -> str:
    if value is None or math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
