"""The short cut and the long way agree: curves that grow with the run are those that storage would give."""

from __future__ import annotations

import math

from app.storage import forecasts, runs
from app.storage.database import Database
from tests.storing import compact, make_batch, start, store
from tests.worker.refits import assert_rebuild_agrees, real_batches, refit


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


def test_losses_near_the_end_of_floats_can_be_read_back(database: Database) -> None:
    start(database)
    values = [10.0 ** min(4 * at, 305) for at in range(100)]
    store(database, make_batch(list(range(100)), loss=values), seq=0)
    refit(database)
    with database.read() as connection:
        history = forecasts.forecast_history(connection, "run", "loss")
        runs.list_runs(connection)
    assert all(math.isfinite(one.p95) for one in history)
