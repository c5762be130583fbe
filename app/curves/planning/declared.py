"""Plans that somebody declares, checked once, where they come in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from app.curves.config_keys import as_number
from app.curves.families import FAMILIES, REACTIVE, build_schedule, family_name
from app.curves.plan import LARGEST_STEP
from app.curves.planning.chosen_schedule import completed
from app.curves.schedule import Schedule
from app.errors import BadInput

MAX_DECLARED_KNOTS = 4096


def validate_declared_plan(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The normalised form of a plan that somebody declares, or `BadInput` that says what to send.

    Takes `{"total_steps": N, "schedule": {"family": "cosine", "peak": 3e-4, "warmup_steps": 500}}`; either part may be
    missing, a schedule may be a bare family name, and families go by any known alias.
    """
    if not isinstance(raw, Mapping):
        raise BadInput('A plan is an object, e.g. {"total_steps": 10000, "schedule": {"family": "cosine"}}.')
    unknown = sorted(set(raw) - {"total_steps", "schedule"})
    if unknown:
        raise BadInput(f"A plan holds total_steps and schedule, not {', '.join(map(str, unknown))}.")
    plan: dict[str, Any] = {}
    if raw.get("total_steps") is not None:
        plan["total_steps"] = _valid_total(raw["total_steps"])
    if raw.get("schedule") is not None:
        plan["schedule"] = _valid_schedule(raw["schedule"], plan.get("total_steps"))
    return plan


def _valid_total(value: Any) -> int:
    number = as_number(value)
    if number is None or number != math.floor(number) or not 1 <= number < LARGEST_STEP:
        raise BadInput(f"total_steps is the number of the last step, a whole number above zero; got {value!r}.")
    return int(number)


def _valid_schedule(value: Any, total_steps: int | None) -> dict[str, Any]:
    raw = {"family": value} if isinstance(value, str) else value
    if not isinstance(raw, Mapping) or not isinstance(raw.get("family"), str):
        raise BadInput('A schedule is an object with a family, e.g. {"family": "cosine", "warmup_steps": 500}.')
    family = family_name(raw["family"])
    if family is None:
        raise BadInput(
            f"No schedule family {raw['family']!r}. Families: {', '.join(FAMILIES)}, {REACTIVE}. "
            'Or send the curve itself: {"family": "explicit", "steps": [...], "rates": [...]}.'
        )
    if family == REACTIVE:
        return {"family": REACTIVE}
    given = {name: entry for name, entry in raw.items() if name != "family" and entry is not None}
    if family == "explicit":
        return {"family": family, **_valid_knots(given)}
    parameters = {name: _valid_parameter(name, entry) for name, entry in given.items()}
    # Built once to see that it can be.
    build_schedule(family, total_steps or 10_000, completed(parameters, family, None))
    return {"family": family, **parameters}


_COUNTS = frozenset(
    {"warmup_steps", "decay_steps", "decay_end", "every", "cycles", "cycle_steps", "timescale", "cooldown_steps"}
)


def _valid_parameter(name: str, value: Any) -> Any:
    if name == "milestones":
        if not isinstance(value, list | tuple) or len(value) > MAX_DECLARED_KNOTS:
            raise BadInput(f"milestones is a list of at most {MAX_DECLARED_KNOTS} steps; got {value!r}.")
        return sorted(_valid_count(name, entry) for entry in value)
    if name in _COUNTS:
        return _valid_count(name, value)
    number = as_number(value)
    if number is None or number < 0:
        raise BadInput(f"{name} is a number of at least zero; got {value!r}.")
    if name == "peak" and number == 0:
        raise BadInput("peak is the largest learning rate, above zero; got 0.")
    if name == "final_fraction" and number > 1:
        raise BadInput(f"final_fraction is the last rate over the peak, between 0 and 1; got {value!r}.")
    return number


def _valid_count(name: str, value: Any) -> int:
    number = as_number(value)
    if number is None or number != math.floor(number) or not 0 <= number < LARGEST_STEP:
        raise BadInput(f"{name} is in steps, a whole number of at least zero; got {value!r}.")
    return int(number)


def _valid_knots(given: Mapping[str, Any]) -> dict[str, Any]:
    steps, rates = given.get("steps"), given.get("rates")
    unknown = sorted(set(given) - {"steps", "rates"})
    if unknown or not isinstance(steps, list | tuple) or not isinstance(rates, list | tuple):
        raise BadInput("An explicit schedule holds two lists, steps and rates, and nothing else.")
    if not 1 <= len(steps) <= MAX_DECLARED_KNOTS or len(steps) != len(rates):
        raise BadInput(
            f"An explicit schedule has as many rates as steps, at most {MAX_DECLARED_KNOTS}; "
            f"got {len(steps)} steps and {len(rates)} rates."
        )
    numbers = [as_number(entry) for entry in (*steps, *rates)]
    if any(number is None for number in numbers):
        raise BadInput("An explicit schedule's steps and rates are finite numbers.")
    knots = Schedule(np.array(numbers[: len(steps)], float), np.array(numbers[len(steps) :], float))
    return {"steps": knots.steps.tolist(), "rates": knots.rates.tolist()}
