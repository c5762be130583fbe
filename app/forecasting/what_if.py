"""What would happen under another schedule: the same curve, the same posterior, another future.

The past stays as it was logged; only the steps to come change. So an answer is an ordinary forecast under a plan that
somebody is thinking of, with the band that comes with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from app.curves.curve import Curve
from app.curves.families import REACTIVE, build_schedule, family_name
from app.curves.measure import LOSS, Measure
from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.errors import BadInput
from app.forecasting.forecast import Forecast, forecast_curve
from app.forecasting.unseen_rate import refuse_unheard_of
from app.laws.prior import Prior

COOLDOWN_SHAPES = {"linear": "wsd_linear", "cosine": "wsd_cosine", "sqrt": "wsd_sqrt", "exponential": "wsd_exponential"}

# Lengths tried for the best cool-down, as shares of the steps that are left.
COOLDOWN_SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Cooldown:
    """A decay from wherever the rate then is.

    start : step at which it begins, not before the cutoff; None: now                        [steps]
    steps : how long it takes; training ends with it unless a longer total is asked for      [steps]
    shape : linear, cosine, sqrt (1 - sqrt(progress)) or exponential
    final_fraction : the rate at its end, as a share of the rate at its start
    """

    steps: int
    start: int | None = None
    shape: str = "linear"
    final_fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class Question:
    """One of: a cool-down, another family for what is left, or only another total (the rest is stretched)."""

    total_steps: int | None = None
    cooldown: Cooldown | None = None
    schedule: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The forecast under the plan that was asked about."""

    question: Question
    plan: Plan
    forecast: Forecast


def answer(
    curve: Curve, plan: Plan, question: Question, prior: Prior | None = None, *, measure: Measure = LOSS
) -> Answer:
    """Forecast `curve` under the changed plan, by the prior that its forecasts are made by.

    Raises `BadInput` where the question makes no sense, `CurveTooShort`, `RateNeverSeen`.
    """
    changed = changed_plan(plan, curve.cutoff, question)
    refuse_unheard_of(changed, curve.cutoff)
    return Answer(question, changed, forecast_curve(curve, changed, prior, measure=measure))


def best_cooldown(
    curve: Curve, plan: Plan, shape: str = "linear", prior: Prior | None = None, *, measure: Measure = LOSS
) -> list[Answer]:
    """Cool-downs of several lengths that all end where the plan ends, the one with the best median first."""
    left = plan.total_steps - curve.cutoff
    if left < 2:
        raise BadInput("The run is at its end: there is nothing left to cool down over.")
    lengths = sorted({max(1, round(share * left)) for share in COOLDOWN_SHARES})
    questions = [Question(cooldown=Cooldown(steps, plan.total_steps - steps, shape)) for steps in lengths]
    answers = [answer(curve, plan, question, prior, measure=measure) for question in questions]
    return sorted(answers, key=lambda one: one.forecast.final_quantiles[0.50], reverse=measure.rises)


def changed_plan(plan: Plan, cutoff: int, question: Question) -> Plan:
    """The plan with another future from `cutoff` on."""
    if question.cooldown is not None and question.schedule is not None:
        raise BadInput("Ask for a cooldown or for a schedule, not for both.")
    if question.total_steps is not None and question.total_steps <= cutoff:
        raise BadInput(f"total_steps must lie beyond the last step seen, {cutoff:,}; it is {question.total_steps:,}.")
    if question.cooldown is not None:
        return _cooled(plan, cutoff, question.cooldown, question.total_steps)
    if question.schedule is not None:
        return _under_family(plan, cutoff, question.schedule, question.total_steps)
    if question.total_steps is not None:
        return _stretched(plan, cutoff, question.total_steps)
    raise BadInput("Ask for something: total_steps, a cooldown, or a schedule.")


def _cooled(plan: Plan, cutoff: int, asked: Cooldown, total_steps: int | None) -> Plan:
    start = cutoff if asked.start is None else asked.start
    if asked.shape not in COOLDOWN_SHAPES:
        raise BadInput(f"No cool-down is called {asked.shape!r}. Shapes: {', '.join(COOLDOWN_SHAPES)}.")
    if start < cutoff:
        raise BadInput(f"A cool-down cannot begin at step {start:,}: step {cutoff:,} is already logged.")
    if asked.steps < 1 or not 0.0 <= asked.final_fraction <= 1.0:
        raise BadInput("A cool-down needs steps of at least 1 and a final_fraction between 0 and 1.")
    end = start + asked.steps
    if total_steps is not None and total_steps < end:
        raise BadInput(f"The cool-down ends at step {end:,}, after total_steps ({total_steps:,}).")
    rate = float(plan.schedule.rate_at([start])[0])
    final_rate = asked.final_fraction * rate
    decay = build_schedule(
        COOLDOWN_SHAPES[asked.shape],
        end,
        {"peak": rate, "warmup_steps": 0, "decay_steps": asked.steps, "final_rate": final_rate},
    )
    total = end if total_steps is None else total_steps
    future = decay.since(start)
    if total > end:
        future = future.then(Schedule.constant(final_rate, first=end, last=total))
    why = f"Asked: a {asked.shape} cool-down from step {start:,} over {asked.steps:,} steps."
    return _replaced(plan, plan.schedule.until(start), future, total, COOLDOWN_SHAPES[asked.shape], why)


def _under_family(plan: Plan, cutoff: int, said: Mapping[str, Any], total_steps: int | None) -> Plan:
    parameters = {name: value for name, value in said.items() if name != "family"}
    family = family_name(str(said.get("family", "")))
    if family is None or family == REACTIVE:
        raise BadInput(f"A schedule needs a family that can be evaluated ahead; got {said.get('family')!r}.")
    total = plan.total_steps if total_steps is None else total_steps
    if family != "explicit":
        parameters = {"peak": plan.schedule.peak, **parameters}
    whole = build_schedule(family, total, parameters)
    if float(whole.steps[-1]) <= cutoff:
        raise BadInput(f"That schedule ends at step {whole.steps[-1]:,.0f}; step {cutoff:,} is already logged.")
    why = f"Asked: {family} from here on."
    return _replaced(plan, plan.schedule.until(cutoff), whole.since(cutoff), total, family, why)


def _stretched(plan: Plan, cutoff: int, total_steps: int) -> Plan:
    rest = plan.schedule.since(cutoff)
    left = max(plan.total_steps - cutoff, 1)
    steps = cutoff + (rest.steps - cutoff) * (total_steps - cutoff) / left
    # Knots that a shorter run pushes together: of those within one step the last stays.
    keep = np.append(np.diff(np.rint(steps)) > 0, True)
    future = Schedule(np.rint(steps[keep]), rest.rates[keep])
    why = f"Asked: the rest of the schedule stretched to end at step {total_steps:,}."
    return _replaced(plan, plan.schedule.until(cutoff), future, total_steps, plan.schedule_family, why)


def _replaced(plan: Plan, past: Schedule, future: Schedule, total: int, family: str, why: str) -> Plan:
    return replace(
        plan,
        total_steps=total,
        total_source="declared",
        total_why=why,
        schedule=past.then(future),
        schedule_source="declared",
        schedule_family=family,
        schedule_why=why,
    )
