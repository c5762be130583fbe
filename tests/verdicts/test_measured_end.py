"""How surely the end of a run is known."""

from __future__ import annotations

import numpy as np
import pytest

from app.curves.curve import Curve
from app.forecasting.scores import QuantileForecast
from app.verdicts.measured_end import final_error, measured_end

STEPS = np.arange(1, 5001)
LATE = STEPS >= 0.98 * STEPS[-1]


def noise(rng: np.random.Generator, correlation: float) -> np.ndarray:
    """Autoregressive of the first order, of standard deviation 1, shape (5000,)."""
    drawn = rng.standard_normal(len(STEPS))
    for at in range(1, len(drawn)):
        drawn[at] = correlation * drawn[at - 1] + np.sqrt(1 - correlation**2) * drawn[at]
    return drawn


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_the_error_is_that_of_the_mean_also_where_neighbours_are_alike(correlation: float) -> None:
    rng = np.random.default_rng(7)
    errors, misses = [], []
    for _ in range(80):
        drawn = 0.05 * noise(rng, correlation)
        errors.append(final_error(Curve.from_points(STEPS, 2 + 3 * STEPS**-0.5 + drawn)))
        misses.append(drawn[LATE].mean())
    told = np.sqrt(np.mean(np.square(np.array(errors, np.float64))))
    # 80 means tell their own standard deviation to 8 %; at most 3 of that, and a tenth for the finite window.
    assert told == pytest.approx(np.std(misses), rel=0.35)


def test_a_fall_that_goes_on_is_no_noise() -> None:
    error = final_error(Curve.from_points(STEPS, 5 - 4e-4 * STEPS))
    assert error is not None
    assert error < 1e-9


def test_one_evaluation_at_the_end_is_as_sure_as_evaluations_scatter() -> None:
    steps = np.arange(100, 4001, 100)
    values = 2.5 + 0.02 * np.random.default_rng(3).standard_normal(len(steps))
    error = final_error(Curve.from_points(steps, values))
    assert error == pytest.approx(0.02, rel=0.7), "from eight evaluations"


def test_of_a_few_points_nothing_is_said() -> None:
    assert final_error(Curve.from_points([1, 2, 3], [3.0, 2.5, 2.4])) is None


@pytest.mark.parametrize("size", [0.0, 1e-300, 1e149, -1e149])
def test_no_size_of_values_is_too_odd(size: float) -> None:
    error = final_error(Curve.from_points(STEPS, size * (1 + 0.1 * np.random.default_rng(1).random(len(STEPS)))))
    assert error is not None
    assert 0 <= error <= abs(size)
    assert measured_end(size, error) is not None


def test_a_known_error_is_a_normal_band_around_the_level() -> None:
    end = measured_end(2.6, 0.01)
    assert isinstance(end, QuantileForecast)
    assert end.quantile(0.5) == 2.6
    assert end.quantile(0.95) == pytest.approx(2.6 + 1.645 * 0.01, abs=1e-5)


@pytest.mark.parametrize("error", [None, 0.0, 1e-300])
def test_an_error_that_tells_nothing_leaves_the_level(error: float | None) -> None:
    assert measured_end(2.6, error) == 2.6
