"""The runs that the page of other schedules offers, without a browser."""

from __future__ import annotations

import numpy as np

from app.dashboard.formatting import format_value
from app.dashboard.pages.fit import run_options
from app.runs import RunStatus
from app.storage import runs
from app.storage.database import Database
from app.storage.ends import read_end
from app.storage.recorded_runs import read_recorded_runs
from app.worker.scoring import score_run
from tests.dashboard.seeding import Seeder, decaying


def test_a_run_is_offered_and_fitted_with_the_end_that_its_page_shows(database: Database, seed: Seeder) -> None:
    steps = np.arange(1, 1001)
    losses = decaying(steps) + np.random.default_rng(1).normal(0.0, 0.3, len(steps))
    losses[-1] += 2  # its last point alone says nothing of its end
    seed.open("noisy", project="p", plan={"total_steps": 1000})
    seed.log("noisy", steps, {"loss": losses, "lr": np.full(len(steps), 1e-3)})
    with database.write() as connection:
        runs.finish_run(connection, "noisy", RunStatus.FINISHED, None)
    seed.refit("noisy")
    score_run(database, "noisy")
    with database.read() as connection:
        end = read_end(connection, "noisy", "loss")
        ((_, recorded),) = read_recorded_runs(connection, ["noisy"])
    assert end is not None
    assert recorded.final_loss() == end.level
    (offered,) = run_options(database, "p", [])
    assert offered["label"] == f"noisy · 1,000 steps · loss {format_value(end.level)}"
