"""What a page needs from the database, each in one snapshot. Blocking: callbacks run these in a thread."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from threading import Lock
from typing import Any

import numpy as np
from sqlalchemy import Connection

from app.curves.broken import is_broken
from app.curves.curve import Curve
from app.curves.measure import Measure
from app.curves.plan import ASSUMED, resolve_plan
from app.curves.roles import ACCURACY_ROLES, FORECAST_ROLES, LOSS_ROLES, assign_roles, forecastable, primary_loss
from app.curves.schedule import Schedule
from app.dashboard.event_plots import EventPlot, read_event_plots
from app.dashboard.figures.axes import POINTS_A_TRACE
from app.dashboard.figures.loss_chart import Restart
from app.dashboard.glyphs import Sparkline, sparkline
from app.dashboard.liveness import Liveness, liveness
from app.diagnostics.dynamics.dynamic import Dynamic
from app.forecasting.best import best_level
from app.forecasting.track_record import JudgedForecast
from app.runs import (
    AlertState,
    ForecastPoint,
    Points,
    Run,
    RunRow,
    RunStatus,
    Segment,
    Series,
    SiblingRun,
    StoredAlert,
    StoredForecast,
    Summary,
)
from app.storage import alerts, curves, forecasts, points, priors, runs
from app.storage.curves import CurveState
from app.storage.database import Database
from app.storage.diagnoses import Health, HealthGlance, diagnosed_at, glance_at_health, read_health
from app.storage.dynamics import read_dynamics
from app.storage.ends import End, read_end, read_ends
from app.storage.track_record import RunTrackRecord, ScoredForecast, newest_score, run_track_record

PAGE_SIZE = 50
ALERTS_SHOWN = 200
OTHERS_IN_CHART = 4  # losses beside the chosen one, or accuracies beside a chosen accuracy


@dataclass(frozen=True, slots=True)
class RunsFilter:
    """Which runs, and which page of them (from 0)."""

    project: str | None = None
    status: str | None = None
    search: str | None = None
    page: int = 0
    in_trouble: bool = False


@dataclass(frozen=True, slots=True)
class RunsReading:
    """One page of runs."""

    rows: Sequence[RunRow]
    total: int
    projects: Sequence[str]
    sparklines: Mapping[str, Sparkline | None]
    any_run: bool  # at all, whatever the filter
    page: int
    now: datetime
    health: Mapping[str, HealthGlance] = field(default_factory=dict)  # without runs that were not diagnosed yet
    ends: Mapping[str, End] = field(default_factory=dict)  # of ended runs

    @property
    def revision(self) -> str:
        """Changes when something on the page does."""
        return _digest(
            self.total,
            self.page,
            *self.projects,
            *(
                (
                    row.run.id,
                    row.run.name,
                    row.run.arrivals,
                    liveness(row.run, self.now),
                    row.summary and row.summary.forecast and row.summary.forecast.made_at,
                    row.summary and row.summary.last_step,
                    row.unresolved_alerts,
                    row.worst_severity,
                    row.worst_alerts,
                    self.health.get(row.run.id),
                    self.ends.get(row.run.id),
                )
                for row in self.rows
            ),
        )


class SparklineCache:
    """Drawings of runs that have not changed since. Bounded, and shared by all who look."""

    def __init__(self, size: int = 2000) -> None:
        self._size = size
        self._drawings: OrderedDict[tuple[str, ...], Sparkline | None] = OrderedDict()
        self._lock = Lock()

    def get(self, connection: Connection, rows: Sequence[RunRow]) -> dict[str, Sparkline | None]:
        """One query for all that are to be drawn, none where nothing has changed."""
        keys = {row.run.id: _drawing_key(row) for row in rows}
        with self._lock:
            found = {run_id: self._drawings[key] for run_id, key in keys.items() if key in self._drawings}
        new = [row for row in rows if row.run.id not in found]
        if not new:
            return found
        shown = curves.read_shown_curves(connection, [row.run.id for row in new])
        drawn = {row.run.id: _draw(row, shown.get(row.run.id)) for row in new}
        with self._lock:
            self._drawings.update((keys[run_id], drawing) for run_id, drawing in drawn.items())
            while len(self._drawings) > self._size:
                self._drawings.popitem(last=False)
        return found | drawn


def _drawing_key(row: RunRow) -> tuple[str, ...]:
    """The reduced curve changes at a refit only, and each refit leaves a trace in the summary."""
    summary = row.summary
    made_at = summary.forecast.made_at.isoformat() if summary and summary.forecast else ""
    said = row.run.status.value, str(summary and summary.last_step), str(summary and summary.total_steps)
    return row.run.id, *said, made_at


def _draw(row: RunRow, curve: Curve | None) -> Sparkline | None:
    summary = row.summary
    if summary is None or curve is None:
        return None
    forecast = summary.forecast if row.run.status is RunStatus.RUNNING else None
    return sparkline(curve.steps, curve.values, summary.total_steps, forecast)


def read_runs(database: Database, wanted: RunsFilter, cache: SparklineCache) -> RunsReading:
    with database.read() as connection:
        asked: dict[str, Any] = {
            "project": wanted.project,
            "status": wanted.status,
            "search": wanted.search,
            "in_trouble": wanted.in_trouble,
        }
        rows, total = runs.list_runs(connection, **asked, limit=PAGE_SIZE, offset=wanted.page * PAGE_SIZE)
        page = wanted.page
        if not rows and total:  # the list has grown shorter than the page that was asked for
            page = (total - 1) // PAGE_SIZE
            rows, total = runs.list_runs(connection, **asked, limit=PAGE_SIZE, offset=page * PAGE_SIZE)
        projects = runs.list_projects(connection)
        any_run = total > 0 or runs.list_runs(connection, limit=1)[1] > 0
        drawings = cache.get(connection, rows)
        health = glance_at_health(connection, [row.run.id for row in rows])
        ends = read_ends(connection, [row.run.id for row in rows])
    return RunsReading(rows, total, projects, drawings, any_run, page, datetime.now(UTC), health, ends)


def read_projects(database: Database) -> list[str]:
    with database.read() as connection:
        return runs.list_projects(connection)


@dataclass(frozen=True, slots=True)
class SiblingsReading:
    """Which runs the newest forecast was judged from, beside public ones."""

    heard: tuple[SiblingRun, ...]
    finished: int  # other finished runs of the project
    may_speak: int  # those of them that have something to say
    going: int  # others that have something to say, and are still going


@dataclass(frozen=True, slots=True)
class OtherForecast:
    """The newest forecast of a metric that is not the one shown first."""

    forecast: StoredForecast
    best: float | None  # the best level so far; None where the curve is not at hand
    end: End | None = None  # None while the run goes on


@dataclass(frozen=True, slots=True)
class RunReading:
    """A run's page without its charts."""

    run: Run
    summary: Summary | None
    segments: Sequence[Segment]
    series: Sequence[Series]
    roles: Mapping[str, str]  # metric -> role
    metric: str | None  # the one shown first
    alerts: Sequence[StoredAlert]  # newest first
    steps_per_second: float | None
    now: datetime
    forecast: StoredForecast | None = None  # the newest of the metric shown first
    others: Sequence[OtherForecast] = ()  # accuracies last
    siblings: SiblingsReading | None = None  # None before the first forecast
    scored_at: datetime | None = None  # None before the run has ended
    health: Health | None = None  # None before its first diagnosis
    event_plots: Mapping[str, EventPlot] = field(default_factory=dict)  # event -> its drawings
    dynamics: Sequence[Dynamic] = ()
    end: End | None = None  # of the metric shown first; None while the run goes on

    @property
    def newest(self) -> tuple[int | None, float | None]:
        """The last step of the metric shown first, and its value; a step far beyond its curve is none."""
        return _newest(self.run, self.summary, self.series_of(self.metric))

    @property
    def is_over(self) -> bool:
        return self.run.status is not RunStatus.RUNNING

    @property
    def is_broken(self) -> bool:
        """Whether the metric shown first is NaN or infinite now, so that nothing of the run can be foretold."""
        return is_broken(self.newest[1])

    @property
    def may_go_on(self) -> bool:
        """Whether there is a way from here to ask about: a run that ended early may be taken up again."""
        return self.ended_early if self.is_over else not self.is_broken

    @property
    def ended_early(self) -> bool:
        """Before its horizon, with a loss that could have gone on."""
        total, last = self.summary.total_steps if self.summary else None, self.run.last_step
        if not self.is_over or not total or last is None or (self.end is not None and not self.end.is_finite):
            return False
        return last < total

    @property
    def state(self) -> Liveness:
        return liveness(self.run, self.now)

    @property
    def revision(self) -> str:
        diagnosed = self.health.updated_at if self.health else None
        return run_revision(self.run, self.summary, self.alerts, self.scored_at, diagnosed, self.end, self.now)

    @property
    def unresolved_alerts(self) -> list[StoredAlert]:
        """What is wrong now; of a run that is over, what was wrong at its end."""
        return [alert for alert in self.alerts if alert.resolved_at is None]

    def series_of(self, metric: str | None) -> Series | None:
        return next((series for series in self.series if series.metric == metric), None)


