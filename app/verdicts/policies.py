"""Ways to decide, by name. Each says stop, continue or undecided; guards and words come later. Lower is better here.

Ours reads the forecast and so does LC-PFN's criterion. The others, made before there were forecasts, read the curve so
far and those of its siblings, and know no undecided: they are here to choose from, and to be compared with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol

import numpy as np

from app.errors import BadInput
from app.verdicts.estimate import Estimate
from app.verdicts.history import Array, History
from app.verdicts.rivals import Rival, RivalKind
from app.verdicts.situation import Situation
from app.verdicts.verdict import Decision

CONFIDENCE = 0.98
"""Of a few values the one that stopped the fewest best runs of public groups, whose families what is believed of
errors was learned without, and of these the one that saved most (``python -m benchmarks.nested_verdicts``)."""

MOST_CONFIDENCE = 0.9999
"""Surer than that is no forecast that reckons with surprises: of 1 nobody would be stopped."""

STRIPS = 20
"""Policies that were made for evaluations every few epochs see a run as so many strips of equal length."""

MOST_STRIPS = STRIPS - 2
"""The last strip is whole only when the run is over, and the first one never waits: a rule of more stops nobody."""

MOST_GRACE = 1 - 1 / STRIPS

SIBLINGS = frozenset({RivalKind.FINISHED, RivalKind.STOPPED, RivalKind.LIVE, RivalKind.BASELINE})


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a policy says before the guards are asked.

    reason : in words, without a full stop
    asked : the probability that decided, of which no rounding may stand on the wrong side; None: it asks for none
    by_odds : whether the estimate's probability decided: where it did not, the reason alone tells why
    """

    decision: Decision
    reason: str
    asked: float | None = None
    by_odds: bool = False


class Policy(Protocol):
    """One way to decide. Its fields are its parameters, all numbers."""

    name: ClassVar[str]

    def rule(self, situation: Situation, estimate: Estimate | None) -> Ruling:
        """`situation` is better when lower; `estimate` is None where there is no forecast."""
        ...


@dataclass(frozen=True, slots=True)
class Predictive:
    """Stop where the forecast is sure that the references are not beaten, and little is lost where it is wrong.

    confidence : least probability of not beating the references, from 0.5 on
    tolerance : most expected regret, as a share of the reference's size
    """

    name: ClassVar[str] = "predictive"

    confidence: float = CONFIDENCE
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        _check("confidence", self.confidence, 0.5, MOST_CONFIDENCE)
        _check("tolerance", self.tolerance, 0.0, np.inf)

    def rule(self, situation: Situation, estimate: Estimate | None) -> Ruling:
        if estimate is None:
            return Ruling(Decision.UNDECIDED, "there is no forecast yet", by_odds=True)
        if estimate.probability < 0.5:
            return Ruling(Decision.CONTINUE, "going on is likelier than not to pay", by_odds=True)
        decision, reason = self._likely_behind(estimate)
        return Ruling(decision, reason, asked=self.confidence, by_odds=True)

    def _likely_behind(self, estimate: Estimate) -> tuple[Decision, str]:
        if estimate.probability < self.confidence:
            return Decision.UNDECIDED, f"that is less than the {100 * self.confidence:g} % asked for"
        if estimate.chance_lost > 1 - self.confidence:
            words = "it is not the least likely of its siblings to end best, and not all can be stopped at once"
            return Decision.UNDECIDED, words
        if estimate.regret > self.tolerance * abs(estimate.level):
            return Decision.UNDECIDED, "too much would be lost if that is wrong"
        return Decision.STOP, "going on is not expected to pay"


@dataclass(frozen=True, slots=True)
class LcPfn:
    """Stop where at no step to come the run is likely to pass the best value that anybody has reached so far [1]_.

    Live siblings count by what they have reached, not by where they are going.

    least : probability of passing it that is worth going on for

    .. [1] S. Adriaensen, H. Rakotoarison, S. Müller, F. Hutter, "Efficient Bayesian Learning Curve Extrapolation
       using Prior-Data Fitted Networks," NeurIPS 2023, arXiv:2310.20447, section 5.
    """

    name: ClassVar[str] = "lcpfn"

    least: float = 0.05

    def __post_init__(self) -> None:
        _check_between("least", self.least, 0.0, 1.0)

    def rule(self, situation: Situation, estimate: Estimate | None) -> Ruling:
        outlook, best = situation.outlook, _incumbent(situation)
        if outlook is None or best is None:
            return Ruling(Decision.UNDECIDED, "there is no forecast yet")
        chance = float(outlook.chances_below(best).max())
        if chance <= self.least:
            return Ruling(
                Decision.STOP, f"at no step to come it passes the best so far with more than {100 * self.least:.0f} %"
            )
        return Ruling(Decision.CONTINUE, f"it may pass the best so far, with {100 * chance:.0f} %")


