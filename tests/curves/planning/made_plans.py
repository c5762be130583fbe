"""Logged rates, and the plans that come of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.curves.curve import Curve
from app.curves.families import build_schedule
from app.curves.plan import Plan
from app.curves.planning.resolve import resolve_plan
from app.curves.schedule import Schedule

PEAK = 3e-4


def log_rate(schedule: Schedule, cutoff: int, *, every: int = 10, first: int = 0) -> Curve:
    steps = np.arange(first, cutoff + 1, every)
    return Curve.from_points(steps, schedule.rate_at(steps))


def plan_of(
    declared: dict[str, Any] | None = None, config: dict[str, Any] | None = None, *, cutoff: int = 2_000, **rest: Any
) -> Plan:
    rest.setdefault("rate", None)
    return resolve_plan(declared=declared or {}, config=config or {}, cutoff=cutoff, **rest)


def cosine(total: int = 10_000, warmup: int = 500, floor: float = 0.0) -> Schedule:
    return build_schedule("cosine", total, {"peak": PEAK, "warmup_steps": warmup, "final_rate": floor})
