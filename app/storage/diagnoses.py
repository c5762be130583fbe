"""What the diagnostics said of a run, and the state from which they go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger, Text

from app.diagnostics.event import Event, Severity
from app.storage.json import as_json
from app.storage.points import LOWEST_STEP
from app.storage.runs import run_key

GRAVEST = ("nonfinite", "divergence")
"""Of what is equally severe, what lists name first: nothing is worse, and a spike before it was its beginning."""

EVENTS_SHOWN = 500

LOSSES = ("train_loss", "val_loss")
FIRST_TO_TELL, TOO_EARLY = "spike", "too early"
"""Whether a loss misbehaves can be told from where its level is known, some fifty points in: before, no news of a run
says little."""


@dataclass(frozen=True, slots=True)
class DiagnosisState:
    """Where the diagnoses of a run stand.

    arrivals : batches of the run that it knows of
    starts : of later segments, when it was made: segment -> first step that it replaced
    read_to : the last step read; None before any [steps]
    is_complete : False while a long run is still read in slices
    is_news : whether what is found may fire alerts
    engine : bytes of `app.diagnostics.engine.Engine`; None: begin anew
    """

    arrivals: int
    starts: Mapping[int, int]
    read_to: int | None
    is_complete: bool
    is_news: bool
    engine: bytes | None


@dataclass(frozen=True, slots=True)
class Health:
    """What there is to show of a run's diagnoses.

    watched : signal -> the metric that stands for it
    states : diagnosis -> where the run stands
    risk : horizon in steps -> probability of a fault within it
    events : in the order they were raised; of more than were asked for the open ones and the newest
    has_failed : a fault of ours kept the newest points from being diagnosed
    """

    read_to: int | None
    is_complete: bool
    has_failed: bool
    updated_at: datetime
    watched: Mapping[str, str]
    states: Mapping[str, str]
    risk: Mapping[int, float]
    events: Sequence[Event]

    @property
    def is_early(self) -> bool:
        return self.states.get(FIRST_TO_TELL) == TOO_EARLY

    @property
    def has_loss(self) -> bool:
        return any(loss in self.watched for loss in LOSSES)


@dataclass(frozen=True, slots=True)
class Trouble:
    """An open event that is more than information."""

    kind: str
    severity: Severity
    step: int
    message: str


@dataclass(frozen=True, slots=True)
class HealthGlance:
    """A run's health as a list of runs shows it.

    is_early : too few points of a loss to say that nothing is wrong
    has_loss : a loss is among what is watched
    troubles : the worst first, of equals by `GRAVEST`, then the one that came first
    """

    is_complete: bool
    has_failed: bool
    is_early: bool
    has_loss: bool
    troubles: tuple[Trouble, ...]


def runs_to_diagnose(connection: Connection, limit: int = 20) -> list[str]:
    """Runs with points that no diagnosis has read: what a crash left, a long run read in slices, runs of before."""
    return list(
        connection.execute(
            text("""
                SELECT run.id FROM run_progress p JOIN run ON run.key = p.run_key
                LEFT JOIN run_diagnosis d ON d.run_key = p.run_key
                WHERE p.fitted_arrivals > 0
                  AND (d.run_key IS NULL OR d.arrivals < p.fitted_arrivals OR NOT d.is_complete)
                ORDER BY p.last_seen_at DESC LIMIT :limit
            """),
            {"limit": limit},
        ).scalars()
    )


def read_diagnosis_state(connection: Connection, run_key: int) -> DiagnosisState | None:
    row = connection.execute(
        text("""
            SELECT arrivals, starts, read_to, is_complete, is_news, engine FROM run_diagnosis WHERE run_key = :key
        """),
        {"key": run_key},
    ).one_or_none()
    if row is None:
        return None
    starts = {int(segment): start for segment, start in row.starts.items()}
    return DiagnosisState(row.arrivals, starts, row.read_to, row.is_complete, row.is_news, row.engine)


def save_diagnosis_state(
    connection: Connection, run_key: int, state: DiagnosisState, conclusions: Mapping[str, Any]
) -> None:
    connection.execute(
        text("""
            INSERT INTO run_diagnosis
                (run_key, arrivals, starts, read_to, is_complete, is_news, engine, conclusions)
            VALUES (:key, :arrivals, CAST(:starts AS jsonb), :read_to, :is_complete, :is_news, :engine,
                CAST(:conclusions AS jsonb))
            ON CONFLICT (run_key) DO UPDATE SET arrivals = excluded.arrivals, starts = excluded.starts,
                read_to = excluded.read_to, is_complete = excluded.is_complete, is_news = excluded.is_news,
                engine = excluded.engine, conclusions = excluded.conclusions, updated_at = now()
        """),
        {
            "key": run_key,
            "arrivals": state.arrivals,
            "starts": as_json(state.starts),
            "read_to": state.read_to,
            "is_complete": state.is_complete,
            "is_news": state.is_news,
            "engine": state.engine,
            "conclusions": as_json(conclusions),
        },
    )


def first_step_since(connection: Connection, run_key: int, after: int, up_to: int) -> int | None:
    """The smallest step in the batches `after < arrival <= up_to`; compaction leaves it in place. [steps]"""
    step: int | None = connection.execute(
        text("SELECT min(step_min) FROM metric_batch WHERE run_key = :key AND arrival > :after AND arrival <= :up_to"),
        {"key": run_key, "after": after, "up_to": up_to},
    ).scalar_one()
    return step


def step_within(
    connection: Connection, run_key: int, series_ids: Sequence[int], lowest: int, points: int
) -> int | None:
    """Up to which step, from `lowest` on, some series hold about so many points; None where they hold fewer.

    Counted in whole chunks and batches, so that no point is decoded; a slice holds at least one of them. [steps]
    """
    step: int | None = connection.execute(
        text("""
            SELECT min(step_max) FROM (
                SELECT step_max, sum(n_points) OVER (ORDER BY step_max) AS so_far FROM (
                    SELECT step_max, n_points FROM series_chunk
                    WHERE series_id = ANY(:ids) AND step_max >= :lowest
                    UNION ALL
                    SELECT step_max, n_points FROM metric_batch
                    WHERE run_key = :key AND data IS NOT NULL AND step_max >= :lowest AND series && :ids
                ) stored
            ) counted WHERE so_far >= :points
        """).bindparams(bindparam("ids", type_=ARRAY(BigInteger))),
        {"key": run_key, "ids": list(series_ids), "lowest": lowest, "points": points},
    ).scalar_one()
    return step


def take_back(connection: Connection, run_key: int, from_step: int | None) -> None:
    """Forget what was said at or after a step that is read again; None: everything."""
    asked = {"key": run_key, "step": LOWEST_STEP if from_step is None else from_step}
    connection.execute(text("DELETE FROM diagnosis_event WHERE run_key = :key AND raised_at >= :step"), asked)
    connection.execute(
        text("""
            UPDATE diagnosis_event SET resolved_at = NULL, outcome = '' WHERE run_key = :key AND resolved_at >= :step
        """),
        asked,
    )


def save_events(connection: Connection, run_key: int, events: Sequence[Event]) -> None:
    """Keep each event in its last version."""
    newest = {event.id: event for event in events}
    if not newest:
        return
    connection.execute(
        text("""
            INSERT INTO diagnosis_event (run_key, id, kind, severity, step, raised_at, resolved_at, outcome, details)
            VALUES (:key, :id, :kind, :severity, :step, :raised_at, :resolved_at, :outcome, CAST(:details AS jsonb))
            ON CONFLICT (run_key, id) DO UPDATE SET severity = excluded.severity, step = excluded.step,
                resolved_at = excluded.resolved_at, outcome = excluded.outcome, details = excluded.details
        """),
        [_event_row(run_key, event) for event in newest.values()],
    )


def _event_row(run_key: int, event: Event) -> dict[str, Any]:
    details = {
        "message": event.message,
        "probability": event.probability,
        "inputs": event.inputs,
        "evidence": event.evidence,
        "sharpen": event.sharpen,
    }
    return {
        "key": run_key,
        "id": event.id,
        "kind": event.kind,
        "severity": event.severity.value,
        "step": event.step,
        "raised_at": event.raised_at,
        "resolved_at": event.resolved_at,
        "outcome": event.outcome,
        "details": as_json(details),
    }


def read_events(connection: Connection, run_key: int, limit: int = EVENTS_SHOWN) -> list[Event]:
    """The open events and the newest of the others, in the order they were raised."""
    rows = connection.execute(
        text("""
            SELECT kind, severity, step, raised_at, resolved_at, outcome, details FROM diagnosis_event
            WHERE run_key = :key ORDER BY resolved_at IS NULL DESC, raised_at DESC, id LIMIT :limit
        """),
        {"key": run_key, "limit": limit},
    )
    return sorted((_event(row) for row in rows), key=lambda event: (event.raised_at, event.id))


def _event(row: Row[Any]) -> Event:
    details = row.details
    return Event(
        kind=row.kind,
        severity=Severity(row.severity),
        step=row.step,
        raised_at=row.raised_at,
        message=details["message"],
        inputs=tuple(details["inputs"]),
        evidence=details["evidence"],
        outcome=row.outcome,
        probability=details["probability"],
        resolved_at=row.resolved_at,
        sharpen=tuple(details["sharpen"]),
    )


def read_health(connection: Connection, run_id: str, limit: int = EVENTS_SHOWN) -> Health | None:
    """None before the first look. Raises `NotFound`."""
    key = run_key(connection, run_id)
    row = connection.execute(
        text("SELECT read_to, is_complete, conclusions, updated_at FROM run_diagnosis WHERE run_key = :key"),
        {"key": key},
    ).one_or_none()
    if row is None:
        return None
    said = row.conclusions
    return Health(
        read_to=row.read_to,
        is_complete=row.is_complete,
        has_failed=bool(said.get("failed")),
        updated_at=row.updated_at,
        watched=said.get("watched", {}),
        states=said.get("states", {}),
        risk={int(horizon): probability for horizon, probability in said.get("risk", {}).items()},
        events=read_events(connection, key, limit),
    )


def glance_at_health(connection: Connection, run_ids: Sequence[str]) -> dict[str, HealthGlance]:
    """Of many runs, in one query; runs that were not diagnosed yet are left out."""
    rows = connection.execute(
        text("""
            SELECT run.id, d.is_complete, coalesce((d.conclusions ->> 'failed')::boolean, false) AS has_failed,
                coalesce(d.conclusions -> 'states' ->> :first_to_tell = :too_early, false) AS is_early,
                jsonb_exists_any(coalesce(d.conclusions -> 'watched', '{}'), :losses) AS has_loss, troubles.found
            FROM run JOIN run_diagnosis d ON d.run_key = run.key
            CROSS JOIN LATERAL (
                SELECT jsonb_agg(jsonb_build_array(kind, severity, step, details -> 'message')
                    ORDER BY array_position(ARRAY['critical', 'warning'], severity),
                        coalesce(array_position(:gravest, kind), 100), raised_at, id
                ) AS found
                FROM diagnosis_event e WHERE e.run_key = run.key AND resolved_at IS NULL AND severity <> 'info'
            ) troubles
            WHERE run.id = ANY(:ids)
        """).bindparams(bindparam("gravest", type_=ARRAY(Text)), bindparam("losses", type_=ARRAY(Text))),
        {
            "ids": list(run_ids),
            "gravest": list(GRAVEST),
            "losses": list(LOSSES),
            "first_to_tell": FIRST_TO_TELL,
            "too_early": TOO_EARLY,
        },
    )
    return {
        row.id: HealthGlance(
            is_complete=row.is_complete,
            has_failed=row.has_failed,
            is_early=row.is_early,
            has_loss=row.has_loss,
            troubles=tuple(
                Trouble(kind, Severity(severity), step, message) for kind, severity, step, message in row.found or ()
            ),
        )
        for row in rows
    }


def diagnosed_at(connection: Connection, run_id: str) -> datetime | None:
    """When the run was last diagnosed: changes when what is said of it may have."""
    when: datetime | None = connection.execute(
        text("SELECT d.updated_at FROM run_diagnosis d JOIN run ON run.key = d.run_key WHERE run.id = :run_id"),
        {"run_id": run_id},
    ).scalar_one_or_none()
    return when