@dataclass(frozen=True, slots=True)
class GeneralisationLoss:
    """Prechelt's GL [2]_: stop where the metric has risen above its lowest by more than `percent`.

    .. [2] L. Prechelt, "Early Stopping - But When?", in: Neural Networks: Tricks of the Trade, Springer 1998.
    """

    name: ClassVar[str] = "gl"

    percent: float = 5.0

    def __post_init__(self) -> None:
        _check("percent", self.percent, 0.0, np.inf)

    def rule(self, situation: Situation, estimate: Estimate | None) -> Ruling:
        loss = _generalisation_loss(_strips(situation))
        if loss is not None and loss > self.percent:
            return Ruling(Decision.STOP, f"it stands {loss:.2g} % worse than at its best")
        return Ruling(Decision.CONTINUE, f"it does not stand more than {self.percent:g} % worse than at its best")


@dataclass(frozen=True, slots=True)
class ProgressQuotient:
    """Prechelt's PQ: GL over the progress of the last strips, so that a run that still moves is given time.

    Prechelt takes progress from the training loss; here it is the judged metric's own, which every run has.

    quotient : in percent of loss for each per mille of progress
    strips : over how many strips progress is measured, at least 2
    """

    name: ClassVar[str] = "pq"

    quotient: float = 0.5
    strips: float = 5

    def __post_init__(self) -> None:
        _check("quotient", self.quotient, 0.0, np.inf)
        _check_count("strips", self.strips, 2, MOST_STRIPS)

    def rule(self, situation: Situation, estimate: Estimate | None) -> Ruling:
        values, k = _strips(situation), int(self.strips)
        loss = _generalisation_loss(values)
        if loss is None or len(values) < k or values[-k:].min() <= 0:
            return Ruling(Decision.CONTINUE, "too little has been seen")
        progress = 1000 * (float(values[-k:].mean()) / float(values[-k:].min()) - 1)
        if loss > self.quotient * progress:
            return Ruling(Decision.STOP, "it grows worse, and has ceased to move")
        return Ruling(Decision.CONTINUE, "it still moves")


@dataclass(frozen=True, slots=True)
class Rising:
    """Prechelt's UP: stop where the metric has risen from strip to strip so many times running."""

    name: ClassVar[str] = "up"

    strips: float = 3

    def __post_init__(self) -> None:
        _check_count("strips", self.strips, 1, MOST_STRIPS)

    def rule(self, situation: Situation, estimate: Estimate | None) -> Ruling:
        values, s = _strips(situation), int(self.strips)
        if len(values) > s and (np.diff(values[-s - 1 :]) > 0).all():
            return Ruling(Decision.STOP, f"it has grown worse {s} times running")
        return Ruling(Decision.CONTINUE, f"it has not grown worse {s} times running")


@dataclass(frozen=True, slots=True)
class Patience:
    """Stop where the metric had no new best for so many strips; `Situation.delta` is what a new best must bring."""

    name: ClassVar[str] = "patience"

    strips: float = 3

    def __post_init__(self) -> None:
        _check_count("strips", self.strips, 1, MOST_STRIPS)

    def rule(self, situation: Situation, estimate: Estimate | None) -> Ruling:
        waited = 0
        lowest = np.inf
        for value in _strips(situation).tolist():
            if value < lowest - situation.delta:
                lowest, waited = value, 0
            else:
                waited += 1
        if waited >= self.strips:
            return Ruling(Decision.STOP, f"it had no new best for {waited} twentieths of the run")
        return Ruling(Decision.CONTINUE, "it had a new best of late")


@dataclass(frozen=True, slots=True)
class MedianRule:
    """Stop where the best so far is worse than the median of the siblings' running means up to the same step [3]_.

    least : siblings that must have come so far
    grace : share of the run before which nothing is stopped

    .. [3] D. Golovin et al., "Google Vizier: A Service for Black-Box Optimization," KDD 2017, section 3.2.2.
    """

    name: ClassVar[str] = "median"

    least: float = 2
    grace: float = 0.1

    def __post_init__(self) -> None:
        _check_count("least", self.least, 1, np.inf)
        _check("grace", self.grace, 0.0, MOST_GRACE)

    def rule(self, situation: Situation, estimate: Estimate | None) -> Ruling:
        step, best = situation.cutoff, situation.best_so_far
        if best is None or step < self.grace * situation.total_steps:
            return Ruling(Decision.CONTINUE, "too little has been seen")
        means = [
            float(seen.values.mean()) for rival in _siblings(situation) if len(seen := _up_to(rival.history, step))
        ]
        if len(means) < self.least:
            return Ruling(Decision.CONTINUE, "too few siblings have come so far")
        median = float(np.median(means))
        if best > median:
            return Ruling(Decision.STOP, f"its best is worse than the median of {len(means)} siblings")
        return Ruling(Decision.CONTINUE, f"its best is no worse than the median of {len(means)} siblings")


