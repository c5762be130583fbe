"""Whether the service does its work, for monitoring: one answer for all of it, one for this process, and numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import Field
from sqlalchemy import Connection

from app import __version__
from app.api.schemas import ErrorBody, Wire
from app.api.service import ROUTE_ERRORS, ApiService, Service
from app.errors import DiskFull, Unavailable
from app.storage.health import (
    StoredCounts,
    WorkHealth,
    free_bytes,
    lateness,
    read_stored_counts,
    read_work_health,
    work_problems,
)

router = APIRouter(tags=["health"])

LEAST_FREE_BYTES = 64 * 2**20
"""Postgres writes its log in files of 16 MiB and ends where it cannot begin one; a few for those at once."""


class HealthView(Wire):
    """What is null is not known: the database does not answer, or nothing waits, or its disk cannot be seen."""

    status: Literal["ok", "failing", "unavailable"] = Field(
        description="failing: points are not stored or runs not refit; unavailable: the database does not answer."
    )
    version: str = __version__
    message: str | None = Field(None, description="What is wrong; with status ok, what is late.")
    batches_waiting: int = Field(description="Batches that this process has taken and not yet stored.")
    workers: int | None = Field(None, description="Worker processes that have shown themselves in the last 30 s.")
    worker_heartbeat_seconds: float | None = Field(None, description="Since a worker last showed itself.")
    refits_waiting: int | None = Field(None, description="Runs that wait for a refit.")
    oldest_refit_seconds: float | None = Field(None, description="How long the first of them has waited.")
    last_refit_seconds: float | None = Field(None, description="Since any run was refit.")
    disk_free_bytes: int | None = Field(None, description="On the disk of the database.")


class LivenessView(Wire):
    status: Literal["ok"] = "ok"
    version: str = __version__


_UNAVAILABLE = {"model": ErrorBody, "description": "The database does not answer."}


@router.get("/livez", summary="Whether this process and its database answer", responses={503: _UNAVAILABLE})
async def live(service: Service) -> LivenessView:
    """For what restarts this process: a dead worker or a full disk would not be mended by that."""
    await asyncio.to_thread(service.database.ping)
    return LivenessView()


@router.get(
    "/healthz",
    summary="Whether points are stored and runs are refit",
    response_model=HealthView,
    responses={503: {"model": HealthView, "description": "Something is wrong; `message` says what."}},
)
async def health(service: Service) -> Response:
    """For monitoring. 503 as soon as the service does not do its work, although it may answer."""
    view = await _health(service)
    return JSONResponse(view.model_dump(), 200 if view.status == "ok" else 503)


async def _health(service: ApiService) -> HealthView:
    try:
        await asyncio.to_thread(service.database.ping)
        work, free = await service.read(lambda connection: (read_work_health(connection), free_bytes(connection)))
    except Unavailable as error:
        return HealthView(status="unavailable", message=str(error), batches_waiting=service.commits.waiting)
    return _judged(service, work, free)


def _judged(service: ApiService, work: WorkHealth, free: int | None) -> HealthView:
    problems = [*_storing_problems(service.commits.outage(), free), *work_problems(work)]
    return HealthView(
        status="failing" if problems else "ok",
        message=" ".join(problems) or lateness(work),
        batches_waiting=service.commits.waiting,
        workers=work.workers,
        worker_heartbeat_seconds=_rounded(work.heartbeat_seconds),
        refits_waiting=work.refits_waiting,
        oldest_refit_seconds=_rounded(work.oldest_refit_seconds),
        last_refit_seconds=_rounded(work.last_refit_seconds),
        disk_free_bytes=free,
    )


def _storing_problems(outage: Unavailable | None, free: int | None) -> Iterator[str]:
    if isinstance(outage, DiskFull):  # another outage is over, or the database would not have answered just now
        yield "The disk of the database is full: nothing is stored."
    elif free is not None and free < LEAST_FREE_BYTES:
        yield f"The disk of the database has only {free / 2**20:.0f} MiB left."


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


@router.get(
    "/metrics",
    summary="Numbers for Prometheus",
    response_class=PlainTextResponse,
    responses={**{status: ROUTE_ERRORS[status] for status in (401, 403)}, 503: _UNAVAILABLE},
)
async def metrics(service: Service) -> Response:
    """Of the whole service, but `losscast_batches_waiting`, which is of this process."""

    def read(connection: Connection) -> tuple[WorkHealth, StoredCounts, int | None]:
        return read_work_health(connection), read_stored_counts(connection, __version__), free_bytes(connection)

    work, counts, free = await service.read(read)
    view = _judged(service, work, free)
    families = [
        Family("healthy", "1 where /healthz answers 200", {"": view.status == "ok"}),
        Family("batches_waiting", "Batches that this process has taken and not yet stored", {"": view.batches_waiting}),
        Family("workers", "Worker processes that have shown themselves in the last 30 s", {"": work.workers}),
        Family("worker_heartbeat_seconds", "Since a worker last showed itself", {"": work.heartbeat_seconds}),
        Family(
            "oldest_refit_seconds",
            "How long the first waiting refit has waited",
            {"": work.oldest_refit_seconds or 0.0},
        ),
        Family("last_refit_seconds", "Since any run was refit", {"": work.last_refit_seconds}),
        Family("jobs_waiting", "Jobs that wait for a worker", {"refit": 0, **counts.jobs}, "task"),
        Family("runs_given_up", "Runs whose refits keep failing as they are", {"": counts.runs_given_up}),
        Family("runs", "Runs", counts.runs, "status"),
        Family("points", "Values received of all runs that are kept, repeats included", {"": counts.points}),
        Family("alerts_open", "Alerts that are open", {"": counts.open_alerts}),
        Family(
            "deliveries",
            "Messages to alert channels; failed: given up",
            {"delivered": 0, "waiting": 0, "failed": 0, **counts.deliveries},
            "state",
        ),
        Family("database_bytes", "Size of the database", {"": counts.database_bytes}),
        Family("disk_free_bytes", "Room on the disk of the database", {"": free}),
    ]
    return PlainTextResponse("".join(family.text() for family in families), media_type=_EXPOSITION)


_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric in Prometheus's text form [1]_: a gauge, with a sample for each word of its label.

    .. [1] https://prometheus.io/docs/instrumenting/exposition_formats/
    """

    name: str
    help: str
    samples: Mapping[str, float | None]  # None: not known, and so left out
    label: str | None = None

    def text(self) -> str:
        name = f"losscast_{self.name}"
        lines = [f"# HELP {name} {self.help}.", f"# TYPE {name} gauge"]
        lines += [
            f"{name}{self._labels(word)} {float(value)!r}" for word, value in self.samples.items() if value is not None
        ]
        return "\n".join(lines) + "\n"

    def _labels(self, word: str) -> str:
        # The words are ours: statuses, names of tasks. None holds a quote or a backslash.
        return f'{{{self.label}="{word}"}}' if self.label else ""
