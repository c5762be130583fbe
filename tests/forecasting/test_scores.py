"""Scores against their closed forms, and against integrals done the slow way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from app.errors import BadInput
from app.forecasting.scores import (
    WORST_LOG_SCORE,
    QuantileForecast,
    absolute_percentage_error,
    crps_from_samples,
    pinball_loss,
    relative_error,
)

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def normal_forecast(mean: float, deviation: float, levels: tuple[float, ...] = LEVELS) -> QuantileForecast:
    return QuantileForecast.from_levels({level: float(norm.ppf(level, mean, deviation)) for level in levels})


def crps_of_normal(mean: float, deviation: float, actual: float) -> float:
    z = (actual - mean) / deviation
    return float(deviation * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi)))


@pytest.mark.parametrize("actual", [-3.0, 1.2, 2.0, 2.9, 40.0])
@pytest.mark.parametrize("levels", [(0.1, 0.9), LEVELS, (0.3, 0.31, 0.9)])
def test_a_normal_forecast_is_scored_exactly_whichever_quantiles_are_kept(
    actual: float, levels: tuple[float, ...]
) -> None:
    forecast = normal_forecast(2.0, 0.7, levels)
    assert forecast.crps(actual) == pytest.approx(crps_of_normal(2.0, 0.7, actual), rel=1e-9)
    expected = max(norm.logpdf(actual, 2.0, 0.7), WORST_LOG_SCORE)
    assert forecast.log_score(actual) == pytest.approx(expected, rel=1e-9)
    assert forecast.quantile(0.9) == pytest.approx(norm.ppf(0.9, 2.0, 0.7))


@pytest.mark.parametrize("actual", [0.4, 1.0, 1.35, 2.2, 6.0])
def test_crps_of_a_skewed_forecast_is_the_integral_of_its_pinball_losses(actual: float) -> None:
    forecast = QuantileForecast.from_levels(dict(zip(LEVELS, (0.9, 1.0, 1.1, 1.5, 3.0), strict=True)))
    # CRPS = 2 * integral of the pinball loss over all levels, with a kink at the truth.
    kink = float(
        np.interp(
            actual, [forecast.quantile(p) for p in np.linspace(1e-4, 1 - 1e-4, 9999)], np.linspace(1e-4, 1 - 1e-4, 9999)
        )
    )
    slow = (
        2
        * quad(
            lambda level: pinball_loss(actual, forecast.quantile(level), level),
            1e-9,
            1 - 1e-9,
            points=[*LEVELS, kink],
            limit=500,
        )[0]
    )
    assert forecast.crps(actual) == pytest.approx(slow, rel=1e-4)


def test_density_of_a_skewed_forecast_integrates_to_one() -> None:
    forecast = QuantileForecast.from_levels(dict(zip(LEVELS, (0.9, 1.0, 1.1, 1.5, 3.0), strict=True)))
    total = quad(lambda x: np.exp(forecast.log_score(x)), -1, 8, points=[0.9, 1.0, 1.1, 1.5, 3.0], limit=500)[0]
    # The floor of the log score adds e^-10 per unit of length outside.
    assert total == pytest.approx(1.0, abs=1e-3)


def test_crps_of_samples_is_that_of_the_distribution_they_are_from() -> None:
    samples = norm.ppf((np.arange(20_000) + 0.5) / 20_000, 2.0, 0.7)
    assert crps_from_samples(samples[::-1], 1.2) == pytest.approx(crps_of_normal(2.0, 0.7, 1.2), rel=1e-3)
    literal = np.abs(samples[::100] - 1.2).mean() - np.abs(np.subtract.outer(samples[::100], samples[::100])).mean() / 2
    assert crps_from_samples(samples[::100], 1.2) == pytest.approx(literal, rel=1e-12)


def test_a_forecast_of_one_value_is_scored_by_its_distance() -> None:
    certain = QuantileForecast.from_levels({0.05: 3.0, 0.5: 3.0, 0.95: 3.0})
    assert certain.crps(2.5) == pytest.approx(0.5)
    assert certain.crps(4.0) == pytest.approx(1.0)
    assert crps_from_samples([3.0, 3.0], 2.5) == pytest.approx(0.5)
    assert certain.log_score(2.5) == WORST_LOG_SCORE
    assert np.isfinite(certain.log_score(3.0))
    assert certain.covers(3.0, 0.9)
    assert not certain.covers(3.1, 0.9)


def test_the_cdf_is_the_inverse_of_the_quantiles() -> None:
    forecast = QuantileForecast.from_levels(dict(zip(LEVELS, (0.9, 1.0, 1.1, 1.5, 3.0), strict=True)))
    for level in (0.01, 0.05, 0.3, 0.5, 0.9, 0.99):
        assert forecast.cdf(forecast.quantile(level)) == pytest.approx(level)


def test_a_forecast_of_one_value_has_all_probability_there() -> None:
    certain = QuantileForecast.from_levels({0.25: 2.0, 0.75: 2.0})
    assert (certain.cdf(1.9), certain.cdf(2.0), certain.cdf(2.1)) == (0.0, 1.0, 1.0)


def test_a_band_covers_its_edges_and_levels_between_the_kept_ones_are_interpolated() -> None:
    forecast = normal_forecast(0.0, 1.0)
    assert forecast.covers(float(norm.ppf(0.95)), 0.9)
    assert forecast.covers(1.28, 0.8)
    assert not forecast.covers(1.29, 0.8)
    assert not forecast.covers(-0.7, 0.5)


def test_the_log_score_does_not_depend_on_the_metrics_unit_when_given_in_units_of_the_truth() -> None:
    ours, theirs = normal_forecast(2.0, 0.1), normal_forecast(2000.0, 100.0)
    assert ours.log_score(2.1, unit=2.1) == pytest.approx(theirs.log_score(2100.0, unit=2100.0))


def test_pinball_loss_is_least_at_the_quantile() -> None:
    values = np.random.default_rng(0).standard_normal(20_000)
    losses = {guess: np.mean([pinball_loss(value, guess, 0.9) for value in values]) for guess in (1.0, 1.28, 1.6)}
    assert min(losses, key=lambda guess: losses[guess]) == 1.28
    assert pinball_loss(3.0, 2.0, 0.9) == pytest.approx(0.9)
    assert pinball_loss(1.0, 2.0, 0.9) == pytest.approx(0.1)


def test_errors_are_relative_to_the_size_of_the_truth() -> None:
    assert relative_error(1.9, 2.0) == pytest.approx(-0.05)
    assert relative_error(-1.9, -2.0) == pytest.approx(0.05)
    assert absolute_percentage_error(1.9, 2.0) == pytest.approx(0.05)
    assert absolute_percentage_error(1.0, 0.0) == np.inf
    assert absolute_percentage_error(0.0, 0.0) == relative_error(0.0, 0.0) == 0


@pytest.mark.parametrize(
    "quantiles", [{0.5: 1.0}, {0.0: 1.0, 0.5: 2.0}, {0.1: 1.0, 0.9: float("nan")}, {0.1: 1.0, 0.9: float("inf")}]
)
def test_what_is_no_distribution_is_refused(quantiles: dict[float, float]) -> None:
    with pytest.raises(BadInput):
        QuantileForecast.from_levels(quantiles)
    with pytest.raises(BadInput):
        QuantileForecast(np.array([0.1, 0.9]), np.array([2.0, 1.0]))


def test_the_mean_of_a_skewed_forecast_is_its_integral() -> None:
    forecast = QuantileForecast.from_levels(dict(zip(LEVELS, (1.0, 1.1, 1.3, 1.9, 4.0), strict=True)))
    expected, _ = quad(forecast.quantile, 0, 1, points=list(LEVELS), limit=500)
    assert forecast.mean() == pytest.approx(expected, rel=1e-5)


def test_the_mirrored_forecast_gives_each_value_the_rest_of_the_probability() -> None:
    forecast = QuantileForecast.from_levels(dict(zip(LEVELS, (1.0, 1.1, 1.3, 1.9, 4.0), strict=True)))
    for value in (0.5, 1.2, 3.0):
        assert forecast.mirrored().cdf(-value) == pytest.approx(1 - forecast.cdf(value))


def test_normal_scores_are_those_of_the_probabilities() -> None:
    forecast = QuantileForecast.from_levels(dict(zip(LEVELS, (1.0, 1.1, 1.3, 1.9, 4.0), strict=True)))
    values = np.array([0.9, 1.1, 1.5, 6.0])
    np.testing.assert_allclose(norm.cdf(forecast.normal_scores(values)), [forecast.cdf(value) for value in values])
