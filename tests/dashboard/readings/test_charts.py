"""What the charts of a run are drawn from."""

import numpy as np
import pytest

from app.dashboard.readings.charts import read_chart, read_metrics
from app.dashboard.readings.history import read_history
from app.dashboard.readings.run import read_run
from app.storage.database import Database
from tests.dashboard.seeding import Seeder, decaying


def test_a_rate_that_is_declared_and_not_logged_is_known_from_the_first_step_on(
    database: Database, seed: Seeder
) -> None:
    steps = np.arange(1, 301)
    seed.open("told", plan={"total_steps": 1000, "schedule": {"family": "cosine", "peak": 3e-4, "warmup_steps": 100}})
    seed.open("untold", plan={"total_steps": 1000})
    for run_id in ("told", "untold"):
        seed.log(run_id, steps, {"loss": decaying(steps)})
    told, untold = (read_chart(database, run_id, None, None) for run_id in ("told", "untold"))
    assert told is not None
    assert untold is not None
    assert told.unlogged_rate is not None
    assert told.unlogged_rate.rate_at([100, 1000]) == pytest.approx([3e-4, 0.0], abs=1e-6)
    assert untold.unlogged_rate is None


def test_a_run_without_numbers_has_no_chart(database: Database, seed: Seeder) -> None:
    seed.open("run")
    assert read_run(database, "run").metric is None
    assert read_chart(database, "run", None, None) is None
    assert read_history(database, "run", None).history == []


def test_a_zoom_reads_every_point_that_it_shows(database: Database, seed: Seeder) -> None:
    seed.open("run")
    steps = np.arange(1, 20_001)
    seed.log("run", steps, {"loss": decaying(steps)}, refit=False)
    whole = read_chart(database, "run", "loss", None)
    near = read_chart(database, "run", "loss", (9000.0, 9500.0))
    assert whole is not None
    assert near is not None
    assert len(whole.points) <= 3000
    inside = near.points.steps[(near.points.steps >= 9000) & (near.points.steps <= 9500)]
    assert inside.tolist() == list(range(9000, 9501))


def test_restarts_are_where_the_segments_begin(database: Database, seed: Seeder) -> None:
    seed.open("run", session="a")
    seed.log("run", np.arange(1, 100), {"loss": decaying(np.arange(1, 100))}, refit=False)
    seed.open("run", session="b", resume_step=60)
    seed.log("run", np.arange(61, 70), {"loss": np.ones(9)}, refit=False)
    chart = read_chart(database, "run", None, None)
    assert chart is not None
    assert [(restart.number, restart.step) for restart in chart.restarts] == [(2, 61)]


def test_a_restart_from_step_zero_is_marked(database: Database, seed: Seeder) -> None:
    seed.open("run", session="a")
    seed.log("run", np.arange(1, 100), {"loss": decaying(np.arange(1, 100))}, refit=False)
    seed.open("run", session="b")
    seed.log("run", np.arange(0, 10), {"loss": np.ones(10)}, refit=False)
    chart = read_chart(database, "run", None, None)
    assert chart is not None
    assert [restart.step for restart in chart.restarts] == [0]


def test_metrics_are_found_by_a_part_of_their_name(database: Database, seed: Seeder) -> None:
    seed.open("run")
    seed.log("run", np.arange(5), {"损失/Loss": np.ones(5), "gpu": np.ones(5)}, refit=False)
    found, total = read_metrics(database, "run", "loss", 10)
    assert [series.metric for series, _ in found] == ["损失/Loss"]
    assert total == 1
