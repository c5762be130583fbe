"""When a level is reached and when a run ends, where both are known by construction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.forecasting.forecast import LEVELS
from app.forecasting.scores import QuantileForecast
from app.verdicts.history import History
from app.verdicts.judging import judge
from app.verdicts.outlook import Outlook
from app.verdicts.rivals import RivalKind
from app.verdicts.situation import Situation
from app.verdicts.targets import QUANTILES, arrive, pace_of, reach, time_to_reach

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


def make_situation(sign: float = 1.0, *, with_forecast: bool = True, **changes: Any) -> Situation:
    history = HISTORY if sign > 0 else HISTORY.mirrored()
    outlook = make_outlook(sign) if with_forecast else None
    situation = Situation(outlook, history, total_steps=1100, now=100, lower_is_better=sign > 0)
    return replace(situation, **changes)


def test_the_median_path_says_when_a_level_is_reached_half_surely() -> None:
    reaching = reach(make_situation(), 2.5, budget_step=600)
    assert reaching.steps[0.5] == 600
    assert reaching.by_budget == pytest.approx(0.5, abs=0.01)
    assert reaching.probability is not None
    assert 0.98 < reaching.probability < 0.999  # nothing is surer than forecasts are
    early, late = reaching.steps[0.05], reaching.steps[0.95]
    assert early is not None
    assert late is not None
    # A tenth of the unit either way is a hundred steps; 5 % and 95 % lie 1.645 of these off, and a little.
    assert (early, late) == (430, 780)


def test_a_level_below_the_whole_fan_takes_a_surprise_and_has_no_step() -> None:
    reaching = reach(make_situation(), 1.0)
    assert reaching.probability is not None
    assert 1e-6 < reaching.probability < 0.01
    assert set(reaching.steps.values()) == {None}
    assert reaching.by_budget is None


@pytest.mark.parametrize("target", [1.2, 1.9, 2.2])
@pytest.mark.parametrize("states", [{}, {"grokking": "turning"}])
def test_a_target_is_no_less_likely_reached_than_the_verdict_says_that_it_is_beaten(
    target: float, states: dict[str, str]
) -> None:
    situation = make_situation(target=target, states=states)
    against = next(one for one in judge(situation).comparisons if one.kind is RivalKind.TARGET)
    reaching = reach(situation, target)
    assert reaching.probability is not None
    assert reaching.probability >= 1 - against.probability - 1e-12


def test_a_level_that_was_reached_says_when() -> None:
    reaching = reach(make_situation(), 4.0, budget_step=50)
    assert reaching.reached_at is not None
    assert 50 < reaching.reached_at <= 80
    assert (reaching.probability, reaching.by_budget) == (1.0, 0.0)  # but too late
    assert reach(make_situation(), 4.0, budget_step=80).by_budget == 1.0


@pytest.mark.parametrize("level", [2.5, 4.0, 1.0])
def test_where_high_is_better_a_level_is_reached_from_below(level: float) -> None:
    high, low = reach(make_situation(-1.0), -level), reach(make_situation(), level)
    assert high.steps == low.steps
    assert high.probability == pytest.approx(low.probability, rel=0.2)  # a loss has zero as its floor
    assert high.reached_at == low.reached_at


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_without_a_forecast_only_the_past_counts_and_of_the_rest_nothing_is_known(sign: float) -> None:
    situation = make_situation(sign, with_forecast=False)
    assert reach(situation, sign * 4.0).probability == 1.0
    unknown = reach(situation, sign * 1.0, budget_step=500)
    assert (unknown.reached_at, unknown.probability, unknown.by_budget) == (None, None, None)
    assert reach(situation, sign * 1.0, budget_step=90).by_budget == 0.0


def test_a_loss_does_not_reach_what_lies_below_zero() -> None:
    assert reach(make_situation(), -0.1).probability == 0.0


@pytest.mark.parametrize(
    "states", [{"grokking": "fitting", "overfit": "overfitting"}, {"grokking": "memorised", "overfit": "no sign"}]
)
def test_while_training_is_learned_by_heart_nothing_is_known_of_a_target(states: dict[str, str]) -> None:
    """By its fan a validation loss that rises never comes down; of two that look like that one groks."""
    rising = History(HISTORY.steps, np.linspace(3.0, 3.2, 10))
    assert reach(make_situation(states=states, history=rising), 1.5).probability is None
    assert reach(make_situation(states=states), 1.5).probability is not None  # it had learned something that holds


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


def test_at_an_even_pace_the_time_to_a_level_is_that_of_the_steps_to_it() -> None:
    reaching = reach(make_situation(), 2.4)
    steps, times = np.arange(101), 1e9 + 2.0 * np.arange(101)
    seconds = time_to_reach(reaching, steps, times, rng=np.random.default_rng(2))
    assert reaching.steps[0.95] is not None
    for quantile, step in reaching.steps.items():
        assert step is not None
        assert seconds[quantile] == pytest.approx(2.0 * (step - 100))


def test_pauses_to_come_are_in_the_time_to_a_level_too() -> None:
    reaching = reach(make_situation(), 2.4)
    rng = np.random.default_rng(2)
    gaps = np.full(100, 2.0)
    even = time_to_reach(reaching, np.arange(101), np.append(0.0, np.cumsum(gaps)), rng=rng)
    gaps[[20, 60]] += 3600.0
    paused = time_to_reach(reaching, np.arange(101), np.append(0.0, np.cumsum(gaps)), rng=rng)
    assert even[0.5] is not None
    assert even[0.95] is not None
    assert paused[0.5] is not None
    assert paused[0.95] is not None
    assert paused[0.5] > even[0.5] + 3600
    assert paused[0.95] - paused[0.5] > 10 * (even[0.95] - even[0.5])  # how many pauses come, nobody knows


def test_a_level_that_is_hardly_reached_has_no_time_and_one_that_was_none_to_go() -> None:
    steps, times = clock(101)
    unlikely = reach(make_situation(), 1.95)
    assert unlikely.probability is not None
    assert 0.25 < unlikely.probability < 0.5
    seconds = time_to_reach(unlikely, steps, times, rng=np.random.default_rng(2))
    assert [quantile for quantile, value in seconds.items() if value is None] == [0.5, 0.75, 0.95]
    reached = time_to_reach(reach(make_situation(), 4.0), steps, times, rng=np.random.default_rng(2))
    assert set(reached.values()) == {0.0}
    for nothing in (
        time_to_reach(unlikely, steps, np.full(101, np.nan), rng=np.random.default_rng(2)),
        time_to_reach(reach(make_situation(with_forecast=False), 1.0), steps, times, rng=np.random.default_rng(2)),
    ):
        assert nothing == dict.fromkeys(QUANTILES)


def test_the_chances_along_the_path_are_those_of_each_of_its_forecasts() -> None:
    outlook = make_outlook()
    for level in (1.5, 2.4, 2.5, 3.5):
        expected = [
            QuantileForecast(np.array(LEVELS), outlook.quantiles[:, place]).cdf(level)
            for place in range(len(outlook.path_steps))
        ]
        np.testing.assert_allclose(outlook.chances_below(level), expected, atol=1e-12)
