"""Every family follows its formula, within the sampling error that the module states."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.curves.families import FAMILIES, REACTIVE, SAMPLING_ERROR, build_schedule, family_name
from app.curves.schedule import MAX_KNOTS
from app.errors import BadInput

PEAK = 3e-4
FORMULAS: list[tuple[str, dict[str, Any], Callable[[float], float]]] = [
    ("constant", {}, lambda p: 1.0),
    ("cosine", {}, lambda p: (1 + math.cos(math.pi * p)) / 2),
    ("cosine", {"final_rate": 0.1 * PEAK}, lambda p: 0.1 + 0.9 * (1 + math.cos(math.pi * p)) / 2),
    ("linear", {}, lambda p: 1 - p),
    ("linear", {"final_rate": 0.2 * PEAK}, lambda p: 1 - 0.8 * p),
    ("polynomial", {"power": 2.0}, lambda p: (1 - p) ** 2),
    ("polynomial", {"power": 0.5}, lambda p: math.sqrt(1 - p)),
    ("rex", {}, lambda p: (1 - p) / (1 - p / 2)),
    ("exponential", {"final_rate": 0.05 * PEAK}, lambda p: 0.05**p),
]


@pytest.mark.parametrize(("family", "parameters", "formula"), FORMULAS)
@pytest.mark.parametrize(("total", "warmup"), [(1_000, 0), (1_000, 100), (1_000_000, 2_000)])
def test_a_decay_follows_its_formula(
    family: str, parameters: dict[str, Any], formula: Callable[[float], float], total: int, warmup: int
) -> None:
    schedule = build_schedule(family, total, {"peak": PEAK, "warmup_steps": warmup, **parameters})
    steps = np.arange(warmup, total + 1, max(1, total // 5_000))
    wanted = PEAK * np.array([formula((s - warmup) / (total - warmup)) for s in steps])
    assert np.abs(schedule.rate_at(steps) - wanted).max() < SAMPLING_ERROR * PEAK
    assert len(schedule) <= MAX_KNOTS
    if warmup:
        assert schedule.rate_at(warmup / 2) == pytest.approx(PEAK / 2)


COOLDOWNS: list[tuple[str, float, Callable[[float], float]]] = [
    ("wsd_linear", 0.0, lambda p: 1 - p),
    ("wsd_cosine", 0.0, lambda p: (1 + math.cos(math.pi * p)) / 2),
    ("wsd_sqrt", 0.0, lambda p: 1 - math.sqrt(p)),
    ("wsd_exponential", 0.1, lambda p: 0.1**p),
    ("wsd_exponential", 0.0, lambda p: 2 * 0.5**p - 1),
]


@pytest.mark.parametrize(("family", "floor", "formula"), COOLDOWNS)
def test_a_cooldown_follows_its_formula(family: str, floor: float, formula: Callable[[float], float]) -> None:
    parameters = {"peak": PEAK, "warmup_steps": 500, "decay_steps": 4_000, "final_rate": floor * PEAK}
    schedule = build_schedule(family, 20_000, parameters)
    assert schedule.rate_at(16_000) == pytest.approx(PEAK)
    assert schedule.rate_at(500) == pytest.approx(PEAK)
    steps = np.arange(16_000, 20_001)
    wanted = PEAK * np.array([formula((s - 16_000) / 4_000) for s in steps])
    assert np.abs(schedule.rate_at(steps) - wanted).max() < SAMPLING_ERROR * PEAK
    assert len(schedule) <= MAX_KNOTS


@pytest.mark.parametrize("total", [3_000, 10_000_000])
def test_an_inverse_root_follows_its_formula(total: int) -> None:
    schedule = build_schedule("inverse_sqrt", total, {"peak": PEAK, "warmup_steps": 1_000})
    steps = np.unique(np.geomspace(1_000, total, 3_000).astype(int))
    assert np.abs(schedule.rate_at(steps) - PEAK * np.sqrt(1_000 / steps)).max() < SAMPLING_ERROR * PEAK
    without_warmup = build_schedule("inverse_sqrt", 30_000, {"peak": PEAK})
    assert without_warmup.rate_at(30_000) == pytest.approx(PEAK / 2)


def test_an_exponential_by_factor_loses_it_every_so_many_steps() -> None:
    schedule = build_schedule("exponential", 1_000, {"peak": 1.0, "factor": 0.5, "every": 100})
    np.testing.assert_allclose(schedule.rate_at([0, 100, 500, 1_000]), [1, 0.5, 2**-5, 2**-10], atol=SAMPLING_ERROR)
    steep = build_schedule("exponential", 100_000, {"peak": 1.0, "factor": 0.9})
    steps = np.arange(300)
    assert np.abs(steep.rate_at(steps) - 0.9**steps).max() < SAMPLING_ERROR


def test_steps_drop_at_their_milestones_within_one_step() -> None:
    schedule = build_schedule("step", 1_000, {"peak": 1.0, "milestones": [300, 600], "factor": 0.1})
    np.testing.assert_allclose(schedule.rate_at([0, 299, 300, 599, 600, 1_000]), [1, 1, 0.1, 0.1, 0.01, 0.01])
    every = build_schedule("step", 1_000, {"peak": 1.0, "every": 400, "factor": 0.5, "warmup_steps": 10})
    np.testing.assert_allclose(every.rate_at([5, 10, 399, 400, 800]), [0.5, 1, 1, 0.5, 0.25])


def test_restarts_return_to_the_peak() -> None:
    schedule = build_schedule("cosine_restarts", 1_000, {"peak": 1.0, "cycles": 4, "warmup_steps": 200})
    np.testing.assert_allclose(schedule.rate_at([200, 300, 400, 600, 800]), [1, 0.5, 1, 1, 1], atol=1e-9)
    assert schedule.rate_at(399) < 1e-3
    growing = build_schedule("cosine_restarts", 700, {"peak": 1.0, "cycle_steps": 100, "cycle_factor": 2.0})
    np.testing.assert_allclose(growing.rate_at([100, 300, 200, 500]), [1, 1, 0.5, 0.5], atol=1e-9)


def test_triangles_go_up_and_down() -> None:
    schedule = build_schedule("cyclic", 1_000, {"peak": 1.0, "cycle_steps": 200, "final_rate": 0.1})
    np.testing.assert_allclose(schedule.rate_at([0, 100, 200, 250, 300]), [0.1, 1, 0.1, 0.55, 1])


def test_the_infinite_schedule_cools_waits_and_anneals() -> None:
    parameters = {"peak": 1.0, "warmup_steps": 100, "cooldown_steps": 200, "constant_rate": 0.4, "decay_steps": 100}
    schedule = build_schedule("infinite", 1_000, parameters)
    np.testing.assert_allclose(
        schedule.rate_at([100, 200, 300, 900, 950, 1_000]), [1, 0.7, 0.4, 0.4, 0.2, 0], atol=1e-9
    )


def test_a_decay_may_end_before_or_after_the_run() -> None:
    early = build_schedule("cosine", 1_000, {"peak": 1.0, "decay_end": 500, "final_rate": 0.1})
    np.testing.assert_allclose(early.rate_at([500, 1_000]), [0.1, 0.1])
    late = build_schedule("linear", 1_000, {"peak": 1.0, "decay_end": 2_000})
    assert late.steps[-1] == 1_000
    assert late.rate_at(1_000) == pytest.approx(0.5)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"explicit", "cyclic", "infinite", "step"}))
@pytest.mark.parametrize(("total", "warmup"), [(1, 0), (1, 5), (2, 1), (10, 10), (10, 50)])
def test_tiny_runs_and_overlong_warm_ups_have_a_schedule(family: str, total: int, warmup: int) -> None:
    schedule = build_schedule(family, total, {"peak": 1.0, "warmup_steps": warmup})
    assert 0 <= schedule.rates.min() <= schedule.peak <= 1.0


@pytest.mark.parametrize(
    ("said", "family"),
    [
        ("cosine_with_warmup", "cosine"),
        ("cos", "cosine"),
        ("cosine_with_min_lr", "cosine"),
        ("trapezoidal", "wsd_linear"),
        ("warmup_stable_decay", "wsd_linear"),
        ("inverse_square_root", "inverse_sqrt"),
        ("SchedulerType.LINEAR", "linear"),
        ("constant_with_warmup", "constant"),
        ("cosine_with_restarts", "cosine_restarts"),
        ("reduce_lr_on_plateau", REACTIVE),
        ("Cosine Annealing", "cosine"),
        ("something else", None),
    ],
)
def test_families_are_known_by_the_names_frameworks_use(said: str, family: str | None) -> None:
    assert family_name(said) == family


def test_no_alias_names_two_families() -> None:
    aliases = [alias for family in FAMILIES.values() for alias in (family.name, *family.aliases)]
    assert len(aliases) == len(set(aliases))


@pytest.mark.parametrize(
    ("family", "parameters", "says"),
    [
        ("nosuch", {}, "Families: constant"),
        ("cosine", {"peak": 1.0, "powr": 2}, "takes no powr"),
        ("cosine", {}, "lacks a parameter"),
        ("step", {"peak": 1.0}, "milestones"),
        ("exponential", {"peak": 1.0, "final_rate": 0.0}, "never reaches zero"),
        ("cosine_restarts", {"peak": 1.0, "cycle_steps": 2}, "at most"),
        ("polynomial", {"peak": 1.0, "power": 0.0}, "above zero"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(family: str, parameters: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        build_schedule(family, 100_000, parameters)
