"""The verdicts on runs, and what other runs of the project they are held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from app.forecasting.scores import QuantileForecast
from app.runs import RunStatus
from app.storage.codec import decode_path
from app.storage.json import as_json
from app.storage.runs import run_key
from app.verdicts.measured_end import measured_end
from app.verdicts.outlook import Outlook
from app.verdicts.sweep import Competitor

SILENT_AFTER_SECONDS = 1800.0
"""A run that has said nothing for so long is no rival any more: whether it will come to its end nobody knows."""


@dataclass(frozen=True, slots=True)
class StoredVerdict:
    """The newest verdict on one metric of a run.

    step : the last one that was known                                                        [steps]
    since_step : from where on the decision has been what it is, `looks` judgements in a row  [steps]
    details : `Verdict.as_json`, with "total_steps", "confirmed", "goal" and "time" beside it
    """

    run_id: str
    metric: str
    segment: int
    step: int
    is_acted_on: bool
    decision: str
    since_step: int
    looks: int
    policy_revision: int
    judged_at: datetime
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NewVerdict:
    """What a judgement comes to; fields as in `StoredVerdict`."""

    metric: str
    segment: int
    step: int
    is_acted_on: bool
    decision: str
    since_step: int
    looks: int
    policy_revision: int
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FinalLevel:
    """Where one metric of an ended run came to.

    level : None where the run failed or it is NaN                                   [of the metric]
    rises : higher is better
    error : standard error of `level`; None where there are too few points to say    [of the metric]
    """

    metric: str
    step: int
    level: float | None
    rises: bool
    error: float | None


@dataclass(frozen=True, slots=True)
class RivalRow:
    """Another run of the project that a run is compared with.

    is_stopped : it ended because somebody stopped it, not because it had come to its end
    final_level : where it came to, of one that has ended                        [of the metric]
    final_quantiles : of its newest forecast, of one that still runs; else empty [of the metric]
    fall : what the decay that it still has before it is forecast to bring       [of the metric]
    is_trusted : whether nothing spoke against its forecast when it was last judged
    """

    run_id: str
    name: str
    is_baseline: bool
    is_stopped: bool
    final_level: float | None
    final_quantiles: Mapping[float, float]
    fall: float
    is_trusted: bool

    @property
    def expected(self) -> float:
        """Where it came to, or the median of what is forecast."""
        return self.final_quantiles[0.5] if self.final_level is None else self.final_level


@dataclass(frozen=True, slots=True)
class Unranked:
    """A run of a project that no ranking has a place for.

    why : stopped, failed, or silent: running, and not heard of for `SILENT_AFTER_SECONDS`
    """

    run_id: str
    name: str
    why: str


def runs_to_judge(connection: Connection, limit: int = 200) -> list[str]:
    """Finished runs without a row of their own, or without its error: of earlier versions. The sweep refits them."""
    return list(
        connection.execute(
            text("""
                SELECT run.id FROM run JOIN run_summary s ON s.run_key = run.key
                WHERE run.status = 'finished' AND s.metric IS NOT NULL
                  AND NOT EXISTS (SELECT FROM run_verdict v WHERE v.run_key = run.key AND v.decision IS NULL
                                  AND jsonb_exists(v.details, 'error'))
                ORDER BY run.key DESC LIMIT :limit
            """),
            {"limit": limit},
        ).scalars()
    )


def save_verdicts(connection: Connection, key: int, verdicts: Sequence[NewVerdict]) -> None:
    """Replace the verdicts on a run: those on metrics that are no longer judged go."""
    connection.execute(
        text("DELETE FROM run_verdict WHERE run_key = :key AND metric <> ALL(:metrics)").bindparams(
            bindparam("metrics", type_=ARRAY(Text))
        ),
        {"key": key, "metrics": [one.metric for one in verdicts]},
    )
    connection.execute(
        text("""
            INSERT INTO run_verdict (run_key, metric, segment, step, is_acted_on, decision, since_step, looks,
                policy_revision, details)
            VALUES (:key, :metric, :segment, :step, :is_acted_on, :decision, :since_step, :looks, :policy_revision,
                CAST(:details AS jsonb))
            ON CONFLICT (run_key, metric) DO UPDATE SET segment = excluded.segment, step = excluded.step,
                is_acted_on = excluded.is_acted_on, decision = excluded.decision, since_step = excluded.since_step,
                looks = excluded.looks, final_level = NULL, policy_revision = excluded.policy_revision,
                details = excluded.details, judged_at = now()
        """),
        [{"key": key, **asdict(one), "details": as_json(one.details)} for one in verdicts],
    )


def save_final_levels(connection: Connection, key: int, segment: int, levels: Sequence[FinalLevel]) -> None:
    """Keep where the metrics of an ended run came to; no verdict stands any more."""
    if levels:
        connection.execute(
            text("""
                INSERT INTO run_verdict (run_key, metric, segment, step, is_acted_on, final_level, policy_revision,
                    details)
                VALUES (:key, :metric, :segment, :step, false, :level, 0,
                    jsonb_build_object('rises', :rises, 'error', CAST(:error AS double precision)))
                ON CONFLICT (run_key, metric) DO UPDATE SET segment = excluded.segment, step = excluded.step,
                    decision = NULL, since_step = NULL, looks = 0, final_level = excluded.final_level,
                    details = excluded.details, judged_at = now()
            """),
            [{"key": key, "segment": segment, **asdict(one)} for one in levels],
        )


def read_diagnosed_states(connection: Connection, key: int) -> Mapping[str, str]:
    """Diagnosis -> where the run stands; empty before the first look, and after a fault of ours."""
    conclusions: Mapping[str, Any] | None = connection.execute(
        text("SELECT conclusions FROM run_diagnosis WHERE run_key = :key"), {"key": key}
    ).scalar_one_or_none()
    return {} if conclusions is None else dict(conclusions.get("states", {}))


def read_verdicts(connection: Connection, run_id: str) -> list[StoredVerdict]:
    """The verdicts that stand on a run, the one that decides for it first. Raises `NotFound`."""
    rows = connection.execute(
        text("""
            SELECT v.*, CAST(:run_id AS text) AS run_id FROM run_verdict v
            WHERE v.run_key = :key AND v.decision IS NOT NULL ORDER BY v.is_acted_on DESC, v.metric
        """),
        {"key": run_key(connection, run_id), "run_id": run_id},
    )
    return [_stored(row) for row in rows]


def read_verdict(connection: Connection, run_id: str, metric: str | None = None) -> StoredVerdict | None:
    """The verdict on a metric, by default on the one that decides for the run; None where none stands."""
    found = read_verdicts(connection, run_id)
    if metric is None:
        return found[0] if found else None
    return next((one for one in found if one.metric == metric), None)


def read_project_verdicts(connection: Connection, project: str) -> dict[str, StoredVerdict]:
    """The verdict that decides for each running run of a project, by run id."""
    rows = connection.execute(
        text("""
            SELECT v.*, run.id AS run_id FROM run_verdict v JOIN run ON run.key = v.run_key
            JOIN project ON project.id = run.project_id
            WHERE project.name = :project AND run.status = 'running' AND v.is_acted_on AND v.decision IS NOT NULL
        """),
        {"project": project},
    )
    return {row.run_id: _stored(row) for row in rows}


def shared_metric(connection: Connection, project: str) -> str | None:
    """The metric by which most runs of a project are judged; None where none has been yet."""
    metric: str | None = connection.execute(
        text("""
            SELECT v.metric FROM run_verdict v JOIN run ON run.key = v.run_key
            JOIN project ON project.id = run.project_id WHERE project.name = :project
            GROUP BY v.metric ORDER BY count(*) FILTER (WHERE v.is_acted_on) DESC, count(*) DESC, v.metric LIMIT 1
        """),
        {"project": project},
    ).scalar_one_or_none()
    return metric


def metric_rises(connection: Connection, project: str, metric: str) -> bool:
    """Whether a metric of a project's runs is better when higher, as an accuracy is."""
    return bool(
        connection.execute(
            text("""
                SELECT bool_or(CAST(v.details->>'rises' AS boolean)) FROM run_verdict v
                JOIN run ON run.key = v.run_key JOIN project ON project.id = run.project_id
                WHERE project.name = :project AND v.metric = :metric
            """),
            {"project": project, "metric": metric},
        ).scalar_one_or_none()
    )


