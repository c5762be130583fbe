"""Sweeps of the learning rate, found among a project's runs: a real one, and what is none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from app.errors import NotFound
from app.runs import RunStatus
from app.storage import runs
from app.storage.database import Database
from app.storage.sweeps import Sweep, read_sweeps
from tests.dashboard.seeding import Seeder
from tests.dashboard.sweep_seeding import real_sweep


def ended(seed: Seeder, run_id: str, status: RunStatus = RunStatus.FINISHED) -> None:
    with seed.database.write() as connection:
        runs.finish_run(connection, run_id, status, None)
    seed.refit(run_id)


def made_up(
    seed: Seeder,
    rate: float,
    final: float,
    *,
    n: int = 400,
    status: RunStatus = RunStatus.FINISHED,
    config: Mapping[str, Any] | None = None,
) -> None:
    run_id = f"rate-{rate:g}"
    said = {"optimizer": {"lr": rate, "name": "adam"}, "seed": int(1e6 * rate)} if config is None else config
    seed.open(run_id, project="sweep", config=said)
    loss = final + (5.0 - final) * np.exp(-np.arange(n) / 20)
    seed.log(run_id, np.arange(1, n + 1), {"loss": loss, "lr": np.full(n, rate)}, refit=False)
    ended(seed, run_id, status)


def sweeps(database: Database) -> list[Sweep]:
    with database.read() as connection:
        return read_sweeps(connection, "sweep")


@pytest.fixture
def seed(database: Database) -> Seeder:
    return Seeder(database)


def test_two_real_sweeps_are_told_apart_by_the_setting_that_differs(database: Database, seed: Seeder) -> None:
    real_sweep(seed, "sweep")

    found = {sweep.settings["qk"]: sweep for sweep in sweeps(database)}

    assert set(found) == {False, True}
    assert [run.peak_rate for run in found[False].runs] == [3e-4, 3e-3, 3e-2, 0.3]
    assert [run.peak_rate for run in found[True].runs] == [3e-3, 1e-2, 0.1, 0.3]
    assert found[False].found.best_rate == found[True].found.best_rate == 3e-3
    assert found[True].found.value < 0.6 * found[False].found.value, "what QK normalisation is for"
    assert not found[False].found.is_edge_best


def test_a_run_that_became_nan_counts_as_one_that_learned_nothing(database: Database, seed: Seeder) -> None:
    made_up(seed, 1e-4, 3.0)
    made_up(seed, 1e-3, 2.0)
    steps = np.arange(1, 101)
    seed.open("broken", project="sweep", config={"optimizer": {"lr": 1e-2, "name": "adam"}})
    loss = np.where(steps < 50, 5.0, np.nan)
    seed.log("broken", steps, {"loss": loss, "lr": np.full(100, 1e-2)}, refit=False)
    ended(seed, "broken", RunStatus.FAILED)

    [sweep] = sweeps(database)

    assert sweep.found.diverged == 1
    assert sweep.found.finals[-1] == pytest.approx(5.0)


def test_running_stopped_and_short_runs_say_nothing_of_the_end(database: Database, seed: Seeder) -> None:
    for rate, final in ((1e-4, 3.0), (1e-3, 2.0), (1e-2, 2.5)):
        made_up(seed, rate, final)
    made_up(seed, 3e-2, 0.1, status=RunStatus.STOPPED)
    made_up(seed, 3e-3, 0.1, n=200)
    seed.open("running", project="sweep", config={"optimizer": {"lr": 1e-5, "name": "adam"}})
    seed.log("running", np.arange(1, 401), {"loss": np.full(400, 0.1), "lr": np.full(400, 1e-5)})

    [sweep] = sweeps(database)

    assert sweep.found.rates == (1e-4, 1e-3, 1e-2)
    assert [(run.run_id, run.peak_rate, run.why) for run in sweep.left_out] == [
        ("rate-0.003", 3e-3, "ended at step 200 of 400"),
        ("rate-0.03", 3e-2, "stopped at step 400"),
    ]


@pytest.mark.parametrize("longer", [1, 2])
def test_longer_runs_do_not_cost_the_others_their_sweep(database: Database, seed: Seeder, longer: int) -> None:
    for rate, final in ((1e-4, 3.0), (1e-3, 2.0), (1e-2, 2.5)):
        made_up(seed, rate, final)
    for rate in (2e-3, 4e-3)[:longer]:
        made_up(seed, rate, 1.0, n=1500)

    [sweep] = sweeps(database)

    assert sweep.found.rates == (1e-4, 1e-3, 1e-2)
    assert [run.run_id for run in sweep.left_out] == ["rate-0.002", "rate-0.004"][:longer]
    assert sweep.left_out[0].why == "went on to step 1,500, beyond 400"


def test_of_two_lengths_with_as_many_rates_the_longer_runs_are_compared(database: Database, seed: Seeder) -> None:
    for rate in (1e-4, 1e-3, 1e-2):
        made_up(seed, rate, 2.0)
        made_up(seed, 2 * rate, 1.0, n=1500)

    [sweep] = sweeps(database)

    assert sweep.found.rates == (2e-4, 2e-3, 2e-2)
    assert {run.why for run in sweep.left_out} == {"ended at step 400 of 1,500"}


def test_a_run_diagnosed_as_diverged_is_no_noise_between_seeds(database: Database, seed: Seeder) -> None:
    for rate, final in ((1e-4, 3.0), (1e-3, 2.0), (1.01e-3, 2.0), (1e-2, 2.5)):
        made_up(seed, rate, final)
    n = 400
    steps = np.arange(1, n + 1)
    noise = np.random.default_rng(3).normal(0, 0.01, n)
    learned = 2.0 + 3.0 * np.exp(-steps / 20) + noise
    loss = np.where(steps < 250, learned, 4.2 + noise)  # it keeps some of what it had learned, as many do
    for run_id, values in (("whole", learned), ("diverged", loss)):
        seed.open(run_id, project="sweep", config={"optimizer": {"lr": 1e-3, "name": "adam"}})
        seed.log(run_id, steps, {"loss": values, "lr": np.full(n, 1e-3)}, refit=False)
        ended(seed, run_id)

    [sweep] = sweeps(database)

    assert [run.run_id for run in sweep.runs if run.has_diverged] == ["diverged"]
    assert sweep.found.diverged == 0, "it ended below where it began"
    assert sweep.best_rate.seed_deviation is not None
    assert sweep.best_rate.seed_deviation < 0.05
    assert sweep.found.finals[1] > 2.5, "one of three that diverged makes the rate worse"


def test_runs_that_tell_nothing_of_their_settings_are_no_sweep(database: Database, seed: Seeder) -> None:
    for rate in (1e-4, 1e-3, 1e-2):
        made_up(seed, rate, 2.0, config={})
    assert sweeps(database) == []


def test_a_dropout_rate_is_no_learning_rate(database: Database, seed: Seeder) -> None:
    for rate in (1e-4, 1e-3, 1e-2):
        made_up(seed, rate, 2.0, config={"lr": rate, "dropout_rate": 10 * rate})
    assert sweeps(database) == []


def test_runs_that_differ_in_something_else_are_no_sweep(database: Database, seed: Seeder) -> None:
    for rate in (1e-4, 1e-3, 1e-2):
        made_up(seed, rate, 2.0, config={"lr": rate, "width": 100 + int(1e4 * rate)})
    assert sweeps(database) == []


def test_a_project_that_is_not_there_is_not_found(database: Database) -> None:
    with pytest.raises(NotFound):
        sweeps(database)
