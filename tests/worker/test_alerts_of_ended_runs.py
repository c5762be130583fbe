"""What becomes of alerts when their run ends, and when it is taken up again."""

from __future__ import annotations

import math

from sqlalchemy import text

from app.alerts.rules import Finding
from app.diagnostics.event import Event, Severity
from app.runs import AlertState, RunStatus
from app.storage import alerts, runs
from app.storage.alerts import Target
from app.storage.curves import fit_mark
from app.storage.database import Database
from app.storage.diagnoses import glance_at_health, save_events
from app.worker.refit import refit_run
from tests.storing import make_batch, start, store


def test_the_end_of_a_run_neither_resolves_its_alerts_nor_leaves_them_open(database: Database) -> None:
    def told() -> list[tuple[str, AlertState]]:
        with database.read() as connection:
            return [(alert.kind, alert.state) for alert in alerts.list_alerts(connection)]

    def messages() -> int:
        with database.read() as connection:
            return int(connection.execute(text("SELECT count(*) FROM alert_delivery")).scalar_one())

    channel = [Target("ab12", "https://host/…")]
    start(database)
    store(database, make_batch(list(range(1, 41)), loss=[2.0] * 39 + [math.nan]), seq=0)
    refit_run(database, "run", channel)
    assert told() == [("nonfinite_loss", AlertState.OPEN)]
    with database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FAILED, "NaN")
    refit_run(database, "run", channel)
    assert told() == [("nonfinite_loss", AlertState.RUN_OVER)]
    with database.read() as connection:
        assert alerts.list_alerts(connection, open_only=True) == []
        (row,), _ = runs.list_runs(connection)
    assert (row.open_alerts, row.unresolved_alerts, row.worst_severity) == (0, 1, "critical")
    start(database, session="again")
    refit_run(database, "run", channel)
    assert told() == [("nonfinite_loss", AlertState.OPEN)]
    assert messages() == 1
    store(database, make_batch(list(range(41, 81)), loss=[1.9] * 40), segment=2, seq=0)
    refit_run(database, "run", channel)
    assert told() == [("nonfinite_loss", AlertState.RESOLVED)]
    assert messages() == 2


def test_a_list_counts_the_worst_alerts_apart_and_names_nan_before_what_came_first(database: Database) -> None:
    start(database)
    store(database, make_batch(list(range(1, 41)), loss=[2.0] * 39 + [math.nan]), seq=0)
    refit_run(database, "run", [])
    with database.write() as connection:
        mark = fit_mark(connection, "run")
        assert mark is not None
        spike = Event("spike", Severity.CRITICAL, 12, 13, "loss jumped to 7 at step 12.", ("loss",), {})
        save_events(connection, mark.run_key, [spike])
        alerts.fire(connection, mark.run_key, Finding("spike", Severity.WARNING, "loss", 12, "loss jumped"), [])
        runs.finish_run(connection, "run", RunStatus.FINISHED, None)
    with database.read() as connection:
        (row,), _ = runs.list_runs(connection)
        troubles = glance_at_health(connection, ["run"])["run"].troubles
    assert (row.unresolved_alerts, row.worst_severity, row.worst_alerts) == (2, "critical", 1)
    assert [trouble.kind for trouble in troubles] == ["nonfinite", "spike"]
