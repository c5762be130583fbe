"""What projects want of their runs: goals, baselines, policy and mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from app.errors import BadInput, NotFound
from app.storage.json import as_json
from app.storage.runs import open_project
from app.verdicts.policies import DEFAULT_POLICY
from app.verdicts.stopping import Mode


@dataclass(frozen=True, slots=True)
class Goal:
    """What a project wants of one metric.

    target : the level to reach; None: none                                       [of the metric]
    delta : by how much a reference must be beaten for going on to be worth it    [of the metric]
    budget_steps : the target is wanted by this step; None: by the end            [steps]
    """

    target: float | None = None
    delta: float = 0.0
    budget_steps: int | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """A run that was pinned for others to be compared with."""

    run_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ProjectPolicy:
    """What a project wants of its runs, and what may be done about it.

    goals : by metric
    revision : grows with each change; 0 before the first
    """

    mode: Mode = Mode.ADVISE
    policy: str = DEFAULT_POLICY
    parameters: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    goals: Mapping[str, Goal] = field(default_factory=lambda: MappingProxyType({}))
    baselines: tuple[Baseline, ...] = ()
    revision: int = 0
    updated_at: datetime | None = None


def read_project_policy(connection: Connection, project: str) -> ProjectPolicy:
    """What holds for a project; before anybody said anything, advice by the default policy. Raises `NotFound`."""
    row = connection.execute(
        text("""
            SELECT project.id, p.mode, p.policy, p.parameters, p.goals, p.revision, p.updated_at,
                (SELECT coalesce(jsonb_agg(jsonb_build_array(run.id, run.name) ORDER BY b.pinned_at, run.key), '[]')
                 FROM project_baseline b JOIN run ON run.key = b.run_key WHERE b.project_id = project.id) AS baselines
            FROM project LEFT JOIN project_policy p ON p.project_id = project.id WHERE project.name = :project
        """),
        {"project": project},
    ).one_or_none()
    if row is None:
        raise _no_project(project)
    baselines = tuple(Baseline(*one) for one in row.baselines)
    if row.mode is None:
        return ProjectPolicy(baselines=baselines)
    return ProjectPolicy(
        mode=Mode(row.mode),
        policy=row.policy,
        parameters=row.parameters,
        goals={metric: Goal(**goal) for metric, goal in row.goals.items()},
        baselines=baselines,
        revision=row.revision,
        updated_at=row.updated_at,
    )


def save_project_policy(
    connection: Connection,
    project: str,
    *,
    mode: Mode,
    policy: str,
    parameters: Mapping[str, float],
    goals: Mapping[str, Goal],
    baselines: Sequence[str],
) -> list[str]:
    """Replace all of it, and have the project's running runs judged again: their ids.

    A project that is not there yet is made: a sweep is judged by what is wanted of it from its first run on. Raises
    `BadInput` for a baseline that is no run of it.
    """
    project_id = open_project(connection, project)
    connection.execute(text("SELECT FROM project WHERE id = :id FOR NO KEY UPDATE"), {"id": project_id})
    connection.execute(
        text("""
            INSERT INTO project_policy (project_id, mode, policy, parameters, goals, revision)
            VALUES (:id, :mode, :policy, CAST(:parameters AS jsonb), CAST(:goals AS jsonb), 1)
            ON CONFLICT (project_id) DO UPDATE SET mode = excluded.mode, policy = excluded.policy,
                parameters = excluded.parameters, goals = excluded.goals, revision = project_policy.revision + 1,
                updated_at = now()
        """),
        {
            "id": project_id,
            "mode": mode.value,
            "policy": policy,
            "parameters": as_json(parameters),
            "goals": as_json({metric: asdict(goal) for metric, goal in goals.items()}),
        },
    )
    _pin(connection, project_id, project, baselines)
    return list(
        connection.execute(
            text("""
                UPDATE run_progress p SET revision = revision + 1 FROM run
                WHERE run.key = p.run_key AND run.project_id = :id AND run.status = 'running' RETURNING run.id
            """),
            {"id": project_id},
        ).scalars()
    )


def _pin(connection: Connection, project_id: int, project: str, baselines: Sequence[str]) -> None:
    known: dict[str, int] = {
        row.id: row.key
        for row in connection.execute(
            text("SELECT id, key FROM run WHERE project_id = :id AND id = ANY(:ids)").bindparams(
                bindparam("ids", type_=ARRAY(Text))
            ),
            {"id": project_id, "ids": list(baselines)},
        )
    }
    unknown = [run_id for run_id in baselines if run_id not in known]
    if unknown:
        raise BadInput(f"{unknown[0]!r} is no run of the project {project!r}; only its own runs can be its baselines.")
    keys = list(known.values())
    connection.execute(
        text("DELETE FROM project_baseline WHERE project_id = :id AND run_key <> ALL(CAST(:keys AS bigint[]))"),
        {"id": project_id, "keys": keys},
    )
    if keys:
        connection.execute(
            text("INSERT INTO project_baseline (project_id, run_key) VALUES (:id, :key) ON CONFLICT DO NOTHING"),
            [{"id": project_id, "key": key} for key in keys],
        )


def unlogged_metrics(connection: Connection, project: str, metrics: Sequence[str]) -> list[str]:
    """Those of some metrics that no run of a project has logged."""
    logged = set(
        connection.execute(
            text("""
                SELECT DISTINCT series.metric FROM series JOIN run ON run.key = series.run_key
                JOIN project ON project.id = run.project_id
                WHERE project.name = :project AND series.metric = ANY(:metrics)
            """).bindparams(bindparam("metrics", type_=ARRAY(Text))),
            {"project": project, "metrics": list(metrics)},
        ).scalars()
    )
    return [metric for metric in metrics if metric not in logged]


def _no_project(project: str) -> NotFound:
    return NotFound(
        f"No project named {project!r}; a project begins with its first run, or with what is wanted of its runs. "
        "GET /api/v1/projects lists them."
    )
