"""The route that predicts other schedules from finished runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field, StringConstraints

from app.api.schemas import Asked, MetricName, Number, PathPoint, RunId, StepCount, Wire, number, numbers
from app.api.service import BUSY, NO_RUN, ROUTE_ERRORS, Service
from app.forecasting.other_schedules.candidate import candidate
from app.forecasting.other_schedules.compare import MOST_CANDIDATES, compare_schedules
from app.forecasting.other_schedules.comparison import Comparison, Prediction
from app.forecasting.other_schedules.fitted_runs import MOST_RUNS
from app.forecasting.recorded_run import RecordedRun
from app.storage.recorded_runs import read_recorded_runs

router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)


class AskedFit(Asked):
    """Finished runs of one recipe, and schedules that nobody has trained under yet."""

    runs: Annotated[list[RunId], Field(min_length=1, max_length=MOST_RUNS, description="Ids of runs that have ended.")]
    metric: MetricName | None = Field(None, description="Without it: the first run's loss that lists show.")
    schedules: Annotated[
        list[dict[str, Any] | Annotated[str, StringConstraints(max_length=100)]],
        Field(
            default_factory=list,
            max_length=MOST_CANDIDATES,
            description='Families or objects such as {"family": "cosine", "total_steps": 30000}; docs/schedules.md. '
            "Peak, warm-up and total that are left out are the fitted runs'.",
        ),
    ]
    total_steps: StepCount | None = Field(None, description="Of every schedule that names none.")


class FittedView(Wire):
    id: str
    name: str
    total_steps: int
    peak_rate: Number
    final: Number = Field(description="Where it ended, as everywhere else: mean of the last 2 % of its points.")


class LawView(Wire):
    parameters: dict[str, Number]
    mean_relative_error: Number = Field(
        description="Over the fitted runs after the warm-up, by bins; `losscast fit` counts each point, noise and all."
    )
    final_error: Number = Field(description="Mean size over the fitted runs.")
    notes: list[str] = Field(description="Why this law may be none for these runs, as `losscast fit` says it.")


class LeftOutView(Wire):
    name: str
    predicted: Number = Field(description="From the other runs alone.")
    actual: Number


class PredictionView(Wire):
    asked: str = Field(description="The schedule in words, as it was understood.")
    position: int = Field(description="Its place in the request, from 0.")
    total_steps: int
    final: dict[str, Number]
    against_best_run: Number = Field(description="Expected final value less the lowest final of the fitted runs.")
    by_law: dict[str, Number]
    path: list[PathPoint]
    rates: list[dict[str, float]]
    notes: list[str] = Field(description="In what it goes beyond every fitted run.")


class FitView(Wire):
    metric: str
    runs: list[FittedView]
    laws: dict[str, LawView]
    left_out: list[LeftOutView] = Field(description="Each run predicted from the others; empty with one run.")
    predictions: list[PredictionView] = Field(
        description="Lowest expected final value first; after them those with a peak rate above twice every run's."
    )
    notes: list[str]


@router.post(
    "/fit",
    tags=["read"],
    summary="Predict other schedules from finished runs",
    response_model=FitView,
    responses=NO_RUN | BUSY,
)
async def fit(asked: AskedFit, service: Service) -> FitView:
    """Nothing is stored. Takes up to some seconds with several runs; one is worked out at a time, and four may wait."""
    recorded = await service.read(lambda connection: read_recorded_runs(connection, asked.runs, asked.metric))
    return await service.fits.run(_compared, recorded, asked)


def _compared(recorded: Sequence[tuple[str, RecordedRun]], asked: AskedFit) -> FitView:
    runs = [run for _, run in recorded]
    candidates = [candidate(said, runs, total_steps=asked.total_steps) for said in asked.schedules]
    found = compare_schedules(runs, candidates)
    return FitView(
        metric=runs[0].metric,
        runs=[
            FittedView(
                id=run_id,
                name=run.name,
                total_steps=run.total_steps,
                peak_rate=number(None if run.schedule is None else run.schedule.peak),
                final=number(run.final_loss()),
            )
            for run_id, run in recorded
        ],
        laws=_laws(found),
        left_out=[
            LeftOutView(name=one.name, predicted=number(one.predicted), actual=number(one.actual))
            for one in found.left_out
        ],
        predictions=[_prediction(one, found, candidates.index(one.candidate)) for one in found.predictions],
        notes=list(found.notes),
    )


def _laws(found: Comparison) -> dict[str, LawView]:
    return {
        law.law.name: LawView(
            parameters=numbers(law.parameters()),
            mean_relative_error=number(found.overall[law.law.name].mean_relative_error),
            final_error=number(found.overall[law.law.name].final_error),
            notes=list(found.reservations[law.law.name]),
        )
        for law in found.fits
    }


def _prediction(one: Prediction, found: Comparison, position: int) -> PredictionView:
    quantiles = {f"p{round(100 * level):02d}": value for level, value in one.final_quantiles.items()}
    return PredictionView(
        asked=one.candidate.words,
        position=position,
        total_steps=one.candidate.total_steps,
        final=numbers({"mean": one.final_mean, **quantiles}),
        against_best_run=number(one.final_mean - found.best_run.final_loss()),
        by_law=numbers(one.by_law),
        path=[
            PathPoint(step=step, **numbers(dict(zip(("p05", "p25", "p50", "p75", "p95"), column, strict=True))))
            for step, column in zip(one.steps.tolist(), one.quantiles.T.tolist(), strict=True)
        ],
        rates=[
            {"step": step, "rate": rate}
            for step, rate in zip(one.steps.tolist(), one.candidate.schedule.rate_at(one.steps).tolist(), strict=True)
        ],
        notes=list(one.notes),
    )
