"""Who is best and what is lost without them, against millions of draws and against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from app.errors import BadInput
from app.forecasting.forecast import LEVELS
from app.forecasting.scores import QuantileForecast
from app.verdicts.contest import Errors, contest, probability_not_below


def normal_end(mean: float, deviation: float) -> QuantileForecast:
    return QuantileForecast.from_levels({level: float(norm.ppf(level, mean, deviation)) for level in LEVELS})


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_a_contest_agrees_with_a_million_draws(correlation: float) -> None:
    # Far above zero, which no end of a positive loss is taken to cross.
    together = contest([normal_end(52.0, 1.0), normal_end(52.5, 0.5), 53.0], Errors(correlation))
    rng = np.random.default_rng(3)
    n = 1_000_000
    shared = np.sqrt(correlation) * rng.normal(size=n)
    first, second = (shared + np.sqrt(1 - correlation) * rng.normal(size=n) for _ in range(2))
    ends = np.stack([52 + first, 52.5 + 0.5 * second, np.full(n, 53.0)])
    won = np.bincount(ends.argmin(axis=0), minlength=3) / n
    lost = [(np.delete(ends, i, 0).min(axis=0) - ends.min(axis=0)).mean() for i in range(3)]
    # The grid of some hundred values is this coarse; the draws are ten times finer.
    np.testing.assert_allclose(together.best(), won, atol=0.006)
    np.testing.assert_allclose(together.worth(), lost, atol=0.006)
    lead = np.maximum(np.minimum(ends[1], ends[2]) - ends[0], 0.0)
    np.testing.assert_allclose(
        together.lead_quantiles((0.05, 0.5, 0.95)), np.quantile(lead, (0.05, 0.5, 0.95)), atol=0.04
    )


def test_equal_runs_are_equally_likely_the_best() -> None:
    np.testing.assert_allclose(contest([normal_end(2.0, 0.3)] * 5, Errors(0.6)).best(), 0.2, atol=1e-9)


def test_two_normal_ends_are_compared_as_the_normal_difference_says() -> None:
    deviation = np.sqrt(1 + 0.25 - 2 * 0.6 * 0.5)
    expected = norm.cdf((2.0 - 1.8 + 0.1) / deviation)
    assert probability_not_below(normal_end(2.0, 1.0), normal_end(1.8, 0.5), Errors(0.6), delta=0.1) == pytest.approx(
        expected, abs=0.002
    )


@pytest.mark.parametrize("errors", [Errors(), Errors(0.8, 1.1, 0.07, 5.8), Errors(0.3, 0.7, 1.0, 2.8)])
@pytest.mark.parametrize("mean", [2.0, -2.0])
def test_a_certain_reference_is_compared_as_a_contest_would(errors: Errors, mean: float) -> None:
    """In closed form: of the contest, whose grid is some hundred values, a thousandth remains."""
    skewed = QuantileForecast(np.array(LEVELS), mean + np.array([-0.05, -0.03, 0.0, 0.06, 0.2]))
    for value in (mean - 0.3, mean - 0.04, mean, mean + 0.1, mean + 0.5):
        fought = 1 - contest([skewed, value - 0.01], errors).best()[0]
        assert probability_not_below(skewed, value, errors, delta=0.01) == pytest.approx(fought, abs=0.004)


def test_a_positive_end_does_not_lie_below_a_reference_that_is_not() -> None:
    doubting = Errors(surprise=0.5, reach=50.0)
    assert probability_not_below(normal_end(1.0, 0.1), 0.0, doubting) == 1.0
    assert probability_not_below(normal_end(1.0, 0.1), 0.01, doubting) < 0.95
    assert probability_not_below(normal_end(0.1, 0.1), 0.0, doubting) < 0.95  # this one may be negative


def test_with_errors_for_each_end_a_certain_reference_is_held_to_those_of_the_run() -> None:
    own, reference = (Errors(surprise=1.0, reach=3.0), Errors())
    expected = norm.cdf(-1 / 3)
    assert probability_not_below(normal_end(52.0, 1.0), 51.0, (own, reference)) == pytest.approx(1 - expected, abs=1e-9)


def test_errors_that_are_shared_tell_near_ties_apart() -> None:
    near, better = normal_end(2.02, 0.1), normal_end(2.0, 0.1)
    apart = probability_not_below(near, better, Errors(0.0))
    together = probability_not_below(near, better, Errors(0.99))
    assert apart < 0.6 < 0.9 < together


def test_leaving_out_everybody_who_cannot_win_loses_nothing() -> None:
    together = contest([normal_end(1.0, 0.1), normal_end(9.0, 0.1), normal_end(8.0, 0.1)], Errors(0.3))
    assert together.loss_without(np.array([False, True, True])) == pytest.approx(0.0, abs=1e-6)
    assert together.loss_without(np.array([True, False, False])) == pytest.approx(7.0, abs=0.01)


def test_certain_ends_are_ranked_with_certainty() -> None:
    together = contest([3.0, 2.0, 2.5], Errors(0.5))
    np.testing.assert_allclose(together.best(), [0.0, 1.0, 0.0], atol=1e-9)
    np.testing.assert_allclose(together.worth(), [0.0, 0.5, 0.0], atol=1e-6)


@pytest.mark.parametrize("n", [2, 3, 6])
def test_runs_that_ended_at_one_level_share_the_first_place(n: int) -> None:
    behind = QuantileForecast(np.array([0.05, 0.5, 0.95]), np.array([3.6, 3.7, 3.8]))
    chances = contest([*[3.3] * n, behind], Errors(0.5)).best()
    assert chances[:n] == pytest.approx(1 / n)
    assert chances[n] == pytest.approx(0.0, abs=1e-6)  # the grid ends at five normal scores


def test_a_contest_of_nobody_is_refused() -> None:
    with pytest.raises(BadInput, match="somebody"):
        contest([], Errors(0.5))


def test_surprises_are_of_the_run_alone_and_as_wide_as_said() -> None:
    """Against a million draws of which one in five is three times as wide and shares nothing."""
    errors = Errors(correlation=0.8, stretch=1.2, surprise=0.2, reach=3.0)
    together = contest([normal_end(52.0, 1.0), normal_end(52.5, 0.5), 53.0], errors)
    rng = np.random.default_rng(4)
    n = 1_000_000
    shared = np.sqrt(0.8) * rng.normal(size=n)
    scores = []
    for _ in range(2):
        own, far = shared + np.sqrt(0.2) * rng.normal(size=n), 3 * rng.normal(size=n)
        scores.append(1.2 * np.where(rng.random(n) < 0.2, far, own))
    ends = np.stack([52 + scores[0], 52.5 + 0.5 * scores[1], np.full(n, 53.0)])
    won = np.bincount(ends.argmin(axis=0), minlength=3) / n
    lost = [(np.delete(ends, i, 0).min(axis=0) - ends.min(axis=0)).mean() for i in range(3)]
    np.testing.assert_allclose(together.best(), won, atol=0.01)
    np.testing.assert_allclose(together.worth(), lost, atol=0.01)


def test_a_surprise_leaves_a_chance_where_normal_tails_leave_none() -> None:
    behind, ahead = normal_end(3.0, 0.1), normal_end(2.0, 0.1)
    sure = probability_not_below(behind, ahead, Errors(0.5))
    doubting = probability_not_below(behind, ahead, Errors(0.5, surprise=0.1, reach=5.0))
    assert sure > 0.9999
    assert 0.98 < doubting < 0.999


def test_a_surprise_does_not_make_a_positive_loss_negative() -> None:
    low, other = normal_end(1.0, 0.3), normal_end(1.1, 0.01)
    together = contest([low, other], Errors(surprise=1.0, reach=50.0))
    assert together.grid[1] >= 0.0
    negative = contest([normal_end(-1.0, 0.3), normal_end(1.1, 0.01)], Errors(surprise=1.0, reach=50.0))
    assert negative.grid[1] < -50.0  # what may be negative stays so


@pytest.mark.parametrize("wrong", [{"correlation": 1.0}, {"surprise": 1.5}, {"stretch": 0.0}, {"reach": -1.0}])
def test_errors_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        Errors(**wrong)
