"""Of a run that blows up and then turns NaN: both alerts are shown, one message is sent."""

from __future__ import annotations

import math

from sqlalchemy import text

from app.storage import alerts
from app.storage.alerts import Target
from app.storage.database import Database
from app.worker.refit import refit_run
from tests.storing import make_batch, start, store

CHANNEL = [Target("ab12", "https://host/…")]
BLOWING_UP = [2.0, 2.0, 2.1, 2.0, 2.0, 4.0, 8.0, 16.0, 32.0]


def log(database: Database, losses: list[float], *, first: int, seq: int) -> None:
    store(database, make_batch(list(range(first, first + len(losses))), loss=losses), seq=seq)
    refit_run(database, "run", CHANNEL)


def messages(database: Database) -> list[tuple[str, str]]:
    with database.read() as connection:
        sent = connection.execute(
            text("SELECT alert.kind, d.event FROM alert_delivery d JOIN alert ON alert.id = d.alert_id ORDER BY d.id")
        )
        return [(kind, event) for kind, event in sent]


def open_kinds(database: Database) -> set[str]:
    with database.read() as connection:
        return {alert.kind for alert in alerts.list_alerts(connection, open_only=True)}


def test_a_cold_start_that_turns_nan_between_two_looks_calls_once(database: Database) -> None:
    start(database)
    log(database, BLOWING_UP, first=1, seq=0)
    assert messages(database) == [("cold_start", "fired")]
    log(database, [math.nan] * 5, first=10, seq=1)
    assert open_kinds(database) == {"cold_start", "nonfinite_loss"}
    assert messages(database) == [("cold_start", "fired")]
    # Nobody was told of the NaN, so nobody is told that it is over.
    log(database, [1.0] * 25, first=15, seq=2)
    assert open_kinds(database) == set()
    assert messages(database) == [("cold_start", "fired"), ("cold_start", "resolved")]


def test_a_cold_start_that_turns_nan_within_one_look_calls_once(database: Database) -> None:
    start(database)
    log(database, [*BLOWING_UP, *[math.nan] * 5], first=1, seq=0)
    assert messages(database) == [("nonfinite_loss", "fired")]
    assert open_kinds(database) == {"nonfinite_loss"}


def test_a_nan_after_a_warning_calls(database: Database) -> None:
    start(database)
    # A gradient norm that is not finite is a warning; the loss that follows it is worse.
    store(database, make_batch([1, 2, 3], loss=[2.0, 1.9, 1.8], grad_norm=[1.0, 1.0, math.inf]), seq=0)
    refit_run(database, "run", CHANNEL)
    assert messages(database) == [("nonfinite_grad_norm", "fired")]
    log(database, [math.nan], first=4, seq=1)
    assert messages(database) == [("nonfinite_grad_norm", "fired"), ("nonfinite_loss", "fired")]