def read_earlier_outlooks(
    connection: Connection, key: int, metric: str, *, up_to: int, step: int, rises: bool, most: int
) -> list[Outlook]:
    """Some of the run's forecasts that were made up to one step and reach another, evenly many left out."""
    rows = connection.execute(
        text("""
            SELECT cutoff, horizon, final_quantiles, path, details FROM (
                SELECT f.*, row_number() OVER (ORDER BY id) AS place, count(*) OVER () AS total FROM forecast f
                WHERE run_key = :key AND metric = :metric AND cutoff <= :up_to AND horizon >= :step
            ) numbered
            WHERE place % ((total + :most - 1) / :most) = 0 ORDER BY id
        """),
        {"key": key, "metric": metric, "up_to": up_to, "step": step, "most": most},
    )
    found = []
    for row in rows:
        steps, numbers = decode_path(row.path)
        found.append(
            Outlook.from_parts(
                metric=metric,
                cutoff=row.cutoff,
                horizon=row.horizon,
                final_quantiles={float(level): float(value) for level, value in row.final_quantiles.items()},
                path_steps=steps,
                quantiles=numbers[:-1],
                rates=numbers[-1],
                schedule_source=row.details["schedule"]["source"],
                total_source="",
                lower_is_better=not rises,
            )
        )
    return found


