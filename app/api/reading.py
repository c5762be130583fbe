"""The routes that read runs: lists, one run, its series, forecasts and alerts, and all its points."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection

from app.api.schemas import (
    AlertList,
    ErrorBody,
    ForecastHistory,
    ForecastView,
    MetricName,
    PointsView,
    ProjectList,
    RunDetail,
    RunList,
    SeriesList,
    StoredText,
    Whole,
)
from app.api.service import NO_RUN, ROUTE_ERRORS, Metric, RunIdPath, Service
from app.api.views import (
    alert_view,
    forecast_summary,
    forecast_view,
    points_view,
    run_detail,
    run_view,
    series_view,
)
from app.curves.roles import FORECAST_ROLES
from app.curves.unforecast import why_none_of_these
from app.errors import BadInput, NoForecast, UnknownMetric
from app.runs import Summary
from app.storage import alerts, export, forecasts, points, priors, runs
from app.storage.database import Database

router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)

TOO_FEW_POINTS = (
    f"At least {points.FEWEST_POINTS}, so that the first and the last point, the lowest, the highest and each kind of "
    "non-finite value have room."
)


@router.get("/runs", tags=["read"], summary="List runs, newest first")
async def list_runs(
    service: Service,
    project: Annotated[StoredText | None, Query(max_length=500)] = None,
    status: Literal["running", "finished", "failed", "stopped"] | None = None,
    search: Annotated[StoredText | None, Query(max_length=200, description="Part of a name or id.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> RunList:
    rows, total = await service.read(
        lambda connection: runs.list_runs(
            connection, project=project, status=status, search=search, limit=limit, offset=offset
        )
    )
    return RunList(runs=[run_view(row) for row in rows], total=total, limit=limit, offset=offset)


@router.get("/projects", tags=["read"], summary="List projects")
async def list_projects(service: Service) -> ProjectList:
    return ProjectList(projects=await service.read(runs.list_projects))


@router.get("/runs/{run_id}", tags=["read"], summary="One run, with what is concluded of it", responses=NO_RUN)
async def get_run(run_id: RunIdPath, service: Service) -> RunDetail:
    return await service.read(lambda connection: read_detail(connection, run_id))


def read_detail(connection: Connection, run_id: str) -> RunDetail:
    run = runs.get_run(connection, run_id)
    still_open = alerts.list_alerts(connection, run_id=run_id, open_only=True, limit=1000)
    return run_detail(
        run, runs.read_summary(connection, run_id), runs.list_segments(connection, run_id), len(still_open)
    )


@router.get(
    "/runs/{run_id}/series",
    tags=["read"],
    summary="The run's metrics, or with ?metric= the points of one",
    response_model=SeriesList | PointsView,
    responses=NO_RUN,
)
async def get_series(
    run_id: RunIdPath,
    service: Service,
    metric: MetricName | None = None,
    from_step: Annotated[Whole | None, Query(ge=-(2**63), lt=2**63)] = None,
    to_step: Annotated[Whole | None, Query(ge=-(2**63), lt=2**63)] = None,
    max_points: Annotated[
        Whole | None,
        Query(
            le=1_000_000,
            description="Minima, maxima and non-finite values are kept; without a range, steps far beyond all others "
            f"are not. Without it: every point. {TOO_FEW_POINTS}",
        ),
    ] = None,
) -> SeriesList | PointsView:
    if max_points is not None and max_points < points.FEWEST_POINTS:
        raise BadInput(f"max_points: {TOO_FEW_POINTS}")
    if metric is None:
        return await service.read(lambda connection: _series_list(connection, run_id))
    found = await service.read(
        lambda connection: points.read_points(
            connection, run_id, metric, from_step=from_step, to_step=to_step, max_points=max_points
        )
    )
    return points_view(metric, found)


def _series_list(connection: Connection, run_id: str) -> SeriesList:
    runs.get_run(connection, run_id)
    summary = runs.read_summary(connection, run_id)
    return SeriesList(series=[series_view(one, summary) for one in runs.list_series(connection, run_id)])


@router.get(
    "/runs/{run_id}/forecast",
    tags=["read"],
    summary="The newest forecast",
    responses={**NO_RUN, 404: {"model": ErrorBody, "description": "No such run, or no forecast yet."}},
)
async def get_forecast(run_id: RunIdPath, service: Service, metric: Metric = None) -> ForecastView:
    """The path's band is for the smoothed level of the metric, not for single points."""

    def newest(connection: Connection) -> ForecastView:
        found = forecasts.latest_forecast(connection, run_id, metric)
        if found is None:
            raise NoForecast(_why_none(connection, run_id, metric))
        return forecast_view(found, priors.named(connection, found.siblings))

    return await service.read(newest)


