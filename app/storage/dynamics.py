"""How a run moves, worked out from its points when somebody asks."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from app.diagnostics.dynamics.dynamic import Dynamic
from app.diagnostics.dynamics.report import dynamics_of, metrics_to_read
from app.storage.points import read_series
from app.storage.runs import list_series, run_key


def read_dynamics(connection: Connection, run_id: str, watched: Mapping[str, str]) -> list[Dynamic]:
    """Empty where no probe has logged enough; a run without a probe costs one small query. Raises `NotFound`.

    `watched`: signal -> the metric that stands for it, as the diagnoses have it.
    """
    ids = {series.metric: series.id for series in list_series(connection, run_id) if series.points}
    wanted = [metric for metric in metrics_to_read(ids, watched) if metric in ids]
    if not wanted:
        return []
    key = run_key(connection, run_id)
    read = {metric: read_series(connection, key, ids[metric]) for metric in wanted}
    return dynamics_of({metric: (points.steps, points.values) for metric, points in read.items()}, watched)