def read_competitors(connection: Connection, project: str, metric: str, most: int = 60) -> tuple[list[Competitor], int]:
    """The finished and the running runs of a project as `app.verdicts.sweep` ranks them, and how many are left out.

    Of more than `most` those that are expected to end best. Runs that failed, were stopped or fell silent are not
    ranked, nor those of `read_unforeseen`. A finished one ended where all other pages say that it did: see
    `app.storage.ends`.
    """
    rows = connection.execute(
        text("""
            SELECT run.id, run.name, run.status, v.step, coalesce(o.actual, v.final_level) AS final_level, v.details,
                f.cutoff, f.horizon, f.final_quantiles
            FROM run JOIN project ON project.id = run.project_id JOIN run_progress p ON p.run_key = run.key
            LEFT JOIN run_verdict v ON v.run_key = run.key AND v.metric = :metric
            LEFT JOIN run_outcome o ON o.run_key = run.key AND o.metric = :metric
            LEFT JOIN LATERAL (
                SELECT cutoff, horizon, final_quantiles FROM forecast
                WHERE forecast.run_key = run.key AND forecast.metric = :metric AND run.status = 'running'
                  AND p.last_seen_at > now() - make_interval(secs => :silent)
                ORDER BY forecast.id DESC LIMIT 1
            ) f ON true
            WHERE project.name = :project
              AND (f.cutoff IS NOT NULL OR (run.status = 'finished' AND v.final_level IS NOT NULL))
              AND NOT (run.status = 'running' AND coalesce(CAST(v.details->>'is_unforeseen' AS boolean), false))
            ORDER BY run.created_at, run.key
        """),
        {"project": project, "metric": metric, "silent": SILENT_AFTER_SECONDS},
    )
    rises = metric_rises(connection, project, metric)
    found = sorted((_competitor(row) for row in rows), key=lambda one: one.median, reverse=rises)
    return found[:most], len(found[most:])


