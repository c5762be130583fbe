"""Scores of past forecasts: written when a run has ended, read for its page, its project and the API."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from app.curves.strays import curve_range
from app.errors import NotFound
from app.forecasting.scores import ValueScore
from app.forecasting.track_record import (
    BINS,
    HALF_WAY,
    Ended,
    JudgedForecast,
    Outcome,
    PastForecast,
    Path,
    RunBin,
    ended_short_of,
)
from app.runs import ForecastPoint, RunStatus
from app.storage.codec import decode_path
from app.storage.points import read_series, segment_starts
from app.storage.runs import forecast_point, run_key

NEWEST_RUNS = 500
"""A project's record is that of so many runs, the ones that finished last."""


def runs_to_score(connection: Connection, limit: int = 1000) -> list[str]:
    """Ended runs that have forecasts and something new since these were scored: what the sweep hands out.

    Runs that a refit still has to see are left to later; what it finds may change their end.
    """
    return list(
        connection.execute(
            text("""
                SELECT run.id FROM run_progress p JOIN run ON run.key = p.run_key
                WHERE run.status <> 'running' AND p.fitted_revision >= p.revision
                  AND p.scored_revision IS DISTINCT FROM p.revision
                  AND EXISTS (SELECT FROM forecast WHERE forecast.run_key = run.key)
                ORDER BY p.last_seen_at DESC LIMIT :limit
            """),
            {"limit": limit},
        ).scalars()
    )


@dataclass(frozen=True, slots=True)
class ScoreMark:
    """An ended run, and the state of it that is to be scored."""

    run_key: int
    revision: int


def score_mark(connection: Connection, run_id: str) -> ScoreMark | None:
    """None where the run is gone, runs again, or has a refit before it."""
    row = connection.execute(
        text("""
            SELECT p.run_key, p.revision FROM run_progress p JOIN run ON run.key = p.run_key
            WHERE run.id = :run_id AND run.status <> 'running' AND p.fitted_revision >= p.revision
        """),
        {"run_id": run_id},
    ).one_or_none()
    return None if row is None else ScoreMark(*row)


def forecast_series(connection: Connection, run_key: int) -> dict[str, int]:
    """Metrics that were ever forecast, with their series."""
    rows = connection.execute(
        text("""
            SELECT series.metric, series.id FROM series WHERE run_key = :key
              AND EXISTS (SELECT FROM forecast f WHERE f.run_key = :key AND f.metric = series.metric)
        """),
        {"key": run_key},
    )
    return {row.metric: row.id for row in rows}


def read_ended(connection: Connection, run_key: int, series_id: int) -> Ended:
    """The whole metric: a forecast whose horizon the run has passed is held to a step anywhere in it."""
    points = read_series(connection, run_key, series_id)
    starts = segment_starts(connection, run_key)
    replacing = {segment: start for segment, start in starts.items() if segment > 1 and start is not None}
    begin, end = curve_range(points.steps)
    return Ended(points.steps[begin:end], points.values[begin:end], replacing)


def read_past_forecasts(connection: Connection, run_key: int, metric: str, end_step: int) -> list[PastForecast]:
    """Every forecast of a metric in one query; paths come along only where the run ended short of their horizon."""
    rows = connection.execute(
        text("""
            SELECT id, segment, cutoff, horizon, final_quantiles,
                CASE WHEN horizon > :end_step THEN path END AS path,
                CASE WHEN horizon > :end_step THEN details->'levels' END AS levels
            FROM forecast WHERE run_key = :key AND metric = :metric ORDER BY id
        """),
        {"key": run_key, "metric": metric, "end_step": end_step},
    )
    return [_past_forecast(row, end_step) for row in rows]


def _past_forecast(row: Row[Any], end_step: int) -> PastForecast:
    path = None
    if row.path is not None and ended_short_of(row.horizon, end_step):
        steps, numbers = decode_path(row.path)
        path = Path(row.levels, steps, numbers[: len(row.levels)])
    quantiles = {float(level): float(value) for level, value in row.final_quantiles.items()}
    return PastForecast(row.id, row.segment, row.cutoff, row.horizon, quantiles, path)


def save_scores(
    connection: Connection, mark: ScoreMark, concluded: Mapping[str, tuple[Outcome, Sequence[JudgedForecast]]]
) -> None:
    """Replace all that was concluded of the run before. Twice the same is the same."""
    key = {"key": mark.run_key}
    # First, since it locks the row: of two that score a run at once, the second waits and then replaces.
    connection.execute(
        text("UPDATE run_progress SET scored_revision = :revision WHERE run_key = :key"),
        {**key, "revision": mark.revision},
    )
    connection.execute(text("DELETE FROM forecast_score WHERE run_key = :key"), key)
    connection.execute(text("DELETE FROM run_outcome WHERE run_key = :key"), key)
    outcomes = [
        {**key, "metric": metric, "end_step": outcome.end_step, "actual": _finite(outcome.actual)}
        for metric, (outcome, _) in concluded.items()
    ]
    scores = [
        {**key, "metric": metric, **_score_row(judged)} for metric, (_, found) in concluded.items() for judged in found
    ]
    if outcomes:
        connection.execute(
            text("""
                INSERT INTO run_outcome (run_key, metric, end_step, actual) VALUES (:key, :metric, :end_step, :actual)
            """),
            outcomes,
        )
    if scores:
        connection.execute(
            text(f"""
                INSERT INTO forecast_score (run_key, metric, {", ".join(_SCORE_COLUMNS)})
                VALUES (:key, :metric, {", ".join(f":{column}" for column in _SCORE_COLUMNS)})
            """),
            scores,
        )


