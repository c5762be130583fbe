"""What must not change a forecast does not, and nothing that is unknown shows; on any network, trained or not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from app.pfn.features import LARGEST_FEATURE, N_GLOBAL, Inputs, read_features
from app.pfn.prior import sample_tasks
from app.pfn.tasks import Tasks
from tests.pfn.untrained import random_predictor

LEVELS = (0.05, 0.5, 0.95)
BY_BIN = ("positions", "values", "spreads", "counts", "seen")
SCALE_BESIDE_LEVEL = 4  # place among the features of the whole curve: the one that may know the metric's zero


@pytest.fixture(scope="module")
def tasks() -> Tasks:
    return as_doubles(sample_tasks(np.random.default_rng(3), 300).tasks)


def as_doubles(tasks: Tasks) -> Tasks:
    """Exact arithmetic for exact claims: float32 rounds what is added to it."""
    names = ("positions", "values", "spreads", "counts", "cutoff", "horizon", "knots", "rates", "queries", "averaged")
    return replace(tasks, **{name: getattr(tasks, name).astype(np.float64) for name in names})


def difference(one: Inputs, other: Inputs) -> float:
    tokens = np.abs(one.tokens - other.tokens)[one.seen]
    return float(max(tokens.max(), np.abs(one.queries - other.queries).max()))


def test_the_order_of_the_bins_is_of_no_account(tasks: Tasks) -> None:
    order = np.random.default_rng(0).permutation(tasks.positions.shape[1])
    shuffled = replace(tasks, **{name: getattr(tasks, name)[:, order] for name in BY_BIN})
    one, other = read_features(tasks), read_features(shuffled)
    assert difference(one, other) == 0
    predictor = random_predictor()
    assert np.array_equal(predictor.judge(one).quantiles(LEVELS), predictor.judge(other).quantiles(LEVELS))


def test_the_unit_of_the_metric_is_of_no_account(tasks: Tasks) -> None:
    predictor = random_predictor()
    scaled = replace(tasks, values=tasks.values * 3.7, spreads=tasks.spreads * 3.7)
    plain, times = predictor.predict(tasks).quantiles(LEVELS), predictor.predict(scaled).quantiles(LEVELS)
    size = np.ptp(plain, axis=0)
    assert (np.abs(times / 3.7 - plain) / size).max() < 1e-4  # float32 in the network


def test_adding_a_constant_tells_only_where_zero_is(tasks: Tasks) -> None:
    one, other = read_features(tasks), read_features(replace(tasks, values=tasks.values + 5.5))
    changed = np.abs(one.queries - other.queries).max(axis=(0, 1)) > 1e-6
    assert np.flatnonzero(changed).tolist() == [len(changed) - N_GLOBAL + SCALE_BESIDE_LEVEL]
    assert other.location - 5.5 == pytest.approx(one.location, abs=1e-9 * np.abs(one.location).max())
    assert other.unit == pytest.approx(one.unit, rel=1e-6)


def test_the_unit_of_the_step_is_of_no_account(tasks: Tasks) -> None:
    names = ("positions", "cutoff", "horizon", "knots", "queries")
    longer = replace(tasks, **{name: getattr(tasks, name) * 1e5 for name in names})
    assert difference(read_features(tasks), read_features(longer)) < 1e-6  # one rounding to float32


@pytest.mark.parametrize("part", ["past", "future"])
def test_an_unknown_part_of_the_schedule_does_not_show(tasks: Tasks, part: str) -> None:
    hidden = replace(tasks, **{f"{part}_known": np.zeros(len(tasks), bool)})
    rng = np.random.default_rng(0)
    # A knot at the cutoff holds the rate there, which both parts know.
    with_knot = replace(hidden, **knots_with_one_at_the_cutoff(hidden))
    after = with_knot.knots > with_knot.cutoff[:, None]
    before = with_knot.knots < with_knot.cutoff[:, None]
    concerned = after if part == "future" else before
    other = replace(with_knot, rates=np.where(concerned, rng.random(with_knot.rates.shape), with_knot.rates))
    assert np.abs(other.rates - with_knot.rates).max() > 0.1
    assert difference(read_features(with_knot), read_features(other)) < 1e-6


def knots_with_one_at_the_cutoff(tasks: Tasks) -> dict[str, np.ndarray]:
    """Knots and rates with one more knot where the seen part ends."""
    rows = zip(tasks.cutoff, tasks.knots, tasks.rates, strict=True)
    rate = np.array([np.interp(cutoff, knots, rates) for cutoff, knots, rates in rows])
    knots = np.append(tasks.knots, tasks.cutoff[:, None], axis=1)
    rates = np.append(tasks.rates, rate[:, None], axis=1)
    order = np.argsort(knots, axis=1, kind="stable")
    return {"knots": np.take_along_axis(knots, order, axis=1), "rates": np.take_along_axis(rates, order, axis=1)}


def test_an_unknown_horizon_does_not_show(tasks: Tasks) -> None:
    hidden = replace(tasks, horizon_known=np.zeros(len(tasks), bool))
    assert difference(read_features(hidden), read_features(replace(hidden, horizon=hidden.horizon * 3))) == 0


def test_each_query_is_answered_by_itself(tasks: Tasks) -> None:
    predictor = random_predictor()
    some = replace(tasks, **{name: getattr(tasks, name)[:, 5:8] for name in ("queries", "averaged", "minimum")})
    among = predictor.predict(tasks).quantiles(LEVELS)[:, :, 5:8]
    alone = predictor.predict(some).quantiles(LEVELS)
    assert (np.abs(alone - among) / np.ptp(among, axis=0)).max() < 1e-4  # float32 sums in another order


def test_padding_does_not_show(tasks: Tasks) -> None:
    rng = np.random.default_rng(0)
    noise = {name: rng.random(tasks.seen.shape) + 0.5 for name in ("positions", "values", "spreads", "counts")}
    other = replace(tasks, **{name: np.where(tasks.seen, getattr(tasks, name), noise[name]) for name in noise})
    predictor = random_predictor()
    assert not tasks.seen.all()
    assert np.array_equal(predictor.predict(tasks).quantiles(LEVELS), predictor.predict(other).quantiles(LEVELS))


def flat(tasks: Tasks) -> Tasks:
    return replace(tasks, values=np.where(tasks.seen, 2.0, 0.0), spreads=np.zeros_like(tasks.spreads))


def zero(tasks: Tasks) -> Tasks:
    return replace(tasks, values=np.zeros_like(tasks.values), spreads=np.zeros_like(tasks.spreads))


def spike(tasks: Tasks) -> Tasks:
    values = tasks.values.copy()
    values[:, 20] = np.where(tasks.seen[:, 20], 1e30, 0)
    return replace(tasks, values=values)


def blown_up(tasks: Tasks) -> Tasks:
    last = tasks.positions > 0.8 * tasks.cutoff[:, None]
    return replace(tasks, values=np.where(tasks.seen & last, 1e12 * tasks.positions, tasks.values))


def two_bins(tasks: Tasks) -> Tasks:
    return replace(tasks, seen=tasks.seen & (np.cumsum(tasks.seen, axis=1) <= 2))


def one_bin(tasks: Tasks) -> Tasks:
    return replace(tasks, seen=tasks.seen & (np.cumsum(tasks.seen, axis=1) <= 1))


def one_place(tasks: Tasks) -> Tasks:
    return replace(tasks, positions=np.where(tasks.seen, tasks.cutoff[:, None], 1.0))


@pytest.mark.parametrize("change", [flat, zero, spike, blown_up, two_bins, one_bin, one_place])
def test_whatever_a_run_does_the_forecast_is_finite(tasks: Tasks, change: Callable[[Tasks], Tasks]) -> None:
    odd = change(tasks)
    inputs = read_features(odd)
    assert np.abs(inputs.tokens).max() <= LARGEST_FEATURE
    assert np.abs(inputs.queries).max() <= LARGEST_FEATURE
    bars = random_predictor().judge(inputs)
    assert np.isfinite(bars.quantiles(LEVELS)).all()
    assert (np.diff(bars.quantiles(LEVELS), axis=0) > 0).all()
    assert np.isfinite(bars.mean()).all()


def test_a_spike_does_not_set_the_unit(tasks: Tasks) -> None:
    calm, spiked = read_features(tasks), read_features(spike(tasks))
    many = (tasks.seen.sum(axis=1) > 30) & tasks.seen[:, 20]
    # One bin of many is another; the scale, a median, moves by a bin's place.
    assert np.median(spiked.scale[many] / calm.scale[many]) == pytest.approx(1, abs=0.2)
    assert (spiked.scale[many] < 1e6 * calm.scale[many]).all()
