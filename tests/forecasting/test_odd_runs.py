"""Runs that are not as one would like them: the forecast is sensible and wide, and says why in words."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.planning.resolve import resolve_plan
from app.demo.demo_runs import DATA as DEMO
from app.errors import CurveTooShort
from app.forecasting.forecast import Forecast, forecast_curve
from app.importers.curve_file import read_curve_file
from app.importers.recorded_run_file import read_recorded_run

RUNS = Path(__file__).parents[1] / "data"
CONSTANT = {"family": "constant", "peak": 3e-4, "warmup_steps": 2160}
COSINE = {"family": "cosine", "peak": 3e-4, "warmup_steps": 2160, "final_fraction": 0.1}


class Logged:
    """A real run of a 25M-parameter language model: step, validation loss, rate."""

    def __init__(self, name: str) -> None:
        with (RUNS / f"multipowerlaw_25M_{name}.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["val_loss"]]
        self.steps = np.array([int(row["step"]) for row in rows])
        self.losses, self.rates = (np.array([float(row[key]) for row in rows]) for key in ("val_loss", "lr"))

    @property
    def end(self) -> float:
        return float(self.losses[self.steps >= 0.98 * self.steps[-1]].mean())

    def seen(self, cutoff: int) -> Curve:
        known = self.steps <= cutoff
        return Curve.from_points(self.steps[known], self.losses[known])

    def rate(self, cutoff: int) -> Curve:
        known = self.steps <= cutoff
        return Curve.from_points(self.steps[known], self.rates[known])

    def forecast(self, cutoff: int, *, with_rate: bool = True, **declared: Any) -> tuple[Forecast, Plan]:
        curve, rate = self.seen(cutoff), self.rate(cutoff) if with_rate else None
        plan = resolve_plan(declared=declared, config={}, rate=rate, cutoff=curve.cutoff)
        return forecast_curve(curve, plan), plan


def band(forecast: Forecast) -> float:
    return forecast.final_quantiles[0.95] - forecast.final_quantiles[0.05]


def holds(forecast: Forecast, actual: float) -> bool:
    return forecast.final_quantiles[0.05] <= actual <= forecast.final_quantiles[0.95]


def test_a_run_without_a_learning_rate_gets_a_wide_band_that_holds_and_says_so() -> None:
    run = Logged("wsdld")
    blind, plan = run.forecast(12_000, with_rate=False, total_steps=24_000)
    assert "No learning rate was logged or declared" in plan.schedule_why
    assert any("learning rate's future is not known" in note for note in blind.notes)
    assert holds(blind, run.end)
    # Held and decayed futures are far apart, and the band spans both.
    assert band(blind) > 0.05 * run.end


@pytest.mark.parametrize("schedule", [CONSTANT, COSINE], ids=["constant", "cosine"])
def test_a_run_past_its_declared_total_keeps_being_forecast_a_little_further(schedule: dict[str, Any]) -> None:
    run = Logged("constant_24000")
    forecast, plan = run.forecast(15_000, total_steps=10_000, schedule=schedule)
    assert plan.total_source == "assumed"
    assert 15_000 < plan.total_steps < 17_000
    assert any("past its 10,000 steps" in note for note in forecast.notes)
    # The level hardly moves over so few steps: from where it is, and not to where a schedule long over would lead.
    actual = float(np.interp(plan.total_steps, run.steps, run.losses))
    # The evaluation at one step scatters about its level by a thousandth.
    assert forecast.final_quantiles[0.5] == pytest.approx(actual, rel=0.005)


def test_a_run_that_ends_before_its_declared_total_was_forecast_for_that_total() -> None:
    """Nobody can know: the forecast of step 48,000 must lie below where the run is at 24,000, and be wide."""
    run = Logged("constant_24000")
    early, _ = run.forecast(12_000, total_steps=24_000, schedule=CONSTANT)
    long, plan = run.forecast(12_000, total_steps=48_000, schedule=CONSTANT)
    assert (plan.total_steps, plan.total_source) == (48_000, "declared")
    assert long.final_quantiles[0.5] < early.final_quantiles[0.5]
    assert band(long) > band(early)


def test_a_schedule_that_was_changed_half_way_is_read_off_the_log_and_said() -> None:
    run = Logged("wsdcon_9")
    forecast, plan = run.forecast(12_000, total_steps=int(run.steps[-1]), schedule=COSINE)
    assert "the logged rate does not follow it" in plan.schedule_why
    assert plan.schedule.rate_at([15_000]) == pytest.approx([9e-5])
    assert forecast.final_quantiles[0.5] == pytest.approx(run.end, rel=0.01)


def test_a_run_resumed_under_another_schedule_keeps_its_past_and_takes_the_new_future() -> None:
    """Constant to step 20,000, then the job declares a decay to a tenth: the past stays as logged."""
    run = Logged("wsdld")
    before, _ = run.forecast(19_900, total_steps=24_000, schedule=CONSTANT)
    decay = {"family": "wsd_linear", "peak": 3e-4, "warmup_steps": 2160, "decay_steps": 4_000, "final_rate": 3e-5}
    after, plan = run.forecast(21_000, total_steps=24_000, schedule=decay)
    assert plan.schedule.rate_at([10_000, 22_000, 24_000]) == pytest.approx([3e-4, 1.65e-4, 3e-5], abs=1e-6)
    assert holds(after, run.end)
    assert after.final_quantiles[0.5] < before.final_quantiles[0.5] - 0.03


def test_three_points_are_refused_with_how_many_it_takes() -> None:
    run = Logged("cosine_24000")
    with pytest.raises(CurveTooShort, match="at least 5 finite points; there are 3"):
        run.forecast(int(run.steps[2]), total_steps=24_000)


@pytest.mark.parametrize("n_evaluations", [5, 7, 10])
def test_a_handful_of_evaluations_gets_a_wide_band_that_holds(n_evaluations: int) -> None:
    run = Logged("wsdld")
    every = np.linspace(0, len(run.steps) - 1, 12).round().astype(int)[:n_evaluations]
    curve = Curve.from_points(run.steps[every], run.losses[every])
    schedule = {"family": "wsd_linear", "peak": 3e-4, "warmup_steps": 2160, "decay_steps": 4_000}
    plan = resolve_plan(
        declared={"total_steps": 24_000, "schedule": schedule},
        config={},
        rate=run.rate(curve.cutoff),
        cutoff=curve.cutoff,
    )
    forecast = forecast_curve(curve, plan)
    assert holds(forecast, run.end)
    assert band(forecast) > 0.03 * run.end
    assert "Few points so far: the band is wide." in forecast.notes


def test_a_constant_loss_is_forecast_to_stay() -> None:
    steps = np.arange(1, 1001)
    plan = resolve_plan(declared={"total_steps": 2000, "schedule": COSINE}, config={}, rate=None, cutoff=1000)
    forecast = forecast_curve(Curve.from_points(steps, np.full(1000, 2.5)), plan)
    assert forecast.final_quantiles[0.75] == pytest.approx(2.5, rel=0.01)
    assert forecast.final_quantiles[0.95] > 2.49


def test_a_loss_at_chance_is_not_forecast_to_learn_much() -> None:
    """A vocabulary of 50,257 and no descent at all: what little the prior hopes for, the band includes staying."""
    steps, chance = np.arange(1, 1001), float(np.log(50_257))
    values = chance + 0.02 * np.random.default_rng(0).standard_normal(1000)
    plan = resolve_plan(declared={"total_steps": 2000, "schedule": COSINE}, config={}, rate=None, cutoff=1000)
    forecast = forecast_curve(Curve.from_points(steps, values), plan)
    assert holds(forecast, chance)
    assert forecast.final_quantiles[0.25] > 0.98 * chance
    # The network knows runs that leave such a plateau, and most of the width is its; the law does not.
    assert forecast.final_quantiles[0.05] > 0.8 * chance
    assert forecast.forecasters["law"].final_quantiles[0.05] > 0.97 * chance


def test_a_rising_accuracy_that_a_person_calls_a_loss_is_forecast_to_rise() -> None:
    run = Logged("cosine_24000")
    accuracy = np.exp(-run.losses)  # the geometric mean probability of the right token: rises from 2 to 4 %
    known = run.steps <= 12_000
    plan = resolve_plan(
        declared={"total_steps": 24_000, "schedule": COSINE}, config={}, rate=run.rate(12_000), cutoff=12_000
    )
    forecast = forecast_curve(Curve.from_points(run.steps[known], accuracy[known]), plan)
    assert forecast.final_quantiles[0.95] > accuracy[known][-1]
    assert forecast.final_quantiles[0.5] == pytest.approx(accuracy[-1], rel=0.06)


def test_a_loss_with_negative_values_is_judged_by_its_spread() -> None:
    """A log density in nats, as of a flow or an autoencoder: no relative error makes sense of it."""
    run = Logged("cosine_24000")
    known = run.steps <= 12_000
    plan = resolve_plan(
        declared={"total_steps": 24_000, "schedule": COSINE}, config={}, rate=run.rate(12_000), cutoff=12_000
    )
    shifted = forecast_curve(Curve.from_points(run.steps[known], run.losses[known] - 3.5), plan)
    assert any("judged by its spread" in note for note in shifted.notes)
    assert shifted.final_quantiles[0.5] == pytest.approx(run.end - 3.5, abs=0.05)
    assert holds(shifted, run.end - 3.5)


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.3, 0.6, 0.7])
def test_a_loss_that_nears_zero_has_no_quantile_at_it_or_below(fraction: float) -> None:
    """A network that groks: its loss falls by many powers of ten, and little of that is like what anyone learned."""
    run = read_recorded_run(DEMO / "grok_modular_addition.jsonl", "train_loss")
    forecast = forecast_curve(run.seen(fraction), run.plan())
    assert min(forecast.final_quantiles.values()) > 0
    assert (forecast.quantiles > 0).all()


@pytest.mark.parametrize("returns", [True, False], ids=["finite again", "to this day"])
def test_a_stretch_without_a_finite_point_is_as_if_few_points_came(returns: bool) -> None:
    run = Logged("cosine_24000")
    broken = (run.steps > 5_000) & ((run.steps <= 14_000) | (not returns))
    losses = np.where(broken, np.nan, run.losses)
    plan = resolve_plan(
        declared={"total_steps": 24_000, "schedule": COSINE}, config={}, rate=run.rate(13_000), cutoff=13_000
    )
    for cutoff in (13_000, 16_000):
        known = run.steps <= cutoff
        forecast = forecast_curve(Curve.from_points(run.steps[known], losses[known]), plan)
        assert holds(forecast, run.end)
        assert any("NaN or infinite" in note for note in forecast.notes)


@pytest.mark.parametrize("left", [1, 3, 10, 50])
def test_the_last_steps_of_a_run_are_forecast_like_all_others(left: int) -> None:
    """GPT-2, every step logged and nothing declared: its rate all but vanishes at the end."""
    read = read_curve_file(DEMO / "gpt2_undeclared.csv", "train_loss")
    assert read.rate is not None
    cutoff = int(read.points.steps[-1]) - left
    known, rated = read.points.steps <= cutoff, read.rate.steps <= cutoff
    curve = Curve.from_points(read.points.steps[known], read.points.values[known])
    rate = Curve.from_points(read.rate.steps[rated], read.rate.values[rated])
    forecast = forecast_curve(curve, resolve_plan(declared={}, config={}, rate=rate, cutoff=cutoff))
    assert np.isfinite(forecast.quantiles).all()
    assert forecast.final_quantiles[0.5] == pytest.approx(read.points.values[-400:].mean(), rel=0.02)
