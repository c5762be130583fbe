"""The charts of a run: the main one, and a small one for each metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from app.curves.broken import is_broken
from app.curves.plan import ASSUMED
from app.curves.planning.resolve import resolve_plan
from app.curves.roles import ACCURACY_ROLES, LOSS_ROLES
from app.curves.schedule import Schedule
from app.dashboard.figures.axes import POINTS_A_TRACE
from app.dashboard.figures.loss_chart import Restart
from app.dashboard.formatting import natural_order
from app.dashboard.readings.alerts import ALERTS_SHOWN
from app.dashboard.readings.metrics import newest_value, roles_and_loss
from app.runs import Points, Run, RunStatus, Series, StoredForecast
from app.storage import alerts, forecasts, points, runs
from app.storage.database import Database

OTHERS_IN_CHART = 4  # losses beside the chosen one, or accuracies beside a chosen accuracy


@dataclass(frozen=True, slots=True, eq=False)
class ChartReading:
    """What the main chart of a run is drawn from."""

    metric: str
    points: Points
    others: Mapping[str, Points]
    forecast: StoredForecast | None  # None once the run is over or NaN: nothing is left to come
    rate: Points
    unlogged_rate: Schedule | None
    restarts: Sequence[Restart]
    last_step: int
    rises: bool = False  # more is better
    warned_of: frozenset[str] = frozenset()  # metrics that open alerts name; of an ended run, those open at its end


def read_chart(
    database: Database, run_id: str, metric: str | None, view: tuple[float, float] | None
) -> ChartReading | None:
    """The chosen metric, the other losses and the learning rate, at the resolution that the view allows.

    None where the run has no metric yet. Raises `NotFound`.
    """
    with database.read() as connection:
        run = runs.get_run(connection, run_id)
        series = runs.list_series(connection, run_id)
        summary = runs.read_summary(connection, run_id)
        roles, first = roles_and_loss(run, summary, series)
        known = [one.metric for one in series]
        chosen = metric if metric in known else first
        if chosen is None:
            return None
        kind = next((kind for kind in (LOSS_ROLES, ACCURACY_ROLES) if roles.get(chosen) in kind), frozenset[str]())
        fired = alerts.list_alerts(connection, run_id=run_id, limit=ALERTS_SHOWN)
        warned_of = frozenset(one.metric for one in fired if one.metric is not None and one.resolved_at is None)
        alike = [name for name in known if roles.get(name) in kind and name != chosen]
        alike.sort(key=lambda name: name not in warned_of)  # what a warning names is not left out for another
        rates = [name for name in known if roles.get(name) == "lr"]
        seen = _seen_range(view)
        # With the main loss NaN the weights are: no other metric of the run has a future then.
        broken = any(is_broken(newest_value(run, summary, one)[1]) for one in series if one.metric in (first, chosen))
        is_closed = broken or run.status is not RunStatus.RUNNING
        forecast = None if is_closed else forecasts.latest_forecast(connection, run_id, chosen)
        return ChartReading(
            metric=chosen,
            points=_read(connection, run_id, chosen, seen),
            others={name: _read(connection, run_id, name, seen, share=2) for name in alike[:OTHERS_IN_CHART]},
            forecast=forecast,
            rate=_read(connection, run_id, rates[0], seen, share=2) if rates else Points.empty(),
            unlogged_rate=None if rates or forecast is None else _said_rate(run, forecast),
            restarts=[
                Restart(one.number, one.replaces_from)
                for one in runs.list_segments(connection, run_id)
                if one.number > 1 and one.replaces_from is not None
            ],
            last_step=run.last_step or 0,
            rises=roles.get(chosen) in ACCURACY_ROLES,
            warned_of=warned_of,
        )


def _said_rate(run: Run, forecast: StoredForecast) -> Schedule | None:
    """The schedule that the forecast counted on, from the first step on, where the job or its config says it."""
    declared = {**run.declared_plan, "total_steps": forecast.horizon}
    plan = resolve_plan(declared=declared, config=run.config, rate=None, cutoff=forecast.cutoff)
    return None if plan.schedule_source == ASSUMED else plan.schedule


def _seen_range(view: tuple[float, float] | None) -> tuple[int | None, int | None]:
    """The view and a little more, so that lines run out of the chart instead of ending at its edge."""
    if view is None:
        return None, None
    air = max(1.0, 0.05 * (view[1] - view[0]))
    return math.floor(view[0] - air), math.ceil(view[1] + air)


def _read(
    connection: Connection, run_id: str, metric: str, seen: tuple[int | None, int | None], *, share: int = 1
) -> Points:
    return points.read_points(
        connection, run_id, metric, from_step=seen[0], to_step=seen[1], max_points=POINTS_A_TRACE // share
    )


def read_metrics(database: Database, run_id: str, search: str, limit: int) -> tuple[list[tuple[Series, Points]], int]:
    """Small charts of the metrics whose name holds `search`, and how many such metrics there are."""
    with database.read() as connection:
        found = [one for one in runs.list_series(connection, run_id) if search.casefold() in one.metric.casefold()]
        found.sort(key=lambda one: natural_order(one.metric))
        return [
            (one, points.read_points(connection, run_id, one.metric, max_points=600)) for one in found[:limit]
        ], len(found)
