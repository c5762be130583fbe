from __future__ import annotations

import math

import numpy as np
import pytest

from losscast import probe
from losscast.probe.gradients import signal_and_noise


def test_signal_and_noise_solve_their_two_equations() -> None:
    signal, noise = 0.3, 24.0

    assert signal_and_noise(signal + noise / 8, signal + noise / 128, 8, 128) == pytest.approx((signal, noise))


def test_the_noise_scale_of_gradients_with_known_noise() -> None:
    """Of 400 steps with 8 micro-batches of 4: the estimate is within five standard errors, about 5 %."""
    rng = np.random.default_rng(0)
    exact, deviation = rng.standard_normal(200) * 0.1, 0.5
    scale = 200 * deviation**2 / float(exact @ exact)
    noise = probe.GradientNoise(memory=0.995)

    for _ in range(400):
        gradients = [exact + deviation / math.sqrt(4) * rng.standard_normal(200) for _ in range(8)]
        measured = noise.observe_gradients(gradients, batch=4)

    assert measured["gradient/noise_scale"] == pytest.approx(scale, rel=0.1)
    assert measured["gradient/signal"] == pytest.approx(float(exact @ exact), rel=0.1)
    assert measured["gradient/snr"] == pytest.approx(32 / scale, rel=0.1)


def test_norms_and_gradients_say_the_same() -> None:
    rng = np.random.default_rng(1)
    gradients = [rng.standard_normal(10) for _ in range(4)]
    norms = [float(np.linalg.norm(one)) for one in gradients]
    big = float(np.linalg.norm(np.mean(gradients, axis=0)))

    from_gradients = probe.GradientNoise().observe_gradients(gradients, batch=16)

    assert from_gradients == pytest.approx(
        probe.GradientNoise().observe(small=norms, big=big, small_batch=16, big_batch=64)
    )


def test_a_young_average_is_not_pulled_towards_zero() -> None:
    measured = probe.GradientNoise(memory=0.99).observe(small=3.0, big=2.0, small_batch=1, big_batch=3)

    assert measured["gradient/signal"] == pytest.approx((3 * 4 - 9) / 2)
    assert measured["gradient/noise"] == pytest.approx((9 - 4) / (1 - 1 / 3))


def test_without_a_signal_the_noise_scale_is_infinite() -> None:
    measured = probe.GradientNoise().observe(small=4.0, big=1.0, small_batch=1, big_batch=2)

    assert measured["gradient/noise_scale"] == math.inf


def test_one_batch_size_is_not_enough(caplog: pytest.LogCaptureFixture) -> None:
    measured = probe.GradientNoise().observe(small=1.0, big=1.0, small_batch=8, big_batch=8)

    assert all(math.isnan(value) for value in measured.values())
    assert "two batch sizes are needed" in caplog.text


def test_a_bad_step_leaves_the_average_as_it_was() -> None:
    noise = probe.GradientNoise()
    before = noise.observe(small=3.0, big=2.0, small_batch=1, big_batch=3)
    noise.observe(small=math.nan, big=2.0, small_batch=1, big_batch=3)

    assert noise.observe(small=3.0, big=2.0, small_batch=1, big_batch=3) == pytest.approx(before)
