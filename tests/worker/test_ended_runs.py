"""What is said of a run that is over, and of forecasts that a restart has overtaken."""

from __future__ import annotations

import pytest

from app.runs import RunStatus
from app.storage import forecasts, runs
from app.storage.database import Database
from tests.storing import make_batch, start, store
from tests.worker.refits import finish, real_batches, refit


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
