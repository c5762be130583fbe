"""forecast_curve: what holds for every curve, and one real run."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.errors import CurveTooShort
from app.forecasting.final_value import final_levels, final_noise
from app.forecasting.forecast import (
    LEVELS,
    Forecast,
    forecast_curve,
    forecasters,
    mix,
    path_steps,
    quantiles_of,
)
from app.forecasting.forecaster import Paths
from app.forecasting.last import LastValueForecaster
from app.forecasting.law import LawForecaster, above_zero, cooled_down
from app.laws.shipped import shipped_population

TOTAL = 4000
CONSTANT = Schedule(np.array([0.0, 100, TOTAL]), np.array([0, 1e-3, 1e-3]))
DECAYED = Schedule(np.array([0.0, 100, 3000, TOTAL]), np.array([0, 1e-3, 1e-3, 0]))


def plan_of(schedule: Schedule, total: int = TOTAL, source: str = "declared", family: str = "explicit") -> Plan:
    return Plan(total, "declared", "said", schedule, source, family, "said")


def make_curve(last: int = 2000, noise: float = 0.0, scale: float = 1.0, seed: int = 0) -> Curve:
    """A power law in the step, with noise."""
    steps = np.arange(1, last + 1)
    values = 2.0 + 8.0 * (steps + 20.0) ** -0.4 + noise * np.random.default_rng(seed).standard_normal(last)
    return Curve.from_points(steps, scale * values)


def assert_sound(forecast: Forecast, curve: Curve) -> None:
    """What the page that draws a forecast relies on."""
    assert forecast.quantiles.shape == (len(LEVELS), len(forecast.path_steps))
    assert np.isfinite(forecast.quantiles).all()
    assert np.isfinite([forecast.final_mean, *forecast.final_quantiles.values()]).all()
    assert (np.diff(forecast.quantiles, axis=0) >= 0).all()
    assert (np.diff(forecast.path_steps) > 0).all()
    assert forecast.path_steps[-1] == forecast.horizon
    assert forecast.cutoff == curve.cutoff
    assert tuple(forecast.final_quantiles) == LEVELS


def test_the_path_runs_from_just_after_the_cutoff_to_the_horizon() -> None:
    curve = make_curve()
    forecast = forecast_curve(curve, plan_of(DECAYED))
    assert_sound(forecast, curve)
    assert forecast.path_steps[0] == 2001
    assert 60 <= len(forecast.path_steps) <= 140
    assert {3001, 3920, 4000} <= {int(step) for step in path_steps(DECAYED, 3000, TOTAL)}


def test_the_fan_starts_where_the_data_ends() -> None:
    curve = make_curve(noise=0.05)
    forecast = forecast_curve(curve, plan_of(DECAYED))
    level = 2.0 + 8.0 * 2020.0**-0.4
    low, high = forecast.quantiles[0, 0], forecast.quantiles[-1, 0]
    assert low < level < high
    # Two thousand points of 0.05: the level stands to a hundredth, and the fan opens from there.
    assert high - low < 0.03
    assert forecast.quantiles[-1, -1] - forecast.quantiles[0, -1] > 2 * (high - low)


def test_a_decay_to_come_lowers_the_forecast_of_the_same_curve() -> None:
    curve = make_curve(noise=0.02)
    constant, decayed = forecast_curve(curve, plan_of(CONSTANT)), forecast_curve(curve, plan_of(DECAYED))
    assert decayed.final_quantiles[0.5] < 0.98 * constant.final_quantiles[0.5]


def test_a_power_law_at_a_constant_rate_is_found_again() -> None:
    forecast = forecast_curve(make_curve(noise=0.01), plan_of(CONSTANT))
    steps = np.arange(0.98 * TOTAL, TOTAL + 1)
    actual = float(np.mean(2.0 + 8.0 * (steps + 20.0) ** -0.4))
    assert forecast.final_quantiles[0.05] <= actual <= forecast.final_quantiles[0.95]
    # The rest of the way down is 0.1; a tenth of it.
    assert forecast.final_quantiles[0.5] == pytest.approx(actual, abs=0.01)


@pytest.mark.parametrize("factor", [1e-140, 1e-6, 1e140])
def test_the_unit_of_the_loss_does_not_matter(factor: float) -> None:
    ours = forecast_curve(make_curve(noise=0.02), plan_of(DECAYED))
    theirs = forecast_curve(make_curve(noise=0.02, scale=factor), plan_of(DECAYED))
    np.testing.assert_allclose(theirs.quantiles / factor, ours.quantiles, rtol=1e-6)


def test_the_unit_hardly_matters_where_squares_underflow() -> None:
    """Below 1e-160 the spread inside a bin is lost. The law does not look at it, the network does."""
    factor = 1e-200
    ours, theirs = (make_curve(noise=0.02, scale=scale) for scale in (1.0, factor))
    law = [mix(each, plan_of(DECAYED), ((LawForecaster(), 1.0),)).quantiles for each in (ours, theirs)]
    np.testing.assert_allclose(law[1] / factor, law[0], rtol=1e-6)
    both = [forecast_curve(each, plan_of(DECAYED)).quantiles for each in (ours, theirs)]
    np.testing.assert_allclose(both[1] / factor, both[0], rtol=0.01)


def test_the_unit_of_the_rate_does_not_matter() -> None:
    curve = make_curve(noise=0.02)
    ours, theirs = (forecast_curve(curve, plan_of(DECAYED.scaled(factor))) for factor in (1.0, 1e4))
    np.testing.assert_allclose(theirs.quantiles, ours.quantiles, rtol=1e-9)


def test_counting_tokens_instead_of_steps_changes_little() -> None:
    steps = np.arange(10, 2001, 10)
    values = 2.0 + 8.0 * (steps + 20.0) ** -0.4
    ours = forecast_curve(Curve.from_points(steps, values), plan_of(DECAYED))
    longer = Schedule(DECAYED.steps * 1000, DECAYED.rates)
    theirs = forecast_curve(Curve.from_points(steps * 1000, values), plan_of(longer, 1000 * TOTAL))
    # Not exact: bins are cut on powers of two, and the shortest memory is one step. The lowest quantile shows it most.
    for level in LEVELS:
        off = 0.02 if level == LEVELS[0] else 0.004
        assert theirs.final_quantiles[level] == pytest.approx(ours.final_quantiles[level], rel=off)


def test_the_same_curve_gives_the_same_forecast() -> None:
    once, again = (forecast_curve(make_curve(noise=0.1), plan_of(DECAYED)) for _ in range(2))
    np.testing.assert_array_equal(once.quantiles, again.quantiles)
    assert once.final_quantiles == again.final_quantiles


def test_a_spike_hardly_moves_the_forecast() -> None:
    steps = np.arange(1, 2001)
    values = 2.0 + 8.0 * (steps + 20.0) ** -0.4
    spiked = values.copy()
    spiked[[700, 1400, 1401, 1402, 1900]] += [5.0, 3.0, 2.0, 1.0, 1e6]
    ours, theirs = (forecast_curve(Curve.from_points(steps, each), plan_of(DECAYED)) for each in (values, spiked))
    band = ours.final_quantiles[0.95] - ours.final_quantiles[0.05]
    assert abs(theirs.final_quantiles[0.5] - ours.final_quantiles[0.5]) < 0.2 * band
    assert theirs.final_quantiles[0.95] - theirs.final_quantiles[0.05] < 1.5 * band


STEPS = np.arange(1, 2001)
ODD_CURVES = {
    "flat": np.full(2000, 3.0),
    "zero": np.zeros(2000),
    "rising": 1 + STEPS / 100,
    "exploding": np.exp(STEPS / 50),
    "as large as a double gets": np.full(2000, 1e300),
    "very small": 1e-300 * STEPS[::-1],
    "about to overflow": 1e149 / STEPS,
    "falling below zero": 5.0 - STEPS / 100,
    "around zero": np.sin(STEPS / 100) + np.random.default_rng(0).standard_normal(2000),
    "negative": -3.0 - STEPS / 1000,
    "a step": np.where(STEPS > 1500, 1.0, 5.0),
    "two values": np.where(STEPS % 2 == 1, 1.0, 2.0),
    "falling to nothing": np.exp(-STEPS / 20),
    "ends in a spike": np.where(STEPS > 1990, 1e6, 2.0),
    "mostly NaN": np.where(STEPS % 50 == 0, 2 + STEPS**-0.3, np.nan),
    "infinite at the end": np.where(STEPS > 1900, np.inf, 2 + STEPS**-0.3),
}


@pytest.mark.parametrize("values", ODD_CURVES.values(), ids=ODD_CURVES.keys())
@pytest.mark.parametrize("last", [6, 40, 2000])
def test_odd_curves_get_a_finite_forecast_without_a_warning(values: np.ndarray, last: int) -> None:
    curve = Curve.from_points(STEPS[:last], values[:last])
    if len(curve) < 5:
        with pytest.raises(CurveTooShort):
            forecast_curve(curve, plan_of(DECAYED))
        return
    assert_sound(forecast_curve(curve, plan_of(DECAYED)), curve)


def test_a_run_that_shot_up_at_the_end_gets_a_wide_band() -> None:
    curve = Curve.from_points(STEPS, np.where(STEPS > 1950, 4.0, 2.0))
    forecast = forecast_curve(curve, plan_of(CONSTANT))
    assert forecast.final_quantiles[0.95] - forecast.final_quantiles[0.05] > 0.5


def test_a_positive_loss_is_not_forecast_below_zero() -> None:
    curve = Curve.from_points(STEPS, np.exp(-STEPS / 300))
    assert forecast_curve(curve, plan_of(DECAYED)).quantiles.min() > 0
    np.testing.assert_array_equal(above_zero(np.array([3.0, 1.0]), 1.0), [3.0, 1.0])
    assert 0 < above_zero(np.array([-2.0]), 1.0)[0] < above_zero(np.array([0.5]), 1.0)[0] < 1.0


def test_a_metric_around_zero_is_judged_by_its_spread_and_says_so() -> None:
    values = 1.0 - 2.0 * (1 - np.exp(-STEPS / 400)) + 0.05 * np.random.default_rng(0).standard_normal(2000)
    forecast = forecast_curve(Curve.from_points(STEPS, values), plan_of(CONSTANT))
    assert any("spread" in note for note in forecast.notes)
    assert forecast.final_quantiles[0.05] < -1.0 < forecast.final_quantiles[0.95]


@pytest.mark.parametrize(("source", "family"), [("assumed", "constant"), ("inferred", "hold")])
def test_an_unknown_schedule_widens_the_band_downwards_and_says_so(source: str, family: str) -> None:
    curve = make_curve(noise=0.02)
    known = forecast_curve(curve, plan_of(CONSTANT))
    guessed = forecast_curve(curve, plan_of(CONSTANT, source=source, family=family))
    assert guessed.final_quantiles[0.05] < known.final_quantiles[0.05] - 0.02
    assert guessed.final_quantiles[0.75] == pytest.approx(known.final_quantiles[0.75], abs=0.02)
    assert any("not known" in note for note in guessed.notes)
    assert not any("not known" in note for note in known.notes)


def test_a_cooldown_begins_at_the_last_fifth_or_at_once() -> None:
    assert cooled_down(CONSTANT, 1000, TOTAL).rate_at([3200, 3600, 4000]) == pytest.approx([1e-3, 5e-4, 0])
    assert cooled_down(CONSTANT, 3800, TOTAL).rate_at([3800, 3900, 4000]) == pytest.approx([1e-3, 5e-4, 0])
    assert cooled_down(CONSTANT, 5000, TOTAL).rate_at([5000, 5001]) == pytest.approx([1e-3, 0])


@pytest.mark.parametrize("total", [2001, 2000, 1500, 1])
def test_a_run_at_or_past_its_end_keeps_its_level(total: int) -> None:
    curve = make_curve(noise=0.01)
    forecast = forecast_curve(curve, plan_of(CONSTANT, total))
    assert_sound(forecast, curve)
    assert forecast.horizon == max(total, 2000)
    assert forecast.final_quantiles[0.5] == pytest.approx(2.0 + 8.0 * 2000.0**-0.4, abs=0.01)


def test_what_was_seen_of_the_final_stretch_counts_as_seen() -> None:
    curve = Curve.from_points(np.arange(991, 1001), np.full(10, 2.0))
    paths = Paths(np.array([1005, 1010]), np.array([[4.0, 4.0]]))
    # The last 2 % of 1010 steps begin at 989.8: half of them are seen at 2, half are forecast at 4.
    assert final_levels(paths, curve, 1010)[0] == pytest.approx(3.0, abs=0.02)


def test_the_final_value_is_known_no_better_than_the_noise_of_the_points_that_make_it() -> None:
    steps, rng = np.arange(1, 3961), np.random.default_rng(3)
    curve = Curve.from_points(steps, 3.0 + rng.normal(0.0, 0.3, len(steps)))
    standard_error = 0.5 * 0.3 / np.sqrt(40)  # of 80 points at the end of 4,000, 40 are seen
    assert final_noise(curve, 4000) == pytest.approx(standard_error, rel=0.2)
    quantiles = forecast_curve(curve, plan_of(CONSTANT, 4000)).final_quantiles
    assert quantiles[0.95] - quantiles[0.05] > 2 * 1.6 * 0.8 * standard_error


def test_noise_widens_every_quantile_of_a_loss_near_zero_and_keeps_it_positive() -> None:
    steps, rng = np.arange(1, 401), np.random.default_rng(0)
    curve = Curve.from_points(steps, np.exp(-steps / 60 + rng.normal(0.0, 0.3, 400)) + 1e-6)
    plan = plan_of(CONSTANT, 500)
    paths = LawForecaster().predict(curve, plan, path_steps(plan.schedule, 400, 500))
    level = quantiles_of(final_levels(paths, curve, 500), LEVELS)
    final = np.array(list(forecast_curve(curve, plan).forecasters["law"].final_quantiles.values()))
    assert final_noise(curve, 500) > 0
    assert (final > 0).all()
    assert (final[:2] < level[:2]).all()
    assert (final[3:] > level[3:]).all()


def test_nothing_is_left_to_the_noise_once_the_last_point_is_seen() -> None:
    curve = Curve.from_points(np.arange(1, 4001), 3.0 + np.random.default_rng(3).normal(0.0, 0.3, 4000))
    assert final_noise(curve, 4000) == 0.0


@pytest.mark.parametrize(("every", "expected"), [(1, 0.1 / np.sqrt(80)), (10, 0.1 / np.sqrt(8)), (400, 0.1)])
def test_sparse_points_leave_more_noise_in_the_final_value(every: int, expected: float) -> None:
    steps = np.arange(every, 2001, every)
    sizes = []
    for seed in range(20):
        curve = Curve.from_points(steps, 3.0 + np.random.default_rng(seed).normal(0.0, 0.1, len(steps)))
        sizes.append(final_noise(curve, 4000))
    assert np.median(sizes) == pytest.approx(expected, rel=0.35)


def test_too_few_points_are_an_error_that_says_how_many_it_takes() -> None:
    with pytest.raises(CurveTooShort) as caught:
        forecast_curve(Curve.from_points([1, 2, 3], [3.0, 2.0, 1.5]), plan_of(CONSTANT))
    assert (caught.value.needed, caught.value.got) == (5, 3)


def test_baselines_are_shown_but_do_not_count() -> None:
    curve, plan = make_curve(noise=0.02), plan_of(DECAYED)
    forecast = forecast_curve(curve, plan)
    weights = {name: share.weight for name, share in forecast.forecasters.items()}
    assert (weights["power"], weights["last"]) == (0, 0)
    alone = mix(curve, plan, forecasters()[:2])
    assert weights["law"] + weights["pfn"] == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_array_equal(forecast.quantiles, alone.quantiles)
    # The power law knows nothing of the decay; the last value knows nothing.
    finals = {name: share.final_quantiles[0.5] for name, share in forecast.forecasters.items()}
    assert finals["law"] < finals["power"] < finals["last"]


def test_without_finished_runs_the_band_is_mostly_as_wide_as_the_networks() -> None:
    curve, plan = make_curve(noise=0.001), plan_of(CONSTANT)
    forecast = forecast_curve(curve, plan)
    quantiles = {name: forecast.forecasters[name].final_quantiles for name in ("law", "pfn")}
    law, network = (quantiles[name][0.95] - quantiles[name][0.05] for name in ("law", "pfn"))
    assert network > 1.5 * law  # a lawful run: the law is the surer one
    width = forecast.final_quantiles[0.95] - forecast.final_quantiles[0.05]
    assert 0.5 * (law + network) < width < network


def test_a_mixture_lies_between_its_parts() -> None:
    curve, plan = make_curve(noise=0.02), plan_of(DECAYED)
    law, last = (mix(curve, plan, ((each, 1.0),)) for each in (LawForecaster(), LastValueForecaster()))
    both = mix(curve, plan, ((LawForecaster(), 0.7), (LastValueForecaster(), 0.3)))
    assert both.final_mean == pytest.approx(0.7 * law.final_mean + 0.3 * last.final_mean)
    assert law.final_quantiles[0.5] < both.final_quantiles[0.5] < last.final_quantiles[0.5]


def test_quantiles_of_equally_likely_values_are_hazens() -> None:
    values, levels = np.random.default_rng(0).standard_normal((401, 3)), (0.05, 0.5, 0.95)
    expected = np.quantile(values, levels, axis=0, method="hazen")
    np.testing.assert_allclose(quantiles_of(values, levels), expected, rtol=1e-12)


def read_real_run() -> tuple[np.ndarray, np.ndarray, Schedule]:
    path = Path(__file__).parents[1] / "data" / "multipowerlaw_25M_wsdld.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = np.array([int(row["step"]) for row in rows])
    losses, rates = (np.array([float(row[name]) for row in rows]) for name in ("val_loss", "lr"))
    schedule = Schedule.through(np.concatenate([[0, 2160], steps]), np.concatenate([[0, rates[0]], rates]))
    return steps, losses, schedule


@pytest.mark.parametrize("fraction", [0.2, 0.4, 0.6, 0.8])
def test_a_real_run_is_forecast_through_a_decay_that_has_not_begun(fraction: float) -> None:
    steps, losses, schedule = read_real_run()
    total = int(steps[-1])
    seen = steps <= fraction * total
    forecast = forecast_curve(Curve.from_points(steps[seen], losses[seen]), plan_of(schedule, total))
    actual = losses[steps >= 0.98 * total].mean()
    quantiles = forecast.final_quantiles
    assert quantiles[0.05] <= actual <= quantiles[0.95]
    # Two seeds of one recipe end about half a percent apart; what annealing gives is known only from other runs.
    assert quantiles[0.5] == pytest.approx(actual, rel=0.02)
    # The two forecasts that do not know of the decay are further off.
    errors = {name: abs(share.final_quantiles[0.5] - actual) for name, share in forecast.forecasters.items()}
    assert errors["law"] < errors["last"]
    assert errors["pfn"] < errors["last"]


@pytest.mark.parametrize("finished_runs", [0, 2, 12])
@pytest.mark.parametrize("lawful", [0.0, 0.3, 1.0])
def test_forecasters_have_different_names_and_weights_that_sum_to_one(finished_runs: int, lawful: float) -> None:
    pool = forecasters(replace(shipped_population().prior, finished_runs=finished_runs))
    assert len({each.name for each, _ in pool}) == len(pool)
    for part in ("median", "width"):
        assert sum(getattr(weights, part).at(lawful) for _, weights in pool) == pytest.approx(1.0, abs=1e-12)


def test_the_more_finished_runs_the_law_has_heard_the_more_it_counts_where_it_holds() -> None:
    pools = [forecasters(replace(shipped_population().prior, finished_runs=heard)) for heard in (0, 2, 12)]
    of_law = [next(weights.median for each, weights in pool if each.name == "law") for pool in pools]
    lawful, abrupt = [weight.lawful for weight in of_law], [weight.abrupt for weight in of_law]
    assert 0.5 < lawful[0] < lawful[1] < lawful[2] <= 1
    assert abrupt == [abrupt[0]] * 3


def test_the_law_counts_less_on_a_run_that_jumps_than_on_one_that_follows_it() -> None:
    plan = plan_of(DECAYED)
    steady = make_curve(noise=0.02)
    values = steady.values + np.where(steady.steps > 0.5 * steady.cutoff, 1.5, 0.0)
    jumps = replace(steady, values=values)
    followed, doubted = forecast_curve(steady, plan), forecast_curve(jumps, plan)
    assert followed.lawful is not None
    assert doubted.lawful is not None
    assert doubted.lawful < 0.1 < followed.lawful
    assert doubted.forecasters["law"].weight < followed.forecasters["law"].weight


def test_where_the_rate_is_guessed_the_width_counts_as_the_median_does() -> None:
    """The law's band spans held and decayed futures: nobody learned to make it narrower."""
    curve, plan = make_curve(noise=0.02), plan_of(CONSTANT, source="assumed", family="hold")
    forecast = mix(curve, plan, forecasters()[:2])
    plain = [(each, forecast.forecasters[each.name].weight) for each, _ in forecasters()[:2]]
    np.testing.assert_allclose(forecast.quantiles, mix(curve, plan, tuple(plain)).quantiles, rtol=1e-12)


def test_where_law_and_network_disagree_the_note_does_not_claim_a_band_that_covers_both() -> None:
    """A loss that has just fallen from 14 to 2: neither holds the other's end for likely."""
    steps = np.arange(1, 2001)
    values = 2.0 + 8.0 * (steps + 20.0) ** -0.4 + 12.0 * (steps < 1900)
    forecast = forecast_curve(Curve.from_points(steps, values), plan_of(DECAYED))
    low, high = forecast.final_quantiles[0.05], forecast.final_quantiles[0.95]
    assert not all(low <= forecast.forecasters[name].final_quantiles[0.5] <= high for name in ("law", "pfn"))
    assert any("disagree" in note and "does not cover both" in note for note in forecast.notes)
