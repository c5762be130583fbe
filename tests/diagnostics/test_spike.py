"""Spikes, what becomes of them, and progress that is lost; and the blow-up before there is history."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.diagnostics.made_runs import Floats, Logged, events_of, falling_loss, logged, steady_norm

N = 1000
ALARMS = ("spike", "divergence", "cold_start", "divergence_risk", "plateau", "dead")


def run_with(loss: Floats, norm: Floats | None = None, rate: Floats | None = None) -> Logged:
    metrics: dict[str, Any] = {"train_loss": loss, "grad_norm": norm, "lr": rate}
    return logged(**{name: values for name, values in metrics.items() if values is not None})


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("noise", [0.002, 0.02, 0.1])
def test_a_healthy_run_raises_nothing(seed: int, noise: float) -> None:
    run = run_with(falling_loss(N, noise=noise, seed=seed), steady_norm(N, seed=seed + 10), np.full(N, 1e-3))
    assert not events_of(run, kinds=ALARMS)


def test_a_spike_that_recovers_is_benign() -> None:
    loss, norm = falling_loss(N), steady_norm(N)
    loss[500:510] *= np.geomspace(2.0, 1.1, 10)
    norm[500:505] *= 20
    [event] = events_of(run_with(loss, norm), kinds=ALARMS)
    assert (event.kind, event.step, event.outcome) == ("spike", 500, "benign")
    assert event.raised_at <= 501
    assert event.resolved_at is not None
    assert event.resolved_at < 530


def test_a_spike_that_stays_is_lasting_and_in_the_end_the_new_level() -> None:
    loss, norm = falling_loss(6000), steady_norm(6000)
    loss[500:] *= 1.3
    norm[500:505] *= 20
    [event] = events_of(run_with(loss, norm), kinds=["spike"])
    assert event.outcome == "lasting"
    assert event.resolved_at == 500 + 10 * 300


def test_a_spike_that_loses_half_of_all_progress_has_ten_points_to_come_back() -> None:
    loss = falling_loss(N)
    loss[600:] = 7.0
    spike, divergence = events_of(run_with(loss), kinds=["spike", "divergence"])
    assert (spike.step, spike.raised_at, spike.outcome) == (600, 601, "divergent")
    assert (divergence.step, divergence.raised_at, divergence.severity) == (600, 609, "critical")
    assert divergence.is_open


@pytest.mark.parametrize("noise", [0.01, 0.03])
@pytest.mark.parametrize("rate", [0.005, 0.01, 0.03])
def test_a_loss_that_climbs_ever_faster_is_a_divergence_as_soon_as_half_of_the_progress_is_lost(
    rate: float, noise: float
) -> None:
    """Its own climb may not pass for noise: what is expected follows it, and strays from it the more."""
    loss = falling_loss(3 * N, noise=noise)
    held = float(loss[N - 100 : N].mean())
    climb = np.cumsum(rate * np.minimum(np.arange(2 * N) / 300, 1.0))
    loss[N:] *= np.exp(np.minimum(climb, 4.0))
    half = N + int(np.searchsorted(climb, np.log(loss[0] / held) / 2))
    [divergence] = events_of(run_with(loss), kinds=["divergence"])
    assert half - 10 < divergence.raised_at < half + 15


def test_a_raised_rate_excuses_no_divergence() -> None:
    loss, rate = falling_loss(N), np.full(N, 1e-3)
    loss[600:] = 7.0
    rate[600:] = 0.1
    [event] = events_of(run_with(loss, rate=rate), kinds=ALARMS)
    assert (event.kind, event.step, event.raised_at) == ("divergence", 600, 602)


def test_one_hard_batch_is_no_spike() -> None:
    loss, norm = falling_loss(N), steady_norm(N)
    loss[500] *= 1.3
    norm[500] *= 20
    assert not events_of(run_with(loss, norm), kinds=ALARMS)
    assert not events_of(run_with(loss), kinds=ALARMS)


def test_a_gradient_that_jumps_alone_is_no_spike() -> None:
    norm = steady_norm(N)
    norm[500:502] *= 20
    assert not events_of(run_with(falling_loss(N), norm), kinds=ALARMS)


def test_a_raised_rate_and_the_rise_after_it_are_a_stability_gap_and_no_spike() -> None:
    loss, norm, rate = falling_loss(N), steady_norm(N), np.full(N, 1e-3)
    rate[500:] *= 10
    loss[500:600] *= np.geomspace(1.25, 1.0, 100)
    norm[500:510] *= 5
    assert not events_of(run_with(loss, norm, rate), kinds=ALARMS)
    [gap] = events_of(run_with(loss, norm, rate), kinds=["stability_gap"])
    assert (gap.severity, gap.step, gap.evidence["change"], gap.outcome) == ("info", 500, "rate_up", "recovered")


def test_a_restart_with_other_noise_at_its_seam_is_no_spike() -> None:
    loss, norm = falling_loss(N), steady_norm(N)
    loss[500:520] *= 1.2
    norm[500:505] *= 20
    assert not events_of(run_with(loss, norm), segment_starts=(0, 500), kinds=ALARMS)
    assert events_of(run_with(loss, norm), kinds=ALARMS), "without the restart it is one"


def test_a_new_network_under_a_new_warm_up_is_a_fresh_start_and_no_divergence() -> None:
    loss = np.concatenate([falling_loss(600), falling_loss(600, seed=3)])
    rate = np.concatenate(
        [np.full(500, 1e-3), np.linspace(1e-3, 0, 100), np.linspace(0, 1e-3, 100), np.full(500, 1e-3)]
    )
    assert not events_of(run_with(loss, steady_norm(1200), rate), kinds=ALARMS)


def test_a_run_that_fails_before_it_has_history_is_caught_by_its_first_value() -> None:
    loss = np.array([4.46, 3.9, 3.4, 3.9, 3.6, 4.0, 3.8, 4.6, 4.4, 5.2, 5.1, 5.3, 6.0, 9.0])
    [event] = events_of(run_with(loss), kinds=["cold_start"])
    assert (event.step, event.raised_at) == (9, 11)


def test_the_first_points_may_go_up_twice() -> None:
    loss = np.concatenate([[4.0, 4.8, 4.9], np.full(97, 3.5)])
    assert not events_of(run_with(loss), kinds=["cold_start"])