_SCORE_COLUMNS = (
    "forecast_id judged_step actual horizon_off stands seen p05 p50 p95 "
    "error cover50 cover80 cover90 crps_rel log_score pit"
).split()


def _score_row(judged: JudgedForecast) -> dict[str, Any]:
    sources = (judged, judged.score)
    return {
        column: next(getattr(source, column) for source in sources if hasattr(source, column))
        for column in _SCORE_COLUMNS
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class ScoredForecast:
    """A past forecast of a final value, and how it did; None where nothing can be held against it."""

    point: ForecastPoint
    judged: JudgedForecast | None


@dataclass(frozen=True, slots=True)
class RunTrackRecord:
    """How good the forecasts of one metric of an ended run were.

    outcome : None until it has been scored
    forecasts : oldest first; of more than were asked for, evenly many are left out
    n_forecasts : all that there are
    n_judged, n_held : all that stand and spoke of the run's end, and those of them whose 90 % band held
    """

    metric: str
    outcome: Outcome | None
    forecasts: Sequence[ScoredForecast]
    n_forecasts: int
    n_judged: int
    n_held: int


def run_track_record(
    connection: Connection, run_id: str, metric: str | None = None, limit: int = 500
) -> RunTrackRecord | None:
    """The record of a metric, by default the one that lists show; None where there is none. Raises `NotFound`."""
    key = run_key(connection, run_id)
    chosen = (
        metric
        or connection.execute(
            text("SELECT metric FROM run_summary WHERE run_key = :key"), {"key": key}
        ).scalar_one_or_none()
    )
    if chosen is None:
        return None
    asked = {"key": key, "metric": chosen, "limit": limit}
    outcome = run_outcome(connection, run_id, chosen)
    rows = connection.execute(
        text("""
            SELECT numbered.made_at, numbered.cutoff, numbered.horizon, numbered.final_mean, numbered.final_quantiles,
                s.*
            FROM (
                SELECT f.*, row_number() OVER (ORDER BY f.id DESC) - 1 AS age, count(*) OVER () AS total
                FROM forecast f WHERE f.run_key = :key AND f.metric = :metric
            ) numbered
            LEFT JOIN forecast_score s ON s.forecast_id = numbered.id
            WHERE age % ((total + :limit - 1) / :limit) = 0 ORDER BY numbered.id
        """),
        asked,
    )
    is_over = outcome is not None
    counts = connection.execute(
        text("""
            SELECT count(*) AS made, count(*) FILTER (WHERE counts) AS judged,
                count(*) FILTER (WHERE counts AND cover90) AS held
            FROM (
                SELECT s.cover90, s.stands AND s.judged_step = CAST(:end_step AS bigint) AS counts
                FROM forecast f LEFT JOIN forecast_score s ON s.forecast_id = f.id
                WHERE f.run_key = :key AND f.metric = :metric
            ) every
        """),
        {**asked, "end_step": outcome.end_step if outcome else None},
    ).one()
    return RunTrackRecord(
        metric=chosen,
        outcome=outcome,
        n_forecasts=counts.made,
        n_judged=counts.judged,
        n_held=counts.held,
        forecasts=[
            ScoredForecast(forecast_point(row), _judged(row) if is_over and row.forecast_id is not None else None)
            for row in rows
        ],
    )


def run_outcome(connection: Connection, run_id: str, metric: str) -> Outcome | None:
    """How a metric of an ended run ended; None where the run goes on, or has not been scored yet."""
    row = connection.execute(
        text("""
            SELECT o.end_step, o.actual FROM run_outcome o JOIN run ON run.key = o.run_key
            WHERE run.id = :run_id AND o.metric = :metric AND run.status <> 'running'
        """),
        {"run_id": run_id, "metric": metric},
    ).one_or_none()
    return None if row is None else _outcome(row)


def _outcome(row: Row[Any]) -> Outcome:
    return Outcome(row.end_step, math.nan if row.actual is None else row.actual)


def _judged(row: Row[Any]) -> JudgedForecast:
    return JudgedForecast(
        forecast_id=row.forecast_id,
        judged_step=row.judged_step,
        actual=row.actual,
        horizon_off=row.horizon_off,
        stands=row.stands,
        seen=row.seen,
        p05=row.p05,
        p50=row.p50,
        p95=row.p95,
        score=ValueScore(row.error, row.cover50, row.cover80, row.cover90, row.crps_rel, row.log_score, row.pit),
    )


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
    half_way = {row.id: _judged(row) for row in connection.execute(text(_HALF_WAY), {**asked, **_near_half()})}
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


def newest_score(connection: Connection, *, run_id: str | None = None, project: str | None = None) -> datetime | None:
    """When a run's, or any run of a project, was last scored: changes when its record does."""
    of_run, of_project = "run.id = :run_id", "project.name = :project"
    found: datetime | None = connection.execute(
        text(f"""
            SELECT max(o.scored_at) FROM run_outcome o JOIN run ON run.key = o.run_key
            JOIN project ON project.id = run.project_id WHERE {of_run if run_id is not None else of_project}
        """),
        {"run_id": run_id, "project": project},
    ).scalar_one_or_none()
    return found
