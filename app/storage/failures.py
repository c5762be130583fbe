"""Refits that failed by a fault of ours: counted, so that the sweep need not ask for the same one for ever.

What failed is a state of the run under a version of the software. With new points, another plan or an upgrade it is
another state, and the count begins anew.
"""

from __future__ import annotations

from sqlalchemy import Connection, text

MOST_FAILURES = 5
"""So often a run is tried in one state: the sweep comes every ten seconds, which outlasts a moment without memory."""

_STATE = "p.revision || ' ' || :version"


def record_failure(connection: Connection, run_id: str, version: str) -> int:
    """Count one more; returns how many there were in this state, 0 where the run is gone."""
    counted = connection.execute(
        text(f"""
            UPDATE run_progress p SET
                failures = CASE WHEN p.failed_at = {_STATE} THEN p.failures + 1 ELSE 1 END, failed_at = {_STATE}
            FROM run WHERE run.key = p.run_key AND run.id = :run_id RETURNING p.failures
        """),
        {"run_id": run_id, "version": version},
    ).scalar_one_or_none()
    return int(counted or 0)


def given_up(connection: Connection, version: str) -> set[str]:
    """Runs that failed too often in the state that they are in."""
    return set(
        connection.execute(
            text(f"""
                SELECT run.id FROM run_progress p JOIN run ON run.key = p.run_key
                WHERE p.failures >= :most AND p.failed_at = {_STATE}
            """),
            {"most": MOST_FAILURES, "version": version},
        ).scalars()
    )
