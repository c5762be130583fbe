"""The routes by which jobs write: open a run, append points, log a row, be alive, finish."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from app.api import slips
from app.api.bodies import read_body
from app.api.parsing import ParsedBatch, parse_batch, parse_object, parse_row
from app.api.reading import read_detail
from app.api.schemas import BatchStored, ChangeRun, CreateRun, Done, FinishRun, RunDetail, RunOpened, Whole
from app.api.service import GONE, NO_RUN, ROUTE_ERRORS, WRITE_ERRORS, RunIdPath, Service
from app.curves.planning.declared import validate_declared_plan
from app.curves.roles import ROLES
from app.errors import BadInput, NotFound, RunDeleted
from app.runs import Batch, Run, RunStatus
from app.storage import runs
from app.storage.batches import PendingBatch, StoredBatch
from app.storage.json import storable_text
from app.storage.metric_names import stored_metric

router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)


@router.post(
    "/runs",
    tags=["write"],
    summary="Create a run, or take it up again",
    response_model=RunOpened,
    responses={200: {"description": "Known already"}, 201: {"model": RunOpened, "description": "New"}, **WRITE_ERRORS},
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
        warnings=said.slips,
    )
    return JSONResponse(body.model_dump(), 201 if opened.created else 200)


@router.patch(
    "/runs/{run_id}", tags=["write"], summary="Change what is said of a run", responses={**NO_RUN, **WRITE_ERRORS}
)
async def change_run(run_id: RunIdPath, said: ChangeRun, service: Service) -> RunDetail:
    plan = None if said.plan is None else validate_declared_plan(said.plan)
    roles = None if said.roles is None else _known_roles(said.roles)

    def change(connection: Connection) -> RunDetail:
        runs.get_run(connection, run_id)
        runs.describe_run(connection, run_id, name=said.name, tags=said.tags, plan=plan, roles=roles)
        return read_detail(connection, run_id)

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
    responses={**NO_RUN, **GONE, **WRITE_ERRORS},
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
    responses={**GONE, **WRITE_ERRORS},
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
    fields, repeated = await _fields(request, service.body_limit)
    plan = {} if total_steps is None else validate_declared_plan({"total_steps": total_steps})
    run = await service.write(lambda connection: _run_for_logging(connection, run_id, project, plan))
    next_step = 0 if run.last_step is None else min(run.last_step + 1, 2**63 - 1)
    parsed = parse_row(fields, next_step)
    stored = await service.commits.store(PendingBatch(run_id, parsed.batch), len(fields) * 100)
    answer = _stored(stored, parsed)
    found = [*repeated, *_slips(request.query_params, run, parsed.batch)]
    return answer.model_copy(update={"warnings": [*answer.warnings, *found]})


_LOG_OPTIONS = ("project", "total_steps")


def _slips(said: Mapping[str, str], run: Run, batch: Batch) -> list[str]:
    """What `POST /log/{run_id}` was told and did not heed, or that looks like a mistake."""
    found = [_unknown_option(name) for name in list(said)[:20] if name not in _LOG_OPTIONS]
    if (project := said.get("project")) is not None and storable_text(project) != run.project:
        found.append(f"The run is in project {run.project!r} and stays there; project={project[:80]} was ignored.")
    found += [f"The step is negative ({step}); it was stored as it is." for step in batch.steps.tolist() if step < 0]
    return found


def _unknown_option(name: str) -> str:
    told = slips.advice(name, _LOG_OPTIONS)
    if name == "schedule":
        told = "a schedule is declared with the run's plan (POST /runs, or PATCH /runs/{id})."
    elif not told.startswith("did you mean"):
        told = f"{told.rstrip('.')}; metrics go into the body (-d loss=2.31)."
    return f"{name[:80]}= in the address is unknown and was ignored: {told}"


async def _fields(request: Request, limit: int) -> tuple[dict[str, Any], list[str]]:
    """What the body says, and what it says more than once."""
    body = await read_body(request, limit)
    if not body.strip():
        raise BadInput("The body is empty. Send at least one metric: curl ... -d step=100 -d loss=2.31")
    # curl -d says it is a form whatever it is; JSON is told by its first character.
    if body.lstrip().startswith((b"{", b"[")):
        return parse_object(body), []
    try:
        pairs = parse_qsl(body.decode("utf-8", "replace").strip(), keep_blank_values=True, max_num_fields=10_000)
    except ValueError as error:
        raise BadInput(f"The form cannot be read: {error}.") from error
    times = Counter(name for name, _ in pairs)
    repeated = [
        f"{name[:80]} was sent {count} times; the last value counts." for name, count in times.items() if count > 1
    ]
    return dict(pairs), repeated[:20]


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
    return Done(warnings=said.slips)


def _known_roles(said: dict[str, str]) -> dict[str, str]:
    unknown = sorted(set(said.values()) - set(ROLES))
    if unknown:
        raise BadInput(f"No role is called {unknown[0]!r}. The roles: {', '.join(ROLES)}.")
    return {stored_metric(metric): role for metric, role in said.items()}