@dataclass(frozen=True, slots=True)
class Asha:
    """Successive halving without waiting [4]_: at each rung only the best of those that came so far go on.

    Rungs lie at `first`, `first * reduction`, ... of the run; each is judged once, by the level there, against every
    sibling that has come so far.

    reduction : of so many, one goes on
    first : share of the run at which the first rung lies

    .. [4] L. Li et al., "A System for Massively Parallel Hyperparameter Tuning," MLSys 2020, arXiv:1810.05934; in the
       form that stops (section 3.3, remarks), as Ray Tune has it.
    """

    name: ClassVar[str] = "asha"

    reduction: float = 3
    first: float = 0.1

    def __post_init__(self) -> None:
        _check("reduction", self.reduction, 2, np.inf)
        _check_between("first", self.first, 0.0, 1.0)

    def rule(self, situation: Situation, estimate: Estimate | None) -> Ruling:
        rung = self._rung(situation)
        own = None if rung is None else _up_to(situation.history, rung).level()
        if rung is None or own is None:
            return Ruling(Decision.CONTINUE, "the first rung is still to come")
        levels = [_up_to(rival.history, rung).level() for rival in _siblings(situation)]
        known = [level for level in levels if level is not None]
        kept = max(1, int((len(known) + 1) // self.reduction))
        place = 1 + sum(level < own for level in known)
        words = f"at step {rung:,.0f} it was number {place} of {len(known) + 1}"
        if place > kept:
            return Ruling(Decision.STOP, f"{words}, of which {kept} may go on")
        return Ruling(Decision.CONTINUE, words)

    def _rung(self, situation: Situation) -> float | None:
        """The highest rung that the run has passed. [steps]"""
        rung = self.first * situation.total_steps
        if situation.cutoff < rung or rung <= 0:
            return None
        return rung * self.reduction ** int(np.log(situation.cutoff / rung) / np.log(self.reduction) + 1e-9)


@dataclass(frozen=True, slots=True)
class Refused:
    """Stands for a policy that was stored when its parameters were still accepted: nobody is stopped by it."""

    name: ClassVar[str] = "refused"

    why: str

    def rule(self, situation: Situation, estimate: Estimate | None) -> Ruling:
        return Ruling(Decision.UNDECIDED, f"the project's policy is not accepted any more: {self.why.rstrip('.')}")


POLICIES: Mapping[str, type[Policy]] = {
    policy.name: policy
    for policy in (Predictive, LcPfn, GeneralisationLoss, ProgressQuotient, Rising, Patience, MedianRule, Asha)
}

DEFAULT_POLICY = Predictive.name


def policy_named(name: str, parameters: Mapping[str, float] | None = None) -> Policy:
    """A policy by name, with its parameters. Raises `BadInput` where either is unknown or out of range."""
    if name not in POLICIES:
        raise BadInput(f"No policy named {name!r}. There are: {', '.join(POLICIES)}.")
    known = parameters_of(name)
    unknown = sorted(set(parameters or {}) - set(known))
    if unknown:
        raise BadInput(f"{name} has no parameter {', '.join(unknown)}. It has: {', '.join(known) or 'none'}.")
    return POLICIES[name](**dict(parameters or {}))


def parameters_of(name: str) -> dict[str, float]:
    """The parameters of a policy and what they are unless somebody says otherwise."""
    return {field.name: field.default for field in fields(POLICIES[name])}  # type: ignore[arg-type,misc]  # dataclasses


def _check(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise BadInput(f"{name} lies between {low:g} and {high:g}; got {value:g}.")


def _check_between(name: str, value: float, low: float, high: float) -> None:
    """At either end the policy would stop nobody, or everybody."""
    if not low < value < high:
        raise BadInput(f"{name} lies between {low:g} and {high:g}, and is neither; got {value:g}.")


def _check_count(name: str, value: float, low: float, high: float) -> None:
    _check(name, value, low, high)
    if value != round(value):
        raise BadInput(f"{name} is a whole number; got {value:g}.")


def _siblings(situation: Situation) -> list[Rival]:
    return [rival for rival in situation.rivals if rival.kind in SIBLINGS and len(rival.history)]


def _up_to(history: History, step: float) -> History:
    """What a sibling had at a step; nothing where it has not come so far."""
    return history.until(step) if len(history) and history.steps[-1] >= step * (1 - 1 / STRIPS) else History.empty()


def _incumbent(situation: Situation) -> float | None:
    """What is to be passed: the best value that anybody has reached so far, less delta, and the target."""
    reached = [rival.history.lowest() for rival in _siblings(situation)]
    reached += [rival.final for rival in situation.rivals if isinstance(rival.final, float)]
    known = [value - situation.delta for value in (situation.best_so_far, *reached) if value is not None]
    return min(known if situation.target is None else [*known, situation.target], default=None)


def _strips(situation: Situation) -> Array:
    return situation.history.strips(situation.total_steps / STRIPS)


def _generalisation_loss(values: Array) -> float | None:
    """Prechelt's GL in percent; None before the first strip, and where a ratio means nothing."""
    if not len(values) or values.min() <= 0:
        return None
    return 100 * (float(values[-1]) / float(values.min()) - 1)
