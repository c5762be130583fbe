"""A refit over a real database: what it concludes, and what it tells."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.runs import Batch
from app.storage import alerts, forecasts, runs
from app.storage.curves import fit_mark, runs_to_fit
from app.storage.database import Database
from app.worker.refit import refit_run
from tests.storing import make_batch, start, store
from tests.worker.refits import finish, real_batches, refit


def test_a_real_run_is_forecast_with_its_reasons(database: Database) -> None:
    start(database)
    with database.write() as connection:
        runs.describe_run(connection, "run", plan={"total_steps": 50_000})
    for seq, batch in enumerate(real_batches("lm_cosine.csv", 10)[:6]):
        store(database, batch, seq=seq)
    summary = refit(database)
    assert summary.metric == "train_loss"
    assert summary.roles["lr"]["role"] == "lr"
    assert (summary.total_steps, summary.total_source) == (50_000, "declared")
    assert summary.total_why
    assert summary.schedule_why
    assert summary.forecast is not None
    assert summary.forecast.horizon == 50_000
    assert summary.forecast.p05 < summary.forecast.p50 < summary.forecast.p95


def test_forecasts_are_kept_with_their_cutoffs_and_never_changed(database: Database) -> None:
    start(database)
    seen = []
    for seq, batch in enumerate(real_batches("lm_cosine.csv", 10)[:6]):
        store(database, batch, seq=seq)
        seen.append(refit(database).forecast)
        refit(database)  # nothing new, nothing stored
    with database.read() as connection:
        kept = forecasts.forecast_history(connection, "run", "train_loss")
    assert kept == [one for one in seen if one is not None]
    assert [one.cutoff for one in kept] == sorted({one.cutoff for one in kept})
    assert len(kept) >= 5


def test_a_loss_that_is_not_finite_fires_once_and_resolves_after_a_restart(database: Database) -> None:
    start(database)
    batches = real_batches("lm_cosine.csv", 10)
    for seq in range(3):
        store(database, batches[seq], seq=seq)
    last = int(batches[2].steps[-1])
    store(database, make_batch([last + 1, last + 2], train_loss=[math.nan, math.inf]), seq=3)
    refit(database)
    store(database, make_batch([last + 3], train_loss=[math.nan]), seq=4)
    refit(database)
    with database.read() as connection:
        (alert,) = alerts.list_alerts(connection, run_id="run")
    assert (alert.kind, alert.severity, alert.metric, alert.step) == (
        "nonfinite_loss",
        "critical",
        "train_loss",
        last + 1,
    )
    assert alert.resolved_at is None
    segment = start(database, session="second", resume_step=int(batches[2].steps[0]))
    store(database, batches[2], segment=segment, seq=0)
    store(database, batches[3], segment=segment, seq=1)
    refit(database)
    with database.read() as connection:
        (alert,) = alerts.list_alerts(connection, run_id="run")
    assert alert.resolved_at is not None


@pytest.mark.parametrize(("first", "n_points", "lone"), [(1, 1_227, 0), (1, 1_227, 1), (0, 20_001, 0), (7, 3_000, 1)])
def test_the_alert_names_the_last_finite_point_itself_and_dates_its_count(
    database: Database, first: int, n_points: int, lone: int
) -> None:
    """Where one NaN passed before as where none did."""
    steps = list(range(first, first + n_points))
    losses = (80 + 20 * np.random.default_rng(1).random(n_points)).tolist()
    broken = n_points - 28
    losses[broken - 60 : broken - 60 + lone] = [math.nan] * lone
    losses[broken:] = [math.nan] * 28
    start(database)
    store(database, make_batch(steps, train_loss=losses), seq=0)
    refit(database)
    with database.read() as connection:
        (alert,) = alerts.list_alerts(connection, run_id="run")
    at = broken - 1
    assert alert.evidence["last_finite_step"] == steps[at]
    assert alert.evidence["last_finite_value"] == losses[at]
    assert f"Its last finite value was {losses[at]:.6g} at step {steps[at]:,}." in alert.message
    assert f"By step {steps[-1]:,}, {28 + lone} of {n_points:,} points were not finite." in alert.message


def test_a_loss_that_has_become_nan_is_not_forecast(database: Database) -> None:
    start(database)
    batches = real_batches("lm_cosine.csv", 10)
    for seq in range(4):
        store(database, batches[seq], seq=seq)
    assert refit(database).forecast is not None
    last = int(batches[3].steps[-1])
    store(database, make_batch([last + 5000], train_loss=[math.nan]), seq=4)
    summary = refit(database)
    assert summary.forecast is None
    assert "not finite" in summary.notes[0]
    with database.read() as connection:
        assert len(forecasts.forecast_history(connection, "run", "train_loss")) == 1


def test_a_loss_that_fell_silent_early_gives_way_to_one_that_goes_on(database: Database) -> None:
    start(database)
    store(database, make_batch(list(range(100)), train_loss=[3.0 - step / 100 for step in range(100)]), seq=0)
    steps = list(range(0, 100_000, 1000))
    store(database, make_batch(steps, val_loss=[3.0 - step / 100_000 for step in steps]), seq=1)
    assert refit(database).metric == "val_loss"


def test_too_few_points_are_said_to_be_too_few(database: Database) -> None:
    start(database)
    store(database, make_batch([1, 2], loss=[2.0, 1.9]), seq=0)
    summary = refit(database)
    assert summary.forecast is None
    assert "at least" in summary.notes[0]


@pytest.mark.parametrize(
    "values",
    [[math.nan] * 60, [1e300] * 60, [0.0] * 60, [-1.0 * at for at in range(60)], [2.0] * 60, [1e-300] * 60],
    ids=["all nan", "huge", "zero", "negative", "constant", "tiny"],
)
def test_strange_losses_break_nothing(database: Database, values: list[float]) -> None:
    start(database)
    store(database, make_batch([2**40 + at for at in range(60)], loss=values, lr=[0.1] * 60), seq=0)
    summary = refit(database)
    assert summary.metric == "loss"


def test_a_total_beyond_all_reason_is_no_crash(database: Database) -> None:
    start(database)
    with database.write() as connection:
        runs.describe_run(connection, "run", plan={"total_steps": 2**63 - 1})
    store(database, make_batch(list(range(100)), loss=[3.0 - at / 100 for at in range(100)]), seq=0)
    assert "cannot be forecast" in refit(database).notes[0]


def test_a_declared_total_stands_where_no_loss_is_recognised(database: Database) -> None:
    start(database)
    store(database, make_batch(list(range(1, 101)), throughput=[5.0] * 100), seq=0)
    assert refit(database).total_steps is None, "nobody said"
    with database.write() as connection:
        runs.describe_run(connection, "run", plan={"total_steps": 2475})
    summary = refit(database)
    assert (summary.metric, summary.total_steps, summary.total_source) == (None, 2475, "declared")
    assert summary.total_why == "The run declares 2,475 steps."
    assert "No loss or accuracy" in summary.notes[0]
    store(database, make_batch([3000], throughput=[5.0]), seq=1)
    assert refit(database).total_steps is None, "the run is past it"
    finish(database)
    assert (refit(database).total_steps, refit(database).total_source) == (3000, "ended")


def test_a_role_set_by_hand_decides_what_is_forecast(database: Database) -> None:
    start(database)
    for seq, batch in enumerate(real_batches("lm_cosine.csv", 4)):
        renamed = Batch(batch.steps, batch.times, ("badness", "lr"), batch.values, batch.present)
        store(database, renamed, seq=seq)
    assert refit(database).metric is None
    with database.write() as connection:
        runs.describe_run(connection, "run", roles={"badness": "train_loss"})
    summary = refit(database)
    assert summary.metric == "badness"
    assert summary.forecast is not None


def test_the_sweep_finds_exactly_the_runs_with_something_new(database: Database) -> None:
    for run_id in ("a", "b"):
        start(database, run_id)
        store(database, make_batch([1], loss=[1.0]), run_id=run_id, seq=0)
    refit(database, "a")
    with database.read() as connection:
        assert runs_to_fit(connection) == ["b"]
        mark = fit_mark(connection, "a")
    assert mark is not None
    assert mark.revision == mark.fitted_revision


def test_a_run_that_is_gone_is_no_error(database: Database) -> None:
    assert refit_run(database, "gone", []) is None
