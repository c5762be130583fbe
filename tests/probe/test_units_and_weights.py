from __future__ import annotations

import math

import numpy as np
import pytest

from losscast import probe


def test_a_unit_that_is_never_above_zero_is_dead() -> None:
    activations = np.random.default_rng(0).uniform(0.1, 1.0, (100, 8))
    activations[:, 2] = 0.0
    activations[:, 5] = -1e-3
    activations[1:, 6] = 0.0  # alive in one row

    measured = probe.units(activations)

    assert measured["units/dead_share"] == 2 / 8
    assert measured["units/dormant_share"] == 3 / 8


def test_a_massive_activation_is_compared_with_the_median_size() -> None:
    activations = np.random.default_rng(1).standard_normal((64, 16))
    activations[7, 3] = -500.0

    measured = probe.units(activations)

    assert measured["units/massive_ratio"] == pytest.approx(500.0 / np.median(np.abs(activations)))
    assert measured["units/largest"] == 500.0
    assert measured["units/rms"] == pytest.approx(np.sqrt((activations**2).mean()))


def test_the_way_of_the_weights_from_their_start() -> None:
    start = {"a": np.array([[3.0, 0.0]]), "b": np.array([4.0])}
    kept = probe.snapshot(start)
    start["a"][0, 1] = 5.0  # in place, as an optimizer does

    measured = probe.weights(start, initial=kept, rate=1e-2)

    assert measured["weights/norm"] == pytest.approx(math.sqrt(50))
    assert measured["weights/distance"] == pytest.approx(5.0)
    assert measured["weights/relative_distance"] == pytest.approx(1.0)
    assert measured["weights/cosine_to_start"] == pytest.approx(25 / (5 * math.sqrt(50)))
    assert measured["weights/effective_rate"] == pytest.approx(1e-2 / 50)


def test_measures_that_nothing_was_handed_in_for_are_left_out() -> None:
    assert set(probe.weights([np.ones(3)])) == {"weights/norm"}


def test_weights_of_another_network_are_no_start() -> None:
    with pytest.raises(probe.ProbeError, match="not those of the same network"):
        probe.weights([np.ones(3)], initial=[np.ones(4)], strict=True)
