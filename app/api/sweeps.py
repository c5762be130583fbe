"""The route of learning-rate sweeps: how much the rate matters in a project."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import Field

from app.api.schemas import Number, Wire, number
from app.api.service import NO_PROJECT, ROUTE_ERRORS, ProjectPath, Service
from app.diagnostics.dynamics.best_rate import RateMean
from app.storage.sweeps import Sweep, read_sweeps

router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)


class SweptRunView(Wire):
    id: str
    peak_rate: float
    final: Number = Field(description='Over the last 2 % of the steps; "NaN" where the run became NaN.')
    has_diverged: bool = Field(description="Diagnosed as diverged, and not come back: no part of `seed_deviation`.")


class LeftOutView(Wire):
    """A run that was stopped, ended well before the others or went on well beyond them."""

    id: str
    name: str
    peak_rate: float
    why: str


class RateView(Wire):
    """The runs at one rate against those at the best."""

    rate: float
    final: float = Field(description="Mean over the runs at this rate.")
    runs: int
    behind: float = Field(description="How much worse than the best rate's mean.")
    reach: Number = Field(description='How far behind chance alone can set it (95 %); "Infinity" where it is unknown.')


class SweepView(Wire):
    """Runs that finished or failed, and whose settings differ in the learning rate alone."""

    metric: str
    settings: dict[str, Any] = Field(description="In what this sweep differs from the project's others.")
    sensitivity: float = Field(
        description="Mean over the logarithm of the rate of min(final, first) less the best: docs/diagnostics.md."
    )
    first: float = Field(description="The loss at the start, the median of the runs.")
    best_rate: float
    best: float = Field(description="Mean over the runs at the best rate.")
    is_clear: bool = Field(description="No other rate is within the noise of the best.")
    alike: list[RateView] = Field(description="Rates that cannot be told from the best, the nearest first.")
    runner_up: RateView
    seed_deviation: float | None = Field(
        description="What runs at one rate differ by; null where no rate was run twice: then noise is that of the ends."
    )
    is_edge_best: bool = Field(description="The best rate is the smallest or largest: a better one may lie outside.")
    diverged: int = Field(
        description="Runs that ended where they began or worse: they gained less than a tenth of what the best did."
    )
    runs: list[SweptRunView] = Field(description="By rate.")
    left_out: list[LeftOutView] = Field(description="Runs of the sweep that are not compared, by rate.")


@router.get(
    "/projects/{project:path}/sweeps",
    tags=["read"],
    summary="How much the learning rate matters in a project",
    responses=NO_PROJECT,
)
async def get_sweeps(project: ProjectPath, service: Service) -> list[SweepView]:
    found = await service.read(lambda connection: read_sweeps(connection, project))
    return [_view(sweep) for sweep in found]


def _view(sweep: Sweep) -> SweepView:
    found, best = sweep.found, sweep.best_rate
    return SweepView(
        metric=sweep.metric,
        settings=sweep.settings,
        sensitivity=found.value,
        first=found.first,
        best_rate=found.best_rate,
        best=found.best,
        is_clear=best.is_clear,
        alike=[_rate_view(one) for one in best.alike],
        runner_up=_rate_view(best.runner_up),
        seed_deviation=best.seed_deviation,
        is_edge_best=found.is_edge_best,
        diverged=found.diverged,
        runs=[
            SweptRunView(id=run.run_id, peak_rate=run.peak_rate, final=number(run.final), has_diverged=run.has_diverged)
            for run in sweep.runs
        ],
        left_out=[
            LeftOutView(id=run.run_id, name=run.name, peak_rate=run.peak_rate, why=run.why) for run in sweep.left_out
        ],
    )


def _rate_view(one: RateMean) -> RateView:
    return RateView(rate=one.rate, final=one.final, runs=one.n_runs, behind=one.behind, reach=number(one.reach))
