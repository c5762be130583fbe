"""Runs, their segments, series and summaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from app.errors import NotFound, RunDeleted
from app.runs import ForecastPoint, Run, RunRow, RunStatus, Segment, Series, Summary
from app.storage.json import as_json


@dataclass(frozen=True, slots=True)
class Opened:
    """What creating or resuming a run came to."""

    run: Run
    segment: int
    created: bool


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a job says when it starts. None means: not said, keep what is stored."""

    id: str
    project: str = "default"
    name: str | None = None
    config: Mapping[str, Any] | None = None
    tags: Sequence[str] | None = None
    plan: Mapping[str, Any] | None = None
    roles: Mapping[str, str] | None = None
    session: str | None = None
    resume_step: int | None = None


_RUN_COLUMNS = """
    run.id, project.name AS project, run.name, run.status, run.config, run.tags, run.declared_plan, run.declared_roles,
    run.created_at, p.last_seen_at, run.finished_at, run.exit_message, p.segment, p.arrivals, p.last_step
"""
_RUN_TABLES = "run JOIN project ON project.id = run.project_id JOIN run_progress p ON p.run_key = run.key"


def open_run(connection: Connection, request: RunRequest) -> Opened:
    """Create the run, or take it up again.

    The same `session` gets the same segment however often it asks; a new one on a known run opens the next segment.
    A run taken up again is running again; one that was deleted is made anew.
    """
    segment, is_new = _resume(connection, request), False
    while segment is None:
        segment = _create(connection, request)
        is_new = segment is not None
        if segment is None:  # somebody else has made it meanwhile, and may delete it again
            segment = _resume(connection, request)
    describe_run(
        connection,
        request.id,
        name=request.name,
        config=request.config,
        tags=request.tags,
        plan=request.plan,
        roles=request.roles,
    )
    return Opened(get_run(connection, request.id), segment, is_new)


def open_project(connection: Connection, name: str) -> int:
    """The key of a project, which is made if there is none; until the transaction ends it cannot be deleted."""
    while True:
        known = connection.execute(
            text("SELECT id FROM project WHERE name = :name FOR KEY SHARE"), {"name": name}
        ).scalar_one_or_none()
        if known is not None:
            return int(known)
        connection.execute(text("INSERT INTO project (name) VALUES (:name) ON CONFLICT DO NOTHING"), {"name": name})


def _create(connection: Connection, request: RunRequest) -> int | None:
    """The first segment of a new run; None where there is one of this id."""
    project_id = open_project(connection, request.project)
    key = connection.execute(
        text("""
            INSERT INTO run (id, project_id, name) VALUES (:id, :project_id, :name)
            ON CONFLICT (id) DO NOTHING RETURNING key
        """),
        {"id": request.id, "project_id": project_id, "name": request.name or request.id},
    ).scalar_one_or_none()
    if key is None:
        return None
    connection.execute(text("DELETE FROM deleted_run WHERE id = :id"), {"id": request.id})
    connection.execute(text("INSERT INTO run_progress (run_key) VALUES (:key)"), {"key": key})
    return _add_segment(connection, key, 1, request)


def _resume(connection: Connection, request: RunRequest) -> int | None:
    """The segment of a known run that this start of the job writes to; None where there is no such run."""
    key = _locked(connection, request.id)
    if key is None:
        return None
    known = connection.execute(
        text("SELECT number FROM segment WHERE run_key = :key AND session = :session"),
        {"key": key, "session": request.session},
    ).scalar_one_or_none()
    if known is not None:
        return int(known)
    current = connection.execute(text("SELECT segment FROM run_progress WHERE run_key = :key"), {"key": key})
    number = int(current.scalar_one())
    if request.session is not None:
        number = _add_segment(connection, key, number + 1, request)
        connection.execute(
            text("""
                UPDATE run_progress
                SET segment = :number, revision = revision + 1, last_seen_at = now(), last_step = NULL
                WHERE run_key = :key
            """),
            {"key": key, "number": number},
        )
    connection.execute(
        text("UPDATE run SET status = 'running', finished_at = NULL, exit_message = NULL WHERE key = :key"),
        {"key": key},
    )
    return number


