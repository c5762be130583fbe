"""Distributions with sloping tops and exponential tails."""

import numpy as np
import pytest

from app.pfn.bars import Bars, Knots

KNOTS = Knots(np.array([-2.0, -0.5, 0.0, 0.3, 1.0, 4.0]), left_tail=0.7, right_tail=1.5)


def make_bars(n: int = 40, location: float = 3.0, unit: float = 0.2) -> Bars:
    logits = np.random.default_rng(0).normal(0, 2, (1, n, len(KNOTS.places)))
    return Bars.of_logits(KNOTS, logits, np.full((1, n), location), np.full((1, n), unit))


def test_the_density_is_the_slope_of_the_cumulative_distribution() -> None:
    bars = make_bars()
    for value in 3 + 0.2 * np.array([-4.0, -1.7, -0.1, 0.2, 0.9, 3.3, 7.0]):
        slope = (bars.cdf(value + 1e-6) - bars.cdf(value - 1e-6)) / 2e-6
        assert np.exp(bars.log_density(value)) == pytest.approx(slope, rel=1e-4)  # the central difference's own error


def test_the_cumulative_distribution_rises_from_zero_to_one() -> None:
    bars = make_bars()
    values = 3 + 0.2 * np.concatenate([[-1e3], np.linspace(-8, 12, 400), [1e3]])
    heights = np.array([bars.cdf(value)[0] for value in values])
    assert (np.diff(heights, axis=0) >= 0).all()
    assert heights[0] == pytest.approx(0, abs=1e-12)
    assert heights[-1] == pytest.approx(1, abs=1e-12)


def test_quantiles_undo_the_cumulative_distribution() -> None:
    bars = make_bars()
    levels = np.array([1e-4, 0.05, 0.25, 0.5, 0.75, 0.95, 1 - 1e-4])
    for level, quantile in zip(levels, bars.quantiles(levels), strict=True):
        assert bars.cdf(quantile) == pytest.approx(np.full((1, 40), level), abs=1e-9)


def test_quantiles_are_in_order() -> None:
    quantiles = make_bars().quantiles(np.linspace(0.001, 0.999, 300))
    assert (np.diff(quantiles, axis=0) >= 0).all()


def test_the_mean_is_that_of_the_density() -> None:
    bars = make_bars()
    middles = (np.arange(200_000) + 0.5) / 200_000
    # The mean is the integral of the quantile over its level.
    expected = bars.quantiles(middles).mean(axis=0)
    assert bars.mean() == pytest.approx(expected, rel=1e-4)  # what the coarsest tail pieces leave


def test_a_knot_without_mass_breaks_nothing() -> None:
    logits = np.array([[[0.0, -800.0, -800.0, 0.0, -800.0, -800.0]]])
    bars = Bars.of_logits(KNOTS, logits, np.zeros((1, 1)), np.ones((1, 1)))
    quantiles = bars.quantiles([0.01, 0.3, 0.5, 0.7, 0.99])
    assert np.isfinite(quantiles).all()
    assert np.isfinite(bars.log_density(-0.5)).all()
    assert np.isfinite(bars.log_density(1e9)).all()


def test_levels_outside_zero_and_one_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        make_bars().quantiles([0.0])


def test_knots_of_equal_mass_give_the_prior_back_at_even_logits() -> None:
    answers = np.random.default_rng(1).standard_t(3, 200_000)
    knots = Knots.of_equal_mass(answers, 200)
    bars = Bars.of_logits(knots, np.zeros((1, 1, 200)), np.zeros((1, 1)), np.ones((1, 1)))
    for level in (0.01, 0.2, 0.5, 0.9, 0.99):
        # Half a knot's mass, and the knots' least distance.
        assert bars.cdf(np.quantile(answers, level))[0, 0] == pytest.approx(level, abs=0.004)


def test_knots_survive_answers_that_agree() -> None:
    knots = Knots.of_equal_mass(np.concatenate([np.zeros(500), np.full(500, 1e9)]), 50)
    assert (knots.gaps > 0).all()
    assert np.isfinite(knots.areas).all()
    assert (knots.areas > 0).all()
