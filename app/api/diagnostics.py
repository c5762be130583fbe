"""The route of the diagnostics: what was said of a run, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import Connection

from app.api.schemas import Wire
from app.api.service import NO_RUN, ROUTE_ERRORS, RunIdPath, Service
from app.diagnostics.advice import worth_logging
from app.diagnostics.dynamics.dynamic import Dynamic
from app.diagnostics.event import Event, Severity
from app.storage.diagnoses import EVENTS_SHOWN, Health, read_health
from app.storage.dynamics import read_dynamics

router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)


class EventView(Wire):
    """Something that happened to the run, or may be about to."""

    kind: str
    severity: Severity
    step: int = Field(description="Where it shows.")
    raised_at: int = Field(description="The step at which it was said; it depends on no later point.")
    resolved_at: int | None = Field(description="The step at which it was over; null while it lasts.")
    outcome: str | None = Field(description="How it went on, once that is known.")
    probability: float | None = Field(description="Where it is a forecast.")
    message: str
    evidence: dict[str, Any] = Field(description='Numbers; "NaN" and the infinities are strings.')
    inputs: list[str] = Field(description="The metrics that decided.")
    sharpen: list[str] = Field(description="Signals that are not logged and would have said more.")


class RiskView(Wire):
    horizon: int = Field(description="In steps from the last one read.")
    probability: float


class DynamicView(Wire):
    """How something moves over the run: a law, a trend or a phase. No fault."""

    kind: str
    metrics: list[str] = Field(description="What it was read off.")
    text: str
    numbers: dict[str, float | None] = Field(description="Null where something could not be said.")


class Diagnostics(Wire):
    """All null and empty before the worker's first look."""

    read_to: int | None = Field(description="The last step that was read.")
    complete: bool = Field(description="False while a long run is still read, and after a fault of ours.")
    updated_at: datetime | None
    states: dict[str, str] = Field(description="Diagnosis -> where the run stands, in words.")
    risk: list[RiskView] = Field(
        description="Of a divergence, spike or NaN. docs/diagnostics.md: where it is calibrated."
    )
    events: list[EventView] = Field(description="In the order they were raised; of many the open and the newest.")
    watched: dict[str, str] = Field(description="Signal -> the metric that stands for it.")
    worth_logging: dict[str, str] = Field(description="Signal that is not logged -> what it would add.")
    dynamics: list[DynamicView] = Field(description="Read off what a probe logs; empty without one.")


@router.get(
    "/runs/{run_id}/diagnostics", tags=["read"], summary="What the diagnostics say of the run", responses=NO_RUN
)
async def get_diagnostics(
    run_id: RunIdPath, service: Service, limit: Annotated[int, Query(ge=1, le=5000)] = EVENTS_SHOWN
) -> Diagnostics:
    def read(connection: Connection) -> tuple[Health | None, list[Dynamic]]:
        health = read_health(connection, run_id, limit)
        return health, [] if health is None else read_dynamics(connection, run_id, health.watched)

    return _view(*await service.read(read))


def _view(health: Health | None, dynamics: Sequence[Dynamic]) -> Diagnostics:
    if health is None:
        return Diagnostics(
            read_to=None,
            complete=False,
            updated_at=None,
            states={},
            risk=[],
            events=[],
            watched={},
            worth_logging={},
            dynamics=[],
        )
    return Diagnostics(
        read_to=health.read_to,
        complete=health.is_complete and not health.has_failed,
        updated_at=health.updated_at,
        states=dict(health.states),
        risk=[RiskView(horizon=steps, probability=chance) for steps, chance in sorted(health.risk.items())],
        events=[_event(event) for event in health.events],
        watched=dict(health.watched),
        worth_logging=worth_logging(health.watched),
        dynamics=[
            DynamicView(kind=one.kind, metrics=list(one.metrics), text=one.text, numbers=one.numbers)
            for one in dynamics
        ],
    )


def _event(event: Event) -> EventView:
    return EventView(
        kind=event.kind,
        severity=event.severity,
        step=event.step,
        raised_at=event.raised_at,
        resolved_at=event.resolved_at,
        outcome=event.outcome or None,
        probability=event.probability,
        message=event.message,
        evidence=event.evidence,
        inputs=list(event.inputs),
        sharpen=list(event.sharpen),
    )