def _add_segment(connection: Connection, run_key: int, number: int, request: RunRequest) -> int:
    connection.execute(
        text("""
            INSERT INTO segment (run_key, number, session, resume_step) VALUES (:key, :number, :session, :resume_step)
        """),
        {
            "key": run_key,
            "number": number,
            "session": request.session or f"unnamed-{number}",
            "resume_step": request.resume_step,
        },
    )
    return number


def describe_run(
    connection: Connection,
    run_id: str,
    *,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    tags: Sequence[str] | None = None,
    plan: Mapping[str, Any] | None = None,
    roles: Mapping[str, str] | None = None,
) -> None:
    """Change what is said of a run; None keeps what is stored. A new plan or new roles ask for a refit."""
    said = {"name": name, "config": config, "tags": tags, "declared_plan": plan, "declared_roles": roles}
    said = {column: value for column, value in said.items() if value is not None}
    if not said:
        return
    as_object = {"config", "declared_plan", "declared_roles"}
    assignments = ", ".join(
        f"{column} = CAST(:{column} AS jsonb)" if column in as_object else f"{column} = :{column}" for column in said
    )
    values = {column: as_json(value) if column in as_object else value for column, value in said.items()}
    key = _locked(connection, run_id)
    if key is None:
        raise _no_run(connection, run_id)
    connection.execute(text(f"UPDATE run SET {assignments} WHERE key = :key"), {**values, "key": key})
    connection.execute(text("UPDATE run_progress SET revision = revision + 1 WHERE run_key = :key"), {"key": key})


def finish_run(connection: Connection, run_id: str, status: RunStatus, message: str | None) -> None:
    """Record that the job is over; asking twice keeps the first end but takes the newer status."""
    key = _locked(connection, run_id)
    if key is None:
        raise gone(connection, [run_id])[run_id]
    connection.execute(
        text("""
            UPDATE run SET status = :status, exit_message = coalesce(:message, exit_message),
                finished_at = coalesce(finished_at, now())
            WHERE key = :key
        """),
        {"status": status.value, "message": message, "key": key},
    )
    connection.execute(
        text("UPDATE run_progress SET revision = revision + 1, last_seen_at = now() WHERE run_key = :key"), {"key": key}
    )


def record_heartbeat(connection: Connection, run_id: str) -> None:
    touched = connection.execute(
        text("""
            UPDATE run_progress p SET last_seen_at = now() FROM run WHERE run.key = p.run_key AND run.id = :run_id
        """),
        {"run_id": run_id},
    )
    if touched.rowcount == 0:
        raise gone(connection, [run_id])[run_id]


def _locked(connection: Connection, run_id: str) -> int | None:
    """The run's key, its row of `run_progress` locked until the transaction ends; None where there is no such run.

    Whoever changes a run takes that row first, as those do that store its batches: two never wait for each other.
    """
    key: int | None = connection.execute(
        text("""
            SELECT p.run_key FROM run_progress p JOIN run ON run.key = p.run_key
            WHERE run.id = :run_id FOR NO KEY UPDATE OF p
        """),
        {"run_id": run_id},
    ).scalar_one_or_none()
    return key


def hold_run(connection: Connection, key: int) -> bool:
    """Keep a run from being deleted until this transaction ends; False where it has been already.

    For whoever stores what it has concluded of a run. Batches go on being stored meanwhile.
    """
    found = connection.execute(
        text("SELECT run_key FROM run_progress WHERE run_key = :key FOR KEY SHARE"), {"key": key}
    ).one_or_none()
    return found is not None


