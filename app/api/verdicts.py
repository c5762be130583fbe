"""The routes of verdicts: is a run worth going on with, what does its project want, and who stopped what, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import ConfigDict, Field, FiniteFloat, StringConstraints
from sqlalchemy import Connection

from app.api.routes import NO_RUN, ROUTE_ERRORS, Metric, RunIdPath, Service
from app.api.schemas import Done, ErrorBody, Name, RunId, Step, StepCount, Wire
from app.storage.goals import Goal, ProjectPolicy, read_project_policy, save_project_policy, unlogged_metrics
from app.storage.json import storable_text
from app.storage.stops import StopEntry, StopState, answer_as_person, list_stops, read_stop_state, record_heard
from app.storage.verdicts import StoredVerdict, metric_rises, read_competitors, read_verdict, shared_metric
from app.verdicts.policies import DEFAULT_POLICY, POLICIES, policy_named
from app.verdicts.stopping import Mode, StopEvent
from app.verdicts.sweep import Placing, Proposal, at_threshold, halve, rank

router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)

NO_PROJECT: dict[int | str, dict[str, Any]] = {404: {"model": ErrorBody, "description": "No such project."}}
CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"model": ErrorBody, "description": "It answers nothing: no stop is proposed, or the run is over."}
}
ProjectPath = Annotated[str, Path(max_length=500, description="The project's name; it may hold slashes.")]
Limit = Annotated[int, Query(ge=1, le=1000)]

# A thing that nobody sets by hand; more would be a mistake, and each is looked at in every refit.
MOST_GOALS = 20
MOST_BASELINES = 20


class GuardView(Wire):
    name: str
    sentence: str


class ComparisonView(Wire):
    run_id: str = Field(description="Empty where it is no run: the target, the run's own best.")
    name: str
    kind: str = Field(description="target, finished, stopped, live, own_best or baseline.")
    value: float = Field(description="Its level, or the median of what is forecast of it.")
    probability: float = Field(description="That the run does not beat it by more than delta.")


class VerdictView(Wire):
    """Whether a run is worth going on with. Undecided, and mostly null, until there is a forecast and a worker."""

    run_id: str
    metric: str | None = Field(
        description="What it is judged by: the metric with a goal, else the one that lists show."
    )
    decision: Literal["continue", "stop", "undecided"]
    sentence: str
    policy: str
    probability: float | None = Field(description="That going on does NOT beat the reference by more than delta.")
    reference: str
    expected_improvement: float | None
    saved: float | None = Field(description="Share of all the run's steps that a stop now would save.")
    saved_steps: int | None
    regret: float | None = Field(description="Expected loss of stopping now, in the metric's unit.")
    regret_interval: tuple[float, float] | None = Field(description="Central 90 % of that loss.")
    next_step: int | None = Field(description="The next step at which the answer can change.")
    guards: list[GuardView] = Field(description="What forbade a stop.")
    comparisons: list[ComparisonView]
    evidence: dict[str, float | str]
    step: int | None = Field(description="The last step that was known.")
    since_step: int | None = Field(description="From where on the decision has been what it is.")
    confirmed: bool = Field(description="A stop verdict that has held for long enough to count.")
    judged_at: datetime | None
    goal: dict[str, Any] | None = Field(description="When the metric's target is reached, where it has one.")
    time: dict[str, Any] | None = Field(description="When the run ends, by its own clock, and how fast it goes.")
    mode: Mode = Field(description="What a stop verdict does in this project.")
    segment: int = Field(description="The run's (re)start that should_stop speaks to.")
    should_stop: bool = Field(description="Whether the job is to stop now. Never without an entry in the log of stops.")
    stop_sentence: str = Field(description="Why it is, or is not.")


class Answer(Wire):
    """A person's word on a run."""

    model_config = ConfigDict(extra="forbid")
    answer: Literal["stop", "continue", "take_back"] = Field(
        description="stop: yes to a proposed stop. continue: go on, whatever verdicts say. take_back: verdicts count."
    )
    by: Annotated[str, StringConstraints(max_length=200)] = Field("", description="Who says so; kept in the log.")


class Heard(Wire):
    segment: Annotated[int, Field(ge=1, lt=2**31)] | None = None
    step: Step | None = None


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


class StopView(Wire):
    """One step on the way to a stop, kept for good."""

    id: int
    run_id: str
    run_name: str
    at: datetime
    segment: int
    step: int | None
    event: StopEvent
    author: str = Field(description="policy, person or job.")
    why: str
    evidence: dict[str, Any] = Field(description="The verdict, the forecast and the settings behind it.")


class StopList(Wire):
    stops: list[StopView]


class PlacingView(Wire):
    run_id: str
    name: str
    rank: int
    chance_best: float = Field(description="Probability that it ends best of all.")
    expected_rank: float
    p05: float = Field(description="5 % of the final level; of an ended run of the mean of its last 2 %.")
    p50: float
    p95: float
    worth: float = Field(description="By how much the group's best is expected to be worse without it.")
    steps_left: int
    is_live: bool
    is_guarded: bool = Field(description="Something forbids a stop; its verdict says what.")
    is_to_stop: bool


