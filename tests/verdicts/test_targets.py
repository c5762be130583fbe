"""When a level is reached and when a run ends, where both are known by construction."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from app.forecasting.forecast import LEVELS
from app.forecasting.scores import QuantileForecast
from app.verdicts.history import History
from app.verdicts.outlook import Outlook
from app.verdicts.targets import arrive, pace_of, reach

Z = np.array([-1.645, -0.674, 0.0, 0.674, 1.645])


def make_outlook(sign: float = 1.0) -> Outlook:
    """Falls (or, mirrored, rises) from 3 at step 100 to 2 at step 1,100, 0.1 either way."""
    steps = np.arange(110, 1101, 10)
    medians = 3.0 - (steps - 100) / 1000
    quantiles = sign * (medians + sign * 0.1 * Z[:, None])
    return Outlook(
        "loss", sign > 0, 100, 1100, QuantileForecast(np.array(LEVELS), sign * 2.0 + 0.1 * Z), steps, quantiles
    )


HISTORY = History(np.arange(10.0, 101, 10), np.linspace(5.0, 3.0, 10))


def test_the_median_path_says_when_a_level_is_reached_half_surely() -> None:
    reaching = reach(make_outlook(), HISTORY, 2.5, budget_step=600)
    assert reaching.steps[0.5] == 600
    assert reaching.by_budget == pytest.approx(0.5, abs=0.01)
    assert reaching.probability > 0.99
    early, late = reaching.steps[0.05], reaching.steps[0.95]
    assert early is not None
    assert late is not None
    # A tenth of the unit either way is a hundred steps; 5 % and 95 % lie 1.645 of these off.
    assert (early, late) == (440, 770)


def test_a_level_below_the_whole_fan_is_never_reached_and_has_no_step() -> None:
    reaching = reach(make_outlook(), HISTORY, 1.0)
    assert reaching.probability < 1e-6
    assert set(reaching.steps.values()) == {None}
    assert reaching.by_budget is None


def test_a_level_that_was_reached_says_when() -> None:
    reaching = reach(make_outlook(), HISTORY, 4.0, budget_step=50)
    assert reaching.reached_at is not None
    assert 50 <= reaching.reached_at <= 80
    assert reaching.probability == 1.0


def test_where_high_is_better_a_level_is_reached_from_below() -> None:
    reaching = reach(make_outlook(-1.0), HISTORY.mirrored(), -2.5)
    assert reaching.steps == reach(make_outlook(), HISTORY, 2.5).steps


def test_without_a_forecast_only_the_past_counts() -> None:
    assert reach(None, HISTORY, 4.0).probability == 1.0
    assert reach(None, HISTORY, 1.0).probability == 0.0


def clock(
    n: int, seconds: float = 2.0, pause_at: int | None = None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    rng = np.random.default_rng(1)
    gaps = seconds * rng.uniform(0.9, 1.1, size=n)
    if pause_at is not None:
        gaps[pause_at] += 3600.0
    return np.arange(n), 1e9 + np.cumsum(gaps)


def test_an_even_pace_arrives_when_the_arithmetic_says() -> None:
    steps, times = clock(500)
    arrival = arrive(steps, times, 999, rng=np.random.default_rng(2))
    assert arrival is not None
    assert arrival.seconds[0.5] == pytest.approx(1000.0, rel=0.01)
    assert arrival.seconds[0.95] - arrival.seconds[0.05] < 30.0


def test_pauses_make_the_end_later_and_less_sure() -> None:
    steps, times = clock(500, pause_at=200)
    arrival = arrive(steps, times, 999, rng=np.random.default_rng(2))
    assert arrival is not None
    assert arrival.pace.pauses == 1
    assert arrival.pace.paused == pytest.approx(3600 / 4600, abs=0.02)
    assert arrival.pace.seconds == pytest.approx(2.0, rel=0.05)
    assert arrival.seconds[0.05] >= 900.0
    assert arrival.seconds[0.95] > 4000.0


def test_a_run_that_slows_down_is_noticed_and_its_end_is_told_at_the_new_pace() -> None:
    fast, slow = clock(400)[1], clock(200, seconds=4.0)[1]
    times = np.concatenate([fast, fast[-1] + slow - 1e9])
    arrival = arrive(np.arange(600), times, 699, rng=np.random.default_rng(2))
    assert arrival is not None
    assert arrival.pace.has_dropped
    assert "2.0 times" in arrival.pace.sentence
    assert arrival.seconds[0.5] == pytest.approx(400.0, rel=0.05)


def test_an_even_run_has_not_slowed_down() -> None:
    pace = pace_of(*clock(300))
    assert pace is not None
    assert not pace.has_dropped
    assert pace.sentence == ""


def test_a_run_without_a_clock_has_no_pace() -> None:
    assert pace_of(np.arange(100), np.full(100, np.nan)) is None
    assert arrive(np.arange(100), np.full(100, np.nan), 200, rng=np.random.default_rng(0)) is None


def test_a_run_at_its_end_arrives_now() -> None:
    steps, times = clock(100)
    arrival = arrive(steps, times, 99, rng=np.random.default_rng(0))
    assert arrival is not None
    assert set(arrival.seconds.values()) == {0.0}


def test_one_seed_gives_one_answer() -> None:
    steps, times = clock(100, pause_at=50)
    first, second = (arrive(steps, times, 900, rng=np.random.default_rng(7)) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.seconds == second.seconds


def test_the_chances_along_the_path_are_those_of_each_of_its_forecasts() -> None:
    outlook = make_outlook()
    for level in (1.5, 2.4, 2.5, 3.5):
        expected = [
            QuantileForecast(np.array(LEVELS), outlook.quantiles[:, place]).cdf(level)
            for place in range(len(outlook.path_steps))
        ]
        np.testing.assert_allclose(outlook.chances_below(level), expected, atol=1e-12)
