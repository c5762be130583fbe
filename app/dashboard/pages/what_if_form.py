"""The form of What if on a run's page, and the question that is read from it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import dash
from dash import Input, Output, State, dcc, html
from dash.development.base_component import Component

from app.curves.config_keys import as_number
from app.curves.plan import LARGEST_STEP, Plan
from app.dashboard.clientside import in_browser
from app.dashboard.components import choice, field, hint
from app.errors import BadInput
from app.forecasting.asked_plan import COOLDOWN_SHAPES, Cooldown, Question

BEST_OF_ALL, STRETCHED = "any", "stretched"
FAMILIES = {
    "linear": "linear cool-down",
    "cosine": "cosine cool-down",
    "sqrt": "1-sqrt cool-down",
    "exponential": "exponential cool-down",
    BEST_OF_ALL: "best of these four",
    "rex": "REX decay",
    "inverse_sqrt": "inverse square root",
    "constant": "constant rate",
    STRETCHED: "the plan, stretched",
}
"""What may follow; static/dashboard/losscast.js knows the two in capitals as well."""

ENTERED, BEST = "entered", "best"
PLANNED, HELD = "planned", "held"


@dataclass(frozen=True, slots=True)
class WhatIfForm:
    """What somebody entered, as they wrote it."""

    family: str = "linear"
    search: bool = False
    begin: str = ""
    steps: str = ""
    total: str = ""
    floor: str = ""
    hold: bool = False

    @staticmethod
    def from_browser(values: Sequence[Any]) -> WhatIfForm:
        """From the values of `STATES`, in their order."""
        family, length, *texts, until = values
        begin, steps, total, floor = (str(text or "").strip() for text in texts)
        return WhatIfForm(family or "linear", length == BEST, begin, steps, total, floor, until == HELD)


STATES = (
    State("what-if-family", "value"),
    State("what-if-length", "value"),
    State("what-if-begin", "value"),
    State("what-if-steps", "value"),
    State("what-if-total", "value"),
    State("what-if-floor", "value"),
    State("what-if-until", "value"),
)


@dataclass(frozen=True, slots=True)
class Search:
    """For the best length of a cool-down of one or several shapes, as `best_cooldown` takes it."""

    shapes: tuple[str, ...]
    total_steps: int | None
    final_fraction: float
    hold: bool


def form() -> Component:
    return html.Div(
        [
            field(
                "What follows",
                dcc.Dropdown(
                    id="what-if-family",
                    options=[{"value": name, "label": label} for name, label in FAMILIES.items()],
                    value="linear",
                    clearable=False,
                    searchable=False,
                ),
            ),
            field(
                "Begin and length",
                choice(
                    "what-if-length",
                    "Begin and length",
                    [(ENTERED, "As entered"), (BEST, "Best for the total")],
                    ENTERED,
                ),
            ),
            field("Begin at step", _text("what-if-begin", "now")),
            field("Over steps", _text("what-if-steps", "to the end")),
            field(hint("Total steps", "The budget: where training ends."), _text("what-if-total", "as planned")),
            field(
                hint("Final / first rate", "The rate at the end over that at the beginning."),
                _text("what-if-floor", "0"),
            ),
            field(
                "Rate until it begins",
                choice("what-if-until", "Rate until it begins", [(PLANNED, "As planned"), (HELD, "As now")], PLANNED),
            ),
        ],
        className="what-if-form",
    )


def _text(component_id: str, empty: str) -> Component:
    # As text: of a number that it does not like the browser sends nothing, and nobody is told.
    return dcc.Input(id=component_id, type="text", value="", placeholder=empty, className="search")


def register(app: dash.Dash) -> None:
    in_browser(
        app,
        "whatIfFields",
        Output("what-if-begin", "disabled"),
        Output("what-if-steps", "disabled"),
        Output("what-if-floor", "disabled"),
        Input("what-if-family", "value"),
        Input("what-if-length", "value"),
    )


def read_form(said: WhatIfForm, plan: Plan, cutoff: int) -> Question | Search:
    """The question that was entered. Raises `BadInput` where it cannot be read."""
    total, floor = whole_number("Total steps", said.total), _share("Final / first rate", said.floor)
    if said.family == STRETCHED:
        if total is None:
            raise BadInput("Say to how many total steps the plan is to be stretched.")
        return Question(total_steps=total)
    if said.search or said.family == BEST_OF_ALL:
        return Search(_shapes(said.family), total, floor or 0.0, said.hold)
    begin, steps = whole_number("Begin at step", said.begin, least=0), whole_number("Over steps", said.steps)
    start = cutoff if begin is None else begin
    if said.family in COOLDOWN_SHAPES:
        left = (plan.total_steps if total is None else total) - start
        if steps is None and left < 1:
            raise BadInput(f"Nothing is left after step {start:,}. Say over how many steps, or a later total.")
        cooldown = Cooldown(left if steps is None else steps, start, said.family, floor or 0.0)
        return Question(total_steps=total, cooldown=cooldown, hold=said.hold)
    schedule: dict[str, Any] = {"family": said.family}
    if floor is not None:
        schedule["final_fraction"] = floor
    if steps is not None and total is not None and said.family == "rex":
        schedule["decay_end"] = start + steps
    end = start + steps if total is None and steps is not None else total
    return Question(total_steps=end, schedule=schedule, start=begin, hold=said.hold)


def _shapes(family: str) -> tuple[str, ...]:
    if family == BEST_OF_ALL:
        return tuple(COOLDOWN_SHAPES)
    if family not in COOLDOWN_SHAPES:
        raise BadInput("Only a cool-down has a length to look for: choose one, or enter where to begin.")
    return (family,)


def whole_number(name: str, said: str, *, least: int = 1) -> int | None:
    """How many somebody means: 2000, 2,000, 2 000 or 2e3; None for nothing. Raises `BadInput`."""
    if said == "" or (said.lower() == "now" and not least):
        return None
    number = as_number(re.sub(r"(?<=\d)[,\s](?=\d{3}(?!\d))", "", said))
    if number is None or number != math.floor(number) or not least <= number < LARGEST_STEP:
        raise BadInput(f"“{name}” is a whole number, at least {least}: write 2000 or 2e3.")
    return int(number)


def _share(name: str, said: str) -> float | None:
    number = as_number(said) if said else None
    if said and (number is None or not 0 <= number <= 1):
        raise BadInput(f"“{name}” is a number from 0 to 1: write 0.1.")
    return number
