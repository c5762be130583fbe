"""The route that answers "what if": the stored curve under another schedule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import Connection

from app.api.schemas import Asked, MetricName, Number, PathPoint, PriorView, StepCount, Whole, Wire, numbers
from app.api.service import BUSY, NO_RUN, ROUTE_ERRORS, RunIdPath, Service
from app.api.views import prior_view
from app.curves.curve import Curve
from app.curves.measure import Measure
from app.curves.plan import Plan
from app.errors import BadInput
from app.forecasting.asked_plan import COOLDOWN_SHAPES, Cooldown, Question
from app.forecasting.forecast import Forecast, forecast_curve
from app.forecasting.unseen_rate import refuse_unheard_of
from app.forecasting.what_if import Answer, answer, best_cooldown, in_a_tie
from app.laws.prior import Prior
from app.runs import SiblingRun
from app.storage.curves import FittedRun, read_fitted_run
from app.storage.priors import named, read_priors

router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)


Shape = Literal["linear", "cosine", "sqrt", "exponential"]
Start = Annotated[Whole, Field(ge=0, lt=2**62)]
FinalFraction = Annotated[float, Field(ge=0, le=1, description="The rate at its end over that at its start.")]


class AskedCooldown(Asked):
    """A decay from wherever the rate then is."""

    steps: StepCount | None = Field(
        None, description="How long it takes; left out: lengths are tried, and the best is answered."
    )
    start: Start | None = Field(None, description="Left out: now.")
    shape: Shape = "linear"
    final_fraction: FinalFraction = 0.0


class AskedBest(Asked):
    """The best of the decays that end with the budget: begins and shapes are tried."""

    shape: Shape | None = Field(None, description="Left out: every one of them.")
    final_fraction: FinalFraction = 0.0


class WhatIf(Asked):
    """One of: a cooldown, another schedule for what is left, the best decay for a budget, or only another total."""

    metric: MetricName | None = Field(None, description="A loss or an accuracy; without it: the one that lists show.")
    total_steps: StepCount | None = Field(None, description="The budget; left out: where the plan ends.")
    cooldown: AskedCooldown | None = None
    schedule: dict[str, Any] | None = Field(
        None,
        description='Such as {"family": "cosine"}; docs/schedules.md. Its peak, unless named, is the rate that there '
        "is where it takes over.",
    )
    start: Start | None = Field(None, description="Step at which the schedule takes over; left out: now.")
    hold: bool = Field(False, description="Until a cooldown or schedule begins, keep the rate of now, not the plan's.")
    best: AskedBest | None = None


class TriedView(Wire):
    asked: str
    final: dict[str, Number]


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
    tried: list[TriedView] = Field(description="All that was tried where the best was asked for, best first.")


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
    answers = _answers(about, plan, asked)
    found = answers[0]
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
        notes=[*filter(None, [in_a_tie(answers), found.caveat]), *path.notes],
        tried=[TriedView(asked=one.plan.schedule_why, final=_final(one.forecast)) for one in answers]
        if len(answers) > 1
        else [],
    )


def _answers(about: Subject, plan: Plan, asked: WhatIf) -> list[Answer]:
    """The answer, or all that were tried for it, the best first."""
    cooldown = asked.cooldown
    if asked.best is not None:
        if cooldown is not None or asked.schedule is not None or asked.start is not None:
            raise BadInput("best looks for where to begin itself: beside it ask for total_steps and hold only.")
        shapes = tuple(COOLDOWN_SHAPES) if asked.best.shape is None else (asked.best.shape,)
        return _tried(about, plan, asked, shapes, asked.best.final_fraction)
    if cooldown is not None and cooldown.steps is None:
        if asked.schedule is not None or cooldown.start is not None:
            raise BadInput(
                "A cooldown without steps looks for the best length up to the end: ask for no start and no schedule."
            )
        return _tried(about, plan, asked, (cooldown.shape,), cooldown.final_fraction)
    question = Question(
        total_steps=asked.total_steps,
        cooldown=None
        if cooldown is None or cooldown.steps is None
        else Cooldown(cooldown.steps, cooldown.start, cooldown.shape, cooldown.final_fraction),
        schedule=asked.schedule,
        start=asked.start,
        hold=asked.hold,
    )
    return [answer(about.curve, plan, question, about.prior, measure=about.measure)]


def _tried(about: Subject, plan: Plan, asked: WhatIf, shapes: Sequence[str], final_fraction: float) -> list[Answer]:
    return best_cooldown(
        about.curve,
        plan,
        shapes,
        about.prior,
        measure=about.measure,
        total_steps=asked.total_steps,
        final_fraction=final_fraction,
        hold=asked.hold,
    )


def _final(forecast: Forecast) -> dict[str, Number]:
    quantiles = {f"p{round(100 * level):02d}": value for level, value in forecast.final_quantiles.items()}
    return numbers({"mean": forecast.final_mean, **quantiles})
