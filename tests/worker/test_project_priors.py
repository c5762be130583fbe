"""Finished runs of a project speak for the next: who is heard, when it is learned, and what must not speak."""

from __future__ import annotations

import json
import math
import threading
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from app.forecasting.forecast import forecast_curve
from app.runs import Batch, RunStatus
from app.storage import runs
from app.storage.database import Database
from app.storage.priors import named, runs_to_offer
from app.worker import forecasting, priors
from app.worker.priors import RULES
from app.worker.refit import refit_run
from tests.project_runs import (
    CONFIG,
    FAMILY,
    LIVE,
    PLAN,
    band,
    changed,
    delete,
    finish_family,
    forecast_of,
    go_live,
    heard,
    log,
    real_run,
    stored_prior,
)
from tests.storing import make_batch, store


def test_finished_runs_of_the_project_narrow_the_band_and_are_named(database: Database) -> None:
    alone = go_live(database, "alone", project="another")
    finish_family(database)
    together = go_live(database)
    actual = float(np.mean(real_run(LIVE).values[real_run(LIVE).metrics.index("val_loss")][-4:]))
    assert band(together) < 0.7 * band(alone)
    assert together.final_quantiles[0.05] < actual < together.final_quantiles[0.95]
    assert {each.run_id for each in together.siblings} == set(FAMILY)
    assert all(each.similarity > 0.9 for each in together.siblings)
    assert any("3 finished runs of this project" in note for note in together.notes)
    assert alone.siblings == ()
    with database.read() as connection:
        assert {each.name for each in named(connection, together.siblings)} == {f"the {name}" for name in FAMILY}


def test_nothing_is_learned_again_while_nothing_changes(database: Database) -> None:
    finish_family(database)
    go_live(database, last=9800)
    before = stored_prior(database)
    for seq, last in enumerate((10_400, 11_000, 11_600), start=1):
        log(database, "live", real_run(LIVE, first=last - 600, last=last), plan=PLAN, seq=seq)
    log(database, "other", real_run(LIVE, last=5000), plan=PLAN)  # what a run that goes on says is heard at a mark
    refit_run(database, "live", [])
    assert tuple(stored_prior(database)) == tuple(before)


def test_a_newly_finished_run_is_heard_at_the_next_refit_and_a_resumed_one_not_as_finished(database: Database) -> None:
    finish_family(database, FAMILY[:2])
    first = go_live(database)
    learned_at = stored_prior(database).learned_at
    log(database, FAMILY[2], real_run(FAMILY[2]), end=RunStatus.FINISHED)
    refit_run(database, "live", [])  # no new point: who speaks is reason enough for another forecast
    assert heard(database) == set(FAMILY)
    assert forecast_of(database).id > first.id
    assert stored_prior(database).learned_at > learned_at
    with database.write() as connection:
        runs.open_run(connection, runs.RunRequest(FAMILY[0], project="llama", session="second"))
    refit_run(database, FAMILY[0], [])
    refit_run(database, "live", [])
    assert {each.run_id for each in forecast_of(database).siblings if not each.was_going} == set(FAMILY[1:])


def test_a_finished_run_is_judged_once_however_often_it_is_refitted(database: Database) -> None:
    finish_family(database, FAMILY[:1])
    go_live(database)
    before = tuple(stored_prior(database))
    refit_run(database, FAMILY[0], [])
    refit_run(database, "live", [])
    assert tuple(stored_prior(database)) == before


def test_points_that_come_after_the_end_are_heard(database: Database) -> None:
    log(database, FAMILY[0], real_run(FAMILY[0], last=20_000), end=RunStatus.FINISHED)
    go_live(database)
    before = stored_prior(database)
    store(database, real_run(FAMILY[0], first=20_000), run_id=FAMILY[0], seq=1)
    refit_run(database, FAMILY[0], [])
    refit_run(database, "live", [])
    assert stored_prior(database).prior != before.prior


def test_a_deleted_run_vanishes_from_the_prior_and_from_the_names(database: Database) -> None:
    finish_family(database)
    old = go_live(database)
    delete(database, FAMILY[1])
    with database.read() as connection:
        names = {each.run_id: each.name for each in named(connection, old.siblings)}
    assert names[FAMILY[1]] is None
    refit_run(database, "live", [])
    assert heard(database) == {FAMILY[0], FAMILY[2]}
    assert FAMILY[1] not in json.dumps(stored_prior(database).siblings)
    for name in (FAMILY[0], FAMILY[2]):
        delete(database, name)
    refit_run(database, "live", [])
    assert heard(database) == set()
    assert stored_prior(database).prior is None


def test_a_changed_config_is_compared_again(database: Database) -> None:
    finish_family(database)
    go_live(database)
    with database.write() as connection:
        runs.describe_run(connection, "live", config={**CONFIG, "n_params": 25e7, "data": "another"})
    refit_run(database, "live", [])
    assert all(0.05 <= each.similarity < 0.4 for each in forecast_of(database).siblings)
    with database.write() as connection:
        runs.describe_run(connection, FAMILY[0], config={**CONFIG, "n_params": 25e7, "data": "another"})
    refit_run(database, FAMILY[0], [])
    refit_run(database, "live", [])
    most_alike = forecast_of(database).siblings[0]
    assert (most_alike.run_id, most_alike.similarity > 0.9) == (FAMILY[0], True)


