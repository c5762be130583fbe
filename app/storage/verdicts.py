"""Verdicts on runs, what projects want of them, and the log of stops."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger, Text

from app.errors import BadInput, Conflict, NotFound
from app.forecasting.scores import QuantileForecast
from app.runs import Run, RunStatus
from app.storage.codec import decode_batch, decode_path
from app.storage.json import as_json
from app.storage.runs import get_run, run_key
from app.verdicts.outlook import Outlook
from app.verdicts.policies import DEFAULT_POLICY
from app.verdicts.stopping import Author, Mode, Standing, StopEvent, may_stop, stop_words
from app.verdicts.sweep import Competitor

SILENT_AFTER_SECONDS = 1800.0
"""A run that has said nothing for so long is no rival any more: whether it will come to its end nobody knows."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a project wants of one metric.

    target : the level to reach; None: none                                       [of the metric]
    delta : by how much a reference must be beaten for going on to be worth it    [of the metric]
    budget_steps : the target is wanted by this step; None: by the end            [steps]
    """

    target: float | None = None
    delta: float = 0.0
    budget_steps: int | None = None


@dataclass(frozen=True, slots=True)
class Baseline:
    """A run that was pinned for others to be compared with."""

    run_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ProjectPolicy:
    """What a project wants of its runs, and what may be done about it.

    goals : by metric
    revision : grows with each change; 0 before the first
    """

    mode: Mode = Mode.ADVISE
    policy: str = DEFAULT_POLICY
    parameters: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    goals: Mapping[str, Goal] = field(default_factory=lambda: MappingProxyType({}))
    baselines: tuple[Baseline, ...] = ()
    revision: int = 0
    updated_at: datetime | None = None


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
    """Where one metric of an ended run came to, `level` None where it failed or is NaN; `rises`: higher is better."""

    metric: str
    step: int
    level: float | None
    rises: bool


@dataclass(frozen=True, slots=True)
class RivalRow:
    """Another run of the project that a run is compared with.

    final_level : where it came to, of one that has ended                        [of the metric]
    final_quantiles : of its newest forecast, of one that still runs; else empty [of the metric]
    fall : what the decay that it still has before it is forecast to bring       [of the metric]
    is_trusted : whether nothing spoke against its forecast when it was last judged
    """

    run_id: str
    name: str
    is_baseline: bool
    final_level: float | None
    final_quantiles: Mapping[float, float]
    fall: float
    is_trusted: bool

    @property
    def expected(self) -> float:
        """Where it came to, or the median of what is forecast."""
        return self.final_quantiles[0.5] if self.final_level is None else self.final_level


@dataclass(frozen=True, slots=True)
class StopEntry:
    """One entry of the log of stops."""

    id: int
    run_id: str
    run_name: str
    at: datetime
    segment: int
    step: int | None
    event: StopEvent
    author: Author
    why: str
    evidence: Mapping[str, Any]


# What a project wants -------------------------------------------------------------------------------------------------


def read_project_policy(connection: Connection, project: str) -> ProjectPolicy:
    """What holds for a project; before anybody said anything, advice by the default policy. Raises `NotFound`."""
    row = connection.execute(
        text("""
            SELECT project.id, p.mode, p.policy, p.parameters, p.goals, p.revision, p.updated_at,
                (SELECT coalesce(jsonb_agg(jsonb_build_array(run.id, run.name) ORDER BY b.pinned_at, run.key), '[]')
                 FROM project_baseline b JOIN run ON run.key = b.run_key WHERE b.project_id = project.id) AS baselines
            FROM project LEFT JOIN project_policy p ON p.project_id = project.id WHERE project.name = :project
        """),
        {"project": project},
    ).one_or_none()
    if row is None:
        raise _no_project(project)
    baselines = tuple(Baseline(*one) for one in row.baselines)
    if row.mode is None:
        return ProjectPolicy(baselines=baselines)
    return ProjectPolicy(
        mode=Mode(row.mode),
        policy=row.policy,
        parameters=row.parameters,
        goals={metric: Goal(**goal) for metric, goal in row.goals.items()},
        baselines=baselines,
        revision=row.revision,
        updated_at=row.updated_at,
    )


def save_project_policy(
    connection: Connection,
    project: str,
    *,
    mode: Mode,
    policy: str,
    parameters: Mapping[str, float],
    goals: Mapping[str, Goal],
    baselines: Sequence[str],
) -> list[str]:
    """Replace all of it, and have the project's running runs judged again: their ids.

    Raises `NotFound` for a project without runs, `BadInput` for a baseline that is no run of it.
    """
    project_id = connection.execute(
        text("SELECT id FROM project WHERE name = :project FOR NO KEY UPDATE"), {"project": project}
    ).scalar_one_or_none()
    if project_id is None:
        raise _no_project(project)
    connection.execute(
        text("""
            INSERT INTO project_policy (project_id, mode, policy, parameters, goals, revision)
            VALUES (:id, :mode, :policy, CAST(:parameters AS jsonb), CAST(:goals AS jsonb), 1)
            ON CONFLICT (project_id) DO UPDATE SET mode = excluded.mode, policy = excluded.policy,
                parameters = excluded.parameters, goals = excluded.goals, revision = project_policy.revision + 1,
                updated_at = now()
        """),
        {
            "id": project_id,
            "mode": mode.value,
            "policy": policy,
            "parameters": as_json(parameters),
            "goals": as_json({metric: asdict(goal) for metric, goal in goals.items()}),
        },
    )
    _pin(connection, project_id, project, baselines)
    return list(
        connection.execute(
            text("""
                UPDATE run_progress p SET revision = revision + 1 FROM run
                WHERE run.key = p.run_key AND run.project_id = :id AND run.status = 'running' RETURNING run.id
            """),
            {"id": project_id},
        ).scalars()
    )


def _pin(connection: Connection, project_id: int, project: str, baselines: Sequence[str]) -> None:
    known: dict[str, int] = {
        row.id: row.key
        for row in connection.execute(
            text("SELECT id, key FROM run WHERE project_id = :id AND id = ANY(:ids)").bindparams(
                bindparam("ids", type_=ARRAY(Text))
            ),
            {"id": project_id, "ids": list(baselines)},
        )
    }
    unknown = [run_id for run_id in baselines if run_id not in known]
    if unknown:
        raise BadInput(f"{unknown[0]!r} is no run of the project {project!r}; only its own runs can be its baselines.")
    keys = list(known.values())
    connection.execute(
        text("DELETE FROM project_baseline WHERE project_id = :id AND run_key <> ALL(CAST(:keys AS bigint[]))"),
        {"id": project_id, "keys": keys},
    )
    if keys:
        connection.execute(
            text("INSERT INTO project_baseline (project_id, run_key) VALUES (:id, :key) ON CONFLICT DO NOTHING"),
            [{"id": project_id, "key": key} for key in keys],
        )


def unlogged_metrics(connection: Connection, project: str, metrics: Sequence[str]) -> list[str]:
    """Those of some metrics that no run of a project has logged."""
    logged = set(
        connection.execute(
            text("""
                SELECT DISTINCT series.metric FROM series JOIN run ON run.key = series.run_key
                JOIN project ON project.id = run.project_id
                WHERE project.name = :project AND series.metric = ANY(:metrics)
            """).bindparams(bindparam("metrics", type_=ARRAY(Text))),
            {"project": project, "metrics": list(metrics)},
        ).scalars()
    )
    return [metric for metric in metrics if metric not in logged]


# Verdicts -------------------------------------------------------------------------------------------------------------


def runs_to_judge(connection: Connection, limit: int = 200) -> list[str]:
    """Finished runs without a row of their own: of before verdicts, mostly. The sweep refits them."""
    return list(
        connection.execute(
            text("""
                SELECT run.id FROM run JOIN run_summary s ON s.run_key = run.key
                WHERE run.status = 'finished' AND s.metric IS NOT NULL
                  AND NOT EXISTS (SELECT FROM run_verdict v WHERE v.run_key = run.key AND v.decision IS NULL)
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
                VALUES (:key, :metric, :segment, :step, false, :level, 0, jsonb_build_object('rises', :rises))
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

    Of more than `most` those that are expected to end best; runs that failed, were stopped or fell silent are not
    ranked.
    """
    rows = connection.execute(
        text("""
            SELECT run.id, run.name, run.status, v.step, v.final_level, v.details, f.cutoff, f.horizon,
                f.final_quantiles
            FROM run JOIN project ON project.id = run.project_id JOIN run_progress p ON p.run_key = run.key
            LEFT JOIN run_verdict v ON v.run_key = run.key AND v.metric = :metric
            LEFT JOIN LATERAL (
                SELECT cutoff, horizon, final_quantiles FROM forecast
                WHERE forecast.run_key = run.key AND forecast.metric = :metric AND run.status = 'running'
                  AND p.last_seen_at > now() - make_interval(secs => :silent)
                ORDER BY forecast.id DESC LIMIT 1
            ) f ON true
            WHERE project.name = :project
              AND (f.cutoff IS NOT NULL OR (run.status = 'finished' AND v.final_level IS NOT NULL))
            ORDER BY run.created_at, run.key
        """),
        {"project": project, "metric": metric, "silent": SILENT_AFTER_SECONDS},
    )
    rises = metric_rises(connection, project, metric)
    found = sorted((_competitor(row) for row in rows), key=lambda one: one.median, reverse=rises)
    return found[:most], len(found[most:])


def _competitor(row: Row[Any]) -> Competitor:
    if row.cutoff is None:
        return Competitor(row.id, row.name, row.final_level, row.step, row.step, is_live=False)
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
            SELECT run.id, run.name, b.run_key IS NOT NULL AS is_baseline, v.final_level, f.final_quantiles,
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
            final_level=row.final_level,
            final_quantiles={float(level): float(value) for level, value in (row.final_quantiles or {}).items()},
            fall=float(row.fall or 0.0),
            is_trusted=bool(row.is_trusted),
        )
        for row in rows
    ]


# When a run was where -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PaceMarks:
    """When a run was where.

    arrivals : batches of the run that it knows of
    marks : (step, time), both rising   [steps], [s since 1970]
    """

    arrivals: int = 0
    marks: tuple[tuple[int, float], ...] = ()


def read_pace(connection: Connection, key: int) -> PaceMarks:
    row = connection.execute(
        text("SELECT arrivals, marks FROM run_pace WHERE run_key = :key"), {"key": key}
    ).one_or_none()
    return PaceMarks() if row is None else PaceMarks(row.arrivals, tuple((step, time) for step, time in row.marks))


def marks_since(connection: Connection, key: int, arrivals: Sequence[int]) -> list[tuple[int, float]]:
    """The last step of some batches and when the job made it, in order of arrival.

    By the job's clock; by ours where it sent none, or where the batch has been compacted since.
    """
    rows = connection.execute(
        text("""
            SELECT extract(epoch FROM received_at) AS received, step_max, series, data FROM metric_batch
            WHERE run_key = :key AND arrival = ANY(:arrivals) AND step_max IS NOT NULL ORDER BY arrival
        """).bindparams(bindparam("arrivals", type_=ARRAY(BigInteger))),
        {"key": key, "arrivals": list(arrivals)},
    )
    return [(row.step_max, _made_at(row)) for row in rows]


def _made_at(row: Row[Any]) -> float:
    received = float(row.received)
    if row.data is None:
        return received
    batch = decode_batch(row.data, tuple(str(one) for one in row.series))
    made = float(batch.times[int(np.argmax(batch.steps))])
    return made if math.isfinite(made) else received


def save_pace(connection: Connection, key: int, pace: PaceMarks) -> None:
    connection.execute(
        text("""
            INSERT INTO run_pace (run_key, arrivals, marks) VALUES (:key, :arrivals, CAST(:marks AS jsonb))
            ON CONFLICT (run_key) DO UPDATE SET arrivals = excluded.arrivals, marks = excluded.marks
        """),
        {"key": key, "arrivals": pace.arrivals, "marks": as_json(pace.marks)},
    )


# The log of stops -----------------------------------------------------------------------------------------------------


def lock_stops(connection: Connection, key: int) -> None:
    """Nobody else adds to the run's log until this transaction ends."""
    connection.execute(text("SELECT FROM run WHERE key = :key FOR NO KEY UPDATE"), {"key": key})


