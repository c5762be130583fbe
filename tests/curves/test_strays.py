"""Which points are a metric's curve, and which lie beyond all reason."""

from __future__ import annotations

import numpy as np
import pytest

from app.curves.strays import LEAST_BEFORE, curve_range, needed_behind


def kept(*steps: int) -> list[int]:
    given = np.array(sorted(steps), np.int64)
    begin, end = curve_range(given)
    return [int(step) for step in given[begin:end]]


RUN = list(range(0, 1000, 10))


@pytest.mark.parametrize("stray", [2**63 - 1, 10**6, 100 * 990 + 991])
def test_one_point_far_beyond_all_others_is_none_of_the_curve(stray: int) -> None:
    assert kept(*RUN, stray) == RUN


def test_a_pause_in_logging_is_not_far() -> None:
    assert kept(*RUN, 50_000) == [*RUN, 50_000]


def test_a_run_that_goes_on_beyond_the_gap_is_shown_with_it() -> None:
    beyond = [10**7 + at for at in range(needed_behind(len(RUN)))]
    assert kept(*RUN, *beyond[:-1]) == RUN
    assert kept(*RUN, *beyond) == [*RUN, *beyond]


def test_strays_behind_a_gap_that_was_taken_are_still_strays() -> None:
    second = [10**7 + at for at in range(200)]
    assert kept(*RUN, *second, 2**62) == [*RUN, *second]


def test_a_few_points_say_nothing_of_how_long_a_run_is() -> None:
    few = list(range(LEAST_BEFORE - 1))
    assert kept(*few, 2**50) == [*few, 2**50]


@pytest.mark.parametrize("before", [-1, -(2**63)])
def test_negative_steps_are_left_out_beside_others_only(before: int) -> None:
    assert kept(before, *RUN) == RUN
    assert kept(before) == [before]
    assert kept(before, 0) == [0]


def test_powers_of_two_and_clocks_are_steps_like_others() -> None:
    powers = [2**at for at in range(60)]
    assert kept(*powers) == powers
    clock = [1_764_000_000_000_000_000 + 10**9 * at for at in range(100)]
    assert kept(*clock) == clock


def test_nothing_is_the_curve_of_nothing() -> None:
    assert curve_range(np.empty(0, np.int64)) == (0, 0)


@pytest.mark.parametrize("cut", [1, 16, 17, 60, 99])
def test_a_part_known_already_changes_nothing(cut: int) -> None:
    steps = np.array([*RUN, 10**9, 2**60], np.int64)
    begin, end = curve_range(steps[cut:], before=cut, origin=int(steps[0]), last=int(steps[cut - 1]))
    assert (begin, cut + end) == (0, len(RUN))
