"""The native API under /api/v1. Each route: read the request, one call into storage, answer."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy import Connection

from app.api.bodies import read_body
from app.api.group_commit import GroupCommit
from app.api.parsing import ParsedBatch, parse_batch, parse_object, parse_row
from app.api.schemas import (
    AlertList,
    BatchStored,
    ChangeRun,
    CreateRun,
    Done,
    ErrorBody,
    FinishRun,
    ForecastHistory,
    ForecastView,
    PointsView,
    ProjectList,
    RunDetail,
    RunId,
    RunList,
    RunOpened,
    SeriesList,
    Whole,
)
from app.api.views import (
    alert_view,
    forecast_summary,
    forecast_view,
    points_view,
    run_detail,
    run_view,
    series_view,
)
from app.calculations import Calculations
from app.curves.plan import validate_declared_plan
from app.curves.roles import ROLES
from app.errors import BadInput, NotFound, RunDeleted
from app.runs import Batch, Run, RunStatus
from app.storage import alerts, export, forecasts, points, priors, runs
from app.storage.batches import PendingBatch, StoredBatch
from app.storage.database import Database
from app.storage.json import storable_text

Result = TypeVar("Result")
RunIdPath = Annotated[RunId, Path(description="The run's id.")]
Metric = Annotated[str | None, Query(max_length=600, description="Without it: the loss that lists show.")]

ROUTE_ERRORS: dict[int | str, dict[str, Any]] = {
    401: {"model": ErrorBody, "description": "Keys are on and none, or no good one, was sent."},
    403: {"model": ErrorBody, "description": "Keys are off and the request did not come from this machine itself."},
    422: {"model": ErrorBody, "description": "The request cannot be used; the message says what to send."},
    503: {"model": ErrorBody, "description": "The database does not answer; try again after Retry-After."},
}
NO_RUN: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody, "description": "No such run, or metric."}}
GONE: dict[int | str, dict[str, Any]] = {
    410: {"model": ErrorBody, "description": "The run was deleted; what a job still sends of it is not kept."}
}
BUSY: dict[int | str, dict[str, Any]] = {
    429: {"model": ErrorBody, "description": "So many of these are being worked out; ask again after Retry-After."}
}
_WRITES: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorBody, "description": "The request is not HTTP as it should be."},
    413: {"model": ErrorBody, "description": "The body is over the limit (32 MiB unless changed), unpacked."},
    415: {"model": ErrorBody, "description": "A Content-Encoding other than gzip."},
    429: {"model": ErrorBody, "description": "Too much waits to be stored; send the same again after Retry-After."},
}


@dataclass(frozen=True, slots=True)
class Ingest:
    """What the routes work with."""

    database: Database
    commits: GroupCommit
    ask_for_refit: Callable[[set[str]], None]
    public_url: Callable[[Request], str]
    body_limit: int
    fits: Calculations = field(default_factory=lambda: Calculations(most_running=1, most_waiting=4, seconds=5.0))
    what_ifs: Calculations = field(default_factory=lambda: Calculations(most_running=2, most_waiting=16, seconds=1.0))

    async def read(self, query: Callable[[Connection], Result]) -> Result:
        return await asyncio.to_thread(self._in_snapshot, query)

    def _in_snapshot(self, query: Callable[[Connection], Result]) -> Result:
        with self.database.read() as connection:
            return query(connection)

    async def write(self, change: Callable[[Connection], Result]) -> Result:
        return await asyncio.to_thread(self._in_transaction, change)

    def _in_transaction(self, change: Callable[[Connection], Result]) -> Result:
        with self.database.write() as connection:
            return change(connection)


def _ingest(request: Request) -> Ingest:
    found: Ingest = request.app.state.ingest
    return found


Service = Annotated[Ingest, Depends(_ingest)]
router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)


@router.post(
    "/runs",
    tags=["write"],
    summary="Create a run, or take it up again",
    response_model=RunOpened,
    responses={200: {"description": "Known already"}, 201: {"model": RunOpened, "description": "New"}, **_WRITES},
)
async def create_run(said: CreateRun, request: Request, service: Service) -> Any:
    wanted = runs.RunRequest(
        id=said.id or uuid.uuid4().hex,
        project=said.project,
        name=said.name,
        config=said.config,
        tags=said.tags,
        plan=None if said.plan is None else validate_declared_plan(said.plan),
        roles=None if said.roles is None else _known_roles(said.roles),
        session=said.session,
        resume_step=said.resume_step,
    )
    opened = await service.write(lambda connection: runs.open_run(connection, wanted))
    body = RunOpened(
        id=opened.run.id,
        project=opened.run.project,
        name=opened.run.name,
        segment=opened.segment,
        url=f"{service.public_url(request)}/runs/{opened.run.id}",
        created=opened.created,
    )
    return JSONResponse(body.model_dump(), 201 if opened.created else 200)


@router.patch("/runs/{run_id}", tags=["write"], summary="Change what is said of a run", responses={**NO_RUN, **_WRITES})
async def change_run(run_id: RunIdPath, said: ChangeRun, service: Service) -> RunDetail:
    plan = None if said.plan is None else validate_declared_plan(said.plan)
    roles = None if said.roles is None else _known_roles(said.roles)

    def change(connection: Connection) -> RunDetail:
        runs.get_run(connection, run_id)
        runs.describe_run(connection, run_id, name=said.name, tags=said.tags, plan=plan, roles=roles)
        return _detail(connection, run_id)

    detail = await service.write(change)
    service.ask_for_refit({run_id})
    return detail


_BATCH_BODY = {
    "requestBody": {
        "required": True,
        "description": "Columnar (fast) or rows. At most 32 MiB unpacked; may be gzipped (Content-Encoding: gzip).",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "segment": {
                            "type": "integer",
                            "description": "As POST /runs answered; else the current one.",
                        },
                        "seq": {
                            "type": "integer",
                            "minimum": 0,
                            "description": "The sender's counter. The same (segment, seq) again changes nothing.",
                        },
                        "steps": {"type": "array", "items": {"type": "integer"}},
                        "times": {
                            "type": "array",
                            "items": {"type": ["number", "null"]},
                            "description": "s since 1970",
                        },
                        "metrics": {
                            "type": "object",
                            "additionalProperties": {
                                "type": "array",
                                "items": {"type": ["number", "string", "null"]},
                                "description": 'One value a step; null: none; "NaN", "Infinity", "-Infinity" are data.',
                            },
                        },
                        "rows": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "description": 'Such as {"step": 1, "time": 0.5, "loss": 2.3}.',
                            },
                        },
                    },
                },
                "examples": {
                    "columns": {"value": {"segment": 1, "seq": 0, "steps": [1, 2], "metrics": {"loss": [2.5, "NaN"]}}},
                    "rows": {"value": {"rows": [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.4, "lr": 0.001}]}},
                },
            }
        },
    }
}


@router.post(
    "/runs/{run_id}/batches",
    tags=["write"],
    summary="Append points",
    openapi_extra=_BATCH_BODY,
    responses={**NO_RUN, **GONE, **_WRITES},
)
async def append_batch(run_id: RunIdPath, request: Request, service: Service) -> BatchStored:
    """Answers once the points are durable. Order, steps and values are never a reason to refuse."""
    body = await read_body(request, service.body_limit)
    parsed = await _parsed(body)
    stored = await service.commits.store(PendingBatch(run_id, parsed.batch, parsed.segment, parsed.seq), len(body))
    return _stored(stored, parsed)


# Above this a body is parsed in a thread: a 20 MB one would hold up every other request for a second.
_LARGE_BODY = 256 * 1024


async def _parsed(body: bytes) -> ParsedBatch:
    return parse_batch(body) if len(body) < _LARGE_BODY else await asyncio.to_thread(parse_batch, body)


def _stored(stored: StoredBatch, parsed: ParsedBatch) -> BatchStored:
    warnings = [*parsed.warnings, *([stored.warning] if stored.warning else [])]
    return BatchStored(
        stored=stored.points, duplicate=stored.duplicate, segment=stored.segment, seq=stored.seq, warnings=warnings
    )


_LOG_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {"schema": {"type": "object", "example": {"step": 100, "loss": 2.3}}},
            "application/json": {"schema": {"type": "object", "example": {"step": 100, "loss": 2.3}}},
        },
    }
}


@router.post(
    "/log/{run_id}",
    tags=["write"],
    summary="Log one row from a shell",
    openapi_extra=_LOG_BODY,
    responses={**GONE, **_WRITES},
)
async def log_row(
    run_id: RunIdPath,
    request: Request,
    service: Service,
    project: Annotated[str, Query(min_length=1, max_length=500)] = "default",
    total_steps: Annotated[Whole | None, Query(ge=1, lt=2**62)] = None,
) -> BatchStored:
    """`curl HOST/api/v1/log/my-run -d step=100 -d loss=2.31`. Makes the run if needed; without step: the next one.

    A slip in the address refuses nothing, as the row would be lost: the answer's warnings name it.
    """
    fields = await _fields(request, service.body_limit)
    plan = {} if total_steps is None else validate_declared_plan({"total_steps": total_steps})
    run = await service.write(lambda connection: _run_for_logging(connection, run_id, project, plan))
    next_step = 0 if run.last_step is None else min(run.last_step + 1, 2**63 - 1)
    parsed = parse_row(fields, next_step)
    stored = await service.commits.store(PendingBatch(run_id, parsed.batch), len(fields) * 100)
    answer = _stored(stored, parsed)
    return answer.model_copy(update={"warnings": [*answer.warnings, *_slips(request.query_params, run, parsed.batch)]})


_LOG_OPTIONS = ("project", "total_steps")


def _slips(said: Mapping[str, str], run: Run, batch: Batch) -> list[str]:
    """What `POST /log/{run_id}` was told and did not heed, or that looks like a mistake."""
    found = [_unknown_option(name) for name in list(said)[:20] if name not in _LOG_OPTIONS]
    if (project := said.get("project")) is not None and storable_text(project) != run.project:
        found.append(f"The run is in project {run.project!r} and stays there; project={project[:80]} was ignored.")
    found += [f"The step is negative ({step}); it was stored as it is." for step in batch.steps.tolist() if step < 0]
    return found


def _unknown_option(name: str) -> str:
    near = get_close_matches(name, _LOG_OPTIONS, n=1)
    if near:
        advice = f"did you mean {near[0]}?"
    elif name == "schedule":
        advice = "a schedule is declared with the run's plan (POST /runs, or PATCH /runs/{id})."
    else:
        advice = f"known are {' and '.join(_LOG_OPTIONS)}; metrics go into the body (-d loss=2.31)."
    return f"{name[:80]}= in the address is unknown and was ignored: {advice}"


async def _fields(request: Request, limit: int) -> dict[str, Any]:
    body = await read_body(request, limit)
    if not body.strip():
        raise BadInput("The body is empty. Send at least one metric: curl ... -d step=100 -d loss=2.31")
    # curl -d says it is a form whatever it is; a JSON object is told by its first character.
    if body.lstrip().startswith(b"{"):
        return parse_object(body)
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace").strip(), keep_blank_values=True, max_num_fields=10_000))
    except ValueError as error:
        raise BadInput(f"The form cannot be read: {error}.") from error


def _run_for_logging(connection: Connection, run_id: str, project: str, plan: dict[str, Any]) -> Run:
    try:
        run = runs.get_run(connection, run_id)
    except NotFound:
        deleted = runs.gone(connection, [run_id])[run_id]
        if isinstance(deleted, RunDeleted):
            raise deleted from None
        request = runs.RunRequest(id=run_id, project=project, plan=plan or None)
        return runs.open_run(connection, request).run
    if plan and {**run.declared_plan, **plan} != dict(run.declared_plan):
        runs.describe_run(connection, run_id, plan={**run.declared_plan, **plan})
    return run


@router.post("/runs/{run_id}/heartbeat", tags=["write"], summary="Say that the job is alive", responses=NO_RUN | GONE)
async def heartbeat(run_id: RunIdPath, service: Service) -> Done:
    await service.write(lambda connection: runs.record_heartbeat(connection, run_id))
    return Done()


@router.post("/runs/{run_id}/finish", tags=["write"], summary="Say that the job is over", responses=NO_RUN | GONE)
async def finish(run_id: RunIdPath, service: Service, said: FinishRun | None = None) -> Done:
    said = said or FinishRun()
    await service.write(lambda connection: runs.finish_run(connection, run_id, RunStatus(said.status), said.message))
    service.ask_for_refit({run_id})
    return Done()


@router.get("/runs", tags=["read"], summary="List runs, newest first")
async def list_runs(
    service: Service,
    project: Annotated[str | None, Query(max_length=500)] = None,
    status: Literal["running", "finished", "failed", "stopped"] | None = None,
    search: Annotated[str | None, Query(max_length=200, description="Part of a name or id.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> RunList:
    rows, total = await service.read(
        lambda connection: runs.list_runs(
            connection, project=project, status=status, search=_text(search), limit=limit, offset=offset
        )
    )
    return RunList(runs=[run_view(row) for row in rows], total=total, limit=limit, offset=offset)


@router.get("/projects", tags=["read"], summary="List projects")
async def list_projects(service: Service) -> ProjectList:
    return ProjectList(projects=await service.read(runs.list_projects))


@router.get("/runs/{run_id}", tags=["read"], summary="One run, with what is concluded of it", responses=NO_RUN)
async def get_run(run_id: RunIdPath, service: Service) -> RunDetail:
    return await service.read(lambda connection: _detail(connection, run_id))


def _detail(connection: Connection, run_id: str) -> RunDetail:
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
    metric: Annotated[str | None, Query(max_length=600)] = None,
    from_step: Annotated[Whole | None, Query(ge=-(2**63), lt=2**63)] = None,
    to_step: Annotated[Whole | None, Query(ge=-(2**63), lt=2**63)] = None,
    max_points: Annotated[
        Whole | None,
        Query(
            ge=10,
            le=1_000_000,
            description="Minima, maxima and non-finite values are kept; without a range, steps far beyond all others "
            "are not. Without it: every point.",
        ),
    ] = None,
) -> SeriesList | PointsView:
    if metric is None:
        return await service.read(lambda connection: _series_list(connection, run_id))
    name = _text(metric) or ""
    found = await service.read(
        lambda connection: points.read_points(
            connection, run_id, name, from_step=from_step, to_step=to_step, max_points=max_points
        )
    )
    return points_view(name, found)


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

    def newest(connection: Connection) -> ForecastView | None:
        found = forecasts.latest_forecast(connection, run_id, _text(metric))
        return None if found is None else forecast_view(found, priors.named(connection, found.siblings))

    found = await service.read(newest)
    if found is None:
        raise HTTPException(
            404, "No forecast yet: it needs a few dozen points of a loss, and a worker that runs (losscast work)."
        )
    return found


@router.get("/runs/{run_id}/forecasts", tags=["read"], summary="Past forecasts of the final value", responses=NO_RUN)
async def get_forecast_history(
    run_id: RunIdPath, service: Service, metric: Metric = None, limit: Annotated[int, Query(ge=1, le=5000)] = 500
) -> ForecastHistory:
    def history(connection: Connection) -> ForecastHistory:
        summary = runs.read_summary(connection, run_id)
        found = forecasts.forecast_history(connection, run_id, _text(metric), limit)
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
    """Rows of steps, columns of metrics; `losscast import` reads the CSV and JSONL forms back."""
    await service.read(lambda connection: runs.get_run(connection, run_id))
    return StreamingResponse(
        _exported(service.database, run_id, form),
        media_type=export.FORMATS[form],
        headers={"Content-Disposition": f'attachment; filename="{run_id}.{form}"'},
    )


def _exported(database: Database, run_id: str, form: str) -> Iterator[bytes]:
    with database.read() as connection:
        yield from export.export_run(connection, run_id, form)


def _known_roles(said: dict[str, str]) -> dict[str, str]:
    unknown = sorted(set(said.values()) - set(ROLES))
    if unknown:
        raise BadInput(f"No role is called {unknown[0]!r}. The roles: {', '.join(ROLES)}.")
    return said


def _text(value: str | None) -> str | None:
    """A search or a metric's name as it would have been stored: Postgres knows no U+0000."""
    return None if value is None else value.replace("\x00", "\ufffd")