def _why_none(connection: Connection, run_id: str, metric: str | None) -> str:
    """What the last refit noted, or that there was none yet. Raises `UnknownMetric`."""
    logged = [one.metric for one in runs.list_series(connection, run_id)]
    if metric is not None and metric not in logged:
        raise UnknownMetric(metric, logged)
    summary = runs.read_summary(connection, run_id)
    if summary is None:
        return "No forecast yet: no worker has fitted this run. One that runs (losscast work) does so within seconds."
    asked = metric or summary.metric
    role = summary.roles.get(asked or "", {}).get("role")
    if role is not None and role not in FORECAST_ROLES:
        why = "".join(f" {each}" for each in why_none_of_these([asked or ""]))
        return f"No forecast of {asked}: only losses and accuracies are forecast, and its role is {role!r}.{why}"
    told = _notes_about(asked, summary, logged) or ["it comes with the worker's next fit."]
    return " ".join(["No forecast yet:" if asked is None else f"No forecast of {asked}:", *told])


def _notes_about(metric: str | None, summary: Summary, logged: list[str]) -> list[str]:
    """Notes begin with the metric that they are about, if they are about one; the others are about what lists show."""
    if metric is None:  # nothing is shown, and the notes say why: of each metric that might have been
        return list(summary.notes)

    def about(*metrics: str | None) -> list[str]:
        begins = tuple(f"{each}{after}" for each in metrics for after in (" ", ":"))
        return [note for note in summary.notes if note.startswith(begins)]

    own = [note.removeprefix(f"{metric}: ") for note in about(metric)]
    if own or metric != summary.metric:
        return own
    of_others = about(*(each for each in logged if each != metric))
    return [note for note in summary.notes if note not in of_others]


@router.get("/runs/{run_id}/forecasts", tags=["read"], summary="Past forecasts of the final value", responses=NO_RUN)
async def get_forecast_history(
    run_id: RunIdPath, service: Service, metric: Metric = None, limit: Annotated[int, Query(ge=1, le=5000)] = 500
) -> ForecastHistory:
    def history(connection: Connection) -> ForecastHistory:
        summary = runs.read_summary(connection, run_id)
        found = forecasts.forecast_history(connection, run_id, metric, limit)
        return ForecastHistory(
            metric=metric or (summary.metric if summary else None), forecasts=[forecast_summary(one) for one in found]
        )

    return await service.read(history)


@router.get("/runs/{run_id}/alerts", tags=["read"], summary="The run's alerts, newest first", responses=NO_RUN)
async def get_run_alerts(
    run_id: RunIdPath, service: Service, open_only: bool = False, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> AlertList:
    def listed(connection: Connection) -> AlertList:
        runs.get_run(connection, run_id)
        return _alert_list(connection, run_id, open_only, limit)

    return await service.read(listed)


@router.get("/alerts", tags=["read"], summary="All alerts, newest first")
async def get_alerts(
    service: Service, open_only: bool = False, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> AlertList:
    return await service.read(lambda connection: _alert_list(connection, None, open_only, limit))


def _alert_list(connection: Connection, run_id: str | None, open_only: bool, limit: int) -> AlertList:
    found = alerts.list_alerts(connection, run_id=run_id, open_only=open_only, limit=limit)
    deliveries = alerts.list_deliveries(connection, [alert.id for alert in found])
    return AlertList(alerts=[alert_view(alert, deliveries.get(alert.id, ())) for alert in found])


@router.get(
    "/runs/{run_id}/export",
    tags=["read"],
    summary="Every point of the run, streamed",
    response_class=StreamingResponse,
    responses={**NO_RUN, 200: {"content": {form: {} for form in export.FORMATS.values()}}},
)
async def export_run(
    run_id: RunIdPath,
    service: Service,
    form: Annotated[Literal["csv", "jsonl", "parquet"], Query(alias="format")] = "csv",
) -> StreamingResponse:
    """Rows of steps, columns of metrics; `losscast import` reads the CSV and JSONL forms back.

    JSONL begins with a line {"meta": ...} of the run's name, config, plan and status.
    """
    await service.read(lambda connection: runs.get_run(connection, run_id))
    return StreamingResponse(
        _exported(service.database, run_id, form),
        media_type=export.FORMATS[form],
        headers={"Content-Disposition": f'attachment; filename="{run_id}.{form}"'},
    )


def _exported(database: Database, run_id: str, form: str) -> Iterator[bytes]:
    with database.read() as connection:
        yield from export.export_run(connection, run_id, form)
