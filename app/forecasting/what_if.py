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
from app.curves.families import REACTIVE, build_schedule
from app.curves.measure import LOSS, Measure
from app.curves.plan import Plan
from app.curves.planning.chosen_schedule import completed
from app.curves.planning.declared import validate_declared_plan
from app.curves.schedule import Schedule
from app.errors import BadInput
from app.forecasting.forecast import Forecast, forecast_curve
from app.forecasting.unseen_rate import refuse_unheard_of
from app.laws.prior import Prior

COOLDOWN_SHAPES = {"linear": "wsd_linear", "cosine": "wsd_cosine", "sqrt": "wsd_sqrt", "exponential": "wsd_exponential"}

MEASURED_REACH = 5
"""Times as far as a run has come: forecasts were measured from a fifth of a run's way on (docs/accuracy.md)."""

FURTHEST_REACH = 50
"""Ten times as far as anything measured there is nothing left to say: such a total is a slip more often than a wish."""

HIGHER_RATE = 1.05  # times the run's peak: less is rounding
HIGHEST_RATE = 10  # times the run's peak: beyond it most runs diverge, which no law foretells

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
    """The forecast under the plan that was asked about.

    caveat : in what it goes beyond what was ever measured, in words; None where it does not
    """

    question: Question
    plan: Plan
    forecast: Forecast
    caveat: str | None = None


def answer(
    curve: Curve, plan: Plan, question: Question, prior: Prior | None = None, *, measure: Measure = LOSS
) -> Answer:
    """Forecast `curve` under the changed plan, by the prior that its forecasts are made by.

    Raises `BadInput` where the question makes no sense, `CurveTooShort`, `RateNeverSeen`.
    """
    changed = changed_plan(plan, curve.cutoff, question)
    caveats = [
        beyond_the_measured(plan, changed.total_steps, curve.cutoff),
        beyond_the_rates(plan, changed, curve.cutoff),
    ]
    refuse_unheard_of(changed, curve.cutoff)  # a rise that the run itself is planned to make
    forecast = forecast_curve(curve, changed, prior, measure=measure)
    return Answer(question, changed, forecast, " ".join(filter(None, caveats)) or None)


def beyond_the_rates(plan: Plan, changed: Plan, cutoff: int) -> str | None:
    """What is to be said of a rate that the run has not had and is not planned to have.

    Raises `BadInput` where it is so high that nothing can be said.
    """
    highest, asked = plan.schedule.peak, changed.schedule.since(cutoff).peak
    if asked <= HIGHER_RATE * highest:
        return None
    if asked > HIGHEST_RATE * highest:
        raise BadInput(
            f"That rate would rise to {asked:.3g}, more than {HIGHEST_RATE} times the run's peak of {highest:.3g}: "
            "nobody can say whether it would diverge. Ask for a lower one."
        )
    return (
        f"Its rate rises to {asked:.3g}, {asked / highest:.2g} times the run's peak. How the run takes such a rate is "
        "not known, nor whether it diverges."
    )


def beyond_the_measured(plan: Plan, total_steps: int, cutoff: int) -> str | None:
    """What is to be said of a total further away than forecasts were measured, and than the run is planned to go.

    Raises `BadInput` where it is so far away that nothing can be said.
    """
    came = max(cutoff, 1)
    furthest = max(FURTHEST_REACH * came, 2 * plan.total_steps)
    if total_steps > furthest:
        raise BadInput(
            f"That would end at step {total_steps:,}, more than {FURTHEST_REACH} times as far as the run has come, and "
            f"nothing measured says anything of that. Ask for an end at step {furthest:,} or before, or "
            "again when the run has come further."
        )
    if total_steps > max(MEASURED_REACH * came, plan.total_steps):
        return (
            f"Step {total_steps:,} is {total_steps / came:.2g} times as far as the run has come. Forecasts were "
            f"measured up to {MEASURED_REACH} times as far: beyond it nobody knows how often the band holds."
        )
    return None


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
    if asked.steps < 1:
        raise BadInput(f"A cool-down takes a whole number of steps, at least 1; got {asked.steps:,}.")
    if not 0.0 <= asked.final_fraction <= 1.0:
        raise BadInput(f"final_fraction is the last rate over that at the start, 0 to 1; got {asked.final_fraction:g}.")
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
    total = plan.total_steps if total_steps is None else total_steps
    declared = validate_declared_plan({"total_steps": total, "schedule": dict(said)})["schedule"]
    family = str(declared["family"])
    if family == REACTIVE:
        raise BadInput("A reactive schedule follows the loss: nobody can say ahead what its rate will be.")
    parameters = {name: value for name, value in declared.items() if name != "family"}
    if family != "explicit":
        parameters = completed({"peak": plan.schedule.peak, **parameters}, family, None)
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
