"""Whether a curve is of a kind that the network knows."""

from __future__ import annotations

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.forecasting.forecast import LEVELS, forecast_curve
from app.forecasting.pfn import lowest_level
from app.forecasting.typicality import normal_scores, surprises

TOTAL = 4000
PLAN = Plan(TOTAL, "declared", "said", Schedule.constant(1e-3, last=TOTAL), "declared", "constant", "said")
STEPS = np.arange(1, 2001)


def curve_of(values: np.ndarray) -> Curve:
    return Curve.from_points(STEPS, values)


def usual() -> np.ndarray:
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(STEPS))
    return np.asarray(2.0 + 8.0 * (STEPS + 20.0) ** -0.4 + noise)


def test_surprise_is_one_on_average_where_the_forecasts_are_right() -> None:
    u = np.random.default_rng(1).uniform(size=100_000)
    assert surprises(u).mean() == pytest.approx(1.0, abs=0.02)
    assert np.sqrt((normal_scores(u) ** 2).mean()) == pytest.approx(1.0, abs=0.02)


def test_what_was_held_for_impossible_counts_as_very_surprising_and_not_as_infinite() -> None:
    assert np.isfinite(surprises([0.0, 1.0])).all()
    assert np.isfinite(normal_scores([0.0, 1.0])).all()


def test_a_usual_curve_is_typical() -> None:
    found = forecast_curve(curve_of(usual()), PLAN).typicality
    assert found is not None
    assert not found.is_atypical
    assert found.stretch == 1


def test_too_few_bins_are_not_judged() -> None:
    few = Curve.from_points(STEPS[:12], usual()[:12])
    assert forecast_curve(few, PLAN).typicality is None


def test_an_atypical_curve_gets_a_wider_band_and_is_told_so() -> None:
    values = usual()
    values[1400:] += 3.0  # the level doubles, at once and for good
    forecast = forecast_curve(curve_of(values), PLAN)
    found = forecast.typicality
    assert found is not None
    assert found.is_atypical
    assert found.stretch > 1
    assert any("unlike" in note for note in forecast.notes)
    low, high = (
        sum(share.weight * share.final_quantiles[level] for share in forecast.forecasters.values())
        for level in (LEVELS[0], LEVELS[-1])
    )
    assert forecast.final_quantiles[0.95] - forecast.final_quantiles[0.05] > 1.2 * (high - low)


def test_a_falling_loss_is_likely_to_see_a_new_low_and_a_risen_one_is_not() -> None:
    falling = forecast_curve(curve_of(usual()), PLAN).improvement
    overfitted = usual() + 0.5 * np.maximum(STEPS - 700, 0) / 700
    risen = forecast_curve(curve_of(overfitted), PLAN).improvement
    assert falling is not None
    assert risen is not None
    assert falling > 0.9
    assert risen < 0.3


def test_a_run_at_its_end_has_nothing_to_improve() -> None:
    assert forecast_curve(Curve.from_points(STEPS * 2, usual()), PLAN).improvement is None


def test_the_lowest_level_is_not_the_luckiest_point() -> None:
    noise = np.random.default_rng(2).standard_normal(len(STEPS))
    curve = curve_of(5.0 + 0.1 * noise)
    assert 5.0 - 0.1 < lowest_level(curve) < 5.0
