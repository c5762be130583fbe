"""The list of runs: one page of it, with drawings, health and ends."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from sqlalchemy import Connection

from app.curves.curve import Curve
from app.dashboard.glyphs import Sparkline, sparkline
from app.dashboard.liveness import liveness
from app.dashboard.readings.digest import digest
from app.runs import RunRow, RunStatus
from app.storage import curves, runs
from app.storage.database import Database
from app.storage.diagnoses import HealthGlance, glance_at_health
from app.storage.ends import End, read_ends

PAGE_SIZE = 50


@dataclass(frozen=True, slots=True)
class RunsFilter:
    """Which runs, and which page of them (from 0)."""

    project: str | None = None
    status: str | None = None
    search: str | None = None
    page: int = 0
    in_trouble: bool = False


@dataclass(frozen=True, slots=True)
class RunsReading:
    """One page of runs."""

    rows: Sequence[RunRow]
    total: int
    projects: Sequence[str]
    sparklines: Mapping[str, Sparkline | None]
    any_run: bool  # at all, whatever the filter
    page: int
    now: datetime
    health: Mapping[str, HealthGlance] = field(default_factory=dict)  # without runs that were not diagnosed yet
    ends: Mapping[str, End] = field(default_factory=dict)  # of ended runs

    @property
    def revision(self) -> str:
        """Changes when something on the page does."""
        return digest(
            self.total,
            self.page,
            *self.projects,
            *(
                (
                    row.run.id,
                    row.run.name,
                    row.run.arrivals,
                    liveness(row.run, self.now),
                    row.summary and row.summary.forecast and row.summary.forecast.made_at,
                    row.summary and row.summary.last_step,
                    row.unresolved_alerts,
                    row.worst_severity,
                    row.worst_alerts,
                    self.health.get(row.run.id),
                    self.ends.get(row.run.id),
                )
                for row in self.rows
            ),
        )


class SparklineCache:
    """Drawings of runs that have not changed since. Bounded, and shared by all who look."""

    def __init__(self, size: int = 2000) -> None:
        self._size = size
        self._drawings: OrderedDict[tuple[str, ...], Sparkline | None] = OrderedDict()
        self._lock = Lock()

    def get(self, connection: Connection, rows: Sequence[RunRow]) -> dict[str, Sparkline | None]:
        """One query for all that are to be drawn, none where nothing has changed."""
        keys = {row.run.id: _drawing_key(row) for row in rows}
        with self._lock:
            found = {run_id: self._drawings[key] for run_id, key in keys.items() if key in self._drawings}
        new = [row for row in rows if row.run.id not in found]
        if not new:
            return found
        shown = curves.read_shown_curves(connection, [row.run.id for row in new])
        drawn = {row.run.id: _draw(row, shown.get(row.run.id)) for row in new}
        with self._lock:
            self._drawings.update((keys[run_id], drawing) for run_id, drawing in drawn.items())
            while len(self._drawings) > self._size:
                self._drawings.popitem(last=False)
        return found | drawn


def _drawing_key(row: RunRow) -> tuple[str, ...]:
    """The reduced curve changes at a refit only, and each refit leaves a trace in the summary."""
    summary = row.summary
    made_at = summary.forecast.made_at.isoformat() if summary and summary.forecast else ""
    said = row.run.status.value, str(summary and summary.last_step), str(summary and summary.total_steps)
    return row.run.id, *said, made_at


def _draw(row: RunRow, curve: Curve | None) -> Sparkline | None:
    summary = row.summary
    if summary is None or curve is None:
        return None
    forecast = summary.forecast if row.run.status is RunStatus.RUNNING else None
    return sparkline(curve.steps, curve.values, summary.total_steps, forecast)


def read_runs(database: Database, wanted: RunsFilter, cache: SparklineCache) -> RunsReading:
    with database.read() as connection:
        asked: dict[str, Any] = {
            "project": wanted.project,
            "status": wanted.status,
            "search": wanted.search,
            "in_trouble": wanted.in_trouble,
        }
        rows, total = runs.list_runs(connection, **asked, limit=PAGE_SIZE, offset=wanted.page * PAGE_SIZE)
        page = wanted.page
        if not rows and total:  # the list has grown shorter than the page that was asked for
            page = (total - 1) // PAGE_SIZE
            rows, total = runs.list_runs(connection, **asked, limit=PAGE_SIZE, offset=page * PAGE_SIZE)
        projects = runs.list_projects(connection)
        any_run = total > 0 or runs.list_runs(connection, limit=1)[1] > 0
        drawings = cache.get(connection, rows)
        health = glance_at_health(connection, [row.run.id for row in rows])
        ends = read_ends(connection, [row.run.id for row in rows])
    return RunsReading(rows, total, projects, drawings, any_run, page, datetime.now(UTC), health, ends)


def read_projects(database: Database) -> list[str]:
    with database.read() as connection:
        return runs.list_projects(connection)
