"""Finished runs of a project sharpen the forecast of the next one, and the notes say so."""

from __future__ import annotations

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.forecasting.forecast import forecast_curve
from app.forecasting.siblings import Sibling, learn_prior, similarity
from app.laws.annealing import effective_steps, lagged_response
from app.laws.shipped import shipped_population

TOTAL = 4000
DECAYED = Schedule(np.array([0.0, 100, 3000, TOTAL]), np.array([0, 1e-3, 1e-3, 0]))
PLAN = Plan(TOTAL, "declared", "said", DECAYED, "declared", "wsd_linear", "said")


def curve_of(drop: float, last: int = TOTAL, seed: int = 0) -> Curve:
    """A run that gives `drop` of its loss to annealing."""
    steps = np.arange(1, last + 1)
    x = np.maximum(effective_steps(DECAYED, steps), 1.0)
    response = lagged_response(DECAYED, steps, [20.0], [0.7])[0, 0]
    noise = 0.01 * np.random.default_rng(seed).standard_normal(last)
    return Curve.from_points(steps, 3.0 + 0.3 * (x / TOTAL) ** -0.45 - 3.0 * drop * response + noise)


def test_finished_siblings_sharpen_the_forecast_of_a_decay_that_has_not_begun() -> None:
    curve, actual = curve_of(0.1, last=2000), float(curve_of(0.1).values[-8:].mean())
    siblings = [Sibling(curve_of(0.1, seed=seed), DECAYED) for seed in (1, 2, 3)]
    alone = forecast_curve(curve, PLAN)
    together = forecast_curve(curve, PLAN, learn_prior(siblings, shipped_population()))
    bands = [each.final_quantiles[0.95] - each.final_quantiles[0.05] for each in (alone, together)]
    errors = [abs(each.final_quantiles[0.5] - actual) for each in (alone, together)]
    assert bands[1] < 0.8 * bands[0]
    assert errors[1] < 0.5 * errors[0]
    assert together.final_quantiles[0.05] < actual < together.final_quantiles[0.95]
    assert any("3 finished runs of this project" in note for note in together.notes)
    assert not any("finished run" in note for note in alone.notes)


def test_the_same_siblings_give_the_same_prior_in_any_order() -> None:
    siblings = [Sibling(curve_of(drop, seed=i), DECAYED, 1.0) for i, drop in enumerate((0.05, 0.1, 0.07))]
    ours, theirs = (learn_prior(each, shipped_population()) for each in (siblings, siblings[::-1]))
    assert ours.annealing.median == pytest.approx(theirs.annealing.median)
    assert ours.exponent.log_deviation == pytest.approx(theirs.exponent.log_deviation)


def test_siblings_too_short_or_too_different_say_nothing() -> None:
    population = shipped_population()
    short = Sibling(Curve.from_points([1, 2, 3], [3.0, 2.0, 1.5]), DECAYED)
    different = Sibling(curve_of(0.1), DECAYED, similarity=0.0)
    assert learn_prior([short, different], population) == population.prior
    assert learn_prior([], population) == population.prior


def test_configs_are_as_alike_as_what_both_name() -> None:
    own = {"lr": 1e-3, "n_layer": 12, "optimizer": "AdamW"}
    assert similarity(own, own) == 1.0
    assert similarity(own, {"note": "nothing in common"}) == 1.0
    nearer, further = (similarity(own, {**own, "lr": rate}) for rate in (2e-3, 1e-2))
    assert 1 > nearer > further > 0
    assert similarity(own, {**own, "optimizer": "adamw"}) == 1.0
    assert similarity(own, {**own, "optimizer": "Muon"}) == pytest.approx(np.exp(-0.5))
    assert similarity(own, {"learning_rate": "0.001"}) == 1.0
