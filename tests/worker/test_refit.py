"""A refit over a real database: what it concludes, and that the short cut and the long way agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from app.importers.run_files import read_file
from app.runs import Batch, RunStatus, Summary
from app.storage import alerts, forecasts, runs
from app.storage.curves import fit_mark, read_curve_states, runs_to_fit, take_back_strays
from app.storage.database import Database
from app.worker.refit import refit_run
from tests.storage_helpers import compact, make_batch, start, store

DEMO_DATA = Path(__file__).parents[2] / "app" / "demo" / "data"


def real_batches(name: str, n_batches: int, columns: Sequence[str] = ("train_loss", "lr")) -> list[Batch]:
    """A real run cut into equal batches, some of its columns."""
    whole = list(read_file(DEMO_DATA / name).batches)
    steps = np.concatenate([batch.steps for batch in whole])
    picked = {
        column: np.concatenate([
            np.where(batch.present[batch.metrics.index(column)], batch.values[batch.metrics.index(column)], np.nan)
            for batch in whole
        ])
        for column in columns
    }  # fmt: skip
    cuts = np.array_split(np.arange(len(steps)), n_batches)
    return [
        make_batch(
            steps[cut].tolist(),
            **{
                name: [None if math.isnan(value) else value for value in column[cut]] for name, column in picked.items()
            },
        )
        for cut in cuts
    ]


def refit(database: Database, run_id: str = "run") -> Summary:
    assert refit_run(database, run_id, []) is not None
    with database.read() as connection:
        summary = runs.read_summary(connection, run_id)
    assert summary is not None
    return summary


def reduced_losses(database: Database) -> list[tuple[np.ndarray, np.ndarray]]:
    with database.read() as connection:
        ids = [one.id for one in runs.list_series(connection, "run")]
        curves = [state.reduction.to_curve() for state in read_curve_states(connection, ids).values()]
    return [(curve.steps, curve.values) for curve in curves]


def rebuilt(database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("DELETE FROM curve_state"))
    refit(database)


def assert_rebuild_agrees(database: Database) -> None:
    refit(database)
    grown = reduced_losses(database)
    rebuilt(database)
    for (steps, values), (steps_again, values_again) in zip(grown, reduced_losses(database), strict=True):
        # The bins are the same; sums of floats in another order differ by rounding.
        np.testing.assert_allclose(steps_again, steps, rtol=1e-12)
        np.testing.assert_allclose(values_again, values, rtol=1e-9)


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


def test_growing_with_the_run_and_rebuilding_from_storage_agree(database: Database) -> None:
    start(database)
    for seq, batch in enumerate(real_batches("gpt2_undeclared.csv", 40)):
        store(database, batch, seq=seq)
        if seq % 5 == 4:
            refit(database)
        if seq == 22:
            compact(database)
    assert_rebuild_agrees(database)


def test_late_points_repeats_and_restarts_end_in_the_same_curve(database: Database) -> None:
    start(database)
    batches = real_batches("lm_cosine.csv", 12)
    order = [0, 1, 3, 2, 4, 7, 6, 5]
    for seq in order:
        store(database, batches[seq], seq=seq)
        refit(database)
    store(database, make_batch([int(batches[2].steps[3])], train_loss=[9.0]), seq=100)  # a correction, long after
    assert_rebuild_agrees(database)
    segment = start(database, session="second", resume_step=int(batches[5].steps[0]))
    refit(database)
    store(database, batches[5], segment=segment, seq=0)
    assert_rebuild_agrees(database)
    store(database, batches[6], segment=segment, seq=1)
    third = start(database, session="third")
    store(database, batches[4], segment=third, seq=0)  # went further back than it said
    assert_rebuild_agrees(database)


def test_a_worker_that_was_away_catches_up_over_compacted_batches(database: Database) -> None:
    start(database)
    batches = real_batches("lm_cosine.csv", 8)
    store(database, batches[0], seq=0)
    refit(database)
    for seq in range(1, 8):
        store(database, batches[seq], seq=seq)
    compact(database)
    assert_rebuild_agrees(database)


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


def test_a_finished_run_is_not_forecast_any_more(database: Database) -> None:
    start(database)
    for seq, batch in enumerate(real_batches("lm_cosine.csv", 5)):
        store(database, batch, seq=seq)
    with database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FINISHED, None)
    summary = refit(database)
    assert summary.forecast is None
    assert "nothing is left to forecast" in summary.notes[0]
    # Its end is its end, whatever had been assumed.
    assert summary.total_steps == summary.last_step


@pytest.mark.parametrize("status", [RunStatus.FINISHED, RunStatus.STOPPED, RunStatus.FAILED])
def test_a_run_that_is_over_keeps_no_note_on_what_its_forecast_assumed(database: Database, status: RunStatus) -> None:
    start(database)
    for seq, batch in enumerate(real_batches("lm_cosine.csv", 10, ("train_loss",))[:3]):
        store(database, batch, seq=seq)
    running = refit(database)
    assert [note for note in running.notes if "declare total_steps" in note]
    with database.write() as connection:
        runs.finish_run(connection, "run", status, None)
    assert refit(database).notes == ()
    with database.write() as connection:
        runs.open_run(connection, runs.RunRequest("run"))
    assert refit(database).notes == running.notes


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


def test_losses_near_the_end_of_floats_can_be_read_back(database: Database) -> None:
    start(database)
    values = [10.0 ** min(4 * at, 305) for at in range(100)]
    store(database, make_batch(list(range(100)), loss=values), seq=0)
    refit(database)
    with database.read() as connection:
        history = forecasts.forecast_history(connection, "run", "loss")
        runs.list_runs(connection)
    assert all(math.isfinite(one.p95) for one in history)


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


def finish(database: Database) -> None:
    with database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FINISHED, None)


def test_a_run_that_ends_early_says_where_and_what_was_declared(database: Database) -> None:
    start(database)
    with database.write() as connection:
        runs.describe_run(connection, "run", plan={"total_steps": 5_000})
    store(database, make_batch(list(range(100)), loss=[3.0 - at / 100 for at in range(100)]), seq=0)
    refit(database)
    finish(database)
    summary = refit(database)
    assert (summary.total_steps, summary.total_source) == (99, "ended")
    assert summary.total_why == (
        "The run has finished, at step 99. Before, the total was 5,000: The run declares 5,000 steps."
    )


@pytest.mark.parametrize("plan", [{}, {"total_steps": 99}])
def test_a_run_that_ends_where_it_should_or_where_nobody_said_has_no_more_to_tell(
    database: Database, plan: dict[str, int]
) -> None:
    start(database)
    with database.write() as connection:
        runs.describe_run(connection, "run", plan=plan)
    store(database, make_batch(list(range(100)), loss=[3.0 - at / 100 for at in range(100)]), seq=0)
    finish(database)
    assert refit(database).total_why == "The run has finished, at step 99."


def test_a_forecast_of_points_that_a_restart_replaced_is_shown_no_more(database: Database) -> None:
    start(database)
    store(database, make_batch(list(range(100)), loss=[3.0 - at / 100 for at in range(100)]), seq=0)
    assert refit(database).forecast is not None
    segment = start(database, session="again", resume_step=50)
    store(database, make_batch(list(range(50, 60)), loss=[2.0] * 10), segment=segment, seq=0)
    finish(database)
    summary = refit(database)
    assert summary.forecast is None
    assert "since its restart" in summary.notes[0]
    with database.read() as connection:
        assert forecasts.latest_forecast(connection, "run", "loss") is None
        assert forecasts.latest_forecasts(connection, "run") == {}
        assert len(forecasts.forecast_history(connection, "run", "loss")) == 1


def test_a_forecast_from_before_the_checkpoint_still_stands_after_a_restart(database: Database) -> None:
    start(database)
    store(database, make_batch(list(range(100)), loss=[3.0 - at / 100 for at in range(100)]), seq=0)
    before = refit(database).forecast
    segment = start(database, session="again", resume_step=100)
    store(database, make_batch(list(range(100, 110)), loss=[2.0] * 10), segment=segment, seq=0)
    finish(database)
    assert refit(database).forecast == before
