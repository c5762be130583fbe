"""The network as a forecaster: what its paths are."""

from __future__ import annotations

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.errors import CurveTooShort
from app.forecasting.forecast import path_steps
from app.forecasting.pfn import PfnForecaster
from app.pfn.reading import read_run

TOTAL = 4000
DECAYED = Schedule(np.array([0.0, 100, 3000, TOTAL]), np.array([0, 1e-3, 1e-3, 0]))
CONSTANT = Schedule(np.array([0.0, 100, TOTAL]), np.array([0, 1e-3, 1e-3]))


def plan_of(schedule: Schedule) -> Plan:
    return Plan(TOTAL, "declared", "said", schedule, "declared", "explicit", "said")


def curve_until(last: int) -> Curve:
    steps = np.arange(1, last + 1)
    noise = 0.02 * np.random.default_rng(0).standard_normal(last)
    return Curve.from_points(steps, 2.0 + 8.0 * (steps + 20.0) ** -0.4 + noise)


def test_its_paths_have_the_networks_own_quantiles_where_it_was_asked() -> None:
    curve, plan = curve_until(2000), plan_of(DECAYED)
    steps = path_steps(plan.schedule, curve.cutoff, TOTAL)
    forecaster = PfnForecaster(n_paths=256)
    paths = forecaster.predict(curve, plan, steps)
    reading = read_run(curve, plan, steps[[0, -1]])
    expected = reading.restored(forecaster.network.predict(reading.tasks)).quantiles([0.05, 0.5, 0.95])[:, 0]
    found = np.quantile(paths.values[:, [0, -1]], [0.05, 0.5, 0.95], axis=0, method="hazen")
    assert (np.abs(found - expected) <= 0.02 * np.ptp(expected, axis=0)).all()


def test_a_decay_to_come_is_forecast_below_a_constant_rate() -> None:
    curve = curve_until(2400)
    steps = path_steps(DECAYED, curve.cutoff, TOTAL)
    decayed, constant = (
        np.median(PfnForecaster().predict(curve, plan_of(each), steps).values[:, -1]) for each in (DECAYED, CONSTANT)
    )
    assert decayed < constant


@pytest.mark.parametrize("cutoff", [1600, 2400])
def test_a_loss_that_fell_fast_and_has_stood_still_since_is_not_foretold_to_fall_again(cutoff: int) -> None:
    steps = np.arange(4, cutoff + 1, 4)
    noise = 0.002 * np.random.default_rng(0).standard_normal(len(steps))
    curve = Curve.from_points(steps, 3.0 + 3.0 * np.exp(-steps / 80) + noise)
    final = PfnForecaster().predict(curve, plan_of(CONSTANT), np.array([TOTAL])).values[:, -1]
    low, median, high = np.quantile(final, [0.05, 0.5, 0.95])
    assert 2.5 < low < high < 3.01
    assert 2.97 < median


@pytest.mark.parametrize("n_steps", [1, 2, 48, 49, 200])
def test_any_number_of_steps_may_be_asked_about(n_steps: int) -> None:
    curve = curve_until(2000)
    steps = np.unique(np.linspace(2001, TOTAL, n_steps).round().astype(np.int64))
    paths = PfnForecaster(n_paths=16).predict(curve, plan_of(DECAYED), steps)
    assert paths.values.shape == (16, len(steps))
    assert np.isfinite(paths.values).all()
    assert (np.diff(paths.values, axis=0) >= 0).all()


def test_too_few_bins_are_refused_with_how_many_it_takes() -> None:
    with pytest.raises(CurveTooShort):
        PfnForecaster().predict(Curve.from_points([1, 2, 3], [3.0, 2.0, 1.5]), plan_of(DECAYED), np.array([TOTAL]))
