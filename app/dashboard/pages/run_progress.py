"""How far a run is, as lists and its own page show it."""

from __future__ import annotations

from dash.development.base_component import Component

from app.dashboard.components import progress
from app.dashboard.liveness import Liveness
from app.runs import Run, Summary


def run_progress(run: Run, summary: Summary | None, state: Liveness) -> Component:
    total_steps, source = known_total(run, summary)
    return progress(run.last_step, total_steps, source, running=state is Liveness.RUNNING)


def known_total(run: Run, summary: Summary | None) -> tuple[int | None, str | None]:
    """The last step to come and how it is known. What was declared counts before a worker has looked at the run."""
    if summary is not None and summary.total_steps:
        return summary.total_steps, summary.total_source
    declared = run.declared_plan.get("total_steps")
    return declared, None if declared is None else "declared"
