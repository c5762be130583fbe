"""What a finished run says of itself: its final loss, the part seen at a cutoff, its plan, its schedule."""

from __future__ import annotations

import numpy as np
import pytest

from app.curves.schedule import Schedule
from app.forecasting.law import schedule_is_guessed
from app.forecasting.recorded_run import RecordedRun, logged_schedule


def make_run(values: np.ndarray, schedule: Schedule | None = None) -> RecordedRun:
    steps = np.arange(1, len(values) + 1) * 10
    return RecordedRun("run", "loss", steps, values, schedule, int(steps[-1]))


def test_the_final_loss_is_the_mean_of_the_last_two_percent_of_the_points() -> None:
    values = np.concatenate([np.full(98, 5.0), [3.0, 2.0]])
    assert make_run(values).final_loss() == pytest.approx(2.5)
    assert make_run(values[-10:]).final_loss() == 2.0
    assert np.isnan(make_run(np.append(values[1:], np.nan)).final_loss())


def test_what_is_seen_ends_at_the_fraction_of_the_steps() -> None:
    seen = make_run(np.linspace(5, 2, 100)).seen(0.4)
    assert seen.cutoff == 400
    assert seen.n_points == 40


def test_a_rate_that_was_not_logged_is_assumed_and_said() -> None:
    plan = make_run(np.linspace(5, 2, 100)).plan()
    assert schedule_is_guessed(plan)
    assert plan.total_steps == 1000
    known = make_run(np.linspace(5, 2, 100), Schedule.constant(1e-3, last=1000)).plan()
    assert not schedule_is_guessed(known)


def test_a_law_is_fitted_to_what_comes_after_the_warm_up() -> None:
    schedule = Schedule(np.array([0, 300, 1000]), np.array([0, 1e-3, 1e-3]))
    sample = make_run(np.linspace(5, 2, 100), schedule).sample()
    assert sample.steps[0] == pytest.approx(300)
    assert make_run(np.linspace(5, 2, 20), schedule).sample().steps[0] == 10  # it never ended


def test_a_rate_that_changes_once_between_rows_has_jumped() -> None:
    steps = np.arange(0, 1000, 100)
    jumped = logged_schedule(steps, np.where(steps < 500, 3e-4, 1e-4))
    assert jumped.rate_at([400, 449, 450, 500]) == pytest.approx([3e-4, 3e-4, 1e-4, 1e-4])
    slid = logged_schedule(steps, np.interp(steps, [0, 300, 600, 900], [3e-4, 3e-4, 1e-4, 1e-4]))
    assert slid.rate_at([450]) == pytest.approx([2e-4])


def test_a_warm_up_that_was_not_logged_can_be_said() -> None:
    schedule = logged_schedule([200, 300, 400], [1e-3, 1e-3, 5e-4], warmup_steps=150)
    assert schedule.rate_at([0, 75, 150, 300, 400]) == pytest.approx([0, 5e-4, 1e-3, 1e-3, 5e-4])
    # One that is longer than what is not shown ends where the rows begin; without room there is none.
    assert logged_schedule([200, 300], [1e-3, 1e-3], warmup_steps=5000).rate_at([199]) == pytest.approx([1e-3])
    assert logged_schedule([0, 300], [1e-3, 1e-3], warmup_steps=100).rate_at([0]) == pytest.approx([1e-3])


def test_a_log_that_begins_late_at_its_highest_rate_left_its_warm_up_out() -> None:
    steps = np.arange(200, 2000, 10)
    late = logged_schedule(steps, np.full(180, 1e-3))
    assert late.warmup_end == pytest.approx(199, rel=0.02)
    assert late.rate_at([0, 199]) == pytest.approx([0, 1e-3])
    none = 1e-3 * np.ones(2)
    # Said to have none; still warming up; a log of a resumed run; rows as far apart as the first is from zero.
    assert logged_schedule(steps, np.full(180, 1e-3), warmup_steps=0).rate_at([0, 100]) == pytest.approx(none)
    assert logged_schedule(steps, np.minimum(steps / 4e5, 1e-3)).rate_at([0]) == pytest.approx([5e-4])
    assert logged_schedule(steps + 5000, np.full(180, 1e-3)).rate_at([0, 100]) == pytest.approx(none)
    assert logged_schedule(np.arange(200, 2000, 200), np.full(9, 1e-3)).rate_at([0, 100]) == pytest.approx(none)
