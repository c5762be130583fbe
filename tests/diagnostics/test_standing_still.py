"""Plateau, dead training and overfit, and what only looks like them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.diagnostics.made_runs import Logged, engine_for, events_of, falling_loss, logged, steady_norm

N = 2000


def noisy(values: np.ndarray, noise: float = 0.01) -> np.ndarray:
    return values * np.exp(noise * np.random.default_rng(0).standard_normal(len(values)))


def state_of(run: Logged) -> str:
    engine = engine_for(run)
    engine.observe(run)
    return engine.states["plateau"]


def test_a_loss_that_never_fell_is_dead() -> None:
    [event] = events_of(logged(train_loss=noisy(np.full(N, 2.303)), lr=np.full(N, 0.01)), kinds=["dead"])
    assert 200 <= event.raised_at <= 520
    assert event.is_open


@pytest.mark.parametrize("noise", [0.0, 1e-6])
def test_a_loss_that_falls_slowly_but_for_sure_is_not_dead(noise: float) -> None:
    loss = noisy(3.0 - 1e-4 * np.arange(N), noise)
    assert not events_of(logged(every=10, train_loss=loss), kinds=["dead"])


def test_a_loss_that_falls_by_less_than_its_noise_is_dead() -> None:
    [event] = events_of(logged(train_loss=noisy(np.linspace(2.303, 2.300, N))), kinds=["dead"])
    assert event.is_open


def test_a_loss_that_stands_still_while_the_rate_warms_up_is_not_dead() -> None:
    loss = np.concatenate([noisy(np.full(1000, 6.9)), falling_loss(1000, start=6.9)])
    rate = np.concatenate([np.linspace(0, 1e-3, 1000), np.full(1000, 1e-3)])
    assert not events_of(logged(train_loss=loss, lr=rate), kinds=["dead", "plateau"])


def test_units_that_are_all_dead_are_told_before_the_loss_can_tell() -> None:
    dead = np.concatenate([np.zeros(20), np.ones(100)])
    [event] = events_of(logged(train_loss=np.full(120, 2.3), dead_frac=dead), kinds=["dead"])
    assert event.raised_at == 69


def test_no_gradient_where_nothing_is_left_to_learn_is_not_dead() -> None:
    loss, norm = np.geomspace(2.0, 1e-9, 300), np.geomspace(1.0, 1e-9, 300)
    assert not events_of(logged(train_loss=loss, grad_norm=norm), kinds=["dead"])


def test_a_flat_loss_at_a_low_steady_rate_is_a_plateau() -> None:
    loss = np.concatenate([falling_loss(400), noisy(np.full(N, 2.3))])
    rate = np.concatenate([np.full(400, 1e-3), np.full(N, 1e-4)])
    [event] = events_of(logged(train_loss=loss, lr=rate), kinds=["plateau"])
    assert event.severity == "warning"
    assert event.inputs == ("train_loss", "lr")


def test_the_flat_stable_phase_of_a_wsd_schedule_is_no_plateau() -> None:
    loss = np.concatenate([falling_loss(400), noisy(np.full(N, 2.3))])
    run = logged(train_loss=loss, lr=np.full(N + 400, 1e-3))
    assert not events_of(run, kinds=["plateau", "dead"])
    assert state_of(run) == "flat at the full rate"


def test_a_flat_loss_under_a_falling_rate_is_no_plateau() -> None:
    loss = np.concatenate([falling_loss(400), noisy(np.full(N, 2.3))])
    run = logged(train_loss=loss, lr=np.linspace(1e-3, 0, N + 400))
    assert not events_of(run, kinds=["plateau"])
    assert state_of(run) == "flat, rate falling"


def overfitting_run(turn: float = 1.03) -> Logged:
    run = logged(train_loss=falling_loss(N, end=0.5), grad_norm=steady_norm(N))
    evaluated = np.arange(0, N, 50)
    run["val_loss"] = (evaluated, np.concatenate([np.linspace(6, 3, 20), 3 * turn ** np.arange(1, 21)]))
    return run


def test_a_validation_loss_that_turns_up_is_overfit_and_the_named_criteria_say_when() -> None:
    [event] = events_of(overfitting_run(), kinds=["overfit"])
    assert event.step == 19 * 50, "the best evaluation"
    assert 1100 <= event.raised_at <= 1400
    assert event.evidence["up3_at"] == event.evidence["patience3_at"] == 22 * 50
    assert event.evidence["gl5_at"] == 21 * 50


def test_a_validation_loss_that_rises_with_the_training_loss_is_no_overfit() -> None:
    run = overfitting_run()
    steps, loss = run["train_loss"]
    run["train_loss"] = (steps, np.where(steps < 950, loss, loss[950] * np.linspace(1, 2, N)))
    assert not events_of(run, kinds=["overfit"])


def test_a_validation_loss_that_wobbles_is_no_overfit() -> None:
    run = overfitting_run(turn=1.0)
    steps, values = run["val_loss"]
    run["val_loss"] = (steps, noisy(values, 0.02))
    assert not events_of(run, kinds=["overfit"])


def test_a_run_that_has_diverged_is_called_neither_flat_nor_generalising_and_its_risk_is_of_another() -> None:
    loss = np.concatenate([falling_loss(1000), noisy(np.full(N, 9.0))])
    run = logged(train_loss=loss, val_loss=falling_loss(len(loss)), lr=np.full(len(loss), 1e-3))
    engine = engine_for(run)
    engine.observe(run)
    assert engine.states["spike"] == "diverging"
    assert engine.states["plateau"] == "not judged: it diverges"
    assert engine.states["overfit"] == "no sign"
    assert engine.states["divergence_risk"] == "a fault is here: risk of another"