def read_standing(connection: Connection, key: int) -> Standing | None:
    """Where the run stands: the newest entry of its log."""
    row = connection.execute(
        text("SELECT event, author, segment FROM stop_log WHERE run_key = :key ORDER BY id DESC LIMIT 1"), {"key": key}
    ).one_or_none()
    return None if row is None else Standing(StopEvent(row.event), Author(row.author), row.segment)


@dataclass(frozen=True, slots=True)
class StopState:
    """Where a run stands on its way to a stop.

    is_current : whether the verdict was made by the policy and the goals as they are now
    """

    run: Run
    policy: ProjectPolicy
    standing: Standing | None
    is_current: bool

    @property
    def should_stop(self) -> bool:
        """Whether the job that asks now is told to stop."""
        if self.run.status is not RunStatus.RUNNING or not may_stop(self.standing, self.run.segment, self.policy.mode):
            return False
        return self.is_current or (self.standing is not None and self.standing.author is not Author.POLICY)

    @property
    def sentence(self) -> str:
        """The same in words for people."""
        if self.run.status is not RunStatus.RUNNING:
            return f"The run is over: {self.run.status.value}."
        words = stop_words(self.standing, self.run.segment, self.policy.mode)
        is_outdated = may_stop(self.standing, self.run.segment, self.policy.mode) and not self.should_stop
        return "The project's goals have changed; the run is being judged again." if is_outdated else words


