"""How a run's forecasts moved, and what they came to."""

import numpy as np
import pytest

from app.dashboard.readings.history import read_history
from app.dashboard.readings.run import read_revision
from app.runs import RunStatus
from app.storage import runs
from app.storage.database import Database
from app.storage.track_record import run_track_record
from app.worker.scoring import score_run
from tests.dashboard.seeding import Seeder, decaying


def test_of_an_ended_run_the_history_is_what_was_said_of_its_end(database: Database, seed: Seeder) -> None:
    for run_id, end in (("whole", 1000), ("early", 400)):
        seed.open(run_id, plan={"total_steps": 1000})
        for stop in range(100, end + 1, 100):
            steps = np.arange(stop - 99, stop + 1)
            seed.log(run_id, steps, {"loss": decaying(steps)})
        before = read_history(database, run_id, None)
        assert (before.is_over, before.actual) == (False, None)
        with database.write() as connection:
            runs.finish_run(connection, run_id, RunStatus.FINISHED, None)
        seed.refit(run_id)
        unscored = read_history(database, run_id, None)
        assert (unscored.is_over, unscored.actual) == (True, None)
        revision = read_revision(database, run_id)
        score_run(database, run_id)
        assert read_revision(database, run_id) != revision
    whole, early = (read_history(database, run_id, None) for run_id in ("whole", "early"))
    assert whole.actual == pytest.approx(2.0 + 4.0 * 1000**-0.35, abs=0.05)
    assert early.actual == pytest.approx(2.0 + 4.0 * 400**-0.35, abs=0.05)
    assert len(whole.counted) == len(whole.history) - 1  # the last was made at the end
    assert {point.horizon for point in early.history} == {400}  # they spoke of 1000, and of 400 on the way
    assert [point.cutoff for point in early.history] == [100, 200, 300], "the one made at 400 speaks of 1000 alone"
    assert early.n_forecasts == 4
    assert all(one.horizon_off for one in early.counted)
    assert whole.held == (sum(one.score.cover90 for one in whole.counted), 9)


def test_forecasts_are_counted_whole_where_some_are_left_out(database: Database, seed: Seeder) -> None:
    seed.open("run", plan={"total_steps": 1000})
    for stop in range(100, 1001, 100):
        steps = np.arange(stop - 99, stop + 1)
        seed.log("run", steps, {"loss": decaying(steps)})
    with database.read() as connection:
        running = run_track_record(connection, "run", limit=3)
    with database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FINISHED, None)
    seed.refit("run")
    score_run(database, "run")
    with database.read() as connection:
        few, every = (run_track_record(connection, "run", limit=limit) for limit in (3, 500))
    assert running is not None
    assert few is not None
    assert every is not None
    assert (len(running.forecasts), running.n_forecasts, running.n_judged, running.n_held) == (3, 10, 0, 0)
    assert (len(few.forecasts), len(every.forecasts)) == (3, few.n_forecasts)
    assert (few.n_forecasts, few.n_judged, few.n_held) == (every.n_forecasts, every.n_judged, every.n_held)
    assert every.n_judged == sum(one.judged is not None and one.judged.stands for one in every.forecasts)
