"""The track record of a project: what its finished runs say together of its forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from app.errors import NotFound
from app.forecasting.track_record import BINS, HALF_WAY, JudgedForecast, RunBin
from app.runs import RunStatus
from app.storage.track_record import judged_forecast, newest_score

NEWEST_RUNS = 500
"""A project's record is that of so many runs, the ones that finished last."""


@dataclass(frozen=True, slots=True)
class ScoredRun:
    """A finished run in its project's record.

    n_forecasts : the ones that spoke of its end and still stand
    half_way : of these, the one made nearest to half of the run; None where none is near
    """

    id: str
    name: str
    metric: str
    end_step: int
    actual: float
    n_forecasts: int
    half_way: JudgedForecast | None


@dataclass(frozen=True, slots=True)
class ProjectTrackRecord:
    """What a project's finished runs say of its forecasts.

    runs : newest first, at most `NEWEST_RUNS`; those that ended in a number and had forecasts
    bins : their forecasts that stand and spoke of their ends, averaged inside each run
    n_finished, n_running, n_ended_otherwise : all runs of the project
    n_waiting : finished, with forecasts that are still to be scored
    """

    runs: Sequence[ScoredRun]
    bins: Sequence[RunBin]
    n_finished: int
    n_running: int
    n_ended_otherwise: int
    n_waiting: int


# Failed and stopped runs are scored too, but not counted here: they were ended because of how they went, or by a crash,
# and a record of them beside the others would measure that.
_CHOSEN = """
    WITH chosen AS (
        SELECT run.key, run.id, run.name, o.metric, o.end_step, o.actual, run.finished_at
        FROM run JOIN project ON project.id = run.project_id
        JOIN run_summary summary ON summary.run_key = run.key
        JOIN run_outcome o ON o.run_key = run.key AND o.metric = coalesce(:metric, summary.metric)
        WHERE project.name = :project AND run.status = 'finished' AND o.actual IS NOT NULL
        ORDER BY run.finished_at DESC, run.key DESC LIMIT :limit
    ), counted AS (
        SELECT chosen.id, s.* FROM chosen
        JOIN forecast_score s ON s.run_key = chosen.key AND s.metric = chosen.metric
            AND s.stands AND s.judged_step = chosen.end_step
    )
"""


def project_track_record(connection: Connection, project: str, metric: str | None = None) -> ProjectTrackRecord:
    """Six queries, whatever the number of runs. Raises `NotFound`."""
    counts = _counts(connection, project)
    asked = {"project": project, "metric": metric, "limit": NEWEST_RUNS}
    half_way = {row.id: judged_forecast(row) for row in connection.execute(text(_HALF_WAY), {**asked, **_near_half()})}
    runs = [
        ScoredRun(row.id, row.name, row.metric, row.end_step, row.actual, row.n_forecasts, half_way.get(row.id))
        for row in connection.execute(text(_RUNS), asked)
    ]
    bins = [RunBin(*row) for row in connection.execute(text(_BINS), {**asked, "bins": BINS})]
    return ProjectTrackRecord(
        runs=[run for run in runs if run.n_forecasts],
        bins=bins,
        n_finished=counts[RunStatus.FINISHED],
        n_running=counts[RunStatus.RUNNING],
        n_ended_otherwise=counts[RunStatus.FAILED] + counts[RunStatus.STOPPED],
        n_waiting=_waiting(connection, project),
    )


_RUNS = f"""
    {_CHOSEN}
    SELECT chosen.*, (SELECT count(*) FROM counted WHERE counted.run_key = chosen.key) AS n_forecasts
    FROM chosen ORDER BY finished_at DESC, key DESC
"""

_BINS = f"""
    {_CHOSEN}
    SELECT id, width_bucket(seen, 0, 1, CAST(:bins AS integer)) - 1 AS bin, count(*), avg(abs(error)), avg(crps_rel),
        CAST(avg(CAST(cover50 AS integer)) AS double precision),
        CAST(avg(CAST(cover80 AS integer)) AS double precision),
        CAST(avg(CAST(cover90 AS integer)) AS double precision)
    FROM counted WHERE seen < 1 GROUP BY id, bin ORDER BY id, bin
"""

_HALF_WAY = f"""
    {_CHOSEN}
    SELECT DISTINCT ON (run_key) * FROM counted WHERE seen >= :low AND seen <= :high
    ORDER BY run_key, abs(seen - 0.5), forecast_id
"""


def _near_half() -> dict[str, float]:
    return dict(zip(("low", "high"), HALF_WAY, strict=True))


def _counts(connection: Connection, project: str) -> dict[RunStatus, int]:
    known = connection.execute(
        text("SELECT id FROM project WHERE name = :name"), {"name": project}
    ).scalar_one_or_none()
    if known is None:
        raise NotFound(f"No project with the name {project!r}. GET /api/v1/projects lists the ones there are.")
    rows = connection.execute(
        text("SELECT status, count(*) FROM run WHERE project_id = :id GROUP BY status"), {"id": known}
    )
    return dict.fromkeys(RunStatus, 0) | {RunStatus(status): count for status, count in rows}


def _waiting(connection: Connection, project: str) -> int:
    return int(
        connection.execute(
            text("""
                SELECT count(*) FROM run JOIN project ON project.id = run.project_id
                JOIN run_progress p ON p.run_key = run.key
                WHERE project.name = :project AND run.status = 'finished'
                  AND p.scored_revision IS DISTINCT FROM p.revision
                  AND EXISTS (SELECT FROM forecast WHERE forecast.run_key = run.key)
            """),
            {"project": project},
        ).scalar_one()
    )


def project_revision(connection: Connection, project: str) -> str:
    """Changes when something in the project's record does; much cheaper than the record. Raises `NotFound`."""
    counts = _counts(connection, project)
    return repr((newest_score(connection, project=project), sorted(counts.items()), _waiting(connection, project)))
