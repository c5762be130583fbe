"""Backtests: what a forecaster is shown, what it is held to, and how scores are put together."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.errors import CurveTooShort
from app.forecasting.backtest import as_record, backtest_run, contenders, summarise
from app.forecasting.forecast import LEVELS, Forecast
from app.forecasting.point_fit import PointFitForecaster, point_fits, thinned
from app.forecasting.recorded_run import RecordedRun
from app.laws.annealing_law import AnnealingLaw
from app.laws.separable import Sample

STEPS = np.arange(1, 1001)


def make_run(values: np.ndarray) -> RecordedRun:
    schedule = Schedule(np.array([0, 600, 1000]), np.array([1e-3, 1e-3, 0]))
    return RecordedRun("run", "loss", STEPS, values, schedule, 1000)


def says(value: float, half_width: float, seen: list[tuple[int, Plan]] | None = None):  # type: ignore[no-untyped-def]
    """A forecaster of a constant with a flat band, which notes what it was shown."""

    def forecast(curve: Curve, plan: Plan) -> Forecast:
        if seen is not None:
            seen.append((curve.cutoff, plan))
        steps = np.arange(curve.cutoff + 1, plan.total_steps + 1)
        offsets = np.linspace(-half_width, half_width, len(LEVELS))
        quantiles = dict(zip(LEVELS, (value + offsets).tolist(), strict=True))
        path = np.repeat((value + offsets)[:, None], len(steps), axis=1)
        return Forecast(curve.cutoff, plan.total_steps, value, quantiles, steps, path, {}, ())

    return forecast


def no_time() -> float:
    return 0.0


def test_a_forecaster_sees_the_points_up_to_the_cut_and_the_whole_plan() -> None:
    seen: list[tuple[int, Plan]] = []
    backtest_run(make_run(2 + 1 / STEPS), {"spy": says(2.0, 0.1, seen)}, (0.2, 0.75), clock=no_time)
    assert [cutoff for cutoff, _ in seen] == [200, 750]
    assert seen[0][1].total_steps == 1000
    assert seen[0][1].schedule.rate_at([1000]) == [0]


def test_it_is_held_to_the_mean_of_the_last_points_and_to_the_rest_of_the_path() -> None:
    values = np.full(1000, 4.0)
    values[-20:] = 2.0
    run = make_run(values)
    ticks = itertools.count()
    (near,) = backtest_run(run, {"near": says(2.2, 0.3)}, (0.5,), clock=lambda: next(ticks) / 100)
    assert near.error == pytest.approx(0.1)
    assert (near.cover50, near.cover80, near.cover90) == (False, True, True)
    assert near.ms == pytest.approx(10)
    # All but the last of the blocks lie at 4, out of the band.
    assert near.path_ape == pytest.approx(0.45, rel=0.05)
    assert near.path_cover90 < 0.06
    (exact,) = backtest_run(run, {"exact": says(2.0, 0.1)}, (0.5,), clock=no_time)
    assert exact.crps_rel < near.crps_rel
    assert exact.log_score > near.log_score


def test_every_forecaster_is_scored_on_the_same_runs_at_a_fraction() -> None:
    def picky(curve: Curve, plan: Plan) -> Forecast:
        if curve.cutoff < 500:
            raise CurveTooShort(needed=500, got=curve.cutoff)
        return says(2.0, 0.1)(curve, plan)  # type: ignore[no-any-return]

    scores = backtest_run(make_run(2 + 1 / STEPS), {"any": says(2.0, 0.1), "picky": picky}, (0.2, 0.6), clock=no_time)
    assert [(score.forecaster, score.fraction) for score in scores] == [("any", 0.6), ("picky", 0.6)]


def test_summaries_are_medians_and_means_over_runs() -> None:
    runs = [make_run(np.full(1000, level)) for level in (2.0, 2.5, 4.0)]
    scores = [score for run in runs for score in backtest_run(run, {"two": says(2.0, 0.6)}, (0.5,), clock=no_time)]
    summary = summarise(scores)["two"][0.5]
    assert summary.n == 3
    assert summary.median_ape == pytest.approx(0.2)
    assert summary.mean_ape == pytest.approx((0 + 0.2 + 0.5) / 3)
    assert summary.bias == pytest.approx(-summary.mean_ape)
    assert summary.cover90 == pytest.approx(2 / 3)
    assert as_record(summary)["n"] == 3


def test_a_rest_without_a_finite_point_has_no_path_score() -> None:
    values = np.where(STEPS > 500, np.nan, 2.0)
    values[-20:] = 2.0
    values[:20] = np.nan
    scores = backtest_run(make_run(values), {"two": says(2.0, 0.1)}, (0.5,), clock=no_time)
    assert scores[0].path_ape == pytest.approx(0)
    values[-20:] = 2.0
    (score,) = backtest_run(make_run(values), {"two": says(2.0, 0.1)}, (0.99,), clock=no_time)
    assert as_record(summarise([score])["two"][0.99])["path_ape"] == pytest.approx(0)


def test_the_products_forecast_and_every_baseline_can_be_compared() -> None:
    names = list(contenders())
    assert names[0] == "ensemble"
    assert {"law", "power", "last", "exponential", "annealing", "multi_power"} <= set(names)
    curve = Curve.from_points(STEPS[:400], 2 + 1 / np.sqrt(STEPS[:400]))
    plan = make_run(2 + 1 / np.sqrt(STEPS)).plan()
    for name, forecaster in contenders().items():
        forecast = forecaster(curve, plan)
        assert forecast.horizon == 1000, name
        assert np.isfinite(forecast.quantiles).all(), name


@pytest.mark.parametrize("forecaster", point_fits(), ids=lambda one: one.name)
def test_a_point_fit_follows_a_clean_curve_and_its_band_grows_with_the_noise(forecaster: PointFitForecaster) -> None:
    plan = make_run(STEPS).plan()
    ahead = np.array([500, 600])
    truth = 2 + (np.exp(-STEPS / 120) if forecaster.name == "exponential" else STEPS**-0.5)
    bands = []
    for noise in (0.001, 0.03):
        values = truth[:400] + noise * np.random.default_rng(0).standard_normal(400)
        paths = forecaster.predict(Curve.from_points(STEPS[:400], values), plan, ahead)
        assert paths.values.mean(axis=0) == pytest.approx(truth[ahead - 1], rel=0.03)
        bands.append(np.ptp(paths.values[:, 0]))
    assert bands[1] > 3 * bands[0]


def test_a_point_fit_needs_five_bins() -> None:
    with pytest.raises(CurveTooShort):
        PointFitForecaster(AnnealingLaw()).predict(
            Curve.from_points([1, 2, 3], [3.0, 2.0, 1.0]), make_run(STEPS).plan(), np.array([10])
        )


def test_thinning_averages_neighbours() -> None:
    sample = Sample(Schedule.constant(1.0, last=10.0), np.arange(6.0), np.array([0.0, 2, 4, 6, 8, 10]))
    few = thinned(sample, 3)
    assert few.steps.tolist() == [0.5, 2.5, 4.5]
    assert few.values.tolist() == [1, 5, 9]
    assert thinned(sample, 6) is sample


def test_the_blind_network_does_not_see_the_rate() -> None:
    compared = contenders()
    steps = np.arange(1, 2001)
    curve = Curve.from_points(steps, 2.0 + 8.0 * (steps + 20.0) ** -0.4)
    decayed, constant = (
        Plan(4000, "declared", "", schedule, "declared", "explicit", "")
        for schedule in (
            Schedule(np.array([0.0, 1000, 4000]), np.array([1e-3, 1e-3, 0])),
            Schedule.constant(1e-3, last=4000),
        )
    )
    said = {
        name: [compared[name](curve, plan).final_quantiles[0.5] for plan in (decayed, constant)]
        for name in ("pfn", "pfn_blind")
    }
    assert said["pfn"][0] != said["pfn"][1]
    assert said["pfn_blind"][0] == said["pfn_blind"][1]
