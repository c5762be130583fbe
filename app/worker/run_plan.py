"""The plan of a run as a refit takes it: how far ahead it may look, and where a run that is over has ended."""

from __future__ import annotations

from dataclasses import replace

from app.curves.plan import ASSUMED, DECLARED, ENDED, Plan
from app.curves.planning.resolve import resolve_plan
from app.curves.planning.total import LENGTH_ROLES
from app.runs import RunStatus
from app.worker.loading import Loaded

# Twice as far ahead must still be a step that the database and float arithmetic can hold.
FURTHEST_STEP = 2**60


def plan_of(loaded: Loaded) -> Plan | None:
    cutoff = loaded.cutoff
    return None if cutoff is None or not 0 <= cutoff <= FURTHEST_STEP else _plan_from(loaded, cutoff)


def plan_without_forecast(loaded: Loaded) -> Plan | None:
    """What the run declares of itself, where nothing of it is forecast: to be told, not to be acted on."""
    run = loaded.run
    last = max(run.last_step or 0, 0)
    if not run.declared_plan or last > FURTHEST_STEP:
        return None
    if run.status is RunStatus.FINISHED and (run.last_step is None or run.last_step < 0):
        return None  # it ended before it came to a step that counts
    plan = _plan_from(loaded, last)
    return plan if plan is not None and plan.total_source in (DECLARED, ENDED) else None


def _plan_from(loaded: Loaded, cutoff: int) -> Plan | None:
    plan = resolve_plan(
        declared=loaded.run.declared_plan,
        config=loaded.run.config,
        rate=loaded.curve_of_role("lr"),
        cutoff=cutoff,
        lengths={role: curve for role in LENGTH_ROLES if (curve := loaded.curve_of_role(role)) is not None},
        restarted_at=loaded.segment_start,
    )
    if loaded.run.status is RunStatus.FINISHED:
        plan = _ended(plan, cutoff)
    return plan if plan.total_steps <= FURTHEST_STEP else None


def _ended(plan: Plan, end: int) -> Plan:
    """The plan of a run that has finished: it is as long as it is, whatever was said before."""
    why = f"The run has finished, at step {end:,}."
    if plan.total_steps != end and plan.total_source != ASSUMED:
        why = f"{why} Before, the total was {plan.total_steps:,}: {plan.total_why}"
    return replace(plan, total_steps=end, total_source=ENDED, total_why=why)
