"""Diagnoses of stored runs: real runs, a real database, and every way in which points may arrive."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from app.diagnostics.engine import Engine
from app.diagnostics.event import Event
from app.importers.run_files import read_file
from app.runs import Batch
from app.storage import alerts
from app.storage.alerts import Target
from app.storage.database import Database
from app.storage.diagnoses import Health, read_health, runs_to_diagnose
from app.worker import diagnosing
from app.worker.diagnosing import Diagnosed, chosen_inputs, diagnose_run, effective_starts
from app.worker.refit import RefitResult, refit_run
from tests.storing import compact, make_batch, start, store

DEMO_DATA = Path(__file__).parents[2] / "app" / "demo" / "data"
ALARMS = {"nonfinite", "cold_start", "spike", "divergence", "divergence_risk", "plateau", "dead", "overfit"}


def real_run(name: str) -> Batch:
    """A recorded run as one batch."""
    batches = list(read_file(DEMO_DATA / name).batches)
    assert len({batch.metrics for batch in batches}) == 1
    return Batch(
        np.concatenate([batch.steps for batch in batches]),
        np.concatenate([batch.times for batch in batches]),
        batches[0].metrics,
        np.concatenate([batch.values for batch in batches], axis=1),
        np.concatenate([batch.present for batch in batches], axis=1),
    )


def rows(batch: Batch, at: Sequence[int] | np.ndarray | slice) -> Batch:
    return Batch(batch.steps[at], batch.times[at], batch.metrics, batch.values[:, at], batch.present[:, at])


def parts(batch: Batch, count: int) -> list[Batch]:
    return [rows(batch, at) for at in np.array_split(np.arange(len(batch.steps)), count)]


def metrics_of(batch: Batch, *names: str) -> Batch:
    at = [batch.metrics.index(name) for name in names]
    return Batch(batch.steps, batch.times, names, batch.values[at], batch.present[at])


def diagnose(database: Database) -> Diagnosed:
    return diagnose_run(database, "run", [], is_news=True)


def refit(database: Database) -> RefitResult:
    """The same and all else that a worker does, which takes longer."""
    result = refit_run(database, "run", [])
    assert result is not None
    return result


def health(database: Database) -> Health:
    with database.read() as connection:
        found = read_health(connection, "run")
    assert found is not None
    return found


def said_of(batch: Batch) -> list[Event]:
    """What an engine says that is shown the whole run at once."""
    logged = {
        metric: (batch.steps[here], batch.values[at, here])
        for at, metric in enumerate(batch.metrics)
        if (here := batch.present[at]).any()
    }
    engine = Engine(chosen_inputs({metric: len(steps) for metric, (steps, _) in logged.items()}, {}))
    found = engine.observe({metric: points for metric, points in logged.items() if metric in engine.inputs.roles})
    return in_order({event.id: event for event in found.events}.values())


def in_order(events: Iterable[Event]) -> list[Event]:
    return sorted(events, key=lambda event: event.id)


def assert_rebuilding_says_the_same(database: Database) -> list[Event]:
    diagnose(database)
    grown = health(database)
    with database.write() as connection:
        connection.execute(text("DELETE FROM run_diagnosis"))
        connection.execute(text("DELETE FROM diagnosis_event"))
    diagnose(database)
    rebuilt = health(database)
    assert in_order(grown.events) == in_order(rebuilt.events)
    assert (grown.states, grown.risk, grown.read_to) == (rebuilt.states, rebuilt.risk, rebuilt.read_to)
    return list(rebuilt.events)


@pytest.mark.parametrize("name", ["lm_too_hot.csv", "deepspeech_diverges.csv"])
def test_a_run_that_arrives_in_pieces_is_diagnosed_as_if_seen_at_once(database: Database, name: str) -> None:
    start(database)
    whole = real_run(name)
    for seq, part in enumerate(parts(whole, 25)):
        store(database, part, seq=seq)
        diagnose(database)
        if seq == 12:
            compact(database)
    events = said_of(whole)
    assert {event.kind for event in events} & ALARMS, "these runs failed"
    assert in_order(health(database).events) == events
    assert health(database).read_to == int(whole.steps[-1])


@pytest.mark.parametrize("name", ["lm_wsd.csv", "lm_cosine.csv"])
def test_a_healthy_run_raises_no_alarm_at_any_time(database: Database, name: str) -> None:
    start(database)
    for seq, part in enumerate(parts(real_run(name), 12)):
        store(database, part, seq=seq)
        diagnose(database)
        assert not [event for event in health(database).events if event.kind in ALARMS]
    found = health(database)
    assert found.states["divergence_risk"] == "no sign"
    assert found.watched["train_loss"] == "train_loss"
    assert set(found.risk) == {10, 100, 1000}
    assert found.risk[1000] < 0.1


def test_points_that_come_late_end_in_the_same_diagnoses(database: Database) -> None:
    start(database)
    whole = real_run("lm_too_hot.csv")
    pieces = parts(whole, 10)
    for seq in [0, 1, 3, 2, 4, 7, 6, 5, 9, 8]:
        store(database, pieces[seq], seq=seq)
        diagnose(database)
    assert in_order(health(database).events) == said_of(whole)


def test_a_metric_that_comes_late_is_heard_from_the_start(database: Database) -> None:
    start(database)
    whole = real_run("lm_too_hot.csv")
    store(database, metrics_of(whole, "train_loss"), seq=0)
    diagnose(database)
    assert "lr" not in health(database).watched
    for seq, part in enumerate(parts(whole, 3), start=1):
        store(database, part, seq=seq)
        diagnose(database)
    assert health(database).watched["lr"] == "lr"
    assert in_order(health(database).events) == said_of(whole)


def test_what_a_correction_undoes_is_taken_back(database: Database) -> None:
    start(database)
    good, bad = real_run("lm_wsd.csv"), real_run("lm_wsd.csv")
    loss = bad.metrics.index("train_loss")
    broken = slice(200, 240)
    values = bad.values.copy()
    values[loss, broken] *= 3.0
    store(database, Batch(bad.steps, bad.times, bad.metrics, values, bad.present), seq=0)
    diagnose(database)
    assert {event.kind for event in health(database).events} & ALARMS
    store(database, rows(good, broken), seq=1)
    diagnose(database)
    assert in_order(health(database).events) == said_of(good)


def test_a_restart_replaces_what_had_been_said(database: Database) -> None:
    segment = start(database)
    whole = real_run("lm_too_hot.csv")
    pieces = parts(whole, 10)
    for seq, part in enumerate(pieces[:8]):
        store(database, part, segment=segment, seq=seq)
        diagnose(database)
    segment = start(database, session="second", resume_step=int(pieces[4].steps[0]))
    diagnose(database)
    later = [event for event in health(database).events if event.raised_at >= int(pieces[4].steps[0])]
    assert not later, "the steps that it went back over have not been trained again yet"
    store(database, pieces[4], segment=segment, seq=0)
    assert_rebuilding_says_the_same(database)
    store(database, pieces[5], segment=segment, seq=1)
    third = start(database, session="third")
    store(database, pieces[3], segment=third, seq=0)
    assert_rebuilding_says_the_same(database)
    store(database, pieces[4], segment=third, seq=1)
    store(database, pieces[6], segment=segment, seq=2)  # a process that should be gone speaks once more
    assert_rebuilding_says_the_same(database)


def test_segments_that_a_later_one_undid_are_no_restarts() -> None:
    assert effective_starts({1: 0, 2: 500, 3: 300, 4: None}) == [0, 300]
    assert effective_starts({1: 0, 2: 500, 3: 700}) == [0, 500, 700]
    assert effective_starts({1: 10, 2: 10}) == [10]
    assert effective_starts({1: None}) == []


def test_a_long_run_is_read_in_slices_with_the_same_result(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosing, "SLICE_POINTS", 400)
    start(database)
    whole = real_run("deepspeech_diverges.csv")
    for seq, part in enumerate(parts(whole, 30)):
        store(database, part, seq=seq)
        if seq == 4:
            compact(database)
    refit(database)
    looks = 2
    while diagnose(database).is_behind:
        looks += 1
        assert not health(database).is_complete
        with database.read() as connection:
            assert runs_to_diagnose(connection) == ["run"], "should the hint be lost"
    assert looks >= 3
    assert in_order(health(database).events) == said_of(whole)
    with database.read() as connection:
        assert runs_to_diagnose(connection) == []


def test_a_run_at_too_high_a_rate_fires_one_alert_while_it_runs_and_resolves_when_it_is_begun_anew(
    database: Database,
) -> None:
    start(database)
    for seq, part in enumerate(parts(real_run("lm_too_hot.csv"), 20)):
        store(database, part, seq=seq)
        diagnose(database)
    with database.read() as connection:
        (alert,) = alerts.list_alerts(connection)
    assert (alert.kind, alert.severity, alert.metric, alert.step) == ("cold_start", "critical", "train_loss", 3600)
    assert alert.resolved_at is None
    segment = start(database, session="second", resume_step=0)
    for seq, part in enumerate(parts(real_run("lm_cosine.csv"), 4)):
        store(database, part, segment=segment, seq=seq)
        diagnose(database)
    with database.read() as connection:
        (alert,) = alerts.list_alerts(connection)
    assert alert.resolved_at is not None


def blown_up(batch: Batch, at: int) -> Batch:
    """The same, with a loss that grows by 3 % a row from a row on."""
    values, loss = batch.values.copy(), batch.metrics.index("train_loss")
    values[loss, at:] *= 1.5 * 1.03 ** np.arange(values.shape[1] - at)
    return Batch(batch.steps, batch.times, batch.metrics, values, batch.present)


@pytest.mark.parametrize("looks", [1, 60], ids=["at once", "as it runs"])
def test_a_divergence_that_begins_with_a_spike_fires_its_own_critical_alert_once(
    database: Database, looks: int
) -> None:
    start(database)
    whole = blown_up(metrics_of(real_run("lm_wsd.csv"), "train_loss"), 200)
    channel = Target("hash", "https://host/...")
    for seq, part in enumerate(parts(whole, looks)):
        store(database, part, seq=seq)
        diagnose_run(database, "run", [channel], is_news=True)
    assert "divergent" in {event.outcome for event in health(database).events if event.kind == "spike"}
    with database.write() as connection:
        fired = [(alert.kind, alert.severity) for alert in reversed(alerts.list_alerts(connection))]
        sent = [(one.alert.kind, one.event) for one in alerts.claim_deliveries(connection)]
    warned = [] if looks == 1 else [("spike", "warning")]
    assert fired == [*warned, ("divergence", "critical")]
    assert sent == [(kind, "fired") for kind, _ in fired]


def test_a_loss_that_becomes_nan_does_not_call_twice(database: Database) -> None:
    start(database)
    for seq, part in enumerate(parts(real_run("deepspeech_diverges.csv"), 3)):
        store(database, part, seq=seq)
        refit(database)
    with database.read() as connection:
        still_open = [alert.kind for alert in alerts.list_alerts(connection, open_only=True)]
    assert still_open == ["nonfinite_loss"]


def test_alerts_of_a_diagnosis_are_sent(database: Database) -> None:
    start(database)
    store(database, real_run("lm_too_hot.csv"), seq=0)
    channel = Target("hash", "https://host/...")
    assert diagnose_run(database, "run", [channel], is_news=True).has_messages
    with database.write() as connection:
        (delivery,) = alerts.claim_deliveries(connection)
    assert (delivery.event, delivery.alert.kind) == ("fired", "cold_start")


def test_what_is_found_in_a_run_long_over_calls_nobody(database: Database) -> None:
    start(database)
    store(database, rows(real_run("lm_too_hot.csv"), slice(0, 200)), seq=0)
    diagnose_run(database, "run", [], is_news=False)
    assert [event for event in health(database).events if event.kind == "cold_start"]
    with database.read() as connection:
        assert alerts.list_alerts(connection) == []
    store(database, rows(real_run("lm_too_hot.csv"), slice(200, 210)), seq=1)
    diagnose(database)
    with database.read() as connection:
        assert [alert.kind for alert in alerts.list_alerts(connection)] == ["cold_start"], "it goes on, and so badly"


def test_a_healthy_run_calls_nobody(database: Database) -> None:
    start(database)
    for seq, part in enumerate(parts(real_run("lm_wsd.csv"), 12)):
        store(database, part, seq=seq)
        diagnose(database)
    with database.read() as connection:
        assert alerts.list_alerts(connection) == []


def test_a_fault_in_a_diagnosis_keeps_no_forecast_and_no_alert_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(database)
    pieces = parts(real_run("lm_cosine.csv"), 4)
    store(database, pieces[0], seq=0)
    last = int(pieces[0].steps[-1])
    store(database, make_batch([last + 1], train_loss=[float("nan")]), seq=1)
    with monkeypatch.context() as patched:
        patched.setattr(Engine, "observe", lambda *_: 1 / 0)
        refit(database)
    assert health(database).has_failed
    with database.read() as connection:
        assert [alert.kind for alert in alerts.list_alerts(connection)] == ["nonfinite_loss"]
        assert runs_to_diagnose(connection) == [], "the same fault again and again would help nobody"
    store(database, pieces[1], seq=2)
    refit(database)
    assert not health(database).has_failed
    assert [event.kind for event in health(database).events if event.kind == "nonfinite"]


def test_runs_of_before_are_found_by_the_sweep(database: Database) -> None:
    start(database)
    store(database, real_run("lm_too_hot.csv"), seq=0)
    refit(database)
    with database.write() as connection:
        connection.execute(text("DELETE FROM run_diagnosis"))
    with database.read() as connection:
        assert runs_to_diagnose(connection) == ["run"]
    refit(database)
    with database.read() as connection:
        assert runs_to_diagnose(connection) == []


@pytest.mark.parametrize("step", [2**61, 2**63 - 1])
def test_steps_beyond_all_reason_are_diagnosed_or_given_up(database: Database, step: int) -> None:
    start(database)
    store(database, make_batch([0, 1, step - 1, step], loss=[3.0, 2.0, 2.0, float("nan")]), seq=0)
    diagnose(database)
    diagnose(database)
    store(database, make_batch([2], loss=[1.0]), seq=1)
    diagnose(database)
    assert health(database).is_complete


@pytest.mark.parametrize("late", [-5, -(2**62), 2**62])
def test_a_late_step_that_is_none_is_no_cold_start(database: Database, late: int) -> None:
    start(database)
    store(database, make_batch(list(range(60)), loss=[3.0 - at / 100 for at in range(60)]), seq=0)
    refit(database)
    store(database, make_batch([late], loss=[0.1]), seq=1)
    refit(database)
    store(database, make_batch([60, 61], loss=[2.4, 2.4]), seq=2)
    refit(database)
    assert [event.kind for event in health(database).events] == []
    assert health(database).is_complete