class ProposalView(Wire):
    """Runs to stop together."""

    run_ids: list[str]
    freed_steps: int
    freed_share: float = Field(description="Of all steps that the group would still make.")
    regret: float = Field(description="By how much the group's best is expected to be worse for it.")
    chance_best_lost: float = Field(description="Probability that the best run is among them.")


class RankingView(Wire):
    project: str
    metric: str | None
    placings: list[PlacingView] = Field(description="The best first.")
    proposal: ProposalView | None = Field(description="Whom to stop; null where nobody runs.")
    halving: ProposalView | None = Field(description="One round of successive halving on predictions.")
    threshold: ProposalView | None = Field(description="With ?threshold=: if all that are less likely best stopped.")
    lower_is_better: bool = Field(description="False for an accuracy.")
    left_out: int = Field(description="Runs beyond the first sixty.")


@router.get("/runs/{run_id}/verdict", tags=["read"], summary="Is it worth going on?", responses=NO_RUN)
async def get_verdict(run_id: RunIdPath, service: Service, metric: Metric = None) -> VerdictView:
    """What a job asks now and then. `should_stop` is true only where the project allows it and the log says why."""
    name = None if metric is None else storable_text(metric)

    def read(connection: Connection) -> VerdictView:
        return _verdict(read_stop_state(connection, run_id), read_verdict(connection, run_id, name), name)

    return await service.read(read)


@router.post(
    "/runs/{run_id}/verdict/answer",
    tags=["write"],
    summary="Say yes or no to a stop",
    responses={**NO_RUN, **CONFLICT},
)
async def answer_verdict(run_id: RunIdPath, said: Answer, service: Service) -> VerdictView:
    event = {
        "stop": StopEvent.ORDERED,
        "continue": StopEvent.DECLINED,
        "take_back": StopEvent.WITHDRAWN,
    }[said.answer]

    def change(connection: Connection) -> VerdictView:
        answer_as_person(connection, run_id, event, storable_text(said.by))
        return _verdict(read_stop_state(connection, run_id), read_verdict(connection, run_id), None)

    return await service.write(change)


@router.post(
    "/runs/{run_id}/verdict/heard",
    tags=["write"],
    summary="Say that the job has been told to stop",
    responses={**NO_RUN, **CONFLICT},
)
async def heard(run_id: RunIdPath, service: Service, said: Heard | None = None) -> Done:
    said = said or Heard()
    await service.write(lambda connection: record_heard(connection, run_id, segment=said.segment, step=said.step))
    return Done()


@router.get("/runs/{run_id}/stops", tags=["read"], summary="The run's log of stops, newest first", responses=NO_RUN)
async def get_run_stops(run_id: RunIdPath, service: Service, limit: Limit = 100) -> StopList:
    return _stops(await service.read(lambda connection: list_stops(connection, run_id=run_id, limit=limit)))


@router.get(
    "/projects/{project:path}/stops",
    tags=["read"],
    summary="The log of stops of all runs of a project, newest first",
    responses=NO_PROJECT,
)
async def get_project_stops(project: ProjectPath, service: Service, limit: Limit = 100) -> StopList:
    name = storable_text(project)
    return _stops(await service.read(lambda connection: list_stops(connection, project=name, limit=limit)))


@router.get(
    "/projects/{project:path}/goals",
    tags=["read"],
    summary="What a project wants of its runs, and what may be done about it",
    responses=NO_PROJECT,
)
async def get_goals(project: ProjectPath, service: Service) -> GoalsView:
    name = storable_text(project)
    return _goals(name, await service.read(lambda connection: read_project_policy(connection, name)))


@router.put(
    "/projects/{project:path}/goals",
    tags=["write"],
    summary="Set a project's goals, baselines, policy and mode",
    responses=NO_PROJECT,
)
async def put_goals(project: ProjectPath, said: Goals, service: Service) -> GoalsView:
    """Replaces all of it. Running runs are judged again within seconds, and no stop of before holds meanwhile."""
    name = storable_text(project)
    policy_named(said.policy, said.parameters)
    goals = {storable_text(metric): Goal(**goal.model_dump()) for metric, goal in said.goals.items()}

    def change(connection: Connection) -> tuple[list[str], GoalsView]:
        to_judge = save_project_policy(
            connection,
            name,
            mode=said.mode,
            policy=said.policy,
            parameters=said.parameters,
            goals=goals,
            baselines=said.baselines,
        )
        warnings = [f"No run of this project has logged {one!r} yet." for one in _unlogged(connection, name, goals)]
        return to_judge, _goals(name, read_project_policy(connection, name), warnings)

    to_judge, view = await service.write(change)
    service.ask_for_refit(set(to_judge))
    return view


