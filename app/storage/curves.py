"""What a refit reads and leaves behind: reduced curves, what is new since them, and the run's summary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger, Text

from app.curves.broken import is_broken
from app.curves.curve import Curve
from app.curves.measure import Measure, measure_of
from app.curves.plan import Plan
from app.curves.planning.resolve import resolve_plan
from app.curves.planning.total import LENGTH_ROLES
from app.curves.reduction import Reduction
from app.curves.selection import Logged, Selection, select_metrics
from app.curves.strays import is_far
from app.errors import BadInput, NoForecast, StepsBelowZero, UnknownMetric
from app.runs import Run, Series
from app.storage.codec import Chunk, decode_batch
from app.storage.json import as_json
from app.storage.runs import get_run, list_segments, list_series


@dataclass(frozen=True, slots=True)
class FitMark:
    """How far a run's data and its refits have come."""

    run_key: int
    arrivals: int
    revision: int
    fitted_revision: int


@dataclass(frozen=True, slots=True, eq=False)
class CurveState:
    """A series' reduced curve, and the batches it has taken in."""

    series_id: int
    arrivals: int
    starts: Mapping[int, int]  # of later segments, when it was made: segment -> first step that it replaced
    reduction: Reduction


@dataclass(frozen=True, slots=True, eq=False)
class News:
    """What came for a run after some batch.

    `points` holds for each series its new points by (segment, seq). `complete` is False where a batch has already lost
    its bytes to compaction: then only storage as a whole can tell.
    """

    points: Mapping[int, list[tuple[int, Chunk]]]
    complete: bool


def fit_mark(connection: Connection, run_id: str) -> FitMark | None:
    row = connection.execute(
        text("""
            SELECT p.run_key, p.arrivals, p.revision, p.fitted_revision
            FROM run_progress p JOIN run ON run.key = p.run_key WHERE run.id = :run_id
        """),
        {"run_id": run_id},
    ).one_or_none()
    return None if row is None else FitMark(*row)


def runs_to_fit(connection: Connection, limit: int = 1000) -> list[str]:
    """Runs in which something has happened since their last refit: what the sweep hands out."""
    return list(
        connection.execute(
            text("""
                SELECT run.id FROM run_progress p JOIN run ON run.key = p.run_key
                WHERE p.revision > p.fitted_revision ORDER BY p.last_seen_at LIMIT :limit
            """),
            {"limit": limit},
        ).scalars()
    )


def record_fitted(connection: Connection, mark: FitMark) -> None:
    connection.execute(
        text("""
            UPDATE run_progress SET fitted_revision = greatest(fitted_revision, :revision),
                fitted_arrivals = greatest(fitted_arrivals, :arrivals)
            WHERE run_key = :key
        """),
        {"key": mark.run_key, "revision": mark.revision, "arrivals": mark.arrivals},
    )


def take_back_strays(connection: Connection, mark: FitMark, *, strays_from: int, last_step: int) -> None:
    """Let the run be no further than its curves, where `strays_from` and what follows it is far beyond them.

    Not while newer batches wait for their refit: only that one knows how far they have come.
    """
    connection.execute(
        text("""
            UPDATE run_progress SET last_step = :last_step
            WHERE run_key = :key AND arrivals = :arrivals AND last_step >= :strays_from
        """),
        {"key": mark.run_key, "arrivals": mark.arrivals, "strays_from": strays_from, "last_step": last_step},
    )


def uncompacted_batches(connection: Connection, run_key: int) -> int:
    return int(
        connection.execute(
            text("SELECT count(*) FROM metric_batch WHERE run_key = :key AND data IS NOT NULL"), {"key": run_key}
        ).scalar_one()
    )


def read_curve_states(connection: Connection, series_ids: Iterable[int]) -> dict[int, CurveState]:
    rows = connection.execute(
        text("SELECT series_id, arrivals, starts, reduction FROM curve_state WHERE series_id = ANY(:ids)").bindparams(
            bindparam("ids", type_=ARRAY(BigInteger))
        ),
        {"ids": list(series_ids)},
    )
    found = {}
    for row in rows:
        starts = {int(segment): start for segment, start in row.starts.items()}
        # Bytes of another version are no loss: without a state the curve is rebuilt from its points.
        with suppress(BadInput):
            found[row.series_id] = CurveState(row.series_id, row.arrivals, starts, Reduction.from_bytes(row.reduction))
    return found


