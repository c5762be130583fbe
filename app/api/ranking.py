"""The route of the ranking: where a project's runs will end, and whom to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import Connection

from app.api.schemas import MetricName, Wire
from app.api.service import NO_PROJECT, ROUTE_ERRORS, ProjectPath, Service
from app.storage.goals import read_project_policy
from app.storage.verdicts import metric_rises, read_competitors, read_unforeseen, read_unranked, shared_metric
from app.verdicts.sweep import Placing, Proposal, at_threshold, halve, rank

router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)


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


class UnrankedView(Wire):
    """A run of the project that is ranked no more."""

    run_id: str
    name: str
    why: str = Field(description="stopped, failed, or silent: running, and not heard of for half an hour.")


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
    unforeseen: list[str] = Field(
        description="Ids of running runs that are not ranked: their rate is still to go where nobody has seen one."
    )
    not_ranked: list[UnrankedView] = Field(
        description="Runs with this metric that were stopped, failed or fell silent, newest first; at most 200."
    )


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
        MetricName | None, Query(description="Without it: the one by which most runs are judged.")
    ] = None,
    keep: Annotated[float, Query(gt=0, lt=1, description="Share that a round of halving keeps.")] = 0.5,
    threshold: Annotated[
        float | None, Query(ge=0, le=1, description="What if all that are less likely to be the best stopped?")
    ] = None,
) -> RankingView:
    """Runs without a forecast or an end, and those that failed or were stopped, are not ranked; nor is a forecast
    counted across a rate that nobody has seen."""

    def ranking(connection: Connection) -> RankingView:
        policy = read_project_policy(connection, project)
        chosen = metric or next(iter(policy.goals), None) or shared_metric(connection, project)
        if chosen is None:
            return _nothing_ranked(project, None)
        competitors, left_out = read_competitors(connection, project, chosen)
        unforeseen = list(read_unforeseen(connection, project, chosen))
        unranked = [UnrankedView(**asdict(one)) for one in read_unranked(connection, project, chosen)]
        if not competitors:
            return _nothing_ranked(project, chosen, unforeseen, unranked)
        lower = not metric_rises(connection, project, chosen)
        ranked = rank(competitors, lower_is_better=lower)
        is_live = any(one.is_live for one in competitors)
        return RankingView(
            project=project,
            metric=chosen,
            placings=[_placing(one) for one in ranked.placings],
            proposal=_proposal(ranked.proposal) if is_live else None,
            halving=_proposal(halve(competitors, keep=keep, lower_is_better=lower)) if is_live else None,
            threshold=None
            if threshold is None or not is_live
            else _proposal(at_threshold(competitors, threshold, lower_is_better=lower)),
            left_out=left_out,
            unforeseen=unforeseen,
            not_ranked=unranked,
            lower_is_better=lower,
        )

    return await service.read(ranking)


def _nothing_ranked(
    project: str, metric: str | None, unforeseen: Sequence[str] = (), unranked: Sequence[UnrankedView] = ()
) -> RankingView:
    return RankingView(
        project=project,
        metric=metric,
        placings=[],
        proposal=None,
        halving=None,
        threshold=None,
        lower_is_better=True,
        left_out=0,
        unforeseen=list(unforeseen),
        not_ranked=list(unranked),
    )


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
