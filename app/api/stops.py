"""The routes of the log of stops: who stopped what, and why."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from app.api.schemas import Wire
from app.api.service import NO_PROJECT, NO_RUN, ROUTE_ERRORS, ProjectPath, RunIdPath, Service
from app.storage.stops import StopEntry, list_stops
from app.verdicts.stopping import StopEvent

router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)

Limit = Annotated[int, Query(ge=1, le=1000)]


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
    return _stops(await service.read(lambda connection: list_stops(connection, project=project, limit=limit)))


def _stops(found: list[StopEntry]) -> StopList:
    return StopList(stops=[StopView(**{**asdict(one), "author": one.author.value}) for one in found])
