"""Schedules: what the constructor promises, and that simplification keeps what matters."""

from __future__ import annotations

import numpy as np
import pytest

from app.curves.schedule import MAX_KNOTS, Schedule
from app.errors import BadInput


@pytest.mark.parametrize(
    ("steps", "rates", "says"),
    [
        ([], [], "at least one knot"),
        ([0, 1], [1.0], "as many rates"),
        ([0, 0], [1.0, 1.0], "strictly increasing"),
        ([1, 0], [1.0, 1.0], "strictly increasing"),
        ([0, 1], [1.0, -1e-9], "negative"),
        ([0, 1], [1.0, np.nan], "finite"),
        ([0, np.inf], [1.0, 1.0], "finite"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(steps: list[float], rates: list[float], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Schedule(np.array(steps), np.array(rates))


def test_rates_are_linear_between_knots_and_constant_outside() -> None:
    schedule = Schedule(np.array([10, 20]), np.array([1.0, 3.0]))
    assert list(schedule.rate_at([0, 10, 15, 20, 99])) == [1.0, 1.0, 2.0, 3.0, 3.0]


def test_the_warm_up_ends_within_one_percent_of_the_peak() -> None:
    schedule = Schedule(np.array([0, 100, 200, 1000]), np.array([0.0, 1e-3, 1e-3, 0.0]))
    assert schedule.warmup_end == pytest.approx(99)
    assert schedule.peak == 1e-3
    assert Schedule.constant(1.0, last=10).warmup_end == 0


def test_a_later_and_higher_peak_is_not_part_of_the_warm_up() -> None:
    schedule = Schedule(np.array([0, 10, 100, 200]), np.array([0.0, 1.0, 0.5, 2.0]))
    assert schedule.warmup_end == pytest.approx(9.9)


def test_parts_put_together_again_are_the_whole() -> None:
    whole = Schedule(np.array([0, 100, 101, 1000]), np.array([1.0, 1.0, 0.1, 0.0]))
    steps = np.arange(0, 1001)
    for cut in (1, 99, 100, 101, 500):
        joined = whole.until(cut).then(whole.since(cut))
        np.testing.assert_allclose(joined.rate_at(steps), whole.rate_at(steps), atol=1e-15)
    middle = whole.between(50, 150)
    assert (middle.steps[0], middle.steps[-1]) == (50, 150)
    np.testing.assert_allclose(middle.rate_at(np.arange(50, 151)), whole.rate_at(np.arange(50, 151)), atol=1e-15)


def test_a_disagreement_at_the_seam_is_a_jump_one_step_wide() -> None:
    joined = Schedule.constant(1.0, last=100).then(Schedule.constant(0.5, first=50, last=200))
    assert list(joined.rate_at([100, 101, 200])) == [1.0, 0.5, 0.5]


def test_simplifying_keeps_jumps_and_ends() -> None:
    steps = np.arange(200_000)
    rates = np.minimum(steps / 2_000, 1.0) * np.where(steps >= 150_000, 0.1, 1.0)
    schedule = Schedule.through(steps, rates)
    assert len(schedule) <= 8
    # 1e-4 of the peak is the tolerance asked for.
    np.testing.assert_allclose(schedule.rate_at(steps), rates, atol=1e-4)
    assert schedule.rate_at(149_999) == pytest.approx(1.0)
    assert schedule.rate_at(150_000) == pytest.approx(0.1)


def test_simplifying_more_detail_than_fits_drops_the_smallest_first() -> None:
    steps = np.arange(100_000)
    rates = 1.0 + 0.5 * np.sin(steps / 20.0) * (steps < 50_000) + 1e-3 * np.sin(steps / 20.0)
    schedule = Schedule.through(steps, rates)
    assert len(schedule) <= MAX_KNOTS
    quiet = steps >= 51_000
    assert np.abs(schedule.rate_at(steps[quiet]) - rates[quiet]).max() < 3e-3


def test_simplifying_one_or_two_points_returns_them() -> None:
    assert len(Schedule.through([5], [1e-3])) == 1
    assert list(Schedule.through([5, 9], [1e-3, 2e-3]).rates) == [1e-3, 2e-3]
