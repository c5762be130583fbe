"""Records into what the API answers with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from app.api.schemas import (
    AlertView,
    ForecastSummary,
    ForecastView,
    PathPoint,
    PlanView,
    PointsView,
    PriorView,
    RunDetail,
    RunView,
    SeriesView,
    SiblingView,
    number,
    numbers,
)
from app.runs import (
    ForecastPoint,
    Points,
    Run,
    RunRow,
    Segment,
    Series,
    SiblingRun,
    StoredAlert,
    StoredForecast,
    Summary,
)


def run_view(row: RunRow) -> RunView:
    return RunView(**_run_fields(row.run, row.summary, row.open_alerts))


def run_detail(run: Run, summary: Summary | None, segments: Sequence[Segment], open_alerts: int) -> RunDetail:
    return RunDetail(
        **_run_fields(run, summary, open_alerts),
        config=dict(run.config),
        declared_plan=dict(run.declared_plan),
        roles=dict(summary.roles) if summary else {},
        segments=[
            {
                "number": one.number,
                "started_at": one.started_at.isoformat(),
                "resume_step": one.resume_step,
                "first_step": one.first_step,
            }
            for one in segments
        ],
        notes=list(summary.notes) if summary else [],
    )


def _run_fields(run: Run, summary: Summary | None, open_alerts: int) -> dict[str, object]:
    return {
        "id": run.id,
        "project": run.project,
        "name": run.name,
        "status": run.status.value,
        "created_at": run.created_at,
        "last_seen_at": run.last_seen_at,
        "finished_at": run.finished_at,
        "exit_message": run.exit_message,
        "segment": run.segment,
        "last_step": run.last_step,
        "metric": summary.metric if summary else None,
        "last_value": number(summary.last_value) if summary else None,
        "plan": PlanView(
            total_steps=summary.total_steps if summary else None,
            total_source=summary.total_source if summary else None,
            total_why=summary.total_why if summary else None,
            schedule_family=summary.schedule_family if summary else None,
            schedule_source=summary.schedule_source if summary else None,
            schedule_why=summary.schedule_why if summary else None,
        ),
        "forecast": forecast_summary(summary.forecast) if summary and summary.forecast else None,
        "open_alerts": open_alerts,
        "tags": list(run.tags),
    }


def forecast_summary(point: ForecastPoint) -> ForecastSummary:
    return ForecastSummary(
        cutoff=point.cutoff,
        horizon=point.horizon,
        made_at=point.made_at,
        final_mean=number(point.final_mean),
        p05=number(point.p05),
        p50=number(point.p50),
        p95=number(point.p95),
    )


def prior_view(siblings: Sequence[SiblingRun]) -> PriorView:
    return PriorView(
        source="project" if siblings else "population",
        runs=[SiblingView(id=one.run_id, name=one.name, similarity=one.similarity, made=one.made) for one in siblings],
    )


def forecast_view(forecast: StoredForecast, siblings: Sequence[SiblingRun]) -> ForecastView:
    """`siblings`: those of the forecast, with their names."""
    names = [f"p{round(100 * level):02d}" for level in forecast.levels]
    path = [
        PathPoint(step=step, **numbers(dict(zip(names, column, strict=True))))
        for step, column in zip(forecast.path_steps.tolist(), forecast.quantiles.T.tolist(), strict=True)
    ]
    final = {f"p{round(100 * level):02d}": value for level, value in forecast.final_quantiles.items()}
    return ForecastView(
        metric=forecast.metric,
        cutoff=forecast.cutoff,
        horizon=forecast.horizon,
        made_at=forecast.made_at,
        schedule=dict(forecast.schedule),
        final=numbers({"mean": forecast.final_mean, **final}),
        path=path,
        forecasters=dict(forecast.forecasters),
        direction="rises" if forecast.rises else "falls",
        bounds=None if forecast.upper is None else (0.0, forecast.upper),
        improvement=forecast.improvement,
        prior=prior_view(siblings),
        notes=list(forecast.notes),
    )


def points_view(metric: str, points: Points) -> PointsView:
    finite = np.isfinite(points.times)
    return PointsView(
        metric=metric,
        steps=points.steps.tolist(),
        values=[number(value) for value in points.values.tolist()],
        times=[time if known else None for time, known in zip(points.times.tolist(), finite.tolist(), strict=True)]
        if finite.any()
        else None,
    )


def series_view(series: Series, summary: Summary | None) -> SeriesView:
    match = summary.roles.get(series.metric, {}) if summary else {}
    return SeriesView(
        metric=series.metric,
        role=match.get("role"),
        rule=match.get("rule"),
        points=series.points,
        first_step=series.first_step,
        last_step=series.last_step,
        last_value=number(series.last_value),
    )


def alert_view(
    alert: StoredAlert, deliveries: Sequence[tuple[str, str, datetime | None, str | None]] = ()
) -> AlertView:
    return AlertView(
        id=alert.id,
        run_id=alert.run_id,
        project=alert.project,
        run_name=alert.run_name,
        kind=alert.kind,
        severity=alert.severity,
        metric=alert.metric,
        step=alert.step,
        message=alert.message,
        evidence=dict(alert.evidence),
        state=alert.state.value,
        fired_at=alert.fired_at,
        resolved_at=alert.resolved_at,
        deliveries=[
            {"event": event, "channel": label, "delivered_at": at.isoformat() if at else None, "last_error": error}
            for event, label, at, error in deliveries
        ],
    )
