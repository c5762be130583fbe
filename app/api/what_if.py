"""The route that answers "what if": the stored curve under another schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import Connection

from app.api.schemas import Asked, Number, PathPoint, PriorView, StepCount, StoredText, Whole, Wire, numbers
from app.api.service import BUSY, NO_RUN, ROUTE_ERRORS, RunIdPath, Service
from app.api.views import prior_view
from app.curves.curve import Curve
from app.curves.measure import Measure
from app.curves.plan import Plan
from app.errors import BadInput
from app.forecasting.forecast import Forecast, forecast_curve
from app.forecasting.unseen_rate import refuse_unheard_of
from app.forecasting.what_if import Answer, Cooldown, Question, answer, best_cooldown
from app.laws.prior import Prior
from app.runs import SiblingRun
from app.storage.curves import FittedRun, read_fitted_run
from app.storage.priors import named, read_priors

router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)


class AskedCooldown(Asked):
    """A decay from wherever the rate then is."""

    steps: StepCount | None = Field(
        None, description="How long it takes; left out: lengths are tried, and the best is answered."
    )
    start: Annotated[Whole, Field(ge=0, lt=2**62)] | None = Field(None, description="Left out: now.")
    shape: Literal["linear", "cosine", "sqrt", "exponential"] = "linear"
    final_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0


class WhatIf(Asked):
    """One of: a cooldown, another schedule for what is left, or only another total."""

    metric: StoredText | None = Field(
        None, max_length=600, description="A loss or an accuracy; without it: the one that lists show."
    )
    total_steps: StepCount | None = None
    cooldown: AskedCooldown | None = None
    schedule: dict[str, Any] | None = Field(None, description='Such as {"family": "cosine"}; docs/schedules.md.')


class WhatIfView(Wire):
    metric: str
    cutoff: int
    horizon: int
    asked: str = Field(description="The question in words, as it was understood.")
    final: dict[str, Number]
    planned_final: dict[str, Number] = Field(description="The same under the plan as it stands.")
    path: list[PathPoint]
    rates: list[dict[str, float]]
    prior: PriorView
    notes: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What a question is about: a metric as it was last fitted, and whose end its forecasts are judged from."""

    metric: str
    curve: Curve
    measure: Measure
    fitted: FittedRun
    prior: Prior | None
    siblings: tuple[SiblingRun, ...]


@router.post(
    "/runs/{run_id}/what-if",
    tags=["read"],
    summary="Forecast under another schedule or budget",
    responses=NO_RUN | BUSY,
)
async def what_if(run_id: RunIdPath, asked: WhatIf, service: Service) -> WhatIfView:
    """Nothing is stored and nothing about the run changes."""

    def read(connection: Connection) -> Subject:
        fitted = read_fitted_run(connection, run_id)
        metric, curve, measure = fitted.to_forecast(asked.metric)
        stored = read_priors(connection, run_id).get(metric)
        siblings = named(connection, stored.siblings) if stored else ()
        return Subject(metric, curve, measure, fitted, stored.prior if stored else None, siblings)

    return await service.what_ifs.run(_answered, await service.read(read), asked)


def _answered(about: Subject, asked: WhatIf) -> WhatIfView:
    metric, curve = about.metric, about.curve
    plan = about.fitted.plan(curve.cutoff)
    found = _answer(about, plan, asked)
    refuse_unheard_of(plan, curve.cutoff)
    planned = forecast_curve(curve, plan, about.prior, measure=about.measure)
    path = found.forecast
    return WhatIfView(
        metric=metric,
        cutoff=path.cutoff,
        horizon=path.horizon,
        asked=found.plan.schedule_why,
        final=_final(path),
        planned_final=_final(planned),
        path=[
            PathPoint(step=step, **numbers(dict(zip(("p05", "p25", "p50", "p75", "p95"), column, strict=True))))
            for step, column in zip(path.path_steps.tolist(), path.quantiles.T.tolist(), strict=True)
        ],
        rates=[
            {"step": step, "rate": rate}
            for step, rate in zip(
                path.path_steps.tolist(), found.plan.schedule.rate_at(path.path_steps).tolist(), strict=True
            )
        ],
        prior=prior_view(about.siblings),
        notes=[*([found.caveat] if found.caveat else []), *path.notes],
    )


def _answer(about: Subject, plan: Plan, asked: WhatIf) -> Answer:
    cooldown = asked.cooldown
    if cooldown is not None and cooldown.steps is None:
        if asked.schedule is not None or cooldown.start is not None or asked.total_steps is not None:
            raise BadInput(
                "A cooldown without steps looks for the best length up to the planned end; ask nothing else."
            )
        return best_cooldown(about.curve, plan, cooldown.shape, about.prior, measure=about.measure)[0]
    question = Question(
        total_steps=asked.total_steps,
        cooldown=None
        if cooldown is None or cooldown.steps is None
        else Cooldown(cooldown.steps, cooldown.start, cooldown.shape, cooldown.final_fraction),
        schedule=asked.schedule,
    )
    return answer(about.curve, plan, question, about.prior, measure=about.measure)


def _final(forecast: Forecast) -> dict[str, Number]:
    quantiles = {f"p{round(100 * level):02d}": value for level, value in forecast.final_quantiles.items()}
    return numbers({"mean": forecast.final_mean, **quantiles})
