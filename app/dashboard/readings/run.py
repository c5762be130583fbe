"""A run's page without its charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import Connection

from app.curves.broken import is_broken
from app.curves.measure import Measure
from app.curves.roles import FORECAST_ROLES
from app.dashboard.liveness import Liveness, liveness
from app.dashboard.readings.alerts import ALERTS_SHOWN
from app.dashboard.readings.digest import digest
from app.dashboard.readings.event_plots import EventPlot, read_event_plots
from app.dashboard.readings.metrics import newest_value, roles_and_loss
from app.dashboard.readings.speed import read_speed
from app.diagnostics.dynamics.dynamic import Dynamic
from app.forecasting.best import best_level
from app.runs import Run, RunStatus, Segment, Series, SiblingRun, StoredAlert, StoredForecast, Summary
from app.storage import alerts, curves, forecasts, priors, runs
from app.storage.curves import CurveState
from app.storage.database import Database
from app.storage.diagnoses import Health, diagnosed_at, read_health
from app.storage.dynamics import read_dynamics
from app.storage.ends import End, read_end
from app.storage.stops import StopEntry, read_followed_order
from app.storage.track_record import newest_score
from app.storage.verdicts import StoredVerdict, read_verdict


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
    order: StopEntry | None = None  # by which the job was told to stop, and then ended
    doubts: Sequence[str] = ()  # what this run's own record says against its forecasts

    @property
    def newest(self) -> tuple[int | None, float | None]:
        """The last step of the metric shown first, and its value; a step far beyond its curve is none."""
        return newest_value(self.run, self.summary, self.series_of(self.metric))

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
        return run_revision(
            self.run, self.summary, self.alerts, self.scored_at, diagnosed, self.end, self.doubts, self.now
        )

    @property
    def unresolved_alerts(self) -> list[StoredAlert]:
        """What is wrong now; of a run that is over, what was wrong at its end."""
        return [alert for alert in self.alerts if alert.resolved_at is None]

    def series_of(self, metric: str | None) -> Series | None:
        return next((series for series in self.series if series.metric == metric), None)


def run_revision(
    run: Run,
    summary: Summary | None,
    fired: Sequence[StoredAlert],
    scored_at: datetime | None,
    diagnosed: datetime | None,
    end: End | None,
    doubts: Sequence[str],
    now: datetime,
) -> str:
    """Changes when something on the run's page does."""
    return digest(
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
        doubts,
    )


def read_revision(database: Database, run_id: str) -> str:
    """A few small queries: what an open page asks every two seconds."""
    with database.read() as connection:
        run = runs.get_run(connection, run_id)
        summary = runs.read_summary(connection, run_id)
        fired = alerts.list_alerts(connection, run_id=run_id, limit=ALERTS_SHOWN)
        scored_at = newest_score(connection, run_id=run_id)
        diagnosed = diagnosed_at(connection, run_id)
        metric = _main_metric(connection, run, summary)
        end = read_end(connection, run_id, metric)
        doubts = _doubts(read_verdict(connection, run_id, metric))
    return run_revision(run, summary, fired, scored_at, diagnosed, end, doubts, datetime.now(UTC))


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
            steps_per_second=read_speed(connection, run, metric),
            now=datetime.now(UTC),
            forecast=newest,
            others=_other_forecasts(connection, found, series, roles, metric),
            siblings=_siblings(connection, run_id, newest),
            scored_at=newest_score(connection, run_id=run_id),
            health=health,
            event_plots=read_event_plots(connection, run_id, health, series),
            dynamics=[] if health is None else read_dynamics(connection, run_id, health.watched),
            end=read_end(connection, run_id, metric),
            order=read_followed_order(connection, run),
            doubts=_doubts(read_verdict(connection, run_id, metric)),
        )


def _doubts(verdict: StoredVerdict | None) -> list[str]:
    """The rest of what forbids a stop is among the notes, or is no doubt about the forecast."""
    guards = verdict.details.get("guards", []) if verdict is not None else []
    return [guard["sentence"] for guard in guards if guard["name"] == "missed"]


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
    ends = {one.metric: read_end(connection, one.run_id, one.metric) for one in others}
    return [
        OtherForecast(one, _best_so_far(states.get(ids[one.metric]), one, ends[one.metric]), ends[one.metric])
        for one in sorted(others, key=lambda one: FORECAST_ROLES.index(roles[one.metric]))
    ]


def _best_so_far(state: CurveState | None, forecast: StoredForecast, end: End | None) -> float | None:
    """The best level; where an ended run came to is one of them, over fewer points than the others."""
    curve = state.reduction.to_curve() if state else None
    if curve is None or not len(curve):
        return None
    best = best_level(curve, Measure(forecast.upper))
    if end is None or not (end.is_mean and end.is_finite):
        return best
    return max(best, end.level) if forecast.rises else min(best, end.level)
