"""Where the metrics of ended runs came to, as their pages and lists show it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY


@dataclass(frozen=True, slots=True)
class End:
    """Where one metric of an ended run came to.

    level : NaN where it was no finite number                                        [of the metric]
    is_mean : over the last 2 %; otherwise one point, the last value, noise and all
    """

    level: float
    is_mean: bool

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.level)


def read_ends(connection: Connection, run_ids: Sequence[str], metric: str | None = None) -> dict[str, End]:
    """Of each ended run its main loss, or `metric`. Runs that go on, or logged none such, are left out.

    What its forecasts are held to comes first; then, of a run that nothing was forecast of, what the rankings take for
    its end (the same share of the steps instead of the points); then its last value.
    """
    rows = connection.execute(
        text("""
            SELECT run.id, o.run_key IS NOT NULL AS is_scored, o.actual, v.final_level, series.last_value
            FROM run
            LEFT JOIN run_summary s ON s.run_key = run.key
            JOIN series ON series.run_key = run.key AND series.metric = coalesce(:metric, s.metric)
            LEFT JOIN run_outcome o ON o.run_key = run.key AND o.metric = series.metric
            LEFT JOIN run_verdict v ON v.run_key = run.key AND v.metric = series.metric
            WHERE run.id = ANY(:run_ids) AND run.status <> 'running'
        """).bindparams(bindparam("run_ids", type_=ARRAY(Text)), bindparam("metric", type_=Text)),
        {"run_ids": list(run_ids), "metric": metric},
    )
    found: dict[str, End] = {}
    for row in rows:
        if row.is_scored:
            found[row.id] = End(math.nan if row.actual is None else row.actual, is_mean=True)
        elif row.final_level is not None:
            found[row.id] = End(row.final_level, is_mean=True)
        elif row.last_value is not None:
            found[row.id] = End(row.last_value, is_mean=False)
    return found


def read_end(connection: Connection, run_id: str, metric: str | None) -> End | None:
    return read_ends(connection, [run_id], metric).get(run_id)