def save_curve_states(connection: Connection, states: Iterable[CurveState]) -> None:
    rows = [
        {
            "series_id": state.series_id,
            "arrivals": state.arrivals,
            "starts": as_json(state.starts),
            "reduction": state.reduction.to_bytes(),
        }
        for state in states
    ]
    if rows:
        connection.execute(
            text("""
                INSERT INTO curve_state (series_id, arrivals, starts, reduction)
                VALUES (:series_id, :arrivals, CAST(:starts AS jsonb), :reduction)
                ON CONFLICT (series_id) DO UPDATE SET arrivals = excluded.arrivals, starts = excluded.starts,
                    reduction = excluded.reduction
            """),
            rows,
        )


def read_shown_curves(connection: Connection, run_ids: Sequence[str]) -> dict[str, Curve]:
    """The reduced curve of the metric that lists show of each run, by run id; runs without one are left out."""
    rows = connection.execute(
        text("""
            SELECT run.id, c.reduction FROM run JOIN run_summary shown ON shown.run_key = run.key
            JOIN series s ON s.run_key = run.key AND s.metric = shown.metric
            JOIN curve_state c ON c.series_id = s.id WHERE run.id = ANY(:ids)
        """).bindparams(bindparam("ids", type_=ARRAY(Text))),
        {"ids": list(run_ids)},
    )
    return _curves(rows)


def read_curves_of_runs(connection: Connection, run_ids: Sequence[str], metric: str) -> dict[str, Curve]:
    """One metric's reduced curve of several runs, by run id; runs without one are left out."""
    rows = connection.execute(
        text("""
            SELECT run.id, c.reduction FROM run JOIN series s ON s.run_key = run.key AND s.metric = :metric
            JOIN curve_state c ON c.series_id = s.id WHERE run.id = ANY(:ids)
        """).bindparams(bindparam("ids", type_=ARRAY(Text))),
        {"ids": list(run_ids), "metric": metric},
    )
    return _curves(rows)


def _curves(rows: Iterable[Row[Any]]) -> dict[str, Curve]:
    """By run id; a curve in bytes of another version is left out until the next refit."""
    found = {}
    for row in rows:
        with suppress(BadInput):
            found[row.id] = Reduction.from_bytes(row.reduction).to_curve()
    return found


@dataclass(frozen=True, slots=True, eq=False)
class FittedRun:
    """A run as its last refit saw it: for questions that are answered without a new one."""

    run: Run
    selected: Selection
    curves: Mapping[str, Curve]  # of the selected metrics that had a point by then, and a finite one at their end
    restarted_at: int | None = None  # first step of the newest start, where there was more than one   [steps]

    def to_forecast(self, metric: str | None = None) -> tuple[str, Curve, Measure]:
        """A metric that is forecast, its curve and what it measures; by default the metric that lists show.

        Raises `NoForecast`, `UnknownMetric`, `NotAnAccuracy`.
        """
        known = {name: self.curves[name] for name in self.selected.forecast if name in self.curves}
        if not known:
            raise NoForecast(
                "Nothing of this run can be forecast: no loss or accuracy is fitted yet, or all became NaN."
            )
        chosen = self.selected.forecast[0] if metric is None else metric
        if metric is None and chosen not in known:  # another would be an answer that nobody asked for
            others = ", ".join(known)
            raise NoForecast(
                f"{chosen} cannot be forecast: it has become NaN, or is not fitted yet. Others can: {others}."
            )
        if chosen not in known:
            raise UnknownMetric(chosen, list(known))
        return chosen, known[chosen], measure_of(self.selected.roles[chosen].role, known[chosen])

    def plan(self, cutoff: int) -> Plan:
        """Where the run stands at `cutoff`. Raises `StepsBelowZero`."""
        if cutoff < 0:
            raise StepsBelowZero
        by_role = {role: self.curves.get(metric or "") for role, metric in self.selected.supporting.items()}
        return resolve_plan(
            declared=self.run.declared_plan,
            config=self.run.config,
            rate=by_role.get("lr"),
            cutoff=cutoff,
            lengths={role: curve for role in LENGTH_ROLES if (curve := by_role.get(role)) is not None},
            restarted_at=self.restarted_at,
        )