def _newest(run: Run, summary: Summary | None, series: Series | None) -> tuple[int | None, float | None]:
    """The last step of a metric and its value; a step far beyond the curve of the one shown first is none."""
    if series is None or series.last_step is None:
        return None, None
    is_stray = run.last_step is not None and series.last_step > run.last_step
    if is_stray and summary is not None and summary.metric == series.metric and summary.last_step is not None:
        return summary.last_step, summary.last_value
    return series.last_step, series.last_value


def run_revision(
    run: Run,
    summary: Summary | None,
    fired: Sequence[StoredAlert],
    scored_at: datetime | None,
    diagnosed: datetime | None,
    end: End | None,
    now: datetime,
) -> str:
    """Changes when something on the run's page does."""
    return _digest(
        run.name,
        run.arrivals,
        run.segment,
        liveness(run, now),
        run.tags,
        summary,
        [(alert.id, alert.resolved_at) for alert in fired],
        scored_at,
        diagnosed,
        end,
    )


def read_revision(database: Database, run_id: str) -> str:
    """Six small queries: what an open page asks every two seconds."""
    with database.read() as connection:
        run = runs.get_run(connection, run_id)
        summary = runs.read_summary(connection, run_id)
        fired = alerts.list_alerts(connection, run_id=run_id, limit=ALERTS_SHOWN)
        scored_at = newest_score(connection, run_id=run_id)
        diagnosed = diagnosed_at(connection, run_id)
        end = read_end(connection, run_id, _main_metric(connection, run, summary))
    return run_revision(run, summary, fired, scored_at, diagnosed, end, datetime.now(UTC))


