"""Neural collapse: nothing left to collapse in a simplex, and the textbook formulas everywhere else."""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest

from losscast import probe

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.intp]


def make_simplex(
    n_classes: int = 5, n_units: int = 12, *, per_class: int = 20, noise: float = 0.0, seed: int = 0
) -> tuple[Floats, Labels, Floats]:
    """Features at the corners of a simplex, their labels, and the last layer that is dual to them."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.standard_normal((n_units, n_classes)))
    corners = (np.eye(n_classes) - 1 / n_classes) @ basis.T
    labels = np.repeat(np.arange(n_classes), per_class)
    features = 3.0 * corners[labels] + 0.7 + noise * rng.standard_normal((len(labels), n_units))
    return features, labels, 2.0 * corners


def make_blobs(
    seed: int = 1, counts: tuple[int, ...] = (30, 30, 30, 30), n_units: int = 7
) -> tuple[Floats, Labels, Floats, Floats]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    features = rng.standard_normal((len(counts), n_units))[labels] * 2 + rng.standard_normal((len(labels), n_units))
    return features, labels, rng.standard_normal((len(counts), n_units)), rng.standard_normal(len(counts))


def test_a_simplex_has_collapsed_entirely() -> None:
    features, labels, weight = make_simplex()

    measured = probe.classes(features, labels, weight, -weight @ np.full(12, 0.7))

    assert measured == pytest.approx(dict.fromkeys(measured, 0.0), abs=1e-12)
    assert len(measured) == 7


def test_noise_within_the_classes_shows_in_the_first_property() -> None:
    small = probe.classes(*make_simplex(noise=0.01))["classes/nc1"]
    large = probe.classes(*make_simplex(noise=0.1))["classes/nc1"]

    assert 0 < small < 0.01
    assert large == pytest.approx(100 * small, rel=0.05)


def test_all_four_properties_agree_with_the_textbook() -> None:
    h, y, w, b = make_blobs()
    means = np.stack([h[y == c].mean(0) for c in range(4)])
    m = means - means.mean(0)
    within = (h - means[y]).T @ (h - means[y]) / len(h)
    between = m.T @ m / 4
    cosines = (m / np.linalg.norm(m, axis=1)[:, None]) @ (m / np.linalg.norm(m, axis=1)[:, None]).T
    lengths = np.linalg.norm(m, axis=1)
    nearest = np.argmin(((h[:, None] - means) ** 2).sum(-1), axis=1)

    measured = probe.classes(h, y, w, b)

    assert measured["classes/nc1"] == pytest.approx(np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / 4)
    assert measured["classes/nc2_equinorm_means"] == pytest.approx(lengths.std() / lengths.mean())
    assert measured["classes/nc2_equinorm_w"] == pytest.approx(
        np.linalg.norm(w, axis=1).std() / np.linalg.norm(w, axis=1).mean()
    )
    assert measured["classes/nc2_equiangle"] == pytest.approx(np.abs(cosines + 1 / 3)[~np.eye(4, dtype=bool)].mean())
    assert measured["classes/nc3"] == pytest.approx(np.sum((w / np.linalg.norm(w) - m / np.linalg.norm(m)) ** 2))
    assert measured["classes/nc4"] == pytest.approx(np.mean(np.argmax(h @ w.T + b, axis=1) != nearest))


def test_the_distance_normalised_variance_is_the_mean_over_pairs() -> None:
    h, y, _, _ = make_blobs(counts=(10, 40, 25))
    means = [h[y == c].mean(0) for c in range(3)]
    variances = [((h[y == c] - means[c]) ** 2).sum(1).mean() for c in range(3)]
    pairs = [
        (variances[a] + variances[b]) / (2 * ((means[a] - means[b]) ** 2).sum())
        for a, b in itertools.combinations(range(3), 2)
    ]

    assert probe.classes(h, y)["classes/nc1_cdnv"] == pytest.approx(np.mean(pairs))


def test_without_the_last_layer_what_needs_it_is_not_a_number() -> None:
    measured = probe.classes(*make_simplex()[:2])

    assert {name for name, value in measured.items() if math.isnan(value)} == {
        "classes/nc2_equinorm_w",
        "classes/nc3",
        "classes/nc4",
    }


def test_classes_that_the_batch_lacks_are_left_out() -> None:
    features, labels, weight = make_simplex(6)
    kept = labels != 2

    measured = probe.classes(features[kept], labels[kept], weight, strict=True)

    assert measured["classes/nc1"] == pytest.approx(0.0, abs=1e-12)
    # The other five corners are as far apart as before, seen from their own middle.
    assert measured["classes/nc2_equiangle"] == pytest.approx(0.0, abs=1e-12)


def test_rare_tokens_are_left_out() -> None:
    features, labels, _ = make_simplex(4, per_class=60)
    rare = np.random.default_rng(5).standard_normal((49, 12))

    measured = probe.tokens(
        np.concatenate([features, rare]), np.concatenate([labels, np.full(49, 4)]), np.eye(5, 12), strict=True
    )

    assert measured["tokens/classes"] == 4
    assert measured["tokens/nc1_cdnv"] == pytest.approx(0.0, abs=1e-12)


def test_the_corners_of_a_simplex_are_uniform_on_the_sphere_and_dual_to_the_last_layer() -> None:
    features, labels, weight = make_simplex(5, per_class=60)

    measured = probe.tokens(features, labels, weight, -weight @ np.full(12, 0.7))

    # Corners of length 1 are sqrt(2 C / (C - 1)) apart.
    assert measured["tokens/gnc2_uniformity_mean"] == pytest.approx(-0.5 * math.log(2 * 5 / 4))
    assert measured["tokens/gnc2_uniformity_cv"] == pytest.approx(0.0, abs=1e-9)
    assert measured["tokens/gnc2_norm_cv"] == pytest.approx(0.0, abs=1e-9)
    assert measured["tokens/unc3_mean"] == pytest.approx(1.0)
    assert measured["tokens/unc3_spread"] == pytest.approx(0.0, abs=1e-7)
    assert measured["tokens/nc4"] == 0.0


def test_uniformity_and_duality_agree_with_a_loop_over_pairs() -> None:
    h, y, w, b = make_blobs(counts=(60, 70, 80))
    means = np.stack([h[y == c].mean(0) for c in range(3)])
    m = means - means.mean(0)
    unit = m / np.linalg.norm(m, axis=1)[:, None]
    kernel = [-math.log(np.linalg.norm(unit[a] - unit[c])) for a, c in itertools.combinations(range(3), 2)]
    cosines = [float(unit[c] @ w[c] / np.linalg.norm(w[c])) for c in range(3)]
    logs = np.log(np.linalg.norm(m, axis=1))

    measured = probe.tokens(h, y, w, b)

    assert measured["tokens/gnc2_uniformity_mean"] == pytest.approx(np.mean(kernel))
    assert measured["tokens/gnc2_uniformity_cv"] == pytest.approx(np.std(kernel) / abs(np.mean(kernel)))
    assert measured["tokens/unc3_mean"] == pytest.approx(np.mean(cosines))
    assert measured["tokens/unc3_spread"] == pytest.approx(np.std(cosines))
    assert measured["tokens/gnc2_norm_cv"] == pytest.approx(logs.std() / abs(logs.mean()))
