"""The plan that a what-if asks about: the past as it was logged, another future."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from app.curves.families import REACTIVE, build_schedule
from app.curves.plan import Plan
from app.curves.planning.chosen_schedule import completed
from app.curves.planning.declared import validate_declared_plan
from app.curves.schedule import Schedule, next_step
from app.errors import BadInput

COOLDOWN_SHAPES = {"linear": "wsd_linear", "cosine": "wsd_cosine", "sqrt": "wsd_sqrt", "exponential": "wsd_exponential"}

JUMP = 0.05
"""A schedule that begins within this share of the rate at which it takes over goes on from there."""


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
    """One of: a cool-down, another family for what is left, or only another total (the rest is stretched).

    start : step at which the schedule takes over, not before the cutoff; None: now (a cool-down has its own)   [steps]
    hold : whether the rate is kept as it is now until then, and not as planned
    """

    total_steps: int | None = None
    cooldown: Cooldown | None = None
    schedule: Mapping[str, Any] | None = None
    start: int | None = None
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Jump:
    """A rate that does not go on from where it was.

    step : the last one at the old rate   [steps]
    before, after : the rates
    """

    step: int
    before: float
    after: float


def changed_plan(plan: Plan, cutoff: int, question: Question) -> Plan:
    """The plan with another future from `cutoff` on. Raises `BadInput` where the question makes no sense."""
    if question.cooldown is not None and question.schedule is not None:
        raise BadInput("Ask for a cooldown or for a schedule, not for both.")
    if question.schedule is None and question.start is not None:
        raise BadInput("start says where a schedule takes over: name a schedule, or give the cooldown a start.")
    if question.total_steps is not None and question.total_steps <= cutoff:
        raise BadInput(f"total_steps must lie beyond the last step seen, {cutoff:,}; it is {question.total_steps:,}.")
    if question.cooldown is not None:
        return _cooled(plan, cutoff, question.cooldown, question)
    if question.schedule is not None:
        return _under_family(plan, cutoff, question.schedule, question)
    if question.total_steps is not None:
        return _stretched(plan, cutoff, question.total_steps)
    raise BadInput("Ask for something: total_steps, a cooldown, or a schedule.")


def jump_of(plan: Plan, cutoff: int, question: Question) -> Jump | None:
    """Where the schedule that is asked for begins at another rate than the run then has; None where it goes on."""
    if question.schedule is None:
        return None
    start = cutoff if question.start is None else question.start
    before = _until(plan, cutoff, start, hold=question.hold)
    _, _, future = _taking_over(before, question.schedule, _total(plan, question))
    last, first = float(before.rates[-1]), float(future.rates[0])
    return Jump(start, last, first) if abs(first - last) > JUMP * max(first, last) else None


def _until(plan: Plan, cutoff: int, start: int, *, hold: bool) -> Schedule:
    """The rate up to `start`, where the last knot is: as planned, or kept as it was at the cutoff."""
    if start < cutoff:
        raise BadInput(f"Nothing can begin at step {start:,}: step {cutoff:,} is already logged.")
    if not hold or start == cutoff:
        return plan.schedule.until(start)
    past = plan.schedule.until(cutoff)
    return past.then(Schedule.constant(float(past.rates[-1]), first=cutoff, last=start)).until(start)


def _cooled(plan: Plan, cutoff: int, asked: Cooldown, question: Question) -> Plan:
    start = cutoff if asked.start is None else asked.start
    if asked.shape not in COOLDOWN_SHAPES:
        raise BadInput(f"No cool-down is called {asked.shape!r}. Shapes: {', '.join(COOLDOWN_SHAPES)}.")
    if asked.steps < 1:
        raise BadInput(f"A cool-down takes a whole number of steps, at least 1; got {asked.steps:,}.")
    if not 0.0 <= asked.final_fraction <= 1.0:
        raise BadInput(f"final_fraction is the last rate over that at the start, 0 to 1; got {asked.final_fraction:g}.")
    before = _until(plan, cutoff, start, hold=question.hold)
    end, total = start + asked.steps, question.total_steps
    if total is not None and total < end:
        raise BadInput(f"The cool-down ends at step {end:,}, after total_steps ({total:,}).")
    rate = float(before.rates[-1])
    final_rate = asked.final_fraction * rate
    family = COOLDOWN_SHAPES[asked.shape]
    parameters = {"peak": rate, "decay_steps": asked.steps, "final_rate": final_rate}
    future = _shifted(build_schedule(family, asked.steps, parameters), start)
    if total is not None and total > end:
        future = future.then(Schedule.constant(final_rate, first=end, last=total))
    held = _held(question, start, cutoff)
    why = f"Asked: a {asked.shape} cool-down from step {start:,} over {asked.steps:,} steps{held}."
    return _replaced(plan, before, future, end if total is None else total, family, why)


def _under_family(plan: Plan, cutoff: int, said: Mapping[str, Any], question: Question) -> Plan:
    start, total = cutoff if question.start is None else question.start, _total(plan, question)
    before = _until(plan, cutoff, start, hold=question.hold)
    family, words, future = _taking_over(before, said, total)
    why = f"Asked: {words} from step {start:,} on, to step {total:,}{_held(question, start, cutoff)}."
    return _replaced(plan, before, future, total, family, why)


def _total(plan: Plan, question: Question) -> int:
    return plan.total_steps if question.total_steps is None else question.total_steps


def _held(question: Question, start: int, cutoff: int) -> str:
    return ", the rate kept until then" if question.hold and start > cutoff else ""


def _taking_over(before: Schedule, said: Mapping[str, Any], total: int) -> tuple[str, str, Schedule]:
    """Family, words and rates of a schedule that is asked for, from the last knot of `before` on.

    It begins there as if training did: its peak is the rate that there is, unless another is named, and what falls
    takes all the steps that are left. A warm-up leads from the rate that there is to the peak. Steps that are named
    (milestones, decay_end, knots) are those of the run.
    """
    declared = validate_declared_plan({"total_steps": total, "schedule": dict(said)})["schedule"]
    family = str(declared["family"])
    if family == REACTIVE:
        raise BadInput("A reactive schedule follows the loss: nobody can say ahead what its rate will be.")
    start, rate = int(before.steps[-1]), float(before.rates[-1])
    if total <= start:
        raise BadInput(f"Nothing is left after step {start:,} of {total:,} steps. Ask for a later total_steps.")
    parameters = {name: value for name, value in declared.items() if name != "family"}
    if family == "explicit":
        whole = build_schedule(family, total, parameters)
        if float(whole.steps[-1]) <= start:
            raise BadInput(f"That schedule ends at step {whole.steps[-1]:,.0f}, before it takes over at {start:,}.")
        return family, "the given rates", whole.since(next_step(start))
    if rate <= 0 and "peak" not in parameters:
        raise BadInput(f"The rate is zero at step {start:,}, and no schedule goes on from there: name a peak.")
    complete = completed({"peak": rate, **parameters}, family, None)
    for name in ("milestones", "decay_end"):
        if complete.get(name) is not None:
            complete[name] = _counted_from(start, name, complete[name])
    warmup = complete.get("warmup_steps", 0)
    if family == "inverse_sqrt" and not warmup:
        complete.setdefault("timescale", max(start, 1))  # as one over the root of the run's own step
    future = _shifted(build_schedule(family, total - start, complete), start)
    return family, family.replace("_", " "), _warmed_up(future, start, warmup, rate) if warmup else future


def _counted_from(start: int, name: str, said: Any) -> Any:
    """Steps of the run as steps from where a schedule takes over."""
    if isinstance(said, list):
        return [step - start for step in said if step > start]
    if said <= start:
        raise BadInput(f"{name} is step {said:,}, before the schedule takes over at {start:,}.")
    return said - start


def _shifted(schedule: Schedule, start: int) -> Schedule:
    return Schedule(schedule.steps + start, schedule.rates)


def _warmed_up(future: Schedule, start: int, warmup_steps: int, rate: float) -> Schedule:
    """A line from `rate` to the peak in place of one from zero."""
    onward = future.since(start + warmup_steps)
    return Schedule(np.append(float(start), onward.steps), np.append(rate, onward.rates))


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