def gone(connection: Connection, run_ids: Sequence[str]) -> dict[str, NotFound]:
    """What to tell jobs that write to runs that are not there: whether they were deleted, or never known."""
    deleted = connection.execute(
        text("SELECT id, deleted_at AT TIME ZONE 'UTC' AS at FROM deleted_run WHERE id = ANY(:ids)").bindparams(
            bindparam("ids", type_=ARRAY(Text))
        ),
        {"ids": list(run_ids)},
    )
    told: dict[str, NotFound] = {row.id: RunDeleted(row.id, row.at) for row in deleted}
    unknown = "No run with the id {!r}. Create it first: POST /api/v1/runs."
    return {run_id: told.get(run_id) or NotFound(unknown.format(run_id)) for run_id in run_ids}


def get_run(connection: Connection, run_id: str) -> Run:
    row = connection.execute(
        text(f"SELECT {_RUN_COLUMNS} FROM {_RUN_TABLES} WHERE run.id = :run_id"), {"run_id": run_id}
    ).one_or_none()
    if row is None:
        raise _no_run(connection, run_id)
    return _run(row)


def list_runs(
    connection: Connection,
    *,
    project: str | None = None,
    status: str | None = None,
    search: str | None = None,
    in_trouble: bool = False,
    limit: int = 50,
    offset: int = 0,
) -> tuple[list[RunRow], int]:
    """One page of runs, newest first, and how many there are in all.

    `search` looks in names and ids for a part of them, whatever its case. `in_trouble`: only those of which the
    diagnostics have something open to say that is more than information.
    """
    where = ["true"]
    if project is not None:
        where.append("project.name = :project")
    if status is not None:
        where.append("run.status = :status")
    if search:
        where.append("(run.name ILIKE :pattern OR run.id ILIKE :pattern)")
    if in_trouble:
        where.append(
            "EXISTS (SELECT 1 FROM diagnosis_event e "
            "WHERE e.run_key = run.key AND e.resolved_at IS NULL AND e.severity <> 'info')"
        )
    asked = {"project": project, "status": status, "pattern": f"%{_escaped(search or '')}%"}
    condition = " AND ".join(where)
    total = connection.execute(
        text(f"SELECT count(*) FROM run JOIN project ON project.id = run.project_id WHERE {condition}"), asked
    ).scalar_one()
    rows = connection.execute(
        text(f"""
            SELECT page.*, {_SUMMARY_COLUMNS}, unresolved.number AS unresolved_alerts, unresolved.worst,
                unresolved.severities
            FROM (
                SELECT run.key, {_RUN_COLUMNS} FROM {_RUN_TABLES} WHERE {condition}
                ORDER BY run.created_at DESC, run.key DESC LIMIT :limit OFFSET :offset
            ) page
            LEFT JOIN run_summary s ON s.run_key = page.key
            LEFT JOIN forecast f ON f.id = s.forecast_id
            CROSS JOIN LATERAL (
                SELECT count(*) AS number, max(array_position(ARRAY['info', 'warning', 'critical'], severity)) AS worst,
                    array_agg(severity) AS severities
                FROM alert WHERE alert.run_key = page.key AND resolved_at IS NULL
            ) unresolved
            ORDER BY page.created_at DESC, page.key DESC
        """),
        {**asked, "limit": limit, "offset": offset},
    ).all()
    severities = ("info", "warning", "critical")
    return [
        RunRow(
            run=_run(row),
            summary=_summary(row) if row.updated_at is not None else None,
            unresolved_alerts=row.unresolved_alerts,
            worst_severity=severities[row.worst - 1] if row.worst else None,
            worst_alerts=row.severities.count(severities[row.worst - 1]) if row.worst else 0,
        )
        for row in rows
    ], total


def read_summary(connection: Connection, run_id: str) -> Summary | None:
    row = connection.execute(
        text(f"""
            SELECT run.id, {_SUMMARY_COLUMNS} FROM run
            JOIN run_summary s ON s.run_key = run.key LEFT JOIN forecast f ON f.id = s.forecast_id
            WHERE run.id = :run_id
        """),
        {"run_id": run_id},
    ).one_or_none()
    return None if row is None else _summary(row)