def read_stop_state(connection: Connection, run_id: str) -> StopState:
    """Raises `NotFound`."""
    run = get_run(connection, run_id)
    key = run_key(connection, run_id)
    policy = read_project_policy(connection, run.project)
    judged_by = connection.execute(
        text("SELECT policy_revision FROM run_verdict WHERE run_key = :key AND is_acted_on AND decision IS NOT NULL"),
        {"key": key},
    ).scalar_one_or_none()
    return StopState(run, policy, read_standing(connection, key), is_current=judged_by == policy.revision)


def log_stop(
    connection: Connection,
    key: int,
    *,
    event: StopEvent,
    author: Author,
    segment: int,
    step: int | None,
    why: str,
    evidence: Mapping[str, Any],
) -> None:
    connection.execute(
        text("""
            INSERT INTO stop_log (run_key, segment, step, event, author, why, evidence)
            VALUES (:key, :segment, :step, :event, :author, :why, CAST(:evidence AS jsonb))
        """),
        {
            "key": key,
            "segment": segment,
            "step": step,
            "event": event.value,
            "author": author.value,
            "why": why,
            "evidence": as_json(evidence),
        },
    )


def answer_as_person(connection: Connection, run_id: str, event: StopEvent, by: str = "") -> Standing | None:
    """A person's word on a run: stop it (`ORDERED`), where that was proposed; let it go on whatever verdicts say
    (`DECLINED`); or take back what a person said (`WITHDRAWN`), so that verdicts count again.

    The same answer twice is one. Raises `NotFound`, and `Conflict` where it answers nothing or the run is over.
    """
    key = run_key(connection, run_id)
    lock_stops(connection, key)
    run = get_run(connection, run_id)
    standing = read_standing(connection, key)
    said = standing if standing is not None and standing.author is Author.PERSON else None
    if said is not None and said.event is event:
        return said
    if run.status is not RunStatus.RUNNING:
        raise Conflict(f"The run is over ({run.status.value}); there is nothing left to stop.")
    is_proposed = standing is not None and (standing.event, standing.segment) == (StopEvent.PROPOSED, run.segment)
    if event is StopEvent.ORDERED and not is_proposed:
        raise Conflict(
            "No stop is proposed for this run now. One is where the project's mode is 'ask' and a stop verdict has "
            "held for a while; GET /api/v1/runs/{id}/verdict says where the run stands."
        )
    if event is StopEvent.WITHDRAWN and said is None:
        raise Conflict("Nobody has answered for this run; there is nothing to take back.")
    verdict = read_verdict(connection, run_id)
    log_stop(
        connection,
        key,
        event=event,
        author=Author.PERSON,
        segment=run.segment,
        step=run.last_step,
        why=f"{by or 'Somebody'} {_ANSWERS[event]}.",
        evidence={} if verdict is None else {"metric": verdict.metric, "verdict": verdict.details},
    )
    return Standing(event, Author.PERSON, run.segment)


