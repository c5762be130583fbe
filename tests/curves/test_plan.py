"""Plans, whoever made them."""

from __future__ import annotations

import pytest

from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.errors import BadInput


def test_a_plan_knows_three_sources() -> None:
    schedule = Schedule.constant(1.0, last=10)
    with pytest.raises(BadInput, match="declared, inferred or assumed"):
        Plan(10, "guessed", "", schedule, "assumed", "hold", "")
