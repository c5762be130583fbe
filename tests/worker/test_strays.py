"""Steps far beyond all others, and steps beyond all reason."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from sqlalchemy import text

from app.runs import RunStatus
from app.storage import alerts, forecasts, runs
from app.storage.curves import fit_mark, take_back_strays
from app.storage.database import Database
from tests.storing import compact, make_batch, start, store
from tests.worker.refits import assert_rebuild_agrees, real_batches, reduced_losses, refit


@pytest.mark.parametrize("step", [2**61, 2**62 + 5, 2**63 - 1])
def test_a_step_beyond_all_reason_keeps_no_alert_from_firing(database: Database, step: int) -> None:
    start(database)
    store(database, make_batch(list(range(100)), loss=[3.0 - at / 100 for at in range(100)]), seq=0)
    store(database, make_batch([step - 1, step], loss=[2.0, math.nan]), seq=1)
    summary = refit(database)
    assert summary.forecast is not None
    assert (summary.forecast.cutoff, summary.last_step) == (99, 99)
    assert f"up to step {step:,}" in summary.notes[0]
    with database.read() as connection:
        assert [alert.step for alert in alerts.list_alerts(connection, run_id="run")] == [step]


def log_with_strays(database: Database, strays: Sequence[int], n_batches: int = 6) -> None:
    """A real run; beside each of its first batches one point of a step that is none."""
    start(database)
    for seq, batch in enumerate(real_batches("lm_cosine.csv", 12)[:n_batches]):
        store(database, batch, seq=2 * seq)
        for step in strays[seq : seq + 1]:
            store(database, make_batch([step], train_loss=[2.0], lr=[1e-3]), seq=2 * seq + 1)
        refit(database)


@pytest.mark.parametrize(
    "strays", [[2**63 - 1], [-(2**62), 2**62], [10**9, -1, 10**12], [2**40 + at for at in range(4)]]
)
def test_strays_leave_curve_and_forecast_as_they_were(database: Database, strays: list[int]) -> None:
    log_with_strays(database, strays)
    spoilt, curves = refit(database), reduced_losses(database)
    assert [len(note) for note in spoilt.notes if "far beyond" in note] or max(strays) < 0
    assert_rebuild_agrees(database)
    compact(database)
    assert_rebuild_agrees(database)
    with database.write() as connection:
        connection.execute(text("DELETE FROM run"))
    log_with_strays(database, [])
    for (steps, values), (clean_steps, clean_values) in zip(curves, reduced_losses(database), strict=True):
        np.testing.assert_allclose(steps, clean_steps, rtol=1e-12)
        np.testing.assert_allclose(values, clean_values, rtol=1e-9)
    clean = refit(database)
    assert clean.forecast is not None
    assert spoilt.forecast is not None
    assert (spoilt.total_steps, spoilt.last_step) == (clean.total_steps, clean.last_step)
    assert math.isclose(spoilt.forecast.p50, clean.forecast.p50, rel_tol=1e-6)


def test_a_far_step_that_comes_first_is_not_where_the_run_is(database: Database) -> None:
    start(database)
    with database.write() as connection:
        runs.describe_run(connection, "run", plan={"total_steps": 1000})
    store(database, make_batch([10**15], loss=[9.0]), seq=0)
    refit(database)
    for seq, steps in enumerate(np.array_split(np.arange(1, 400), 4), 1):
        store(database, make_batch(steps.tolist(), loss=[3.0 - at / 400 for at in steps.tolist()]), seq=seq)
        if seq != 2:  # so that one refit finds two batches
            refit(database)
    summary = refit(database)
    with database.read() as connection:
        assert runs.get_run(connection, "run").last_step == 399
    assert (summary.last_step, summary.total_steps) == (399, 1000)
    assert f"up to step {10**15:,}" in summary.notes[0]
    assert_rebuild_agrees(database)


def test_a_batch_that_no_refit_has_seen_is_not_taken_back_with_a_stray(database: Database) -> None:
    start(database)
    store(database, make_batch([*range(100), 10**9], loss=[3.0] * 101), seq=0)
    with database.write() as connection:
        mark = fit_mark(connection, "run")
    assert mark is not None
    store(database, make_batch([100], loss=[3.0]), seq=1)
    with database.write() as connection:
        take_back_strays(connection, mark, strays_from=10**9, last_step=99)
        assert runs.get_run(connection, "run").last_step == 10**9
    refit(database)
    with database.read() as connection:
        assert runs.get_run(connection, "run").last_step == 100


@pytest.mark.parametrize("status", [None, RunStatus.FINISHED])
def test_a_run_of_negative_steps_alone_has_no_horizon_and_no_forecast(
    database: Database, status: RunStatus | None
) -> None:
    start(database)
    store(database, make_batch(list(range(-60, -1)), loss=[3.0 - at / 100 for at in range(59)]), seq=0)
    if status is not None:
        with database.write() as connection:
            runs.finish_run(connection, "run", status, None)
    summary = refit(database)
    assert (summary.metric, summary.last_step) == ("loss", -2)
    assert (summary.total_steps, summary.forecast) == (None, None)
    assert "counted from 0 or 1" in summary.notes[0]
    store(database, make_batch(list(range(60)), loss=[2.4 - at / 100 for at in range(60)]), seq=1)
    assert not [note for note in refit(database).notes if "counted from" in note]


def test_a_run_that_really_goes_on_far_out_is_shown_there(database: Database) -> None:
    start(database)
    store(database, make_batch(list(range(20)), loss=[3.0] * 20), seq=0)
    store(database, make_batch([50_000], loss=[2.0]), seq=1)
    assert refit(database).last_step == 19
    store(database, make_batch([100_000], loss=[2.0]), seq=2)
    summary = refit(database)
    assert summary.last_step == 100_000
    assert not [note for note in summary.notes if "far beyond" in note]
    assert_rebuild_agrees(database)


def test_a_stray_of_one_loss_does_not_silence_the_others(database: Database) -> None:
    start(database)
    steps = list(range(0, 1000, 10))
    store(
        database,
        make_batch(steps, train_loss=[3 - at / 1e3 for at in steps], val_loss=[3.1 - at / 1e3 for at in steps]),
        seq=0,
    )
    refit(database)
    store(database, make_batch([10**7], train_loss=[2.0]), seq=1)
    for _ in range(2):
        refit(database)
    store(database, make_batch([1000], train_loss=[2.0], val_loss=[2.1]), seq=2)
    refit(database)
    with database.read() as connection:
        newest = forecasts.latest_forecasts(connection, "run")
    assert {metric: found.cutoff for metric, found in newest.items()} == {"train_loss": 1000, "val_loss": 1000}
