"""Stored runs that have ended, as data for fits across runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from sqlalchemy import Connection

from app.curves.curve import Curve
from app.curves.plan import ASSUMED
from app.curves.schedule import Schedule
from app.errors import BadInput
from app.forecasting.recorded_run import RecordedRun
from app.runs import RunStatus
from app.storage.curves import FittedRun, read_fitted_run
from app.storage.ends import read_end


def read_recorded_runs(
    connection: Connection, run_ids: Sequence[str], metric: str | None = None
) -> list[tuple[str, RecordedRun]]:
    """Runs by id, as their last refits saw them: reduced curves, whatever the length of the runs.

    metric : what to judge them by; None: the first run's own loss

    Raises
    ------
    NotFound
        No such run.
    BadInput
        A run that has not ended, or has no such loss or no learning rate; the text names it.
    """
    found: list[tuple[str, RecordedRun]] = []
    for run_id in run_ids:
        run = recorded_run(read_fitted_run(connection, run_id), metric)
        metric = run.metric
        end = read_end(connection, run_id, metric)
        # Where its page says it ended, from all points; bins of the last 2 % are few, and one may begin before them.
        found.append((run_id, replace(run, end=end.level) if end is not None and end.is_mean else run))
    return found


def recorded_run(fitted: FittedRun, metric: str | None = None) -> RecordedRun:
    """A loss of a run that has ended, in bins."""
    name = fitted.run.name
    if fitted.run.status is RunStatus.RUNNING:
        raise BadInput(f"{name} is still running. Fit runs that have ended; for one that runs, ask its page's what-if.")
    chosen, curve = _loss(fitted, name, metric)
    return RecordedRun(
        name=name,
        metric=chosen,
        # A bin's mean lies inside it, so rounding keeps the order.
        steps=np.rint(curve.steps).astype(np.int64),
        values=curve.values,
        schedule=_followed(fitted, name, curve),
        total_steps=curve.cutoff,
        warmup_steps=_declared_warmup(fitted),
    )


def _declared_warmup(fitted: FittedRun) -> int | None:
    """Bins of a logged rate show it to the width of a bin only."""
    said = (fitted.run.declared_plan.get("schedule") or {}).get("warmup_steps")
    return None if said is None else int(said)


def _loss(fitted: FittedRun, name: str, metric: str | None) -> tuple[str, Curve]:
    # Where none is named and the main loss has become NaN, the next one would be an answer that nobody asked for.
    chosen = next(iter(fitted.selected.losses), None) if metric is None else metric
    if chosen is None:
        raise BadInput(f"{name} has no loss that can be fitted.")
    if chosen in fitted.selected.losses:
        if chosen not in fitted.curves:
            raise BadInput(f"{chosen} of {name} is NaN or infinite at its end, or has not been fitted yet.")
        return chosen, fitted.curves[chosen]
    losses = [one for one in fitted.selected.losses if one in fitted.curves]
    others = f" It has {', '.join(losses)}." if losses else ""
    raise BadInput(f"{name} has no loss named {chosen}.{others} Runs are judged by one metric together.")


def _followed(fitted: FittedRun, name: str, curve: Curve) -> Schedule:
    """The learning rate up to the last point; logged, or at least said by somebody."""
    plan = fitted.plan(curve.cutoff)
    logged = fitted.curves.get(fitted.selected.supporting["lr"] or "")
    if logged is None and plan.schedule_source == ASSUMED:
        raise BadInput(f"{name} has no learning rate, and without it a law cannot tell schedules apart.")
    return plan.schedule.until(float(max(curve.cutoff, 1)))
