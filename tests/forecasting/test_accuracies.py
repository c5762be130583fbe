"""Forecasts of metrics that rise: real accuracies, with and without a learning rate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.measure import LOSS, Measure, measure_of
from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.forecasting.backtest import ENSEMBLE, backtest_run, contenders
from app.forecasting.forecast import LEVELS, Forecast, forecast_curve
from app.forecasting.recorded_run import RecordedRun
from app.importers.recorded_run_file import read_recorded_run

DATA = Path(__file__).parents[1] / "data"
REAL = [
    ("accuracies/text_wsd.csv", "val_acc"),
    ("accuracies/text_wsd.csv", "train_acc"),
    ("accuracies/text_wsd_long.csv", "train_acc"),
    ("accuracies/text_cosine.csv", "train_acc"),
    ("accuracies/wmt_bleu.csv", "val_bleu"),
    ("accuracies/imagenet_vit.csv", "val_accuracy"),
    ("small_runs/nc_wd5e-3.jsonl", "val_acc"),
    ("small_runs/grok_mlp_quad_a.jsonl", "val_acc"),
    ("small_runs/nogrok_rand_s0.jsonl", "val_acc"),
]
TOTAL = 2000
PLAN = Plan(
    TOTAL, "declared", "said", Schedule(np.array([0.0, 1500, TOTAL]), np.array([1e-3, 1e-3, 0])), "declared", "x", "x"
)


def run_of(name: str, metric: str) -> RecordedRun:
    return read_recorded_run(DATA / name, metric)


def forecast_at(run: RecordedRun, share: float) -> Forecast:
    curve = run.seen(share)
    return forecast_curve(curve, run.plan(), measure=measure_of(run.role, curve))


def rising(last: int = 1000, noise: float = 0.01, ceiling: float = 0.9) -> Curve:
    steps = np.arange(1, last + 1)
    values = ceiling - 0.8 * (1 + steps / 50) ** -0.6 + noise * np.random.default_rng(0).standard_normal(last)
    return Curve.from_points(steps, np.clip(values, 0, 1))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
@pytest.mark.parametrize(("name", "metric"), REAL)
def test_no_band_of_a_real_accuracy_leaves_its_bounds(name: str, metric: str, share: float) -> None:
    run = run_of(name, metric)
    forecast = forecast_at(run, share)
    assert forecast.measure.bounds is not None
    low, high = forecast.measure.bounds
    assert forecast.quantiles.min() >= low
    assert forecast.quantiles.max() <= high
    assert (np.diff(forecast.quantiles, axis=0) >= 0).all()
    assert all(low <= value <= high for value in [forecast.final_mean, *forecast.final_quantiles.values()])
    for said in forecast.forecasters.values():
        assert all(low <= value <= high for value in [said.final_mean, *said.final_quantiles.values()])
    assert forecast.improvement is not None
    assert 0 <= forecast.improvement <= 1


@pytest.mark.parametrize(("name", "metric"), REAL[:6])
def test_half_way_a_real_accuracy_is_forecast_closer_than_by_its_last_level(name: str, metric: str) -> None:
    """Of runs that still learn; from half-way on, since before that the last level is no contest."""
    run = run_of(name, metric)
    curve, actual = run.seen(0.5), run.final_loss()
    forecast = forecast_at(run, 0.5)
    last = forecast.forecasters["last"].final_quantiles[0.5]
    assert abs(forecast.final_quantiles[0.5] - actual) < abs(last - actual)
    assert forecast.final_quantiles[0.95] > curve.values[-1]


def test_a_bleu_is_a_share_of_a_hundred_and_needs_no_learning_rate() -> None:
    run = run_of("accuracies/wmt_bleu.csv", "val_bleu")
    assert run.schedule is None
    forecast = forecast_at(run, 0.5)
    assert forecast.measure == Measure(100.0)
    assert any("share of 100" in note for note in forecast.notes)
    assert any("learning rate's future is not known" in note for note in forecast.notes)


def test_percent_and_fraction_give_the_same_forecast() -> None:
    curve = rising()
    percent = replace(curve, values=100 * curve.values, spreads=100 * curve.spreads)
    ours, theirs = (
        forecast_curve(curve, PLAN, measure=Measure(1.0)),
        forecast_curve(percent, PLAN, measure=Measure(100.0)),
    )
    assert theirs.quantiles == pytest.approx(100 * ours.quantiles, rel=1e-3)
    assert theirs.improvement == pytest.approx(ours.improvement, abs=1e-3)


def test_an_accuracy_is_the_mirror_of_its_error() -> None:
    curve = rising()
    error = replace(curve, values=1 - curve.values)
    ours = forecast_curve(curve, PLAN, measure=Measure(1.0))
    missing = forecast_curve(error, PLAN)
    network = missing.forecasters["pfn"].final_quantiles
    mirrored = [1 - network[level] for level in reversed(LEVELS)]
    assert [ours.forecasters["pfn"].final_quantiles[level] for level in LEVELS] == pytest.approx(mirrored, abs=2e-3)
    assert ours.improvement == pytest.approx(missing.improvement)


def test_only_the_network_counts_for_an_accuracy() -> None:
    shares = forecast_curve(rising(), PLAN, measure=Measure(1.0)).forecasters
    assert {name: said.weight for name, said in shares.items()} == {"pfn": 1.0, "power": 0.0, "last": 0.0}
    assert "law" in forecast_curve(rising(), PLAN, measure=LOSS).forecasters


def test_a_new_highest_accuracy_is_likely_while_it_climbs_and_not_after_it_has_fallen() -> None:
    climbing = forecast_curve(rising(), PLAN, measure=Measure(1.0)).improvement
    fallen = rising()
    values = fallen.values - np.where(fallen.steps > 500, 0.3, 0.0)
    after = forecast_curve(replace(fallen, values=values), PLAN, measure=Measure(1.0)).improvement
    assert climbing is not None
    assert after is not None
    assert climbing > 0.9
    assert after < 0.5


@pytest.mark.parametrize("level", [0.0, 0.1, 1.0])
def test_an_accuracy_that_does_not_move_is_forecast_to_stay_and_is_finite(level: float) -> None:
    steps = np.arange(1, 1001)
    forecast = forecast_curve(Curve.from_points(steps, np.full(1000, level)), PLAN, measure=Measure(1.0))
    assert forecast.final_quantiles[0.5] == pytest.approx(level, abs=0.02)
    assert all(np.isfinite(list(said.final_quantiles.values())).all() for said in forecast.forecasters.values())


def test_an_accuracy_that_has_come_to_all_of_it_cannot_improve() -> None:
    steps = np.arange(1, 1001)
    values = np.minimum(steps / 100, 1.0)
    forecast = forecast_curve(Curve.from_points(steps, values), PLAN, measure=Measure(1.0))
    assert forecast.improvement == 0.0
    assert forecast.final_quantiles[0.5] > 0.99


def test_an_unknown_kind_of_curve_is_stretched_inside_its_bounds() -> None:
    """Steady, then lost and found again: hidden from 60 % on, nobody would have guessed what followed."""
    steps = np.arange(1, 1001)
    values = 0.97 + 0.001 * np.sin(steps)
    values[700:] = np.where((steps[700:] // 20) % 2 == 0, 0.97, 0.2)
    forecast = forecast_curve(Curve.from_points(steps, values), PLAN, measure=Measure(1.0))
    assert forecast.typicality is not None
    assert forecast.typicality.stretch > 1
    assert forecast.quantiles.max() <= 1
    assert forecast.quantiles.min() >= 0


def test_a_backtest_of_an_accuracy_forecasts_it_as_one() -> None:
    run = run_of("accuracies/text_wsd.csv", "val_acc")
    assert run.role == "val_accuracy"
    known = contenders(role=run.role)
    scores = backtest_run(run, {name: known[name] for name in (ENSEMBLE, "pfn", "last")}, (0.5,), clock=lambda: 0.0)
    product, network, last = scores
    assert product.error == network.error
    assert abs(product.error) < abs(last.error)
