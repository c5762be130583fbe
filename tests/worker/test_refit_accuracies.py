"""Runs with accuracies: what a refit forecasts of them, stores, and leaves alone."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from app.api.views import forecast_view
from app.importers.run_files import read_file
from app.runs import RunStatus, StoredForecast, Summary
from app.storage import alerts, forecasts, runs
from app.storage.database import Database
from app.storage.track_record import run_outcome
from app.worker.refit import refit_run
from app.worker.scoring import score_run
from tests.storing import make_batch, start, store

TEXT = Path(__file__).parents[1] / "data" / "accuracies" / "text_wsd.csv"
PLAN = {
    "total_steps": 1000,
    "schedule": {"family": "wsd_linear", "peak": 0.0021, "warmup_steps": 30, "decay_steps": 243},
}


def log_text(
    database: Database, *columns: str, until: int = 700, since: int = 0, scale: float = 1.0, seq: int = 0
) -> None:
    """Some columns of a real run of a next-character model; accuracies times `scale`."""
    (whole,) = read_file(TEXT).batches
    rows = [i for i, step in enumerate(whole.steps.tolist()) if since < step <= until]
    picked = {}
    for column in columns:
        at = whole.metrics.index(column)
        factor = scale if column.endswith("acc") else 1.0
        picked[column] = [factor * float(whole.values[at, row]) if whole.present[at, row] else None for row in rows]
    store(database, make_batch([int(whole.steps[row]) for row in rows], **picked), seq=seq)


def refit(database: Database) -> Summary:
    assert refit_run(database, "run", []) is not None
    with database.read() as connection:
        summary = runs.read_summary(connection, "run")
    assert summary is not None
    return summary


def newest(database: Database, metric: str) -> StoredForecast | None:
    with database.read() as connection:
        return forecasts.latest_forecast(connection, "run", metric)


@pytest.fixture
def text_run(database: Database) -> Database:
    start(database)
    with database.write() as connection:
        runs.describe_run(connection, "run", plan=PLAN)
    return database


def test_accuracies_are_forecast_beside_the_loss_which_stays_the_one_shown(text_run: Database) -> None:
    log_text(text_run, "train_loss", "val_loss", "train_acc", "val_acc")
    summary = refit(text_run)
    assert summary.metric == "train_loss"
    assert summary.roles["val_acc"]["role"] == "val_accuracy"
    for metric in ("train_acc", "val_acc"):
        forecast = newest(text_run, metric)
        assert forecast is not None
        assert forecast.rises
        assert forecast.upper == 1.0
        assert 0 <= forecast.quantiles.min() <= forecast.quantiles.max() <= 1
        assert forecast.siblings == ()
        assert set(forecast.forecasters) == {"pfn", "power", "last"}
    loss = newest(text_run, "train_loss")
    assert loss is not None
    assert not loss.rises


def test_the_interface_tells_the_direction_and_the_bounds(text_run: Database) -> None:
    log_text(text_run, "train_loss", "val_acc")
    refit(text_run)
    rising, falling = newest(text_run, "val_acc"), newest(text_run, "train_loss")
    assert rising is not None
    assert falling is not None
    told = forecast_view(rising, ())
    assert (told.direction, told.bounds) == ("rises", (0.0, 1.0))
    assert (forecast_view(falling, ()).direction, forecast_view(falling, ()).bounds) == ("falls", None)


def test_an_accuracy_in_percent_is_bounded_by_a_hundred(text_run: Database) -> None:
    log_text(text_run, "train_loss", "val_acc", scale=100.0)
    refit(text_run)
    forecast = newest(text_run, "val_acc")
    assert forecast is not None
    assert forecast.upper == 100.0
    assert forecast.final_quantiles[0.5] > 40


def test_what_is_called_an_accuracy_and_is_none_is_refused_in_words(text_run: Database) -> None:
    log_text(text_run, "train_loss", "val_acc", scale=1000.0)
    summary = refit(text_run)
    assert newest(text_run, "val_acc") is None
    assert newest(text_run, "train_loss") is not None
    assert any(note.startswith("val_acc: It goes from") and "another role" in note for note in summary.notes)


def test_a_run_that_logs_nothing_but_an_accuracy_is_forecast_by_it(text_run: Database) -> None:
    log_text(text_run, "val_acc")
    summary = refit(text_run)
    assert summary.metric == "val_acc"
    assert summary.forecast is not None
    assert summary.forecast.p95 <= 1


def test_a_perplexity_and_a_reward_are_not_forecast(text_run: Database) -> None:
    store(text_run, make_batch(list(range(1, 101)), val_ppl=[50.0 - i / 4 for i in range(100)], reward=[0.1] * 100))
    summary = refit(text_run)
    assert newest(text_run, "val_ppl") is None
    assert newest(text_run, "reward") is None
    assert len(summary.notes) == 3
    assert summary.notes[0].startswith("No loss or accuracy has been logged yet.")
    assert summary.notes[1].startswith("reward looks like a reward: ")
    assert summary.notes[2].startswith("val_ppl looks like a perplexity: ")
    assert "Log its logarithm" in summary.notes[2]


def test_a_perplexity_that_was_given_the_role_of_a_loss_is_forecast_and_says_what_it_is(text_run: Database) -> None:
    with text_run.write() as connection:
        runs.describe_run(connection, "run", roles={"val_ppl": "val_loss"})
    store(text_run, make_batch(list(range(1, 101)), val_ppl=[50.0 - i / 4 for i in range(100)]))
    refit(text_run)
    forecast = newest(text_run, "val_ppl")
    assert forecast is not None
    assert forecast.notes[0].startswith("val_ppl looks like a perplexity: ")
    assert "because you gave it a role" in forecast.notes[0]


def test_no_rule_for_losses_fires_for_an_accuracy(text_run: Database) -> None:
    """It rises for long, then is lost altogether, then is not a number: no divergence, no NaN of a loss."""
    log_text(text_run, "train_loss", "val_acc")
    steps = list(range(701, 900))
    losses = [1.9] * len(steps)
    store(text_run, make_batch(steps, train_loss=losses, val_acc=[0.01] * 150 + [math.nan] * 49), seq=1)
    summary = refit(text_run)
    with text_run.read() as connection:
        fired = alerts.list_alerts(connection, run_id="run")
    assert [alert.kind for alert in fired if alert.metric == "val_acc"] == []
    assert any("val_acc is not finite" in note for note in summary.notes)


def test_forecasts_of_an_accuracy_are_held_to_how_it_ended(text_run: Database) -> None:
    log_text(text_run, "train_loss", "val_acc", until=600)
    refit(text_run)
    log_text(text_run, "train_loss", "val_acc", since=600, until=1000, seq=1)
    with text_run.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FINISHED, None)
    refit(text_run)
    score_run(text_run, "run")
    with text_run.read() as connection:
        outcome = run_outcome(connection, "run", "val_acc")
    assert outcome is not None
    assert outcome.actual == pytest.approx(0.5533, abs=1e-3)
