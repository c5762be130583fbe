"""Every way to state a schedule ends as the rates that the job will use."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from losscast import schedule
from losscast.notices import Notices
from losscast.schedule import MAX_KNOTS, describe_schedule

TOTAL = 100_000


def described(stated: Any, total_steps: int | None = None) -> Any:
    """None where it cannot be used."""
    return describe_schedule(stated, total_steps, Notices())


def rates_at(declared: Mapping[str, Any], steps: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """As the server reads it: linear between knots, constant outside them."""
    rates: npt.NDArray[np.float64] = np.interp(steps, declared["steps"], declared["rates"])
    return rates


def cosine(step: int, peak: float = 3e-4, warmup: int = 2000, total: int = TOTAL) -> float:
    if step < warmup:
        return peak * step / warmup
    return peak * (0.1 + 0.9 * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2)


def warmup_stable_decay(step: int, peak: float = 1e-3) -> float:
    return peak * min(1.0, step / 137, (TOTAL - step) / 12_345)


def staircase(step: int) -> float:
    return 0.1 * 0.1 ** sum(step >= milestone for milestone in (30_001, 60_000, 90_007))


def restarts(step: int) -> float:
    return 1e-3 * (1 + math.cos(math.pi * (step % 10_000) / 10_000)) / 2


def inverse_sqrt(step: int) -> float:
    return 1e-3 * min((step + 1) / 400, math.sqrt(400 / (step + 1)))


def constant(step: int) -> float:
    return 1e-4


@pytest.mark.parametrize(
    ("rate", "tolerance"),
    # Ten cosines share the knots that one has for itself: the error of a chord grows with the square of its length.
    [(cosine, 1), (warmup_stable_decay, 1), (staircase, 1), (restarts, 16), (inverse_sqrt, 1), (constant, 1)],
)
def test_a_function_becomes_few_knots_that_follow_it_at_every_step(
    rate: Callable[[int], float], tolerance: float
) -> None:
    declared = described(rate, TOTAL)
    steps = np.arange(TOTAL + 1)
    exact = np.array([rate(int(step)) for step in steps])
    assert declared["family"] == "explicit"
    assert len(declared["steps"]) <= MAX_KNOTS
    assert (declared["steps"][0], declared["steps"][-1]) == (0, TOTAL)
    # The stated tolerance, and half of it again from sampling.
    assert np.abs(rates_at(declared, steps) - exact).max() <= 1.5 * tolerance * schedule.TOLERANCE * exact.max()


def test_a_jump_of_a_function_becomes_two_knots_one_step_apart() -> None:
    declared = described(staircase, TOTAL)
    knots = set(zip(declared["steps"], declared["rates"], strict=True))
    assert {
        (30_000, 0.1),
        (30_001, staircase(30_001)),
        (90_006, staircase(90_006)),
        (90_007, staircase(90_007)),
    } <= knots
    assert len(knots) == 8


def test_a_line_needs_its_ends_only() -> None:
    declared = described(lambda step: 1e-3 * (1 - step / TOTAL), TOTAL)
    assert declared["steps"] == [0, TOTAL]


def test_a_curve_with_more_bends_than_knots_is_followed_as_well_as_they_allow() -> None:
    wobbly = described(lambda step: 1e-3 * (2 + math.sin(step / 50)), TOTAL)
    assert 2 <= len(wobbly["steps"]) <= MAX_KNOTS


def test_a_function_is_called_a_few_thousand_times_however_long_the_run() -> None:
    calls: list[int] = []

    def counted(step: int) -> float:
        calls.append(step)
        return cosine(step, total=10**7)

    described(counted, 10**7)
    assert len(calls) == len(set(calls)) < 10_000


def test_a_short_run_is_sampled_at_every_step() -> None:
    declared = described([0.0, 0.5, 1.0, 0.25, 0.7, 0.7, 0.7].__getitem__, 6)
    assert declared["steps"] == [0, 2, 3, 4, 6]
    assert declared["rates"] == [0.0, 1.0, 0.25, 0.7, 0.7]


def test_a_list_of_rates_counts_from_step_zero() -> None:
    assert described([1e-3, 1e-3, 5e-4]) == {"family": "explicit", "steps": [0, 1, 2], "rates": [1e-3, 1e-3, 5e-4]}


def test_a_long_list_is_thinned_within_the_tolerance() -> None:
    exact = np.array([cosine(step) for step in range(TOTAL + 1)])
    declared = described(exact)
    assert len(declared["steps"]) <= MAX_KNOTS
    # The tolerance doubles until the knots suffice; for a cosine once is enough.
    assert np.abs(rates_at(declared, np.arange(TOTAL + 1)) - exact).max() <= 2 * schedule.TOLERANCE * exact.max()


def test_pairs_are_knots_in_any_order() -> None:
    declared = described([(1000, 0.0), (0, 0.0), (100, 1e-3)])
    assert declared == {"family": "explicit", "steps": [0, 100, 1000], "rates": [0.0, 1e-3, 0.0]}


def test_two_pairs_at_one_step_are_a_jump_at_that_step() -> None:
    declared = described([(0, 0.1), (500, 0.1), (500, 0.01), (1000, 0.01)])
    assert declared["steps"] == [0, 499, 500, 1000]
    assert declared["rates"] == [0.1, 0.1, 0.01, 0.01]


def test_an_array_of_pairs_is_a_list_of_pairs() -> None:
    declared = described(np.array([[0, 1e-3], [10, 0.0]]))
    assert declared == {"family": "explicit", "steps": [0, 10], "rates": [1e-3, 0.0]}


def test_a_family_goes_as_it_is_with_plain_numbers() -> None:
    stated = {"family": "cosine", "peak": np.float32(0.5), "milestones": (1, np.int64(2)), "warmup_steps": 10}
    assert described(stated) == {"family": "cosine", "peak": 0.5, "milestones": [1, 2], "warmup_steps": 10}
    assert described("reactive") == {"family": "reactive"}


def broken(step: int) -> float:
    raise KeyError(step)


@pytest.mark.parametrize(
    ("stated", "total", "says"),
    [
        (cosine, None, "total_steps"),
        (broken, 100, "KeyError"),
        (lambda step: -1e-3, 100, "at least 0"),
        (lambda step: math.nan, 100, "finite"),
        (lambda step: "fast", 100, "finite"),
        ([], None, "empty"),
        (3e-4, None, "none of"),
        ([(0, 1e-3), ("x", 1e-3)], None, "no step"),
        ([1e-3, None], None, "finite"),
        ([(0, 1, 2)], None, "(0, 1, 2)"),
    ],
)
def test_a_schedule_that_cannot_be_used_is_left_out_with_a_reason(
    caplog: pytest.LogCaptureFixture, stated: Any, total: int | None, says: str
) -> None:
    assert described(stated, total) is None
    assert "the schedule is not sent" in caplog.text
    assert says in caplog.text


def test_a_function_that_takes_too_long_is_given_up(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "SAMPLING_SECONDS", 0.0)
    assert described(cosine, TOTAL) is None
    assert "pairs" in caplog.text
