"""Each measure against a formula written down independently, on matrices whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from losscast import probe
from losscast.probe.spectrum import MEASURES, entropy, power_law


def make_features(n: int = 200, d: int = 30, *, decay: float = 1.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) * np.arange(1, d + 1) ** -decay + 0.3


def shannon(shares: np.ndarray) -> float:
    return float(-np.sum(shares * np.log(shares)))


def test_every_measure_agrees_with_a_singular_value_decomposition() -> None:
    z = make_features()
    s = np.linalg.svd(z, compute_uv=False)
    eigen = np.linalg.svd(z - z.mean(0), compute_uv=False) ** 2
    shares = eigen / eigen.sum()
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)

    measured = probe.features(z)

    expected = {
        "rankme": math.exp(shannon(s / s.sum() + 1e-7)),
        "rankme_covariance": math.exp(shannon(shares + 1e-7)),
        "effective_rank": math.exp(shannon(shares)),
        "participation_ratio": eigen.sum() ** 2 / (eigen**2).sum(),
        "stable_rank": (s**2).sum() / s[0] ** 2,
        "spectral_entropy": shannon(shares) / math.log(30),
        "top_share": shares[0],
        "unit_spread": unit.std(axis=0).mean() * math.sqrt(30),
    }
    for name, value in expected.items():
        assert measured[f"features/{name}"] == pytest.approx(value, rel=1e-9), name
    assert set(measured) == {f"features/{name}" for name in MEASURES}


def test_the_exponent_is_that_of_a_weighted_regression_over_ranks_5_to_100() -> None:
    eigen = np.sort(np.random.default_rng(1).gamma(2.0, size=150) * np.arange(1, 151) ** -1.4)[::-1]
    ranks = np.arange(5, 101)
    design = np.stack([np.log(ranks), np.ones(len(ranks))], axis=1)
    root = np.sqrt(1 / ranks)
    solution, *_ = np.linalg.lstsq(design * root[:, None], np.log(eigen[4:100]) * root, rcond=None)
    residual = np.log(eigen[4:100]) - design @ solution
    total = np.log(eigen[4:100]) - np.log(eigen[4:100]).mean()

    alpha, fit = power_law(eigen.tolist())

    assert alpha == pytest.approx(-solution[0], rel=1e-9)
    assert fit == pytest.approx(1 - (residual**2).sum() / (total**2).sum(), rel=1e-9)


def test_an_exact_power_law_has_its_exponent_and_a_perfect_fit() -> None:
    assert power_law((np.arange(1, 80) ** -1.7).tolist()) == pytest.approx((1.7, 1.0))


def test_orthogonal_directions_of_one_size_are_all_in_use() -> None:
    z = np.concatenate([np.eye(16), -np.eye(16)])

    measured = probe.features(z)

    # RankMe's 1e-7 shifts it in the sixth digit.
    for name in ("rankme", "effective_rank", "participation_ratio", "stable_rank"):
        assert measured[f"features/{name}"] == pytest.approx(16.0, rel=1e-4), name
    assert measured["features/spectral_entropy"] == pytest.approx(1.0)


def test_features_along_one_direction_have_rank_one() -> None:
    z = np.outer(np.random.default_rng(2).standard_normal(100), np.random.default_rng(3).standard_normal(300))

    measured = probe.features(z)

    assert measured["features/effective_rank"] == pytest.approx(1.0, abs=1e-9)
    assert measured["features/stable_rank"] == pytest.approx(1.0, abs=1e-9)
    assert measured["features/top_share"] == pytest.approx(1.0, abs=1e-9)
    # What the paper's 1e-7 adds, and nothing that rounding adds.
    assert measured["features/rankme"] == pytest.approx(math.exp(-99e-7 * math.log(1e-7) - 1e-7), rel=1e-9)


def test_features_that_are_all_the_same_have_no_rank() -> None:
    measured = probe.features(np.full((50, 8), 3.7))

    assert measured["features/effective_rank"] == 0.0
    assert measured["features/participation_ratio"] == 0.0
    assert measured["features/stable_rank"] == pytest.approx(1.0)
    assert measured["features/unit_spread"] == pytest.approx(0.0, abs=1e-12)


def test_more_units_than_rows_give_the_spectrum_of_the_decomposition() -> None:
    z = make_features(40, 120, decay=0.3)
    s = np.linalg.svd(z, compute_uv=False)

    assert probe.features(z)["features/rankme"] == pytest.approx(math.exp(shannon(s / s.sum() + 1e-7)), rel=1e-9)


def test_leading_dimensions_are_rows() -> None:
    z = make_features(60, 8)

    assert probe.features(z.reshape(4, 15, 8)) == probe.features(z)


def test_of_many_rows_the_same_ones_are_looked_at_every_time() -> None:
    z = make_features(500, 8)

    first = probe.features(z, max_rows=100, seed=3)

    assert first == probe.features(z, max_rows=100, seed=3)
    assert first != probe.features(z, max_rows=100, seed=4)
    assert first["features/rankme"] == pytest.approx(probe.features(z)["features/rankme"], rel=0.1)


def test_the_entropy_of_equal_parts_is_the_logarithm_of_their_number() -> None:
    assert entropy([2.0] * 7) == pytest.approx(math.log(7))