def _main_metric(connection: Connection, run: Run, summary: Summary | None) -> str | None:
    if summary is not None and summary.metric is not None:
        return summary.metric
    return roles_and_loss(run, summary, runs.list_series(connection, run.id))[1]


def read_run(database: Database, run_id: str) -> RunReading:
    """Raises `NotFound`."""
    with database.read() as connection:
        run = runs.get_run(connection, run_id)
        summary = runs.read_summary(connection, run_id)
        series = runs.list_series(connection, run_id)
        roles, metric = roles_and_loss(run, summary, series)
        found = forecasts.latest_forecasts(connection, run_id)
        newest = found.get(metric or "")
        health = read_health(connection, run_id)
        return RunReading(
            run=run,
            summary=summary,
            segments=runs.list_segments(connection, run_id),
            series=series,
            roles=roles,
            metric=metric,
            alerts=alerts.list_alerts(connection, run_id=run_id, limit=ALERTS_SHOWN),
            steps_per_second=_step_rate(connection, run, metric),
            now=datetime.now(UTC),
            forecast=newest,
            others=_other_forecasts(connection, found, series, roles, metric),
            siblings=_siblings(connection, run_id, newest),
            scored_at=newest_score(connection, run_id=run_id),
            health=health,
            event_plots=read_event_plots(connection, run_id, health, series),
            dynamics=[] if health is None else read_dynamics(connection, run_id, health.watched),
            end=read_end(connection, run_id, metric),
        )


