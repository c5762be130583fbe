"""A reduction is a function of the points: of neither their batches nor the way it was kept."""

from __future__ import annotations

import math
from dataclasses import fields
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from app.curves.bins import BINS_PER_OCTAVE, MAX_BINS, UNIFORM_BINS, Bins, bin_starts, widths_for
from app.curves.curve import Curve
from app.curves.reduction import Reduction
from app.errors import BadInput

Steps = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]


def make_points(rng: np.random.Generator, n: int, *, first: int = 0, stride: int = 1) -> tuple[Steps, Values]:
    """A noisy, falling loss at irregular steps with some broken values in it."""
    steps = first + np.cumsum(rng.integers(1, 2 * stride, size=n))
    values = 2.0 + 5.0 / np.sqrt(np.arange(1, n + 1)) + rng.normal(0, 0.05, n)
    values[rng.random(n) < 0.01] = np.nan
    values[rng.random(n) < 0.005] = np.inf
    return steps, values


def reduce_in_chunks(steps: Steps, values: Values, borders: npt.NDArray[np.int64]) -> Reduction:
    reduction = Reduction.empty()
    for first, last in pairwise([0, *borders, len(steps)]):
        reduction = reduction.extend(steps[first:last], values[first:last])
    return reduction


def assert_same(got: Reduction, wanted: Reduction) -> None:
    assert got.origin == wanted.origin
    assert got.first_nonfinite_step == wanted.first_nonfinite_step
    averaged = {"means", "mean_offsets", "deviations"}
    for field in fields(Bins):
        ours, theirs = getattr(got.bins, field.name), getattr(wanted.bins, field.name)
        if field.name in averaged:
            # Sums taken in another order differ by rounding, and by no more.
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
        else:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("seed", range(20))
