"""What scoring needs of an ended run, and where it puts the scores of its forecasts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, text

from app.curves.strays import curve_range
from app.forecasting.track_record import Ended, JudgedForecast, Outcome, PastForecast, Path, ended_short_of
from app.storage.codec import decode_path
from app.storage.points import read_series, segment_starts


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
