"""The routes of what a project wants of its runs: goals, baselines, the policy, and what a stop verdict may do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter
from pydantic import ConfigDict, Field, FiniteFloat
from sqlalchemy import Connection

from app.api.schemas import Name, RunId, StepCount, Wire
from app.api.service import NO_PROJECT, ROUTE_ERRORS, NewProjectPath, ProjectPath, Service
from app.storage.goals import Goal, ProjectPolicy, read_project_policy, save_project_policy, unlogged_metrics
from app.storage.runs import list_runs
from app.verdicts.policies import DEFAULT_POLICY, POLICIES, policy_named
from app.verdicts.stopping import Mode

router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)

# A thing that nobody sets by hand; more would be a mistake, and each is looked at in every refit.
MOST_GOALS = 20
MOST_BASELINES = 20


class GoalView(Wire):
    """What a project wants of a metric."""

    model_config = ConfigDict(extra="forbid")
    target: FiniteFloat | None = Field(None, description="The level to reach.")
    delta: Annotated[FiniteFloat, Field(ge=0)] = Field(0.0, description="By how much others must be beaten.")
    budget_steps: StepCount | None = Field(None, description="The target is wanted by this step.")


class Goals(Wire):
    """What a project wants of its runs. A PUT replaces all of it; what is left out goes back to its default."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "mode": "ask",
                "policy": "predictive",
                "parameters": {"confidence": 0.97},
                "goals": {"val_loss": {"target": 3.2, "budget_steps": 20000}},
                "baselines": ["llama-25m-01"],
            }
        },
    )
    mode: Mode = Field(Mode.ADVISE, description="What a stop verdict does: shown; a person is asked; the job is told.")
    policy: str = Field(DEFAULT_POLICY, max_length=100, description=f"One of: {', '.join(POLICIES)}.")
    parameters: dict[str, FiniteFloat] = Field({}, description="Of the policy; docs/verdicts.md.")
    goals: dict[Name, GoalView] = Field({}, max_length=MOST_GOALS, description="By metric.")
    baselines: list[RunId] = Field([], max_length=MOST_BASELINES, description="Runs of the project to compare with.")


class BaselineView(Wire):
    id: str
    name: str


class GoalsView(Wire):
    project: str
    mode: Mode
    policy: str
    parameters: dict[str, float]
    goals: dict[str, GoalView]
    baselines: list[BaselineView]
    revision: int = Field(description="Grows with each change; 0 before the first.")
    updated_at: datetime | None
    warnings: list[str] = Field([], description="What was taken as it is, and may be a slip.")


@router.get(
    "/projects/{project:path}/goals",
    tags=["read"],
    summary="What a project wants of its runs, and what may be done about it",
    responses=NO_PROJECT,
)
async def get_goals(project: ProjectPath, service: Service) -> GoalsView:
    return _goals(project, await service.read(lambda connection: read_project_policy(connection, project)))


@router.put(
    "/projects/{project:path}/goals",
    tags=["write"],
    summary="Set a project's goals, baselines, policy and mode",
)
async def put_goals(project: NewProjectPath, said: Goals, service: Service) -> GoalsView:
    """Replaces all of it. Running runs are judged again within seconds, and no stop of before holds meanwhile.

    A project that has no run yet is made, and its first run is judged by this.
    """
    policy_named(said.policy, said.parameters)
    goals = {metric: Goal(**goal.model_dump()) for metric, goal in said.goals.items()}

    def change(connection: Connection) -> tuple[list[str], GoalsView]:
        to_judge = save_project_policy(
            connection,
            project,
            mode=said.mode,
            policy=said.policy,
            parameters=said.parameters,
            goals=goals,
            baselines=said.baselines,
        )
        return to_judge, _goals(project, read_project_policy(connection, project), _slips(connection, project, goals))

    to_judge, view = await service.write(change)
    service.ask_for_refit(set(to_judge))
    return view


def _slips(connection: Connection, project: str, goals: Mapping[str, Goal]) -> list[str]:
    """What may be meant, and is often a name that was mistyped: no run has it."""
    _, n_runs = list_runs(connection, project=project, limit=1)
    if not n_runs:
        return [f"The project {project!r} has no run yet; its first one is judged by this."]
    unlogged = unlogged_metrics(connection, project, list(goals)) if goals else []
    return [f"No run of this project has logged {one!r} yet." for one in unlogged]


def _goals(project: str, policy: ProjectPolicy, warnings: list[str] | None = None) -> GoalsView:
    return GoalsView(
        project=project,
        mode=policy.mode,
        policy=policy.policy,
        parameters=dict(policy.parameters),
        goals={metric: GoalView(**asdict(goal)) for metric, goal in policy.goals.items()},
        baselines=[BaselineView(id=one.run_id, name=one.name) for one in policy.baselines],
        revision=policy.revision,
        updated_at=policy.updated_at,
        warnings=warnings or [],
    )