_ANSWERS: Mapping[StopEvent, str] = MappingProxyType(
    {
        StopEvent.ORDERED: "said yes: stop",
        StopEvent.DECLINED: "said no: go on",
        StopEvent.WITHDRAWN: "took the answer back: verdicts count again",
    }
)


def record_heard(connection: Connection, run_id: str, *, segment: int | None, step: int | None) -> None:
    """The job asked and was told to stop. Twice is once. Raises `NotFound`, and `Conflict` where nobody told it."""
    key = run_key(connection, run_id)
    lock_stops(connection, key)
    run = get_run(connection, run_id)
    segment = run.segment if segment is None else segment
    told = connection.execute(
        text("""
            SELECT author, evidence FROM stop_log
            WHERE run_key = :key AND segment = :segment AND event = 'ordered' ORDER BY id DESC LIMIT 1
        """),
        {"key": key, "segment": segment},
    ).one_or_none()
    if told is None:
        raise Conflict("This run was not told to stop.")
    standing = read_standing(connection, key)
    if standing is not None and standing.event is StopEvent.HEARD and standing.segment == segment:
        return
    log_stop(
        connection,
        key,
        event=StopEvent.HEARD,
        author=Author.JOB,
        segment=segment,
        step=run.last_step if step is None else step,
        why="The job asked and was told to stop.",
        evidence=told.evidence,
    )


