"""Real runs become tasks by the rules of invented ones."""

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.planning.resolve import resolve_plan
from app.errors import CurveTooShort
from app.pfn.features import read_features
from app.pfn.reading import Reading, read_run
from app.pfn.tasks import MAX_BINS, bin_edges, bin_of
from tests.pfn.untrained import random_predictor

TOTAL = 10_000


def make_curve(n: int = 3000, *, first: int = 1, factor: float = 1.0) -> Curve:
    steps = np.arange(first, first + n)
    noise = np.random.default_rng(0).normal(0, 0.02, n)
    return Curve.from_points(steps, factor * (2 + 3 * np.arange(1, n + 1) ** -0.3 + noise))


def make_plan(cutoff: int = 3000, total: int | None = TOTAL, family: str | None = "cosine") -> Plan:
    declared: dict[str, object] = {"total_steps": total} if total else {}
    if family:
        declared |= {"schedule": {"family": family, "peak": 3e-4, "warmup_steps": 200}}
    return resolve_plan(declared=declared, config={}, rate=None, cutoff=cutoff)


def mean_read(reading: Reading) -> float:
    """Of all points, in the metric's own unit."""
    return float(np.average(reading.tasks.values[0], weights=reading.tasks.counts[0])) * reading.size


def ahead(curve: Curve, total: int = TOTAL) -> np.ndarray:
    return np.linspace(curve.cutoff + 1, total, 20).astype(np.int64)


def test_bins_hold_what_the_points_themselves_would_give() -> None:
    n = 400  # short enough that the curve keeps every point by itself
    curve = make_curve(n)
    tasks = read_run(curve, make_plan(n), ahead(curve)).tasks
    positions = np.arange(1, n + 1) / TOTAL
    index = bin_of(positions, bin_edges(positions[0], positions[-1]))
    for bin_ in range(MAX_BINS):
        inside = index == bin_
        assert tasks.seen[0, bin_] == inside.any()
        if inside.any():
            assert tasks.counts[0, bin_] == inside.sum()
            assert tasks.positions[0, bin_] == pytest.approx(positions[inside].mean(), rel=1e-6)
            expected = np.std(curve.values[inside], ddof=1) if inside.sum() > 1 else 0
            size = np.ptp(curve.values) / np.ptp(tasks.values[0][tasks.seen[0]])
            assert tasks.spreads[0, bin_] * 2 == pytest.approx(expected, rel=1e-4, abs=1e-7), size


def test_the_spread_of_merged_bins_counts_what_is_inside_and_between() -> None:
    curve = make_curve(40_000)
    tasks = read_run(curve, make_plan(40_000, 100_000), ahead(curve, 100_000)).tasks
    last = tasks.spreads[0, -1] * 2  # values are kept over a power of two, here 2
    assert curve.counts[-1] > 1
    assert last == pytest.approx(0.02, rel=0.1)  # the noise that was put in; some 800 points


def test_runs_read_together_are_answered_as_if_each_were_alone() -> None:
    readings = [
        read_run(make_curve(), make_plan(), ahead(make_curve()), averaged=3.0),
        read_run(make_curve(700, factor=9.0), make_plan(700, family=None), ahead(make_curve(700))[:5]),
    ]
    predictor = random_predictor()
    for reading, answer in zip(readings, predictor.answer(readings), strict=True):
        alone = reading.restored(predictor.predict(reading.tasks))
        assert answer.location == pytest.approx(alone.location, rel=1e-12)
        # float32 sums in another order
        assert answer.masses == pytest.approx(alone.masses, abs=1e-6)
        assert answer.quantiles([0.05, 0.95]) == pytest.approx(alone.quantiles([0.05, 0.95]), rel=1e-5)


def test_a_forecast_is_in_the_unit_of_the_metric() -> None:
    steps = ahead(make_curve())
    quantiles = []
    for factor in (1.0, 1e-120, 1e120):
        reading = read_run(make_curve(factor=factor), make_plan(), steps)
        quantiles.append(reading.restored(random_predictor().predict(reading.tasks)).quantiles([0.1, 0.9]) / factor)
    assert quantiles[1] == pytest.approx(quantiles[0], rel=1e-3)  # float32 on another side of a power of two
    assert quantiles[2] == pytest.approx(quantiles[0], rel=1e-3)


@pytest.mark.parametrize(
    ("total", "family", "known"),
    [
        (TOTAL, "cosine", (True, True, True)),
        (TOTAL, None, (False, False, True)),
        (None, None, (False, False, False)),
    ],
)
def test_only_what_the_plan_knows_is_told(total: int | None, family: str | None, known: tuple[bool, ...]) -> None:
    curve = make_curve()
    tasks = read_run(curve, make_plan(total=total, family=family), ahead(curve, 6000)).tasks
    assert (bool(tasks.past_known[0]), bool(tasks.future_known[0]), bool(tasks.horizon_known[0])) == known


