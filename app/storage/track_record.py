"""The track record of a run: its past forecasts, and how each did once the run had ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text

from app.forecasting.scores import ValueScore
from app.forecasting.track_record import JudgedForecast, Outcome
from app.runs import ForecastPoint
from app.storage.runs import forecast_point, run_key


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
            ScoredForecast(
                forecast_point(row), judged_forecast(row) if is_over and row.forecast_id is not None else None
            )
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


def judged_forecast(row: Row[Any]) -> JudgedForecast:
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
