"""What every route is given, and the errors that it may answer with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Path, Query, Request
from sqlalchemy import Connection

from app.api.group_commit import GroupCommit
from app.api.schemas import ErrorBody, MetricName, Name, RunId, StoredText
from app.calculations import Calculations
from app.storage.database import Database

Result = TypeVar("Result")
Responses = dict[int | str, dict[str, Any]]  # status -> what the API's description says of it
RunIdPath = Annotated[RunId, Path(description="The run's id.")]
ProjectPath = Annotated[StoredText, Path(max_length=500, description="The project's name; it may hold slashes.")]
NewProjectPath = Annotated[Name, Path(description="The project's name; it may hold slashes, and need not exist yet.")]
Metric = Annotated[MetricName | None, Query(description="Without it: the loss that lists show.")]

ROUTE_ERRORS: Responses = {
    401: {"model": ErrorBody, "description": "Keys are on and none, or no good one, was sent."},
    403: {"model": ErrorBody, "description": "Keys are off and the request did not come from this machine itself."},
    422: {"model": ErrorBody, "description": "The request cannot be used; the message says what to send."},
    503: {"model": ErrorBody, "description": "The database does not answer or is full; try again after Retry-After."},
}
NO_RUN: Responses = {404: {"model": ErrorBody, "description": "No such run, or metric."}}
NO_PROJECT: Responses = {404: {"model": ErrorBody, "description": "No such project."}}
GONE: Responses = {
    410: {"model": ErrorBody, "description": "The run was deleted; what a job still sends of it is not kept."}
}
BUSY: Responses = {
    429: {"model": ErrorBody, "description": "So many of these are being worked out; ask again after Retry-After."}
}
WRITE_ERRORS: Responses = {
    400: {"model": ErrorBody, "description": "The request is not HTTP as it should be."},
    413: {"model": ErrorBody, "description": "The body is over the limit (32 MiB unless changed), unpacked."},
    415: {"model": ErrorBody, "description": "A Content-Encoding other than gzip."},
    429: {"model": ErrorBody, "description": "Too much waits to be stored; send the same again after Retry-After."},
}


@dataclass(frozen=True, slots=True)
class ApiService:
    """What the routes work with."""

    database: Database
    commits: GroupCommit
    ask_for_refit: Callable[[set[str]], None]
    public_url: Callable[[Request], str]
    body_limit: int
    fits: Calculations = field(default_factory=lambda: Calculations(most_running=1, most_waiting=4, seconds=5.0))
    what_ifs: Calculations = field(default_factory=lambda: Calculations(most_running=2, most_waiting=16, seconds=1.0))

    async def read(self, query: Callable[[Connection], Result]) -> Result:
        return await asyncio.to_thread(self._in_snapshot, query)

    def _in_snapshot(self, query: Callable[[Connection], Result]) -> Result:
        with self.database.read() as connection:
            return query(connection)

    async def write(self, change: Callable[[Connection], Result]) -> Result:
        return await asyncio.to_thread(self._in_transaction, change)

    def _in_transaction(self, change: Callable[[Connection], Result]) -> Result:
        with self.database.write() as connection:
            return change(connection)


def _service(request: Request) -> ApiService:
    found: ApiService = request.app.state.api
    return found


Service = Annotated[ApiService, Depends(_service)]
