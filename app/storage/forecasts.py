"""Forecasts: inserted when made, never updated, so that each can be scored when the truth arrives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, text

from app.curves.plan import Plan
from app.forecasting.forecast import LEVELS, Forecast
from app.runs import ForecastPoint, SiblingRun, StoredForecast
from app.storage.codec import decode_path, encode_path
from app.storage.json import as_json
from app.storage.priors import siblings_from_json, siblings_to_json
from app.storage.runs import forecast_point, run_key


def save_forecast(
    connection: Connection,
    key: int,
    metric: str,
    segment: int,
    forecast: Forecast,
    plan: Plan,
    siblings: Sequence[SiblingRun] = (),
) -> int:
    """Store a forecast with the plan it rests on and the runs that it listened to; returns its id."""
    shares = {
        name: {"weight": share.weight, "final_mean": share.final_mean, "final": _named(share.final_quantiles)}
        for name, share in forecast.forecasters.items()
    }
    schedule = {"source": plan.schedule_source, "family": plan.schedule_family, "why": plan.schedule_why}
    details = {
        "levels": list(LEVELS),
        "schedule": schedule,
        "forecasters": shares,
        "notes": forecast.notes,
        "improvement": forecast.improvement,
        "upper": forecast.measure.upper,
        "siblings": siblings_to_json(siblings),
    }
    # The whole schedule would be the largest thing in the row; along the path it is one more row of numbers.
    rows = np.vstack([forecast.quantiles, plan.schedule.rate_at(forecast.path_steps)])
    return int(
        connection.execute(
            text("""
                INSERT INTO forecast
                    (run_key, metric, segment, cutoff, horizon, final_mean, final_quantiles, path, details)
                VALUES (:key, :metric, :segment, :cutoff, :horizon, :final_mean, CAST(:final_quantiles AS jsonb), :path,
                    CAST(:details AS jsonb))
                RETURNING id
            """),
            {
                "key": key,
                "metric": metric,
                "segment": segment,
                "cutoff": forecast.cutoff,
                "horizon": forecast.horizon,
                "final_mean": forecast.final_mean,
                "final_quantiles": as_json(_named(forecast.final_quantiles)),
                "path": encode_path(forecast.path_steps, rows),
                "details": as_json(details),
            },
        ).scalar_one()
    )


# Not of points that a restart has replaced since.
_STANDS = """NOT EXISTS (
    SELECT FROM segment later WHERE later.run_key = f.run_key AND later.number > f.segment
      AND later.first_step IS NOT NULL
      AND (later.resume_step < f.cutoff OR (later.resume_step IS NULL AND later.first_step <= f.cutoff))
)"""


def latest_forecast(connection: Connection, run_id: str, metric: str | None = None) -> StoredForecast | None:
    """The newest forecast of a metric that still stands; without one, of the loss that lists show.

    None before the first, and after a restart that replaced what it was made from.
    """
    key = run_key(connection, run_id)
    row = connection.execute(
        text(f"""
            SELECT f.*, CAST(:run_id AS text) AS run_id FROM forecast f
            WHERE f.run_key = :key
              AND f.metric = coalesce(:metric, (SELECT s.metric FROM run_summary s WHERE s.run_key = :key))
              AND {_STANDS}
            ORDER BY f.id DESC LIMIT 1
        """),
        {"key": key, "metric": metric, "run_id": run_id},
    ).one_or_none()
    return None if row is None else _stored(row)


def latest_forecasts(connection: Connection, run_id: str) -> dict[str, StoredForecast]:
    """The newest forecast that still stands of every metric, by metric."""
    rows = connection.execute(
        text(f"""
            SELECT f.*, CAST(:run_id AS text) AS run_id FROM series s CROSS JOIN LATERAL (
                SELECT f.* FROM forecast f WHERE f.run_key = s.run_key AND f.metric = s.metric AND {_STANDS}
                ORDER BY f.id DESC LIMIT 1
            ) f WHERE s.run_key = :key ORDER BY s.id
        """),
        {"key": run_key(connection, run_id), "run_id": run_id},
    )
    return {row.metric: _stored(row) for row in rows}


def forecast_history(
    connection: Connection, run_id: str, metric: str | None = None, limit: int = 500
) -> list[ForecastPoint]:
    """Past forecasts of the final value, oldest first; of more than `limit`, evenly many are left out."""
    rows = connection.execute(
        text("""
            SELECT cutoff, made_at, horizon, final_mean, final_quantiles FROM (
                SELECT f.*, row_number() OVER (ORDER BY f.id DESC) - 1 AS age, count(*) OVER () AS total
                FROM forecast f
                WHERE f.run_key = :key
                  AND f.metric = coalesce(:metric, (SELECT s.metric FROM run_summary s WHERE s.run_key = :key))
            ) numbered
            WHERE age % ((total + :limit - 1) / :limit) = 0 ORDER BY id
        """),
        {"key": run_key(connection, run_id), "metric": metric, "limit": limit},
    )
    return [forecast_point(row) for row in rows]


def runs_to_thin(connection: Connection, kept: int, limit: int = 200) -> list[int]:
    """Keys of runs that have been over for a day, are scored, and have more forecasts of a metric than they keep."""
    return list(
        connection.execute(
            text("""
                SELECT DISTINCT run.key FROM run JOIN run_progress p ON p.run_key = run.key
                JOIN LATERAL (
                    SELECT FROM forecast f WHERE f.run_key = run.key GROUP BY f.metric HAVING count(*) > :kept + 1
                ) thick ON true
                WHERE run.status <> 'running' AND run.finished_at < now() - interval '1 day'
                  AND p.scored_revision = p.revision
                ORDER BY run.key LIMIT :limit
            """),
            {"kept": max(kept, 2), "limit": limit},
        ).scalars()
    )


def thin_forecasts(connection: Connection, key: int, kept: int) -> int:
    """Delete all but about `kept` forecasts of each metric of a run, with their scores; returns how many went.

    The first, the newest, the one that the run's card shows, and evenly many between them stay: they lie as densely in
    early and late parts of the run as all did, so that the track record is a sample of what it was.
    """
    # As scoring does: of the two that change a run's scores the second waits.
    connection.execute(text("SELECT FROM run_progress WHERE run_key = :key FOR NO KEY UPDATE"), {"key": key})
    return connection.execute(
        text("""
            DELETE FROM forecast USING (
                SELECT id, row_number() OVER (PARTITION BY metric ORDER BY id) - 1 AS place,
                    count(*) OVER (PARTITION BY metric) - 1 AS last
                FROM forecast WHERE run_key = :key
            ) numbered
            WHERE forecast.id = numbered.id AND numbered.last > :steps AND numbered.place > 0
              AND numbered.place * :steps / numbered.last = (numbered.place - 1) * :steps / numbered.last
              AND forecast.id IS DISTINCT FROM (SELECT s.forecast_id FROM run_summary s WHERE s.run_key = :key)
        """),
        {"key": key, "steps": max(kept, 2) - 1},
    ).rowcount


def _named(quantiles: Mapping[float, float]) -> dict[str, float]:
    return {f"{level:g}": float(value) for level, value in quantiles.items()}


def _stored(row: Row[Any]) -> StoredForecast:
    steps, rows = decode_path(row.path)
    rates = {"steps": steps.tolist(), "rates": rows[-1].tolist()}
    return StoredForecast(
        id=row.id,
        run_id=row.run_id,
        metric=row.metric,
        made_at=row.made_at,
        cutoff=row.cutoff,
        horizon=row.horizon,
        final_mean=row.final_mean,
        final_quantiles={float(level): float(value) for level, value in row.final_quantiles.items()},
        levels=tuple(row.details["levels"]),
        path_steps=steps,
        quantiles=rows[:-1],
        schedule=row.details["schedule"] | rates,
        forecasters=row.details["forecasters"],
        notes=tuple(row.details["notes"]),
        # Forecasts of before had none of these.
        siblings=siblings_from_json(row.details.get("siblings", ())),
        improvement=row.details.get("improvement"),
        upper=row.details.get("upper"),
    )