def test_a_perplexity_does_not_speak_of_a_cross_entropy(database: Database) -> None:
    log(database, "perplexity", changed(real_run(FAMILY[0]), np.exp), end=RunStatus.FINISHED)
    alone = go_live(database, "alone", project="another")
    assert go_live(database).siblings == ()
    assert forecast_of(database).final_quantiles == alone.final_quantiles
    log(database, FAMILY[1], real_run(FAMILY[1]), end=RunStatus.FINISHED)
    refit_run(database, "live", [])
    assert heard(database) == {FAMILY[1]}


def ends_in_nan(loss: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(loss)) < 0.9 * len(loss), loss, math.nan)


def blows_up(loss: np.ndarray) -> np.ndarray:
    """As runs at too high a rate do: up within a few points, never down again."""
    return np.where(np.arange(len(loss)) < 0.4 * len(loss), loss, 3.0 * loss)


@pytest.mark.parametrize(
    ("batch", "end"),
    [
        (changed(real_run(FAMILY[0]), ends_in_nan), RunStatus.FINISHED),
        (changed(real_run(FAMILY[0]), blows_up), RunStatus.FINISHED),
        (real_run(FAMILY[0]), RunStatus.FAILED),
        (real_run(FAMILY[0]), RunStatus.STOPPED),
        (real_run(FAMILY[1], last=15_000), None),
        (real_run(FAMILY[0], last=2600), RunStatus.FINISHED),
        (make_batch(list(range(0, 24_000, 100)), val_loss=[3.0] * 240), RunStatus.FINISHED),
    ],
    ids=["ends in NaN", "diverged", "failed", "stopped", "of unknown length", "too short", "no learning rate"],
)
def test_runs_that_have_nothing_to_say_are_not_heard(database: Database, batch: Batch, end: RunStatus | None) -> None:
    log(database, "silent", batch, end=end, config={**CONFIG})
    finish_family(database, FAMILY[1:2])
    go_live(database)
    assert heard(database) == {FAMILY[1]}


def test_two_runs_that_finish_at_once_are_both_heard(database: Database) -> None:
    go_live(database)
    for name in FAMILY[:2]:
        log(database, name, real_run(name))
        with database.write() as connection:
            runs.finish_run(connection, name, RunStatus.FINISHED, None)
    barrier = threading.Barrier(3)

    def refit_at_once(run_id: str) -> None:
        barrier.wait()
        refit_run(database, run_id, [])

    racers = [threading.Thread(target=refit_at_once, args=[run_id]) for run_id in (*FAMILY[:2], "live")]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    refit_run(database, "live", [])
    assert heard(database) == set(FAMILY[:2])
    with database.read() as connection:
        revisions = connection.execute(text("SELECT revision FROM offer WHERE made = 1 ORDER BY 1")).scalars().all()
        assert list(revisions) == [1, 2]


def test_unlike_things_in_one_project_leave_the_forecast_as_it_was(database: Database) -> None:
    other = {"model": "deepspeech", "data": "librispeech", "optimizer": "nadamp", "lr": 1e-2}
    for name in FAMILY:
        log(database, name, real_run(name), config=other, project="default", end=RunStatus.FINISHED)
    alone = go_live(database, "alone", project="another")
    assert go_live(database, project="default").final_quantiles == alone.final_quantiles


def test_a_run_of_which_nothing_is_known_counts_less_than_one_known_to_be_alike(database: Database) -> None:
    finish_family(database, FAMILY[:1])
    finish_family(database, FAMILY[1:2], config={})
    go_live(database)
    similarity = {each.run_id: each.similarity for each in forecast_of(database).siblings}
    assert 0 < similarity[FAMILY[1]] < 0.5 * similarity[FAMILY[0]]


def test_a_prior_that_cannot_be_learned_blocks_no_forecast(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    alone = go_live(database, "alone", project="another")
    finish_family(database)

    def fail(*_: object) -> None:
        raise FloatingPointError("no such number")

    monkeypatch.setattr(priors, "learn_prior", fail)
    assert go_live(database).final_quantiles == alone.final_quantiles
    assert "no such number" in caplog.text
    caplog.clear()
    refit_run(database, "live", [])
    assert caplog.text == ""  # not tried again with every refit


def test_runs_that_finished_before_the_upgrade_are_found_by_the_sweep(database: Database) -> None:
    finish_family(database)
    with database.write() as connection:
        connection.execute(text("DELETE FROM offer"))
    with database.read() as connection:
        assert set(runs_to_offer(connection, RULES)) == set(FAMILY)
    for name in FAMILY:
        refit_run(database, name, [])
    with database.read() as connection:
        assert runs_to_offer(connection, RULES) == []


def test_a_finished_run_without_a_loss_is_judged_too(database: Database) -> None:
    log(database, "odd", make_batch([1, 2], speed=[1.0, 2.0]), end=RunStatus.FINISHED)
    with database.read() as connection:
        assert runs_to_offer(connection, RULES) == []


def test_a_prior_that_leads_nowhere_gives_way_to_the_populations(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = go_live(database, "alone", project="another")
    finish_family(database)

    def forecast_or_fail(curve: Any, plan: Any, prior: Any = None) -> Any:
        if prior is not None:
            raise FloatingPointError("no such number")
        return forecast_curve(curve, plan)

    monkeypatch.setattr(forecasting, "forecast_curve", forecast_or_fail)
    forecast = go_live(database)
    assert (forecast.final_quantiles, forecast.siblings) == (alone.final_quantiles, ())
    assert stored_prior(database).prior is None