def _siblings(connection: Connection, run_id: str, newest: StoredForecast | None) -> SiblingsReading | None:
    if newest is None:
        return None
    return SiblingsReading(priors.named(connection, newest.siblings), *priors.count_others(connection, run_id))


def _other_forecasts(
    connection: Connection,
    found: Mapping[str, StoredForecast],
    series: Sequence[Series],
    roles: Mapping[str, str],
    shown: str | None,
) -> list[OtherForecast]:
    others = [one for metric, one in found.items() if metric != shown and roles.get(metric) in FORECAST_ROLES]
    ids = {one.metric: one.id for one in series}
    states = curves.read_curve_states(connection, [ids[one.metric] for one in others])
    return [
        OtherForecast(one, _best_so_far(states.get(ids[one.metric]), one), read_end(connection, one.run_id, one.metric))
        for one in sorted(others, key=lambda one: FORECAST_ROLES.index(roles[one.metric]))
    ]


def _best_so_far(state: CurveState | None, forecast: StoredForecast) -> float | None:
    curve = state.reduction.to_curve() if state else None
    return best_level(curve, Measure(forecast.upper)) if curve is not None and len(curve) else None


def roles_and_loss(run: Run, summary: Summary | None, series: Sequence[Series]) -> tuple[dict[str, str], str | None]:
    """Roles and the loss to show first: the worker's word, or the same rules where it has not spoken yet."""
    if summary is not None and summary.metric is not None:
        return {metric: str(match["role"]) for metric, match in summary.roles.items()}, summary.metric
    matches = assign_roles([one.metric for one in series], run.declared_roles)
    points_of = {one.metric: one.points for one in series}
    metric = primary_loss(matches, points_of) or next(iter(forecastable(matches, points_of)), None)
    first = series[0].metric if series else None
    return {name: match.role for name, match in matches.items()}, metric or first


def _step_rate(connection: Connection, run: Run, metric: str | None) -> float | None:
    if metric is None or run.last_step is None or run.status is not RunStatus.RUNNING:
        return None
    recent = points.read_points(connection, run.id, metric, from_step=run.last_step - max(200, run.last_step // 20))
    return steps_per_second(recent)


def steps_per_second(recent: Points) -> float | None:
    """Speed of the last stretch by the job's own clock; None where it sent no times, or was not steady.

    An honest forecast of the end needs a speed that holds: where the two halves differ by more than a factor of
    three, it does not.
    """
    timed = np.isfinite(recent.times)
    steps, times = recent.steps[timed], recent.times[timed]
    if len(steps) < 5 or times[-1] <= times[0]:
        return None
    middle = len(steps) // 2
    halves = []
    for first, last in ((0, middle), (middle, len(steps) - 1)):
        seconds = float(times[last] - times[first])
        if seconds <= 0:
            return None
        halves.append(float(steps[last] - steps[first]) / seconds)
    if max(halves) > 3 * min(halves):
        return None
    return float(steps[-1] - steps[0]) / float(times[-1] - times[0])


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
        alike = [name for name in known if roles.get(name) in kind and name != chosen]
        rates = [name for name in known if roles.get(name) == "lr"]
        seen = _seen_range(view)
        # With the main loss NaN the weights are: no other metric of the run has a future then.
        broken = any(is_broken(_newest(run, summary, one)[1]) for one in series if one.metric in (first, chosen))
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
                Restart(one.number, start)
                for one in runs.list_segments(connection, run_id)
                if one.number > 1 and (start := _start(one)) is not None
            ],
            last_step=run.last_step or 0,
            rises=roles.get(chosen) in ACCURACY_ROLES,
        )