def _unlogged(connection: Connection, project: str, goals: Mapping[str, Goal]) -> list[str]:
    return unlogged_metrics(connection, project, list(goals)) if goals else []


@router.get(
    "/projects/{project:path}/ranking",
    tags=["read"],
    summary="The runs of a project by where they will end, and whom to stop",
    responses=NO_PROJECT,
)
async def get_ranking(
    project: ProjectPath,
    service: Service,
    metric: Annotated[
        str | None, Query(max_length=600, description="Without it: the one by which most runs are judged.")
    ] = None,
    keep: Annotated[float, Query(gt=0, lt=1, description="Share that a round of halving keeps.")] = 0.5,
    threshold: Annotated[
        float | None, Query(ge=0, le=1, description="What if all that are less likely to be the best stopped?")
    ] = None,
) -> RankingView:
    """Runs without a forecast or an end, and those that failed or were stopped, are not ranked."""
    name = storable_text(project)
    asked = None if metric is None else storable_text(metric)

    def ranking(connection: Connection) -> RankingView:
        policy = read_project_policy(connection, name)
        chosen = asked or next(iter(policy.goals), None) or shared_metric(connection, name)
        if chosen is None:
            return _nothing_ranked(name, None)
        competitors, left_out = read_competitors(connection, name, chosen)
        if not competitors:
            return _nothing_ranked(name, chosen)
        lower = not metric_rises(connection, name, chosen)
        ranked = rank(competitors, lower_is_better=lower)
        is_live = any(one.is_live for one in competitors)
        return RankingView(
            project=name,
            metric=chosen,
            placings=[_placing(one) for one in ranked.placings],
            proposal=_proposal(ranked.proposal) if is_live else None,
            halving=_proposal(halve(competitors, keep=keep, lower_is_better=lower)) if is_live else None,
            threshold=None
            if threshold is None or not is_live
            else _proposal(at_threshold(competitors, threshold, lower_is_better=lower)),
            left_out=left_out,
            lower_is_better=lower,
        )

    return await service.read(ranking)


def _nothing_ranked(project: str, metric: str | None) -> RankingView:
    return RankingView(
        project=project,
        metric=metric,
        placings=[],
        proposal=None,
        halving=None,
        threshold=None,
        lower_is_better=True,
        left_out=0,
    )


def _verdict(state: StopState, stored: StoredVerdict | None, asked: str | None) -> VerdictView:
    stopping = {
        "run_id": state.run.id,
        "mode": state.policy.mode,
        "segment": state.run.segment,
        "should_stop": state.should_stop,
        "stop_sentence": state.sentence,
    }
    if stored is None:
        return VerdictView(
            **stopping,
            metric=asked,
            decision="undecided",
            sentence=_why_no_verdict(state, asked),
            policy=state.policy.policy,
            probability=None,
            reference="",
            expected_improvement=None,
            saved=None,
            saved_steps=None,
            regret=None,
            regret_interval=None,
            next_step=None,
            guards=[],
            comparisons=[],
            evidence={},
            step=None,
            since_step=None,
            confirmed=False,
            judged_at=None,
            goal=None,
            time=None,
        )
    return VerdictView(
        **stopping,
        **{"goal": None, "time": None, "confirmed": False, **_finite(stored.details)},
        metric=stored.metric,
        step=stored.step,
        since_step=stored.since_step,
        judged_at=stored.judged_at,
    )


def _finite(details: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers that JSON lacks are stored as words; where a number is meant there is none then."""
    words = {"NaN", "Infinity", "-Infinity"}
    found = {name: None if isinstance(value, str) and value in words else value for name, value in details.items()}
    interval = found.get("regret_interval")
    if interval is not None and words & {value for value in interval if isinstance(value, str)}:
        found["regret_interval"] = None
    return found


def _why_no_verdict(state: StopState, asked: str | None) -> str:
    if state.run.status != "running":
        return "The run is over; there is nothing left to decide."
    if asked is not None:
        return f"{asked} is not judged: only a metric with a goal and the one that lists show are."
    return "Nothing has been judged yet: a verdict needs a loss, some dozen points of it, and a worker (losscast work)."


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


def _stops(found: list[StopEntry]) -> StopList:
    return StopList(stops=[StopView(**{**asdict(one), "author": one.author.value}) for one in found])


def _placing(one: Placing) -> PlacingView:
    return PlacingView(
        run_id=one.run_id,
        name=one.name,
        rank=one.rank,
        chance_best=one.chance_best,
        expected_rank=one.expected_rank,
        p05=one.low,
        p50=one.median,
        p95=one.high,
        worth=one.worth,
        steps_left=one.steps_left,
        is_live=one.is_live,
        is_guarded=one.is_guarded,
        is_to_stop=one.is_to_stop,
    )


def _proposal(one: Proposal) -> ProposalView:
    return ProposalView(**{**asdict(one), "run_ids": list(one.run_ids)})
