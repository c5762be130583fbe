"""The routes of the track record: how good past forecasts were, of a run and of a project."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from app.api.schemas import MetricName, Number, Wire, number
from app.api.service import NO_PROJECT, NO_RUN, ROUTE_ERRORS, Metric, ProjectPath, RunIdPath, Service
from app.forecasting.track_record import Bucket, Coverage, buckets, reliability
from app.storage.project_record import ProjectTrackRecord, ScoredRun, project_track_record
from app.storage.track_record import RunTrackRecord, ScoredForecast, run_track_record

router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)


class ForecastScores(Wire):
    """One forecast against what happened. All errors are over the truth: 0.01 is 1 %."""

    judged_step: int = Field(description="The forecast's horizon or the run's end, whichever came first.")
    actual: Number = Field(description="The level there: the mean of the last 2 % of the points up to it.")
    horizon_off: bool = Field(
        description="The run did not end where the plan said. Ended early: judged by the forecast's path where it "
        "ended. Went on: judged at the horizon."
    )
    stands: bool = Field(description="False where a restart went back behind the cutoff.")
    seen: float = Field(description="Cutoff over the run's last step.")
    p05: Number
    p50: Number
    p95: Number
    error: Number = Field(description="Of the median; positive: the forecast was too high.")
    cover50: bool
    cover80: bool
    cover90: bool
    crps: Number
    log_score: Number = Field(description="Log density, per truth; large is good, at least -10.")
    pit: float = Field(description="Probability that the forecast gave to no more than the truth.")


class ForecastRecord(Wire):
    cutoff: int
    horizon: int
    made_at: datetime
    scores: ForecastScores | None = Field(
        description="null before the run has ended, where it ended in no finite number, and for a forecast made at "
        "its very end."
    )


class RunRecord(Wire):
    metric: str | None
    end_step: int | None = Field(description="null until the run has ended and is scored, seconds later.")
    actual: Number = Field(description="What the run came to: the mean of the last 2 % of its points.")
    forecasts: list[ForecastRecord]


class CoverageView(Wire):
    """How often a band held, over runs, with a 95 % interval (Wilson)."""

    stated: float
    held: float = Field(description="Runs inside; a fraction where a run's forecasts were averaged first.")
    n_runs: int
    share: float
    low: float
    high: float


class BucketView(Wire):
    seen_from: float
    seen_to: float
    n_runs: int
    median_error: Number = Field(description="Median over runs of each run's mean absolute error.")
    mean_crps: Number
    coverage: list[CoverageView]


class ProjectRunView(Wire):
    id: str
    name: str
    metric: str
    end_step: int
    actual: Number
    n_forecasts: int


class ProjectRecord(Wire):
    """Finished runs, each counted once: a run's forecasts share its fate, so they are averaged inside it first."""

    project: str
    n_runs: int = Field(description="Finished runs with forecasts of their end, the newest 500.")
    n_finished: int
    n_waiting: int = Field(description="Finished, with forecasts that are still to be scored.")
    buckets: list[BucketView] = Field(description="By the fraction of the run that had been seen.")
    reliability: list[CoverageView] = Field(
        description="By stated band, from one forecast a run: the one made nearest to half-way (30 to 70 %)."
    )
    runs: list[ProjectRunView]


@router.get(
    "/runs/{run_id}/track-record",
    tags=["read"],
    summary="How good the run's past forecasts were",
    responses=NO_RUN,
)
async def get_run_track_record(
    run_id: RunIdPath, service: Service, metric: Metric = None, limit: Annotated[int, Query(ge=1, le=5000)] = 500
) -> RunRecord:
    """Scores come once the run has ended, and again whenever its end changes."""
    found = await service.read(lambda connection: run_track_record(connection, run_id, metric, limit))
    return _run_record(metric, found)


@router.get(
    "/projects/{project:path}/track-record",
    tags=["read"],
    summary="How good the forecasts of a project's finished runs were",
    responses=NO_PROJECT,
)
async def get_project_track_record(
    project: ProjectPath,
    service: Service,
    metric: Annotated[MetricName | None, Query(description="Without it: of each run the loss that lists show.")] = None,
) -> ProjectRecord:
    found = await service.read(lambda connection: project_track_record(connection, project, metric))
    return _project_record(project, found)


def _run_record(asked: str | None, found: RunTrackRecord | None) -> RunRecord:
    if found is None:
        return RunRecord(metric=asked, end_step=None, actual=None, forecasts=[])
    outcome = found.outcome
    return RunRecord(
        metric=found.metric,
        end_step=outcome.end_step if outcome else None,
        actual=number(outcome.actual) if outcome else None,
        forecasts=[_forecast_record(one) for one in found.forecasts],
    )


def _forecast_record(one: ScoredForecast) -> ForecastRecord:
    return ForecastRecord(
        cutoff=one.point.cutoff, horizon=one.point.horizon, made_at=one.point.made_at, scores=_scores(one)
    )


def _scores(one: ScoredForecast) -> ForecastScores | None:
    judged = one.judged
    if judged is None:
        return None
    return ForecastScores(
        judged_step=judged.judged_step,
        actual=number(judged.actual),
        horizon_off=judged.horizon_off,
        stands=judged.stands,
        seen=judged.seen,
        p05=number(judged.p05),
        p50=number(judged.p50),
        p95=number(judged.p95),
        error=number(judged.score.error),
        cover50=judged.score.cover50,
        cover80=judged.score.cover80,
        cover90=judged.score.cover90,
        crps=number(judged.score.crps_rel),
        log_score=number(judged.score.log_score),
        pit=judged.score.pit,
    )


def _project_record(project: str, found: ProjectTrackRecord) -> ProjectRecord:
    return ProjectRecord(
        project=project,
        n_runs=len(found.runs),
        n_finished=found.n_finished,
        n_waiting=found.n_waiting,
        buckets=[_bucket_view(bucket) for bucket in buckets(found.bins)],
        reliability=_coverage_views(reliability([run.half_way.score for run in found.runs if run.half_way])),
        runs=[_run_view(run) for run in found.runs],
    )


def _bucket_view(bucket: Bucket) -> BucketView:
    return BucketView(
        seen_from=bucket.low,
        seen_to=bucket.high,
        n_runs=bucket.n_runs,
        median_error=number(bucket.median_error),
        mean_crps=number(bucket.mean_crps),
        coverage=_coverage_views(bucket.coverage),
    )


def _coverage_views(found: Sequence[Coverage]) -> list[CoverageView]:
    return [
        CoverageView(stated=one.stated, held=one.held, n_runs=one.n_runs, share=one.share, low=one.low, high=one.high)
        for one in found
    ]


def _run_view(run: ScoredRun) -> ProjectRunView:
    return ProjectRunView(
        id=run.id,
        name=run.name,
        metric=run.metric,
        end_step=run.end_step,
        actual=number(run.actual),
        n_forecasts=run.n_forecasts,
    )
