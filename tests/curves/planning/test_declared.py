"""What may be declared, and what is refused with what to send."""

from __future__ import annotations

from typing import Any

import pytest

from app.curves.planning.declared import validate_declared_plan
from app.errors import BadInput


def test_a_valid_declaration_comes_back_in_our_words() -> None:
    raw = {"total_steps": "10000", "schedule": {"family": "cosine_with_warmup", "peak": "3e-4", "warmup_steps": 500.0}}
    assert validate_declared_plan(raw) == {
        "total_steps": 10_000,
        "schedule": {"family": "cosine", "peak": 3e-4, "warmup_steps": 500},
    }
    assert validate_declared_plan({}) == {}
    assert validate_declared_plan({"total_steps": None, "schedule": "linear"}) == {"schedule": {"family": "linear"}}
    assert validate_declared_plan({"schedule": {"family": "plateau", "patience": 3}}) == {
        "schedule": {"family": "reactive"}
    }
    step = {"family": "multi_step", "milestones": [600, 300], "factor": 0.1}
    assert validate_declared_plan({"schedule": step})["schedule"]["milestones"] == [300, 600]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"total_steps": 0}, "above zero"),
        ({"total_steps": -5}, "above zero"),
        ({"total_steps": 2.5}, "whole"),
        ({"total_steps": "many"}, "whole"),
        ({"total_steps": True}, "whole"),
        ({"total_steps": 2**62}, "whole"),
        ({"total_steps": float("nan")}, "whole"),
        ({"steps": 5}, "total_steps and schedule"),
        ({"schedule": {}}, "with a family"),
        ({"schedule": 5}, "with a family"),
        ({"schedule": {"family": "nosuch"}}, "explicit"),
        ({"schedule": {"family": "cosine", "peak": -1}}, "at least zero"),
        ({"schedule": {"family": "cosine", "peak": 0}}, "above zero"),
        ({"schedule": {"family": "cosine", "warmup_steps": 1.5}}, "in steps"),
        ({"schedule": {"family": "cosine", "final_fraction": 10}}, "between 0 and 1"),
        ({"schedule": {"family": "cosine", "typo": 1}}, "takes no typo"),
        ({"schedule": {"family": "step", "milestones": "300"}}, "list"),
        ({"schedule": {"family": "step"}}, "milestones"),
        ({"schedule": {"family": "explicit", "steps": [0, 1], "rates": [1]}}, "as many"),
        ({"schedule": {"family": "explicit", "steps": [], "rates": []}}, "as many"),
        ({"schedule": {"family": "explicit", "steps": [1, 0], "rates": [1, 1]}}, "increasing"),
        ({"schedule": {"family": "explicit", "steps": [0, 1], "rates": [1, "x"]}}, "finite"),
        ({"schedule": {"family": "explicit", "steps": list(range(5_000)), "rates": [1.0] * 5_000}}, "4096"),
    ],
)
def test_a_declaration_that_cannot_be_used_is_refused_with_what_to_send(raw: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        validate_declared_plan(raw)
