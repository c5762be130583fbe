"""Routes that delete runs and projects for good."""

from __future__ import annotations

from fastapi import APIRouter
from sqlalchemy import Connection

from app.api.schemas import ErrorBody, Wire
from app.api.service import NO_RUN, ROUTE_ERRORS, ProjectPath, Responses, RunIdPath, Service
from app.errors import NotFound
from app.storage import deletion

router = APIRouter(prefix="/api/v1", responses=ROUTE_ERRORS)

_PROJECT_ERRORS: Responses = {
    404: {"model": ErrorBody, "description": "No such project."},
    409: {"model": ErrorBody, "description": "A run has come to the project meanwhile; ask again."},
}


class Deleted(Wire):
    deleted: list[str]


@router.delete("/runs/{run_id}", tags=["write"], summary="Delete a run and all that belongs to it", responses=NO_RUN)
async def delete_run(run_id: RunIdPath, service: Service) -> Deleted:
    """For good: points, forecasts and their scores, diagnoses, verdicts, alerts. A job that still writes to it is
    answered 410 and trains on; POST /runs with its id makes it anew, empty."""
    listeners = await service.write(lambda connection: deletion.delete_run(connection, run_id))
    service.ask_for_refit(set(listeners))
    return Deleted(deleted=[run_id])


@router.delete(
    "/projects/{name:path}",
    tags=["write"],
    summary="Delete a project with all its runs",
    responses=_PROJECT_ERRORS,
)
async def delete_project(name: ProjectPath, service: Service) -> Deleted:
    """Run by run, then the project's goals and policy. If it is cut short, ask again for the rest."""
    deleted = []
    for run_id in await service.read(lambda connection: deletion.project_runs(connection, name)):
        if await service.write(lambda connection, run_id=run_id: _delete_if_there(connection, run_id)):  # type: ignore[misc]
            deleted.append(run_id)
    await service.write(lambda connection: deletion.delete_project(connection, name))
    return Deleted(deleted=deleted)


def _delete_if_there(connection: Connection, run_id: str) -> bool:
    try:
        deletion.delete_run(connection, run_id)
    except NotFound:
        return False  # somebody else was quicker
    return True
