"""Alerts and their deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping, text

from app.alerts.rules import AlertKey, AllClear, Finding
from app.runs import RunStatus, StoredAlert
from app.storage.json import as_json

# A worker that dies between sending and recording leaves its claim to lapse; the message is then sent once more.
CLAIM_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Target:
    """A configured channel: the hash finds its URL again in the settings, the label may be shown."""

    hash: str
    label: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one channel."""

    id: int
    alert: StoredAlert
    event: str  # fired | resolved
    target_hash: str
    attempts: int  # this one included


_ALERT_COLUMNS = """
    alert.id, run.id AS run_id, project.name AS project, run.name AS run_name, run.status AS run_status, alert.kind,
    alert.severity, alert.metric, alert.step, alert.message, alert.evidence, alert.fired_at, alert.resolved_at
"""
_ALERT_TABLES = "alert JOIN run ON run.key = alert.run_key JOIN project ON project.id = run.project_id"


def open_keys(connection: Connection, run_key: int) -> set[AlertKey]:
    """What the run's open alerts are about."""
    rows = connection.execute(
        text("SELECT kind, metric FROM alert WHERE run_key = :key AND resolved_at IS NULL"), {"key": run_key}
    )
    return {AlertKey(kind, metric or None) for kind, metric in rows}


def fire(connection: Connection, run_key: int, finding: Finding, targets: Sequence[Target]) -> int | None:
    """Open an alert and queue its messages, where it calls; None where one of its kind and metric is open already."""
    alert_id = connection.execute(
        text("""
            INSERT INTO alert (run_key, kind, severity, metric, step, message, evidence)
            VALUES (:key, :kind, :severity, :metric, :step, :message, CAST(:evidence AS jsonb))
            ON CONFLICT (run_key, kind, metric) WHERE resolved_at IS NULL DO NOTHING RETURNING id
        """),
        {
            "key": run_key,
            "kind": finding.kind,
            "severity": finding.severity.value,
            "metric": finding.metric or "",
            "step": finding.step,
            "message": finding.message,
            "evidence": as_json(finding.evidence),
        },
    ).scalar_one_or_none()
    if alert_id is None:
        return None
    if finding.calls:
        _queue(connection, alert_id, "fired", targets)
    return int(alert_id)


def resolve(connection: Connection, run_key: int, cleared: AllClear, targets: Sequence[Target]) -> int | None:
    """Close the open alert of this kind and metric and queue the good news, where there were bad ones."""
    alert_id = connection.execute(
        text("""
            UPDATE alert SET resolved_at = now()
            WHERE run_key = :key AND kind = :kind AND metric = :metric AND resolved_at IS NULL RETURNING id
        """),
        {"key": run_key, "kind": cleared.kind, "metric": cleared.metric or ""},
    ).scalar_one_or_none()
    if alert_id is None:
        return None
    if list_deliveries(connection, [alert_id]):
        _queue(connection, alert_id, "resolved", targets)
    return int(alert_id)


def _queue(connection: Connection, alert_id: int, event: str, targets: Sequence[Target]) -> None:
    if not targets:
        return
    connection.execute(
        text("""
            INSERT INTO alert_delivery (alert_id, event, target_hash, target_label, next_attempt_at)
            VALUES (:alert_id, :event, :hash, :label, now()) ON CONFLICT DO NOTHING
        """),
        [{"alert_id": alert_id, "event": event, "hash": one.hash, "label": one.label} for one in targets],
    )


def due_channels(connection: Connection) -> list[str]:
    """The channels, by their hashes, for which something is due."""
    return list(
        connection.execute(
            text("SELECT DISTINCT target_hash FROM alert_delivery WHERE next_attempt_at <= now() ORDER BY target_hash")
        ).scalars()
    )


def claim_deliveries(connection: Connection, limit: int = 20, *, target_hash: str | None = None) -> list[Delivery]:
    """Messages that are due, of one channel or of all, taken so that no other worker sends them at the same time."""
    rows = connection.execute(
        text(f"""
            WITH due AS (
                SELECT id FROM alert_delivery WHERE next_attempt_at <= now()
                    AND (CAST(:target_hash AS text) IS NULL OR target_hash = :target_hash)
                ORDER BY next_attempt_at LIMIT :limit FOR UPDATE SKIP LOCKED
            ), claimed AS (
                UPDATE alert_delivery d SET attempts = d.attempts + 1,
                    next_attempt_at = now() + make_interval(secs => :claim_seconds)
                FROM due WHERE d.id = due.id RETURNING d.id, d.alert_id, d.event, d.target_hash, d.attempts
            )
            SELECT claimed.id AS delivery_id, claimed.event, claimed.target_hash, claimed.attempts, {_ALERT_COLUMNS}
            FROM claimed JOIN {_ALERT_TABLES} ON alert.id = claimed.alert_id ORDER BY claimed.id
        """),
        {"limit": limit, "claim_seconds": CLAIM_SECONDS, "target_hash": target_hash},
    )
    return [
        Delivery(row.delivery_id, _alert(row._mapping), row.event, row.target_hash, row.attempts) for row in rows.all()
    ]


def record_delivered(connection: Connection, delivery_id: int) -> None:
    connection.execute(
        text(
            "UPDATE alert_delivery SET delivered_at = now(), next_attempt_at = NULL, last_error = NULL WHERE id = :id"
        ),
        {"id": delivery_id},
    )


def record_failed(connection: Connection, delivery_id: int, error: str, retry_in_seconds: float | None) -> None:
    """Keep why it failed and when to try again; None gives it up."""
    connection.execute(
        text("""
            UPDATE alert_delivery SET last_error = :error,
                next_attempt_at = now() + make_interval(secs => CAST(:seconds AS double precision))
            WHERE id = :id
        """),
        {"id": delivery_id, "error": error[:2000], "seconds": retry_in_seconds},
    )


def list_alerts(
    connection: Connection, *, run_id: str | None = None, open_only: bool = False, limit: int = 100
) -> list[StoredAlert]:
    """Alerts, newest first; `open_only`: of runs that go on, whose cause has not passed."""
    where = ["true"]
    if run_id is not None:
        where.append("run.id = :run_id")
    if open_only:
        where.append("alert.resolved_at IS NULL AND run.status = 'running'")
    rows = connection.execute(
        text(f"""
            SELECT {_ALERT_COLUMNS} FROM {_ALERT_TABLES} WHERE {" AND ".join(where)}
            ORDER BY alert.fired_at DESC, alert.id DESC LIMIT :limit
        """),
        {"run_id": run_id, "limit": limit},
    )
    return [_alert(row._mapping) for row in rows]


def list_deliveries(
    connection: Connection, alert_ids: Sequence[int]
) -> dict[int, list[tuple[str, str, datetime | None, str | None]]]:
    """For each alert (event, channel without secrets, when delivered, last error), oldest first."""
    rows = connection.execute(
        text("""
            SELECT alert_id, event, target_label, delivered_at, last_error FROM alert_delivery
            WHERE alert_id = ANY(CAST(:ids AS bigint[])) ORDER BY id
        """),
        {"ids": list(alert_ids)},
    )
    found: dict[int, list[tuple[str, str, datetime | None, str | None]]] = {}
    for alert_id, *delivery in rows:
        found.setdefault(alert_id, []).append((delivery[0], delivery[1], delivery[2], delivery[3]))
    return found


def _alert(row: RowMapping) -> StoredAlert:
    values = {name: row[name] for name in StoredAlert.__slots__}
    return StoredAlert(**{**values, "metric": values["metric"] or None, "run_status": RunStatus(values["run_status"])})