def read_fitted_run(connection: Connection, run_id: str) -> FittedRun:
    """The run's reduced curves. Raises `NotFound`."""
    run = get_run(connection, run_id)
    series = {one.metric: one for one in list_series(connection, run_id) if one.points}
    states = read_curve_states(connection, [one.id for one in series.values()])
    selected = select_metrics(logged_of(series, states), run.declared_roles)
    reductions = {
        metric: states[series[metric].id].reduction for metric in selected.metrics if series[metric].id in states
    }
    curves = {
        metric: reduction.to_curve()
        for metric, reduction in reductions.items()
        if reduction.last_value is not None and not is_broken(reduction.last_value)
    }
    newest = list_segments(connection, run_id)[-1:] if run.segment > 1 else []
    return FittedRun(run, selected, curves, newest[0].replaces_from if newest else None)


def logged_of(series: Mapping[str, Series], states: Mapping[int, CurveState]) -> dict[str, Logged]:
    """How much of each metric there is; one step far beyond its curve makes it no longer than it was."""
    logged = {}
    for metric, one in series.items():
        state = states.get(one.id)
        curve = None if state is None else state.reduction
        last_step = one.last_step
        if curve is not None and curve.origin is not None and curve.last_step is not None and last_step is not None:
            if is_far(last_step, before=curve.n_points, origin=curve.origin, last=curve.last_step):
                last_step = curve.last_step
        logged[metric] = Logged(one.points, one.first_step, last_step)
    return logged


def read_news(connection: Connection, run_key: int, series_ids: Iterable[int], after: int, up_to: int) -> News:
    """The points of some series in the batches `after < arrival <= up_to`."""
    wanted = set(series_ids)
    rows = connection.execute(
        text("""
            SELECT segment, seq, series, data FROM metric_batch
            WHERE run_key = :key AND arrival > :after AND arrival <= :up_to ORDER BY segment, seq
        """),
        {"key": run_key, "after": after, "up_to": up_to},
    )
    points: dict[int, list[tuple[int, Chunk]]] = defaultdict(list)
    for segment, seq, series, data in rows:
        if data is None:
            return News({}, complete=False)
        columns = [column for column, series_id in enumerate(series) if series_id in wanted]
        if not columns:
            continue
        batch = decode_batch(data, tuple(str(one) for one in series))
        for column in columns:
            here = batch.present[column]
            steps = batch.steps[here]
            seqs = np.full(len(steps), seq, np.int64)
            points[series[column]].append((segment, Chunk(steps, batch.values[column, here], batch.times[here], seqs)))
    return News(points, complete=True)


def save_summary(
    connection: Connection,
    run_key: int,
    *,
    metric: str | None,
    last_step: int | None,
    last_value: float | None,
    total_steps: int | None,
    forecast_id: int | None,
    conclusions: Mapping[str, Any],
) -> None:
    connection.execute(
        text("""
            INSERT INTO run_summary (run_key, metric, last_step, last_value, total_steps, forecast_id, conclusions)
            VALUES (:key, :metric, :last_step, :last_value, :total_steps, :forecast_id, CAST(:conclusions AS jsonb))
            ON CONFLICT (run_key) DO UPDATE SET metric = excluded.metric, last_step = excluded.last_step,
                last_value = excluded.last_value, total_steps = excluded.total_steps,
                forecast_id = excluded.forecast_id, conclusions = excluded.conclusions, updated_at = now()
        """),
        {
            "key": run_key,
            "metric": metric,
            "last_step": last_step,
            "last_value": last_value,
            "total_steps": total_steps,
            "forecast_id": forecast_id,
            "conclusions": as_json(conclusions),
        },
    )
