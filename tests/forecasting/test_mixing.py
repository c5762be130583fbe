"""Whose median, and whose distances from it."""

from __future__ import annotations

import numpy as np
import pytest

from app.forecasting.mixing import mixed_quantiles

NARROW = np.array([1.9, 1.95, 2.0, 2.05, 2.1])
WIDE = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
BOTH = np.array([NARROW, WIDE])


def test_one_forecaster_is_left_as_it_is() -> None:
    np.testing.assert_array_equal(mixed_quantiles(WIDE[None], np.ones(1), np.ones(1)), WIDE)


def test_the_median_and_its_neighbours_may_be_the_ones_and_the_ends_of_the_band_the_others() -> None:
    mixed = mixed_quantiles(BOTH, np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    np.testing.assert_allclose(mixed[1:4], NARROW[1:4], rtol=1e-12)
    assert mixed[4] - mixed[2] == pytest.approx(WIDE[4] - WIDE[2], rel=1e-12)


def test_distances_below_the_median_count_in_parts_of_it() -> None:
    """The wide one reaches down to a third of its median, and so does the mixture to a third of its own."""
    mixed = mixed_quantiles(BOTH, np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    assert mixed[0] / mixed[2] == pytest.approx(WIDE[0] / WIDE[2], rel=1e-12)


def test_the_ends_of_a_narrow_band_never_lie_inside_the_middle_of_a_wide_one() -> None:
    mixed = mixed_quantiles(BOTH, np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    np.testing.assert_allclose(mixed, [WIDE[1], *WIDE[1:4], WIDE[3]], rtol=1e-12)


def test_positive_forecasts_that_differ_a_thousandfold_mix_to_positive_quantiles() -> None:
    tiny = WIDE / 1000
    mixed = mixed_quantiles(np.array([WIDE, tiny]), np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    assert (mixed > 0).all()
    assert (np.diff(mixed) >= 0).all()


def test_quantiles_that_all_but_vanish_beside_their_medians_are_not_rounded_to_below_zero() -> None:
    rng = np.random.default_rng(1)
    medians = rng.lognormal(-3.0, 1.0, (2, 1, 1000))
    lower = np.sort(medians * np.exp(-rng.uniform(0.0, 720.0, (2, 2, 1000))), axis=1)
    quantiles = np.concatenate([lower, medians, 1.5 * medians, 2 * medians], axis=1)
    median, width = (np.array([share, 1 - share]) for share in rng.uniform(size=(2, 1000)))
    mixed = mixed_quantiles(quantiles, median, width)
    assert (mixed > 0).all()
    assert (np.diff(mixed, axis=0) >= 0).all()


def test_a_quantile_that_came_to_zero_keeps_those_of_the_others_above_it() -> None:
    mixed = mixed_quantiles(np.array([[0.0, *NARROW[1:]], WIDE]), np.array([0.9, 0.1]), np.array([0.2, 0.8]))
    assert 0 < mixed[0] < mixed[1]


def test_a_metric_below_zero_mixes_plain_distances() -> None:
    mixed = mixed_quantiles(BOTH - 4, np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    np.testing.assert_allclose(mixed[1:4], NARROW[1:4] - 4, rtol=1e-12)
    np.testing.assert_allclose(mixed[[0, 4]], -2.0 + (NARROW - 2 + WIDE - 3)[[0, 4]] / 2, rtol=1e-12)


@pytest.mark.parametrize("unit", [1e-300, 1.0, 1e300])
def test_the_unit_does_not_matter(unit: float) -> None:
    weights = np.array([0.3, 0.7]), np.array([0.6, 0.4])
    np.testing.assert_allclose(mixed_quantiles(unit * BOTH, *weights) / unit, mixed_quantiles(BOTH, *weights))


def test_each_step_of_a_path_is_mixed_by_itself() -> None:
    median, width = np.array([0.3, 0.7]), np.array([0.6, 0.4])
    along = np.stack([BOTH, BOTH - 4, 100 * BOTH], axis=-1)
    path = mixed_quantiles(along, median[:, None], width[:, None])
    for step in range(3):
        np.testing.assert_allclose(path[:, step], mixed_quantiles(along[..., step], median, width), rtol=1e-12)


def test_quantiles_never_cross() -> None:
    rng = np.random.default_rng(0)
    quantiles = np.sort(rng.lognormal(0.0, 2.0, (2, 5, 1000)), axis=1)
    median, width = (np.array([share, 1 - share]) for share in rng.uniform(size=(2, 1000)))
    assert (np.diff(mixed_quantiles(quantiles, median, width), axis=0) >= -1e-12).all()
