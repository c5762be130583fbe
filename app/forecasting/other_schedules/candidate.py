"""A schedule that somebody is thinking of; what it leaves out is taken from the fitted runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.curves.families import REACTIVE, build_schedule
from app.curves.planning.declared import validate_declared_plan
from app.curves.schedule import NEAR_PEAK, Schedule
from app.curves.schedule_text import read_schedules
from app.errors import BadInput
from app.forecasting.across_runs import SAME_PEAK
from app.forecasting.other_schedules.fitted_runs import check_runs, schedule_of
from app.forecasting.reach import FURTHEST_REACH, HIGHEST_RATE
from app.forecasting.recorded_run import RecordedRun


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A schedule that somebody is thinking of, and what was asked for, in words."""

    words: str
    family: str
    schedule: Schedule
    total_steps: int


def candidate(
    said: str | Mapping[str, Any], runs: Sequence[RecordedRun], *, total_steps: int | None = None
) -> Candidate:
    """The schedule that is meant by a declared one; what it leaves out is taken from the fitted runs.

    Parameters
    ----------
    said : str or mapping
        A family and its pairs (`cosine final_fraction=0.1`), or an object as in a declared plan; it may hold
        `total_steps` too.
    total_steps : int or None
        Where `said` holds none; else the longest fitted run's. [steps]

    Raises
    ------
    BadInput
        The text says what to send.
    """
    check_runs(runs)
    raw = _one(said) if isinstance(said, str) else dict(said)
    total = raw.pop("total_steps", None) or total_steps
    plan = validate_declared_plan({"total_steps": total, "schedule": raw})
    parameters = {name: value for name, value in plan["schedule"].items() if name != "family"}
    family = plan["schedule"]["family"]
    if family == REACTIVE:
        raise BadInput("A reactive schedule follows the loss: nobody can say ahead what its rate will be.")
    if family == "explicit":
        last = plan.get("total_steps") or int(parameters["steps"][-1])
        schedule = build_schedule(family, last, parameters)
        return _checked(Candidate(f"the given rates over {last:,} steps", family, schedule, last), runs)
    last = plan.get("total_steps") or max(run.total_steps for run in runs)
    filled = _filled(parameters, runs)
    if filled["warmup_steps"] >= last:
        whose = "" if "warmup_steps" in parameters else ", the fitted runs',"
        raise BadInput(f"A warm-up of {filled['warmup_steps']:,} steps{whose} takes all of its {last:,} steps.")
    schedule = build_schedule(family, last, _with_floor(filled))
    return _checked(Candidate(_in_words(family, last, filled), family, schedule, last), runs)


def _one(text: str) -> dict[str, Any]:
    specs = read_schedules([text])
    if len(specs) != 1:
        raise BadInput(f"Name one schedule at a time, e.g. cosine final_fraction=0.1; got {text!r}.")
    return specs[0]


def _filled(parameters: Mapping[str, Any], runs: Sequence[RecordedRun]) -> dict[str, Any]:
    """With the peak and the warm-up of the run that reached the highest rate."""
    highest = max(runs, key=lambda run: schedule_of(run).peak)
    warmup = warmup_steps(schedule_of(highest)) if highest.warmup_steps is None else highest.warmup_steps
    return {"peak": schedule_of(highest).peak, "warmup_steps": warmup, **parameters}


def warmup_steps(schedule: Schedule) -> int:
    """Length of the warm-up: what the last percent to the peak takes is counted in. [steps]"""
    first = schedule.rates[0]
    if first >= NEAR_PEAK * schedule.peak:
        return 0
    top = int(np.searchsorted(schedule.steps, schedule.warmup_end))
    return int(schedule.steps[min(top, len(schedule) - 1)])


def _with_floor(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The floor as a rate."""
    complete = dict(parameters)
    fraction = complete.pop("final_fraction", None)
    if fraction is not None:
        complete.setdefault("final_rate", fraction * complete["peak"])
    return complete


def _in_words(family: str, total_steps: int, parameters: Mapping[str, Any]) -> str:
    said = [f"{family.replace('_', ' ')} over {total_steps:,} steps", f"peak {parameters['peak']:.3g}"]
    names = {"warmup_steps": "warm-up", "decay_steps": "decay", "final_fraction": "floor (of the peak)"}
    for name, value in parameters.items():
        if name == "peak" or (name == "warmup_steps" and not value):
            continue
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else str(value)
        said.append(f"{names.get(name, name.replace('_', ' '))} {shown}")
    return ", ".join(said)


def _checked(asked: Candidate, runs: Sequence[RecordedRun]) -> Candidate:
    if asked.schedule.peak <= 0:
        raise BadInput("A schedule whose rate is zero throughout trains nothing.")
    if asked.total_steps < 2 or asked.schedule.warmup_end >= asked.total_steps:
        raise BadInput("A schedule must reach its peak before its last step.")
    peak, total = max(schedule_of(run).peak for run in runs), max(run.total_steps for run in runs)
    if asked.schedule.peak > SAME_PEAK * HIGHEST_RATE * peak:
        raise BadInput(
            f"A peak rate of {asked.schedule.peak:.3g} is more than {HIGHEST_RATE} times the highest of the fitted "
            f"runs, {peak:.3g}: nobody can say whether it would diverge. Ask for {HIGHEST_RATE * peak:.3g} or less."
        )
    if asked.total_steps > FURTHEST_REACH * total:
        raise BadInput(
            f"{asked.total_steps:,} steps are more than {FURTHEST_REACH} times those of the longest fitted run, "
            f"{total:,}, and nothing measured says anything of that. Ask for {FURTHEST_REACH * total:,} or fewer."
        )
    return asked