def test_batches_of_any_size_give_the_bins_of_a_rebuild(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps, values = make_points(
        rng,
        n=int(rng.integers(1, 30_000)),
        first=int(rng.choice([0, 1, -5_000, 2**40])),
        stride=int(rng.choice([1, 7])),
    )
    borders = np.sort(rng.integers(0, len(steps), size=int(rng.integers(0, 40))))
    assert_same(reduce_in_chunks(steps, values, borders), Reduction.empty().extend(steps, values))


def test_one_point_at_a_time_gives_the_bins_of_a_rebuild() -> None:
    steps, values = make_points(np.random.default_rng(1), n=2_000)
    assert_same(reduce_in_chunks(steps, values, np.arange(1, 2_000)), Reduction.empty().extend(steps, values))


@pytest.mark.parametrize("seed", range(30))
def test_reading_again_from_where_truncation_says_gives_the_bins_of_a_rebuild(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps, values = make_points(rng, n=int(rng.integers(2, 20_000)), first=int(rng.choice([0, -300, 2**50])))
    late = int(rng.integers(steps[0] - 3, steps[-1] + 3))
    left, reread_from = Reduction.empty().extend(steps, values).truncated(late)
    assert reread_from <= max(late, steps[-1] + 1)
    assert left.last_step is None or left.last_step < reread_from

    with_late = np.unique(np.append(steps, late))
    # The run may also have been rolled back: then less follows than had been there.
    with_late = with_late[: int(rng.integers(np.searchsorted(with_late, late) + 1, len(with_late) + 1))]
    new_values = np.interp(with_late, steps, np.nan_to_num(values, posinf=9.0))
    new_values[with_late < late] = values[: np.searchsorted(steps, late)]
    again = with_late >= reread_from
    reread = left.extend(with_late[again], new_values[again])
    assert reread.n_points == len(with_late)
    assert_same(reread, Reduction.empty().extend(with_late, new_values))


def test_truncation_forgets_broken_values_only_from_the_cut_on() -> None:
    values = np.ones(100)
    values[[20, 60]] = np.nan
    left, reread_from = Reduction.empty().extend(np.arange(100), values).truncated(40)
    assert reread_from == 40
    assert (left.first_nonfinite_step, left.last_nonfinite_step, left.nonfinite) == (20, 20, 1)
    assert (left.last_step, left.last_value, left.n_points) == (39, 1.0, 40)
    left, _ = left.truncated(15)
    assert (left.first_nonfinite_step, left.last_nonfinite_step, left.nonfinite) == (None, None, 0)


def test_truncation_before_the_first_point_leaves_nothing() -> None:
    left, reread_from = Reduction.empty().extend([100, 101], [1.0, 2.0]).truncated(50)
    assert left.last_step is None
    assert reread_from == 50
    assert left.extend([50, 100, 101], [3.0, 1.0, 2.0]).n_points == 3


def test_a_roll_back_to_the_start_of_a_long_run_asks_for_narrow_bins_again() -> None:
    steps = np.arange(100_000)
    left, reread_from = Reduction.empty().extend(steps, np.ones(100_000)).truncated(1_000)
    assert (left.last_step, reread_from) == (None, 0)


def test_points_at_or_before_the_last_step_are_refused() -> None:
    reduction = Reduction.empty().extend([1, 2, 3], [1.0, 1.0, 1.0])
    with pytest.raises(BadInput, match="truncate first"):
        reduction.extend([3, 4], [1.0, 1.0])
    with pytest.raises(BadInput, match="strictly increasing"):
        reduction.extend([5, 5], [1.0, 1.0])
    with pytest.raises(BadInput, match="whole"):
        reduction.extend([5.5], [1.0])


@pytest.mark.parametrize("length", [1, 448, 449, 10_000, 1_000_000, 10**9, 2**40, 2**62])
@pytest.mark.parametrize("first", [0, -(2**62), 2**40])
def test_the_number_of_bins_is_bounded_at_any_length(length: int, first: int) -> None:
    spread = np.unique(np.linspace(0, length - 1, 20_000).astype(np.int64))
    early = np.unique(np.geomspace(1, length, 20_000).astype(np.int64)) - 1
    steps = first + np.unique(np.append(spread, early[early < length]))
    reduction = Reduction.empty().extend(steps, np.sin(np.arange(len(steps))))
    assert len(reduction.bins) <= MAX_BINS <= 700
    assert reduction.to_curve().cutoff == steps[-1]
    assert reduction.n_points == len(steps)


@pytest.mark.parametrize("last", [10, 5_000, 123_457, 10**9])
def test_a_bin_is_never_wider_than_its_share_of_the_way(last: int) -> None:
    narrowest, widest = widths_for(last)
    offsets = np.unique(np.geomspace(1, last, 5_000).astype(np.uint64))
    starts = bin_starts(offsets, narrowest, widest)
    assert (starts <= offsets).all()
    width = np.diff(np.append(np.unique(starts), last + 1).astype(float))
    allowed = np.maximum(narrowest, np.minimum(widest, np.unique(starts).astype(float) / BINS_PER_OCTAVE))
    sampled_every_step = offsets < 1_000
    n_dense = len(np.unique(starts[sampled_every_step]))
    assert (width[: n_dense // 2] <= np.maximum(allowed[: n_dense // 2], 1) * 2).all()
    assert last / widest <= UNIFORM_BINS


def test_a_short_curve_keeps_every_point() -> None:
    steps, values = np.arange(-100, 300), np.random.default_rng(0).normal(size=400)
    curve = Curve.from_points(steps, values)
    np.testing.assert_array_equal(curve.steps, steps)
    np.testing.assert_array_equal(curve.values, values)
    assert not curve.spreads.any()


def test_bins_have_the_moments_of_their_points() -> None:
    steps, values = np.arange(50_000), np.random.default_rng(0).normal(3.0, 1.0, 50_000)
    curve = Curve.from_points(steps, values)
    begins = np.cumsum(curve.counts) - curve.counts
    for i in (0, 30, len(curve) // 2, len(curve) - 1):
        inside = slice(begins[i], begins[i] + curve.counts[i])
        assert curve.steps[i] == pytest.approx(steps[inside].mean(), rel=1e-12)
        assert curve.values[i] == pytest.approx(values[inside].mean(), rel=1e-12)
        assert curve.spreads[i] == pytest.approx(values[inside].std(ddof=1) if curve.counts[i] > 1 else 0.0, rel=1e-9)
    assert curve.counts.sum() == 50_000


def test_a_small_spread_on_a_large_mean_survives() -> None:
    noise = np.random.default_rng(0).normal(0, 1e-3, 20_000)
    curve = Curve.from_points(np.arange(20_000), 1e9 + noise)
    # 1e9 carries 1e-7 of rounding; sums of squares would have lost the spread altogether.
    assert np.median(curve.spreads[curve.counts > 8]) == pytest.approx(1e-3, rel=0.2)


def test_a_constant_has_no_spread_at_all() -> None:
    reduction = Reduction.empty()
    for first in range(0, 10_000, 37):
        reduction = reduction.extend(np.arange(first, first + 37), np.full(37, 3e-4))
    curve = reduction.to_curve()
    assert set(curve.values) == {3e-4}
    assert not curve.spreads.any()


def test_values_whose_squares_overflow_count_as_not_finite() -> None:
    values = np.tile([1.0, 1e300, -1e300, 1.7e308, np.inf, -np.inf, np.nan, 1e149], 200)
    with np.errstate(all="raise"):
        reduction = Reduction.empty().extend(np.arange(1_600), values)
        reduction = reduction.extend(np.arange(1_600, 3_200), values)
        curve = reduction.to_curve()
    assert curve.nonfinite == reduction.nonfinite == 2 * 6 * 200
    assert (reduction.first_nonfinite_step, reduction.last_nonfinite_step) == (1, 3_198)
    assert reduction.bins.maxima.max() == 1e149


def test_the_last_value_is_kept_as_logged() -> None:
    assert math.isnan(Reduction.empty().extend([0, 1], [1.0, math.nan]).last_value or 0.0)
    assert Reduction.empty().extend([0, 1], [1.0, -math.inf]).last_value == -math.inf
    assert Reduction.empty().extend([0, 1], [math.nan, 4.0]).last_value == 4.0
    assert Reduction.empty().last_value is None


def test_a_curve_of_nothing_but_nan_is_empty_and_says_how_many() -> None:
    curve = Curve.from_points(np.arange(1_000), np.full(1_000, np.nan))
    assert (len(curve), curve.nonfinite, curve.cutoff) == (0, 1_000, 999)


@pytest.mark.parametrize("n", [0, 1, 30_000])
def test_bytes_bring_the_reduction_back_exactly(n: int) -> None:
    steps, values = make_points(np.random.default_rng(3), n, first=-77)
    reduction = Reduction.empty().extend(steps, values)
    data = reduction.to_bytes()
    back = Reduction.from_bytes(data)
    assert back.origin == reduction.origin
    assert back.first_nonfinite_step == reduction.first_nonfinite_step
    for field in fields(Bins):
        got, wanted = getattr(back.bins, field.name), getattr(reduction.bins, field.name)
        assert got.dtype == wanted.dtype
        assert got.tobytes() == wanted.tobytes()
    if n:
        assert_same(back.extend([10**6], [1.0]), reduction.extend([10**6], [1.0]))


@pytest.mark.parametrize("data", [b"", b"LCRD", b"x" * 200])
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadInput, match="rebuild it from the points"):
        Reduction.from_bytes(data)


def test_cut_bytes_are_refused() -> None:
    data = Reduction.empty().extend(np.arange(100), np.ones(100)).to_bytes()
    with pytest.raises(BadInput, match="rebuild"):
        Reduction.from_bytes(data[:-9])
