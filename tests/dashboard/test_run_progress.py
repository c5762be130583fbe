"""How far a run is, in its first second too."""

import numpy as np

from app.dashboard.pages.run_progress import known_total, run_progress
from app.dashboard.pages.run_tiles import made_from
from app.dashboard.readings.run import read_run
from app.storage.database import Database
from tests.dashboard.seeding import Seeder


def test_a_declared_total_is_known_before_a_worker_has_looked(database: Database, seed: Seeder) -> None:
    seed.open("run", plan={"total_steps": 1000})
    seed.log("run", np.arange(1, 11), {"loss": np.full(10, 2.0)}, refit=False)
    reading = read_run(database, "run")
    assert known_total(reading.run, reading.summary) == (1000, "declared")
    assert "10 of 1,000 steps" in str(run_progress(reading.run, reading.summary, reading.state))


def test_nothing_declared_and_nothing_concluded_is_no_total(database: Database, seed: Seeder) -> None:
    seed.open("run")
    seed.log("run", np.arange(1, 11), {"loss": np.full(10, 2.0)}, refit=False)
    reading = read_run(database, "run")
    assert known_total(reading.run, reading.summary) == (None, None)
    assert "total not known" in str(run_progress(reading.run, reading.summary, reading.state))


def test_a_forecast_made_one_step_ago_is_one_step_old(database: Database, seed: Seeder) -> None:
    seed.open("run")
    seed.log("run", np.arange(1, 11), {"loss": np.full(10, 2.0)}, refit=False)
    reading = read_run(database, "run")
    assert [made_from(reading, cutoff) for cutoff in (8, 9, 10)] == [
        "from step 8, 2 steps ago",
        "from step 9, 1 step ago",
        "from step 10",
    ]