def read_unranked(connection: Connection, project: str, metric: str, limit: int = 200) -> list[Unranked]:
    """The runs that logged the metric and are ranked no more, newest first; where they would have ended is unknown."""
    rows = connection.execute(
        text("""
            SELECT run.id, run.name, CASE run.status WHEN 'running' THEN 'silent' ELSE run.status END AS why
            FROM run JOIN project ON project.id = run.project_id JOIN run_progress p ON p.run_key = run.key
            WHERE project.name = :project
              AND EXISTS (SELECT FROM series WHERE series.run_key = run.key AND series.metric = :metric)
              AND (run.status IN ('stopped', 'failed')
                   OR (run.status = 'running' AND p.last_seen_at <= now() - make_interval(secs => :silent)))
            ORDER BY run.created_at DESC, run.key DESC LIMIT :limit
        """),
        {"project": project, "metric": metric, "silent": SILENT_AFTER_SECONDS, "limit": limit},
    )
    return [Unranked(row.id, row.name, row.why) for row in rows]


def read_unforeseen(connection: Connection, project: str, metric: str) -> dict[str, str]:
    """Id -> name of the running runs that no ranking counts: of what their rate is still to do nobody can tell."""
    rows = connection.execute(
        text("""
            SELECT run.id, run.name FROM run_verdict v JOIN run ON run.key = v.run_key
            JOIN project ON project.id = run.project_id
            WHERE project.name = :project AND v.metric = :metric AND run.status = 'running'
              AND CAST(v.details->>'is_unforeseen' AS boolean)
            ORDER BY run.created_at, run.key
        """),
        {"project": project, "metric": metric},
    )
    return {row.id: row.name for row in rows}


def _competitor(row: Row[Any]) -> Competitor:
    if row.cutoff is None:
        final = measured_end(row.final_level, (row.details or {}).get("error"))
        return Competitor(row.id, row.name, final, row.step, row.step, is_live=False)
    quantiles = {float(level): float(value) for level, value in row.final_quantiles.items()}
    return Competitor(
        run_id=row.id,
        name=row.name,
        final=QuantileForecast.from_levels(quantiles),
        cutoff=row.cutoff,
        total_steps=row.horizon,
        is_live=True,
        is_guarded=bool((row.details or {}).get("guards")),
    )


def read_rivals(connection: Connection, project: str, run_id: str, metric: str, limit: int = 200) -> list[RivalRow]:
    """Other runs of the project with an end or a forecast of one, newest first, baselines before all others.

    One that was stopped counts by the level that it had: that much is reached. One that failed is none; a baseline that
    still runs is one by its forecast.
    """
    rows = connection.execute(
        text("""
            SELECT run.id, run.name, run.status, b.run_key IS NOT NULL AS is_baseline, v.final_level, f.final_quantiles,
                v.details->'fall' AS fall, v.details->'is_trusted' AS is_trusted
            FROM run JOIN project ON project.id = run.project_id JOIN run_progress p ON p.run_key = run.key
            LEFT JOIN project_baseline b ON b.run_key = run.key AND b.project_id = project.id
            LEFT JOIN run_verdict v ON v.run_key = run.key AND v.metric = :metric AND run.status <> 'failed'
            LEFT JOIN LATERAL (
                SELECT final_quantiles FROM forecast
                WHERE forecast.run_key = run.key AND forecast.metric = :metric AND run.status = 'running'
                  AND p.last_seen_at > now() - make_interval(secs => :silent)
                ORDER BY forecast.id DESC LIMIT 1
            ) f ON true
            WHERE project.name = :project AND run.id <> :run_id
              AND (v.final_level IS NOT NULL OR f.final_quantiles IS NOT NULL)
            ORDER BY is_baseline DESC, run.created_at DESC, run.key DESC LIMIT :limit
        """),
        {"project": project, "run_id": run_id, "metric": metric, "silent": SILENT_AFTER_SECONDS, "limit": limit},
    )
    return [
        RivalRow(
            run_id=row.id,
            name=row.name,
            is_baseline=row.is_baseline,
            is_stopped=row.status == RunStatus.STOPPED,
            final_level=row.final_level,
            final_quantiles={float(level): float(value) for level, value in (row.final_quantiles or {}).items()},
            fall=float(row.fall or 0.0),
            is_trusted=bool(row.is_trusted),
        )
        for row in rows
    ]


def _stored(row: Row[Any]) -> StoredVerdict:
    return StoredVerdict(**{name: getattr(row, name) for name in StoredVerdict.__slots__})
