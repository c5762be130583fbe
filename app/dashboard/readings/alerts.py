"""The alerts of all runs."""

from __future__ import annotations

from app.runs import AlertState, StoredAlert
from app.storage import alerts
from app.storage.database import Database

ALERTS_SHOWN = 200


def read_alerts(database: Database) -> tuple[list[StoredAlert], list[StoredAlert]]:
    """All open alerts that fit on a page, and the newest of the others."""
    with database.read() as connection:
        open_ones = alerts.list_alerts(connection, open_only=True, limit=ALERTS_SHOWN)
        newest = alerts.list_alerts(connection, limit=ALERTS_SHOWN)
    return open_ones, [alert for alert in newest if alert.state is not AlertState.OPEN]