def list_stops(
    connection: Connection, *, run_id: str | None = None, project: str | None = None, limit: int = 100
) -> list[StopEntry]:
    """The log, newest first. Raises `NotFound` for a run or project that is not there."""
    if run_id is not None:
        run_key(connection, run_id)
    if project is not None:
        read_project_policy(connection, project)
    rows = connection.execute(
        text("""
            SELECT l.*, run.id AS run_id, run.name AS run_name FROM stop_log l
            JOIN run ON run.key = l.run_key JOIN project ON project.id = run.project_id
            WHERE (CAST(:run_id AS text) IS NULL OR run.id = :run_id)
              AND (CAST(:project AS text) IS NULL OR project.name = :project)
            ORDER BY l.id DESC LIMIT :limit
        """),
        {"run_id": run_id, "project": project, "limit": limit},
    )
    return [
        StopEntry(
            id=row.id,
            run_id=row.run_id,
            run_name=row.run_name,
            at=row.at,
            segment=row.segment,
            step=row.step,
            event=StopEvent(row.event),
            author=Author(row.author),
            why=row.why,
            evidence=row.evidence,
        )
        for row in rows
    ]


def _stored(row: Row[Any]) -> StoredVerdict:
    return StoredVerdict(**{name: getattr(row, name) for name in StoredVerdict.__slots__})


def _no_project(project: str) -> NotFound:
    return NotFound(
        f"No project named {project!r}; a project begins with its first run. GET /api/v1/projects lists them."
    )
