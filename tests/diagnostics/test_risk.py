"""The forecast of a divergence, and what it says it rests on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import app.demo
from app.diagnostics.event import Severity
from app.importers.curve_file import points_by_metric
from app.importers.run_files import read_file
from tests.diagnostics.made_runs import engine_for, events_of, falling_loss, logged, steady_norm

N = 800
GROKS = Path(app.demo.__file__).parent / "data" / "grok_modular_addition.jsonl"


def growing(since: int, *, factor: float = 1.3) -> np.ndarray:
    norm = steady_norm(N)
    norm[since : since + 30] *= factor ** np.arange(30)
    return norm


def test_a_gradient_that_grows_for_long_warns_before_the_loss_moves() -> None:
    loss, norm = falling_loss(N), growing(500)
    loss[525:535] *= 3.0
    run = logged(train_loss=loss, grad_norm=norm)
    [risk] = events_of(run, kinds=["divergence_risk"])
    assert 502 <= risk.raised_at <= 515
    assert risk.outcome == "came true"
    assert risk.probability is not None
    assert 0.25 < risk.probability < 0.5, "of the runs that were counted, most were not followed by anything"
    assert risk.severity is Severity.INFO
    assert risk.evidence["calibrated_on"] == "6 runs that warned, of 100"


def test_a_warning_that_nothing_follows_passes_and_the_next_is_not_believed() -> None:
    norm = steady_norm(N)
    norm[400:406] *= 5
    norm[650:656] *= 5
    [risk] = events_of(logged(train_loss=falling_loss(N), grad_norm=norm), kinds=["divergence_risk"])
    assert risk.raised_at < 410
    assert risk.outcome == "passed"
    assert risk.resolved_at is not None
    assert risk.resolved_at <= 400 + 150


def test_a_warning_is_believed_once_one_of_the_same_run_came_true() -> None:
    loss, norm = falling_loss(N), growing(300)
    norm[600:630] = growing(600)[600:630]
    for at in (325, 625):
        loss[at : at + 10] *= 3.0
    first, second = events_of(logged(train_loss=loss, grad_norm=norm), kinds=["divergence_risk"])
    assert first.severity is Severity.INFO
    assert second.severity is Severity.WARNING
    assert second.raised_at < 625
    assert second.probability is not None
    assert second.probability > 0.5


def test_a_transformer_that_groks_is_not_warned_of_its_slingshots() -> None:
    """Its gradient leaps twice, and nothing follows."""
    logged_run = points_by_metric(list(read_file(GROKS).batches))
    points = {metric: (each.steps, each.values) for metric, each in logged_run.items()}
    risks = events_of(points, kinds=["divergence_risk"])
    assert all(risk.severity is Severity.INFO for risk in risks)
    assert len(risks) <= 1


def test_a_gradient_that_grows_while_the_loss_falls_is_a_network_that_learns() -> None:
    loss = np.concatenate([np.full(500, 2.3), np.geomspace(2.3, 0.5, 300)]) * np.exp(
        0.002 * np.random.default_rng(0).standard_normal(N)
    )
    run = logged(train_loss=loss, grad_norm=growing(503, factor=1.2))
    assert not events_of(run, kinds=["divergence_risk"])


def test_a_logit_on_its_way_to_its_level_is_foreseen_and_its_arrival_noted() -> None:
    steps = np.arange(N)
    noise = np.exp(0.02 * np.random.default_rng(0).standard_normal(N))
    run = logged(train_loss=falling_loss(N), max_attn_logit=2.5 * np.maximum(steps, 1) * noise)
    [risk] = events_of(run, kinds=["divergence_risk"])
    assert 400 - risk.raised_at >= 50, "2.5 a step: a thousand near 400"
    assert risk.outcome == "came true"
    assert risk.resolved_at is not None
    assert 380 <= risk.resolved_at <= 430


def test_a_logit_that_levels_off_raises_nothing() -> None:
    run = logged(train_loss=falling_loss(N), max_attn_logit=30 * (1 - np.exp(-np.arange(N) / 50)) + 1)
    assert not events_of(run, kinds=["divergence_risk"])


def test_risks_are_probabilities_that_grow_with_the_horizon() -> None:
    run = logged(train_loss=falling_loss(N), grad_norm=growing(500))
    risks = engine_for(run).observe(run).risks
    assert {risk.horizon for risk in risks} == {10, 100, 1000}
    by_step: dict[int, list[float]] = {}
    for risk in risks:
        by_step.setdefault(risk.step, []).append(risk.probability)
    for probabilities in by_step.values():
        assert all(0.0 <= p <= 1.0 for p in probabilities)
        assert probabilities == sorted(probabilities)