def _said_rate(run: Run, forecast: StoredForecast) -> Schedule | None:
    """The schedule that the forecast counted on, from the first step on, where the job or its config says it."""
    declared = {**run.declared_plan, "total_steps": forecast.horizon}
    plan = resolve_plan(declared=declared, config=run.config, rate=None, cutoff=forecast.cutoff)
    return None if plan.schedule_source == ASSUMED else plan.schedule


def _start(segment: Segment) -> int | None:
    return segment.first_step if segment.resume_step is None else segment.resume_step


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


@dataclass(frozen=True, slots=True)
class HistoryReading:
    """Past forecasts of one metric, and what happened, once that is known."""

    record: RunTrackRecord | None  # None before the first refit
    is_over: bool

    @property
    def history(self) -> list[ForecastPoint]:
        """What to draw: of an ended run, what each forecast said of the step at which the run ended.

        Of very many forecasts evenly many are left out; `n_forecasts` counts all.
        """
        return [_as_judged(one, self.end_step) for one in self.record.forecasts] if self.record else []

    @property
    def n_forecasts(self) -> int:
        return self.record.n_forecasts if self.record else 0

    @property
    def held(self) -> tuple[int, int]:
        """In how many of the judged forecasts the 90 % band held, and how many were judged."""
        return (self.record.n_held, self.record.n_judged) if self.record else (0, 0)

    @property
    def end_step(self) -> int | None:
        return self.record.outcome.end_step if self.record and self.record.outcome else None

    @property
    def actual(self) -> float | None:
        """What the run came to; None until it has been scored, and where that is no finite number."""
        outcome = self.record.outcome if self.record else None
        return outcome.actual if outcome is not None and math.isfinite(outcome.actual) else None

    @property
    def counted(self) -> list[JudgedForecast]:
        """Judged forecasts that stand and spoke of the run's end, oldest first."""
        scored = [one.judged for one in self.record.forecasts if one.judged] if self.record else []
        return [one for one in scored if one.stands and one.judged_step == self.end_step]


def _as_judged(scored: ScoredForecast, end_step: int | None) -> ForecastPoint:
    judged = scored.judged
    if judged is None or judged.judged_step != end_step:
        return scored.point
    return replace(scored.point, horizon=judged.judged_step, p05=judged.p05, p50=judged.p50, p95=judged.p95)


def read_history(database: Database, run_id: str, metric: str | None) -> HistoryReading:
    with database.read() as connection:
        run = runs.get_run(connection, run_id)
        record = run_track_record(connection, run_id, metric)
    return HistoryReading(record, run.status is not RunStatus.RUNNING)


def read_metrics(database: Database, run_id: str, search: str, limit: int) -> tuple[list[tuple[Series, Points]], int]:
    """Small charts of the metrics whose name holds `search`, and how many such metrics there are."""
    with database.read() as connection:
        found = [one for one in runs.list_series(connection, run_id) if search.casefold() in one.metric.casefold()]
        return [
            (one, points.read_points(connection, run_id, one.metric, max_points=600)) for one in found[:limit]
        ], len(found)


def read_alerts(database: Database) -> tuple[list[StoredAlert], list[StoredAlert]]:
    """All open alerts that fit on a page, and the newest of the others."""
    with database.read() as connection:
        open_ones = alerts.list_alerts(connection, open_only=True, limit=ALERTS_SHOWN)
        newest = alerts.list_alerts(connection, limit=ALERTS_SHOWN)
    return open_ones, [alert for alert in newest if alert.state is not AlertState.OPEN]


def _digest(*parts: object) -> str:
    return blake2b(repr(parts).encode(), digest_size=8).hexdigest()
