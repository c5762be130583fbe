"""How fast a run goes and when it ends, by the clock of its job; pauses, restarts and clocks that are none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from app.dashboard.pages.verdict import read, shown
from app.runs import Batch
from app.storage.database import Database
from app.storage.goals import Goal, save_project_policy
from app.storage.pace import read_pace
from app.storage.runs import RunRequest, open_run
from app.storage.verdicts import read_verdict
from app.verdicts.durations import format_duration
from app.verdicts.stopping import Mode
from app.worker.pacing import MOST_MARKS, follow, joined, time_left
from app.worker.refit import refit_run
from tests.dashboard.component_words import words
from tests.storing import compact, make_batch, store

BEGAN = 1.76e9  # 2025-10-09 08:53:20 UTC
TOTAL = 2000


def timed(steps: Sequence[int], seconds_per_step: float = 2.0, begin: float = BEGAN) -> Batch:
    """A batch of a smooth loss; `begin` is when step 0 was, NaN for a job without a clock."""
    at = np.array(steps, np.float64)
    losses = 2.0 + 3.0 * (at + 10.0) ** -0.4
    return Batch(
        at.astype(np.int64), begin + seconds_per_step * at, ("loss",), losses[None], np.ones((1, len(at)), np.bool_)
    )


def start(database: Database, session: str = "first", resume_step: int | None = None) -> None:
    plan = {"total_steps": TOTAL, "schedule": {"family": "constant", "peak": 1e-3}}
    with database.write() as connection:
        open_run(connection, RunRequest("run", project="p", session=session, plan=plan, resume_step=resume_step))


def log_and_refit(database: Database, first: int, last: int, by: int = 20, **clock: float) -> None:
    for begin in range(first, last, by):
        store(database, timed(range(begin, begin + by), **clock), run_id="run")
    refit_run(database, "run", [])


def details(database: Database) -> dict[str, Any]:
    with database.read() as connection:
        found = read_verdict(connection, "run")
    assert found is not None
    return dict(found.details)


def marks(database: Database) -> list[tuple[int, float]]:
    with database.read() as connection:
        return list(read_pace(connection, 1).marks)


def test_an_even_pace_ends_when_it_says(database: Database) -> None:
    start(database)
    log_and_refit(database, 0, 800)
    time = details(database)["time"]
    assert time["seconds_per_step"] == pytest.approx(2.0)
    left = 2.0 * (TOTAL - time["at_step"])
    assert time["seconds_left"] == {name: pytest.approx(left, rel=1e-6) for name in ("p05", "p25", "p50", "p75", "p95")}
    assert (time["pauses"], time["has_slowed"]) == (0, False)
    assert time["ends_at"]["p50"] == "2025-10-09T10:00:00+00:00"
    assert time["sentence"] == f"About {format_duration(left)} left."


def test_a_pause_and_a_restart_widen_what_is_left_and_count_their_rework(database: Database) -> None:
    start(database)
    log_and_refit(database, 0, 400)
    start(database, "second", resume_step=300)
    log_and_refit(database, 300, 800, begin=BEGAN + 5000.0)  # it had got to 400, waited, and made 100 steps again
    found = marks(database)
    assert [step for step, _ in found] == sorted({step for step, _ in found})
    assert max(np.diff([time for _, time in found])) == pytest.approx(5040.0)
    time = details(database)["time"]
    assert time["pauses"] == 1
    assert time["seconds_left"]["p05"] < 2.1 * (TOTAL - time["at_step"]) < time["seconds_left"]["p95"]
    assert 0.5 < time["paused_share"] < 1


def test_a_run_that_slows_down_is_noticed(database: Database) -> None:
    start(database)
    log_and_refit(database, 0, 600)
    log_and_refit(database, 600, 1000, seconds_per_step=4.0, begin=BEGAN - 600 * 2.0)
    time = details(database)["time"]
    assert (time["has_slowed"], time["seconds_per_step"]) == (True, pytest.approx(4.0))
    assert time["sentence"].endswith("A step takes 4 s, 2.0 times what it took before.")


def test_a_target_is_told_in_steps_and_in_seconds(database: Database) -> None:
    start(database)
    with database.write() as connection:
        goals = {"loss": Goal(target=2.18, budget_steps=1500)}
        save_project_policy(
            connection, "p", mode=Mode.ADVISE, policy="predictive", parameters={}, goals=goals, baselines=[]
        )
    log_and_refit(database, 0, 800)
    goal = details(database)["goal"]
    assert (goal["target"], goal["reached_at"], goal["budget_steps"]) == (2.18, None, 1500)
    assert 0 <= goal["within_budget"] <= goal["probability"] <= 1
    reached = {name: step for name, step in goal["steps"].items() if step is not None}
    assert reached, "2.18 is where the curve comes to at step 1,125"
    for name, step in reached.items():
        assert goal["seconds"][name] == pytest.approx(2.0 * (step - 799), rel=0.02)
    assert "about at step 1" in (said := words(shown(read(database, "run"), datetime.now(UTC))))
    assert f", in about {format_duration(goal['seconds']['p50'])}" in said


def test_an_accuracy_far_below_its_target_has_not_reached_it_and_of_its_way_nothing_is_known_yet(
    database: Database,
) -> None:
    start(database)
    with database.write() as connection:
        goals = {"val_acc": Goal(target=0.9, budget_steps=1500)}
        save_project_policy(
            connection, "p", mode=Mode.ADVISE, policy="predictive", parameters={}, goals=goals, baselines=[]
        )
    store(database, make_batch([10, 20, 30], val_acc=[0.101, 0.102, 0.103]), run_id="run")
    refit_run(database, "run", [])
    goal = details(database)["goal"]
    assert goal["reached_at"] is None
    assert (goal["probability"], goal["within_budget"], set(goal["steps"].values())) == (None, None, {None})
    assert "reaches 0.9000 not known yet" in words(shown(read(database, "run"), datetime.now(UTC)))


def test_without_a_clock_of_the_job_ours_counts_and_without_time_nothing_is_said(database: Database) -> None:
    start(database)
    log_and_refit(database, 0, 100, begin=math.nan)
    assert details(database)["time"] is None, "five batches say nothing"
    found = marks(database)
    assert len(found) == 5
    assert all(time > 1.7e9 for _, time in found)


def test_marks_survive_compaction_and_are_read_once(database: Database) -> None:
    start(database)
    log_and_refit(database, 0, 200)
    before = marks(database)
    compact(database)
    with database.read() as connection:
        assert follow(connection, 1, 10).marks == tuple(before)
    log_and_refit(database, 200, 240)
    assert marks(database)[:10] == before


def test_marks_stay_few_and_keep_both_ends() -> None:
    found: list[tuple[int, float]] = []
    for step in range(0, 50_000, 7):
        found = joined(found, [(step, 2.0 * step)])
    assert len(found) <= MOST_MARKS + 2
    assert (found[0], found[-1]) == ((0, 0.0), (step, 2.0 * step))
    gaps = np.diff([at for at, _ in found])
    assert gaps[:-1].max() < 4 * gaps[:-1].min()


def test_a_clock_that_goes_backwards_leaves_no_mark() -> None:
    assert joined([(1, 10.0)], [(2, 5.0), (3, 11.0)]) == [(1, 10.0), (3, 11.0)]


def test_times_beyond_the_calendar_are_no_moments() -> None:
    found = time_left([(step, 1e300 * step) for step in range(40)], 100)
    assert found is not None
    assert found["measured_at"] is None
    assert set(found["ends_at"].values()) == {None}
