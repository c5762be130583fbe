"""What the last value keeps of the contract of the laws: it comes back, in its unit, finite, however far."""

from __future__ import annotations

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.errors import CurveTooShort
from app.forecasting.last import LastValueForecaster

CUTOFF = 1000


def plan(total: int) -> Plan:
    schedule = Schedule.constant(1e-3, last=float(total))
    return Plan(total, "declared", "Said.", schedule, "declared", "constant", "Said.")


def curve(level: float = 2.0, fall: float = 0.0, n: int = 100) -> Curve:
    """Falls by `fall` with each factor e of the step, to `level` at the cutoff."""
    steps = np.linspace(CUTOFF / n, CUTOFF, n).astype(np.int64)
    return Curve.from_points(steps, level - fall * np.log(steps / CUTOFF))


def quantiles(given: Curve, steps: list[int], total: int = 10 * CUTOFF) -> np.ndarray:
    paths = LastValueForecaster().predict(given, plan(total), np.array(steps, dtype=np.int64))
    return np.quantile(paths.values, [0.05, 0.5, 0.95], axis=0)


def test_the_level_comes_back() -> None:
    low, middle, high = quantiles(curve(level=2.0), [1001, 10_000])
    np.testing.assert_allclose(middle, 2.0)
    assert (high - low < 1e-3).all()


def test_the_width_is_what_the_loss_moved_by_over_as_long_a_stretch_before() -> None:
    low, _, high = quantiles(curve(level=2.0, fall=0.1), [2000, 4000])
    # 1.645 deviations either way, of 0.1 for each factor e.
    np.testing.assert_allclose((high - low) / 2, 1.645 * 0.1 * np.log([2, 4]), rtol=0.1)


def test_another_unit_changes_nothing_but_the_unit() -> None:
    ours, theirs = (quantiles(curve(level=2.0 * unit, fall=0.1 * unit), [2000, 9000]) for unit in (1.0, 1000.0))
    np.testing.assert_allclose(theirs, 1000 * ours)


def test_the_learning_rate_is_not_asked() -> None:
    given = curve(fall=0.1)
    decaying = Schedule(np.array([0.0, 1000.0, 10_000.0]), np.array([1e-3, 1e-3, 0.0]))
    other = Plan(10_000, "declared", "Said.", decaying, "declared", "wsd_linear", "Said.")
    steps = np.array([2000, 10_000], dtype=np.int64)
    ours, theirs = (LastValueForecaster().predict(given, each, steps).values for each in (plan(10_000), other))
    np.testing.assert_allclose(ours, theirs)


def test_the_band_is_finite_and_never_narrower_however_far() -> None:
    low, middle, high = quantiles(curve(fall=0.1), [1001, 10_000, 10**9, 10**15], total=10**15)
    assert np.isfinite([low, middle, high]).all()
    assert (np.diff(high - low) >= 0).all()


def test_too_few_points_are_refused_and_nan_points_left_out() -> None:
    with pytest.raises(CurveTooShort):
        quantiles(curve(n=3), [2000])
    steps = np.linspace(10, CUTOFF, 100).astype(np.int64)
    values = np.where(np.arange(100) % 3 == 0, np.nan, 2.0)
    np.testing.assert_allclose(quantiles(Curve.from_points(steps, values), [2000])[1], 2.0)