def list_projects(connection: Connection) -> list[str]:
    return list(connection.execute(text("SELECT name FROM project ORDER BY name")).scalars())


def list_segments(connection: Connection, run_id: str) -> list[Segment]:
    rows = connection.execute(
        text("""
            SELECT s.number, s.session, s.started_at, s.resume_step, s.first_step
            FROM segment s JOIN run ON run.key = s.run_key WHERE run.id = :run_id ORDER BY s.number
        """),
        {"run_id": run_id},
    )
    return [Segment(*row) for row in rows]


def list_series(connection: Connection, run_id: str) -> list[Series]:
    rows = connection.execute(
        text("""
            SELECT s.id, run.id, s.metric, s.points, s.first_step, s.last_step, s.last_value
            FROM series s JOIN run ON run.key = s.run_key WHERE run.id = :run_id ORDER BY s.metric
        """),
        {"run_id": run_id},
    )
    return [Series(*row) for row in rows]


def run_key(connection: Connection, run_id: str) -> int:
    """The run's key inside the database; raises `NotFound`."""
    key = connection.execute(text("SELECT key FROM run WHERE id = :run_id"), {"run_id": run_id}).scalar_one_or_none()
    if key is None:
        raise _no_run(connection, run_id)
    return int(key)


_SUMMARY_COLUMNS = """
    s.updated_at, s.metric AS summary_metric, s.last_step AS summary_step, s.last_value, s.total_steps, s.conclusions,
    f.cutoff, f.made_at, f.horizon, f.final_mean, f.final_quantiles
"""


def _summary(row: Row[Any]) -> Summary:
    said = row.conclusions
    plan = said.get("plan", {})
    return Summary(
        run_id=row.id,
        metric=row.summary_metric,
        last_step=row.summary_step,
        last_value=row.last_value,
        total_steps=row.total_steps,
        total_source=plan.get("total_source"),
        total_why=plan.get("total_why"),
        schedule_source=plan.get("schedule_source"),
        schedule_family=plan.get("schedule_family"),
        schedule_why=plan.get("schedule_why"),
        roles=said.get("roles", {}),
        forecast=forecast_point(row) if row.made_at is not None else None,
        notes=tuple(said.get("notes", ())),
    )


def forecast_point(row: Row[Any]) -> ForecastPoint:
    quantiles = {float(level): float(value) for level, value in row.final_quantiles.items()}
    return ForecastPoint(
        cutoff=row.cutoff,
        made_at=row.made_at,
        horizon=row.horizon,
        final_mean=row.final_mean,
        p05=quantiles[0.05],
        p50=quantiles[0.5],
        p95=quantiles[0.95],
    )


def _run(row: Row[Any]) -> Run:
    return Run(
        id=row.id,
        project=row.project,
        name=row.name,
        status=RunStatus(row.status),
        config=row.config,
        tags=tuple(row.tags),
        declared_plan=row.declared_plan,
        declared_roles=row.declared_roles,
        created_at=row.created_at,
        last_seen_at=row.last_seen_at,
        finished_at=row.finished_at,
        exit_message=row.exit_message,
        segment=row.segment,
        arrivals=row.arrivals,
        last_step=row.last_step,
    )


def _escaped(search: str) -> str:
    return search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _no_run(connection: Connection, run_id: str) -> NotFound:
    deleted = text("SELECT deleted_at AT TIME ZONE 'UTC' FROM deleted_run WHERE id = :run_id")
    at = connection.execute(deleted, {"run_id": run_id}).scalar_one_or_none()
    if at is not None:
        return NotFound(f"The run {run_id!r} was deleted at {at:%Y-%m-%d %H:%M} UTC.")
    return NotFound(f"No run with the id {run_id!r}. GET /api/v1/runs lists the ones there are.")