def test_a_logged_rate_that_is_held_is_a_known_past_and_an_unknown_future() -> None:
    curve = make_curve()
    steps = np.arange(1, 3001)
    rate = Curve.from_points(steps, 3e-4 * (1 + 0.3 * np.sin(steps / 97.0)))
    plan = resolve_plan(declared={"schedule": {"family": "reactive"}}, config={}, rate=rate, cutoff=3000)
    tasks = read_run(curve, plan, ahead(curve, 6000)).tasks
    assert bool(tasks.past_known[0])
    assert not tasks.future_known[0]


@pytest.mark.parametrize("first", [0, -50, 1])
def test_steps_may_begin_at_zero_or_below(first: int) -> None:
    curve = make_curve(first=first)
    tasks = read_run(curve, make_plan(), ahead(curve)).tasks
    assert (tasks.positions > 0).all()
    assert (tasks.queries > tasks.cutoff[:, None]).all()
    assert np.isfinite(read_features(tasks).tokens).all()


def test_a_run_late_in_a_huge_count_of_steps_is_read() -> None:
    curve = make_curve(first=2**55)
    plan = resolve_plan(declared={"total_steps": 2**56}, config={}, rate=None, cutoff=curve.cutoff)
    reading = read_run(curve, plan, np.array([2**55 + 5000, 2**56]))
    assert np.isfinite(random_predictor().predict(reading.tasks).quantiles([0.5])).all()


def test_too_few_bins_are_refused() -> None:
    with pytest.raises(CurveTooShort, match="at least 3"):
        read_run(make_curve(2), make_plan(2), np.array([10]))


def test_the_metric_s_explosion_fits_into_float32() -> None:
    steps = np.arange(1, 500)
    curve = Curve.from_points(steps, np.where(steps == 300, 1e140, 2 + 1 / steps))
    reading = read_run(curve, make_plan(499), ahead(curve))
    assert np.isfinite(reading.tasks.values).all()
    median = reading.restored(random_predictor().predict(reading.tasks)).quantiles([0.5])
    assert np.abs(median).max() < 10


def test_how_high_a_run_began_does_not_matter_beyond_the_largest_transient_of_invented_ones() -> None:
    steps = np.arange(1, 3001)
    settled = 2.6 + 0.4 * (steps / 100) ** -0.5
    readings = []
    for height in (15.0, 150.0):
        curve = Curve.from_points(steps, settled + height * np.exp(-steps / 15))
        readings.append(read_run(curve, make_plan(), ahead(curve)))
    quantiles = [
        reading.restored(random_predictor().predict(reading.tasks)).quantiles([0.05, 0.5]) for reading in readings
    ]
    assert quantiles[1] == pytest.approx(quantiles[0], rel=0.01)
    top = readings[0].tasks.values[0].max() * readings[0].size
    late = settled[150:]
    assert late[-1] + 3 * np.ptp(late) < top < late[-1] + 4.5 * np.ptp(late)


def test_a_loss_that_fell_and_has_stood_still_since_is_read_without_its_first_fall() -> None:
    steps = np.linspace(1, 4000, 400).round().astype(np.int64)
    noise = 0.002 * np.random.default_rng(0).standard_normal(len(steps))
    curve = Curve.from_points(steps, 3 + 3 * np.exp(-steps / 200) + noise)
    reading = read_run(curve, make_plan(4000), np.array([9000]))
    assert reading.tasks.values[0].max() * reading.size < 3.5


@pytest.mark.parametrize("height", [0.0, 0.5])
def test_a_beginning_that_invented_curves_have_too_is_read_as_it_is(height: float) -> None:
    steps = np.arange(1, 401)  # short enough that the curve keeps every point by itself
    values = 3 - 0.1 * np.log(steps) + height * np.exp(-steps / 5)
    reading = read_run(Curve.from_points(steps, values), make_plan(400), np.array([9000]))
    assert mean_read(reading) == pytest.approx(values.mean(), rel=1e-6)


@pytest.mark.parametrize("values", [np.full(500, 2.0), 2 + np.arange(500) / 100, np.r_[90.0, np.full(499, 2.0)]])
def test_a_curve_that_never_fell_after_its_beginning_keeps_it(values: np.ndarray) -> None:
    reading = read_run(Curve.from_points(np.arange(1, 501), values), make_plan(500), np.array([9000]))
    assert mean_read(reading) == pytest.approx(values.mean(), rel=1e-6)
