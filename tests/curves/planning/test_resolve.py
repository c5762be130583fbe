"""Plans whole: past and planned, with and without a warm-up in the log, from any log at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.curves.curve import Curve
from app.curves.families import build_schedule
from app.curves.planning.declared import validate_declared_plan
from tests.curves.planning.made_plans import PEAK, cosine, log_rate, plan_of


def test_a_log_that_begins_late_at_its_top_left_its_warm_up_out_and_the_plan_says_so() -> None:
    plan = plan_of({"total_steps": 10_000}, rate=log_rate(cosine(), 8_000, first=500), cutoff=8_000)
    assert plan.schedule.rate_at([0, 250, 500]) == pytest.approx([0, 0.5 * PEAK, PEAK], rel=0.01)
    assert "a warm-up over the 499 steps before it is assumed" in plan.schedule_why
    assert plan.schedule.warmup_end == pytest.approx(499, rel=0.02)
    # One that was declared is what was declared.
    said = {"total_steps": 10_000, "schedule": {"family": "cosine", "peak": PEAK, "warmup_steps": 400}}
    declared = plan_of(said, rate=log_rate(cosine(warmup=400), 8_000, first=500), cutoff=8_000)
    assert declared.schedule.rate_at([200]) == pytest.approx([0.5 * PEAK], rel=0.01)
    assert "warm-up over" not in declared.schedule_why


@pytest.mark.parametrize("every", [1, 10, 30])
def test_the_unseen_warm_up_is_as_long_however_a_long_log_is_binned(every: int) -> None:
    rate = log_rate(
        build_schedule("constant", 60_000, {"peak": PEAK, "warmup_steps": 0}), 60_000, every=every, first=600
    )
    plan = plan_of({"total_steps": 90_000}, rate=rate, cutoff=60_000)
    assert plan.schedule.rate_at([300]) == pytest.approx([0.5 * PEAK], rel=0.02)


def test_a_log_from_the_start_or_of_a_resumed_run_hides_no_warm_up() -> None:
    flat = build_schedule("constant", 10_000, {"peak": PEAK, "warmup_steps": 0})
    for first in (0, 10, 4_000):
        plan = plan_of({"total_steps": 10_000}, rate=log_rate(flat, 8_000, first=first), cutoff=8_000)
        assert plan.schedule.rate_at([0]) == pytest.approx([PEAK])
        assert "warm-up over" not in plan.schedule_why


def test_a_plan_without_a_warm_up_in_its_log_starts_where_the_log_does() -> None:
    plan = plan_of({"total_steps": 9_000}, rate=log_rate(cosine(), 6_000, first=3_000), cutoff=6_000)
    assert plan.schedule.steps[0] == 0
    assert plan.schedule.steps[-1] == 9_000
    np.testing.assert_allclose(plan.schedule.rate_at([3_000, 6_000]), cosine().rate_at([3_000, 6_000]), rtol=0.02)


SHAPES: list[Callable[[npt.NDArray[np.float64], np.random.Generator], npt.NDArray[np.floating]]] = [
    lambda t, rng: np.ones_like(t),
    lambda t, rng: 1 - t,
    lambda t, rng: np.cos(20 * rng.random() * t) ** 2,
    lambda t, rng: rng.random(len(t)),
    lambda t, rng: np.exp(-900 * rng.random() * t),
    lambda t, rng: np.where(t > 0.5, 0.1, 1.0),
    lambda t, rng: np.cumprod(rng.uniform(0.9, 1.11, len(t))),
]


@pytest.mark.parametrize("seed", range(150))
def test_any_log_has_a_plan(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 2, 3, 5, 10, 50, 500]))
    first = int(rng.choice([0, 1, -100, 10**6, 2**40, 2**61]))
    steps = first + np.cumsum(rng.integers(1, int(rng.choice([2, 20, 2**20])), n))
    rates = float(rng.choice([3e-4, 1.0, 1e-300, 1e140])) * SHAPES[seed % len(SHAPES)](np.linspace(0, 1, n), rng)
    rates[rng.random(n) < rng.choice([0, 0, 0.1])] = rng.choice([np.nan, np.inf, 0.0, -1.0])
    config = {"lr_scheduler_type": "cosine", "learning_rate": str(rng.choice(["0", "-1", "3e-4", "None"]))}
    curve = Curve.from_points(steps, rates)
    # An overflow or a division by zero that numpy would only warn of fails here.
    with np.errstate(all="raise", under="ignore"):
        plan = plan_of(config=config if seed % 3 == 0 else {}, rate=curve, epoch=curve, cutoff=int(steps[-1]))
    assert plan.total_steps >= steps[-1]
    assert np.isfinite(plan.schedule.rate_at([steps[-1], plan.total_steps])).all()
    assert len(plan.schedule) < 3_000


DECLARATIONS: list[dict[str, Any]] = [
    {"family": "cosine", "peak": 3e-4, "warmup_steps": 5},
    {"family": "linear"},
    {"family": "wsd_linear", "peak": 1e-4, "decay_steps": 7},
    {"family": "wsd_exponential", "final_fraction": 0.1},
    {"family": "step", "milestones": [3, 40], "factor": 0.5},
    {"family": "constant"},
    {"family": "inverse_sqrt", "warmup_steps": 100},
    {"family": "cosine_restarts", "cycles": 3},
    {"family": "explicit", "steps": [0, 3, 10], "rates": [0, 3e-4, 1e-4]},
    {"family": "explicit", "steps": [2**40, 2**41], "rates": [3e-4, 0]},
]


@pytest.mark.parametrize("seed", range(200))
def test_any_declaration_has_a_plan_whatever_was_logged_and_wherever_the_job_was_restarted(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 2, 3, 5, 20, 200]))
    first = int(rng.choice([0, 1, -50, 10**6, 2**40, 2**61]))
    steps = first + np.cumsum(rng.integers(1, int(rng.choice([2, 20, 2**20])), n))
    restart = int(rng.integers(0, n + 1))
    rates = 3e-4 * SHAPES[seed % len(SHAPES)](np.linspace(0, 1, n), rng)
    rates[restart:] *= rng.choice([1.0, 0.3, 2.0])
    curve, cutoff = Curve.from_points(steps, rates), int(steps[-1])
    total = min(max(int(cutoff * rng.choice([0.3, 0.99, 1.0, 3.0])), 10), 2**61)
    declared = validate_declared_plan({"total_steps": total, "schedule": DECLARATIONS[seed % len(DECLARATIONS)]})
    with np.errstate(all="raise", under="ignore"):
        restarted_at = int(steps[restart]) if restart < n else cutoff + 1
        plan = plan_of(declared, rate=curve, cutoff=cutoff, restarted_at=restarted_at)
    assert plan.total_steps >= cutoff
    assert plan.schedule.steps[0] <= steps[0]
    assert np.isfinite(plan.schedule.rate_at([cutoff, plan.total_steps])).all()
    assert plan.total_why.endswith(".")
    assert plan.schedule_why.endswith(".")
