"""Which schedule a plan goes by, in which order, and what it tells the user."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.families import build_schedule
from app.curves.planning.declared import validate_declared_plan
from app.curves.planning.resolve import resolve_plan
from app.curves.schedule import Schedule
from tests.curves.planning.made_plans import PEAK, cosine, log_rate, plan_of


def test_a_declared_family_is_drawn_to_the_total_with_the_past_as_logged() -> None:
    truth = cosine(floor=0.1 * PEAK)
    said = {"total_steps": 10_000, "schedule": {"family": "cosine", "warmup_steps": 500, "final_fraction": 0.1}}
    plan = plan_of(said, rate=log_rate(truth, 2_000))
    assert (plan.schedule_family, plan.schedule_source) == ("cosine", "declared")
    steps = np.arange(0, 10_001, 7)
    # A percent of the peak: the peak is taken from bins of several steps.
    np.testing.assert_allclose(plan.schedule.rate_at(steps), truth.rate_at(steps), atol=0.01 * PEAK)


def test_without_a_log_the_declared_schedule_is_the_plan() -> None:
    plan = plan_of({"total_steps": 100, "schedule": {"family": "linear", "peak": 2.0}}, cutoff=10)
    np.testing.assert_allclose(plan.schedule.rate_at([0, 50, 100]), [2.0, 1.0, 0.0])
    of_unit_peak = plan_of({"total_steps": 100, "schedule": {"family": "linear"}}, cutoff=10)
    assert of_unit_peak.schedule.peak == 1.0


def test_a_logged_rate_that_is_a_multiple_of_the_declared_one_scales_what_is_to_come() -> None:
    said = {"total_steps": 10_000, "schedule": {"family": "cosine", "peak": 2 * PEAK, "warmup_steps": 500}}
    plan = plan_of(said, rate=log_rate(cosine(), 2_000))
    assert plan.schedule_source == "declared"
    assert "0.5 times" in plan.schedule_why
    np.testing.assert_allclose(plan.schedule.rate_at([6_000]), cosine().rate_at([6_000]), rtol=0.02)


def test_a_log_that_contradicts_what_was_declared_is_believed() -> None:
    said = {"total_steps": 10_000, "schedule": {"family": "constant", "peak": PEAK}}
    plan = plan_of(said, rate=log_rate(cosine(), 4_000), cutoff=4_000)
    assert (plan.schedule_family, plan.schedule_source) == ("cosine", "inferred")
    assert "does not follow it" in plan.schedule_why
    np.testing.assert_allclose(plan.schedule.rate_at([7_000]), cosine().rate_at([7_000]), atol=0.02 * PEAK)


def test_a_rate_changed_by_hand_late_in_the_run_contradicts_its_config() -> None:
    truth = Schedule(np.array([0, 4_500, 4_501, 5_000]), np.array([PEAK, PEAK, 0.1 * PEAK, 0.1 * PEAK]))
    config = {"max_steps": 10_000, "lr_scheduler_type": "constant", "learning_rate": PEAK}
    plan = plan_of(config=config, rate=log_rate(truth, 5_000), cutoff=5_000)
    assert plan.schedule_source != "declared"
    assert plan.schedule.rate_at(10_000) == pytest.approx(0.1 * PEAK)


def test_a_declared_family_of_unknown_length_says_that_its_pace_is_assumed() -> None:
    plan = plan_of({"schedule": {"family": "linear", "peak": PEAK}})
    assert (plan.total_source, plan.schedule_source) == ("assumed", "assumed")
    assert "assumed" in plan.schedule_why


def test_a_reactive_schedule_is_held() -> None:
    plan = plan_of({"total_steps": 9_000, "schedule": {"family": "reactive"}}, rate=log_rate(cosine(), 2_000))
    assert (plan.schedule_family, plan.schedule_source) == ("hold", "assumed")
    assert plan.schedule.rate_at(9_000) == pytest.approx(cosine().rate_at(2_000), rel=0.02)


def test_a_flat_rate_is_held_and_the_plan_says_that_a_decay_cannot_be_seen_coming() -> None:
    flat = build_schedule("constant", 10_000, {"peak": PEAK, "warmup_steps": 300})
    plan = plan_of({"total_steps": 10_000}, rate=log_rate(flat, 4_000), cutoff=4_000)
    assert (plan.schedule_family, plan.schedule_source) == ("hold", "assumed")
    assert "cannot be seen coming" in plan.schedule_why
    np.testing.assert_allclose(plan.schedule.rate_at([4_000, 10_000]), PEAK)


def test_without_any_rate_the_plan_says_so() -> None:
    for rate in (None, Curve.from_points(np.arange(5), np.zeros(5)), Curve.from_points(np.arange(5), -np.ones(5))):
        plan = plan_of(rate=rate)
        assert (plan.schedule_family, plan.schedule_source) == ("hold", "assumed")
        assert "No learning rate" in plan.schedule_why
        assert plan.schedule.peak == 1.0


def test_known_future_rates_are_the_plan() -> None:
    truth = build_schedule("wsd_linear", 10_000, {"peak": PEAK, "decay_steps": 3_000})
    ahead = Schedule.through(np.arange(2_001, 10_001), truth.rate_at(np.arange(2_001, 10_001)))
    plan = plan_of(rate=log_rate(truth, 2_000), planned=ahead)
    assert (plan.total_steps, plan.total_source) == (10_000, "declared")
    assert (plan.schedule_family, plan.schedule_source) == ("wsd_linear", "declared")
    steps = np.arange(0, 10_001, 9)
    np.testing.assert_allclose(plan.schedule.rate_at(steps), truth.rate_at(steps), atol=1e-3 * PEAK)


def test_known_future_rates_of_no_family_are_explicit() -> None:
    steps = np.arange(2_001, 6_001)
    wild = PEAK * (1.2 + np.sin(steps / 90.0) * np.sin(steps / 333.0))
    assert plan_of(planned=Schedule.through(steps, wild)).schedule_family == "explicit"
    assert plan_of(planned=Schedule.constant(PEAK, last=5_000)).schedule_family == "constant"


def test_declared_knots_are_the_schedule() -> None:
    said = validate_declared_plan({"schedule": {"family": "explicit", "steps": [0, 10, 100], "rates": [0, 1, 0.5]}})
    plan = plan_of(said, cutoff=20)
    assert (plan.total_steps, plan.schedule_family) == (100, "explicit")
    np.testing.assert_allclose(plan.schedule.rate_at([5, 10, 55]), [0.5, 1.0, 0.75])


HF = {"max_steps": 10_000, "learning_rate": PEAK}
CONFIGS: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("hf", HF | {"lr_scheduler_type": "cosine", "warmup_ratio": 0.05}, "cosine", {"warmup_steps": 500}),
    ("hf v5", HF | {"lr_scheduler_type": "cosine", "warmup_steps": 0.05}, "cosine", {"warmup_steps": 500}),
    ("hf mlflow", {k: str(v) for k, v in HF.items()} | {"lr_scheduler_type": "SchedulerType.LINEAR"}, "linear", {}),
    (
        "hf floor",
        HF | {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": "{'min_lr_rate': 0.1}"},
        "cosine",
        {"final_rate": 0.1 * PEAK},
    ),
    (
        "hf wsd",
        HF
        | {
            "lr_scheduler_type": "warmup_stable_decay",
            "warmup_steps": 200,
            "lr_scheduler_kwargs": {"num_decay_steps": 3_000, "decay_type": "1-sqrt", "min_lr_ratio": 0.0},
        },
        "wsd_sqrt",
        {"warmup_steps": 200, "decay_steps": 3_000},
    ),
    ("hf restarts", HF | {"lr_scheduler_type": "cosine_with_restarts", "lr_scheduler_kwargs": {"num_cycles": 4}},
     "cosine_restarts", {"cycles": 4}),
    (
        "nanogpt",
        {"max_iters": 10_000, "lr_decay_iters": 8_000, "warmup_iters": 500, "min_lr": 0.1 * PEAK, "learning_rate": PEAK,
         "decay_lr": True},
        "cosine",
        {"warmup_steps": 500, "final_rate": 0.1 * PEAK, "decay_end": 8_000},
    ),
    ("nanogpt flat", {"max_iters": 10_000, "lr_decay_iters": 8_000, "warmup_iters": 500, "learning_rate": PEAK,
     "decay_lr": False}, "constant", {}),
    (
        "megatron cosine",
        {"train_iters": "10000", "lr": str(PEAK), "min_lr": "3e-05", "lr_decay_style": "cosine",
         "lr_warmup_iters": "500", "lr_decay_iters": "None"},
        "cosine",
        {"warmup_steps": 500, "final_rate": 3e-5},
    ),
    (
        "megatron wsd",
        {"train_iters": 10_000, "lr": PEAK, "min_lr": 0.0, "lr_decay_style": "WSD", "lr_warmup_fraction": 0.01,
         "lr_wsd_decay_style": "minus_sqrt", "lr_wsd_decay_iters": 2_000},
        "wsd_sqrt",
        {"warmup_steps": 100, "decay_steps": 2_000},
    ),
    (
        "torchtitan",
        {"training": {"steps": 10_000}, "optimizer": {"lr": PEAK},
         "lr_scheduler": {"warmup_steps": 200, "decay_ratio": 0.8, "decay_type": "linear", "min_lr_factor": 0.1}},
        "wsd_linear",
        {"warmup_steps": 200, "decay_steps": 8_000, "final_rate": 0.1 * PEAK},
    ),
    (
        "torchtitan dotted",
        {"training.steps": "10000", "optimizer.lr": str(PEAK), "lr_scheduler.warmup_steps": "200",
         "lr_scheduler.decay_type": "cosine"},
        "cosine",
        {"warmup_steps": 200},
    ),
    ("by name", {"steps": 10_000, "sched": "cos", "lr": PEAK, "warmup_steps": 100}, "cosine", {"warmup_steps": 100}),
]  # fmt: skip


@pytest.mark.parametrize(("config", "family", "parameters"), [c[1:] for c in CONFIGS], ids=[c[0] for c in CONFIGS])
def test_configs_tell_the_schedule(config: dict[str, Any], family: str, parameters: dict[str, Any]) -> None:
    plan = plan_of(config=config)
    assert (plan.total_steps, plan.schedule_family, plan.schedule_source) == (10_000, family, "declared")
    wanted = build_schedule(family, 10_000, {"peak": PEAK} | parameters)
    steps = np.arange(0, 10_001, 13)
    np.testing.assert_allclose(plan.schedule.rate_at(steps), wanted.rate_at(steps), atol=1e-3 * PEAK)


def test_nanochat_logs_a_multiplier_and_its_warm_down_is_the_plan() -> None:
    config = {"num_iterations": 10_000, "warmdown_ratio": 0.4, "warmup_ratio": 0.0, "final_lr_frac": 0.05}
    truth = build_schedule("wsd_linear", 10_000, {"peak": 1.0, "decay_steps": 4_000, "final_rate": 0.05})
    plan = plan_of(config=config, rate=log_rate(truth, 3_000), cutoff=3_000)
    assert (plan.schedule_family, plan.schedule_source) == ("wsd_linear", "declared")
    np.testing.assert_allclose(plan.schedule.rate_at([5_000, 8_000, 10_000]), [1.0, 0.525, 0.05], atol=1e-3)


def test_greedy_schedules_of_hugging_face_are_held() -> None:
    plan = plan_of(config=HF | {"lr_scheduler_type": "reduce_lr_on_plateau"}, rate=log_rate(cosine(), 2_000))
    assert plan.schedule_family == "hold"


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("wsd_linear", "The run declares a WSD schedule with a linear decay."),
        ("wsd_exponential", "The run declares a WSD schedule with an exponential decay."),
        ("inverse_sqrt", "The run declares an inverse square root schedule."),
        ("cosine", "The run declares a cosine schedule."),
    ],
)
def test_a_declared_schedule_is_named_as_people_name_it(family: str, words: str) -> None:
    declared = validate_declared_plan({"total_steps": 1000, "schedule": {"family": family, "peak": 1e-3}})
    assert resolve_plan(declared=declared, config={}, rate=None, cutoff=100).schedule_why == words


@pytest.mark.parametrize("first", [2, 50, 100])
def test_a_warm_up_of_another_shape_than_stated_does_not_fall_where_the_log_begins(first: int) -> None:
    steps = np.arange(first, 2_001, 10)
    rising = PEAK * (1 - np.cos(np.pi * np.minimum(steps / 300, 1))) / 2  # stated is a straight line
    rate = Curve.from_points(steps, np.where(steps < 300, rising, cosine(warmup=300).rate_at(steps)))
    said = {"total_steps": 10_000, "schedule": {"family": "cosine", "warmup_steps": 300}}
    schedule = plan_of(said, rate=rate).schedule
    assert (np.diff(schedule.rate_at(np.arange(0, 301))) >= 0).all()
    assert schedule.warmup_end == pytest.approx(300, abs=25)


PAST: list[tuple[str, Schedule, str, int]] = [
    # The schedule that is logged up to step 5,500 of a run that declares 5,000 steps, the family found, the total.
    ("line", build_schedule("linear", 10_000, {"peak": PEAK}), "linear", 10_000),
    ("cosine", cosine(floor=0.1 * PEAK), "cosine", 10_000),
    ("wsd", build_schedule("wsd_linear", 10_000, {"peak": PEAK, "decay_steps": 5_500}), "wsd_linear", 10_000),
    ("constant", build_schedule("constant", 10_000, {"peak": PEAK}), "hold", 6_050),
    ("step", build_schedule("step", 10_000, {"peak": PEAK, "every": 2_800, "factor": 0.5}), "step", 6_050),
    ("root", build_schedule("inverse_sqrt", 10_000, {"peak": PEAK, "warmup_steps": 300}), "inverse_sqrt", 6_050),
]


@pytest.mark.parametrize(("truth", "family", "total"), [case[1:] for case in PAST], ids=[case[0] for case in PAST])
def test_the_schedule_of_a_run_past_its_total_goes_on(truth: Schedule, family: str, total: int) -> None:
    for said in (5_000, 5_499):
        plan = plan_of({"total_steps": said}, rate=log_rate(truth, 5_500), cutoff=5_500)
        assert (plan.schedule_family, plan.total_steps) == (family, total)
        ahead = np.arange(5_550, 5_600 if family == "step" else total + 1, 10)
        np.testing.assert_allclose(plan.schedule.rate_at(ahead), truth.rate_at(ahead), atol=0.01 * PEAK)


def test_a_declared_schedule_that_is_over_says_so_and_keeps_its_last_rate() -> None:
    said = {"total_steps": 5_000, "schedule": {"family": "cosine", "warmup_steps": 500, "final_fraction": 0.1}}
    plan = plan_of(said, rate=log_rate(cosine(5_000, floor=0.1 * PEAK), 5_500), cutoff=5_500)
    assert (plan.schedule_family, plan.schedule_source, plan.total_source) == ("cosine", "assumed", "assumed")
    assert plan.schedule_why.endswith("It ended at step 5,000; its last rate is taken to stay.")
    np.testing.assert_allclose(plan.schedule.rate_at([5_500, 6_050]), 0.1 * PEAK, rtol=0.01)


def test_a_declared_schedule_of_a_run_past_its_total_goes_on_to_where_the_log_ends() -> None:
    said = {"total_steps": 3_000, "schedule": {"family": "cosine", "warmup_steps": 500}}
    plan = plan_of(said, rate=log_rate(cosine(), 5_000), cutoff=5_000)
    assert (plan.schedule_source, plan.total_steps) == ("declared", 10_000)
    np.testing.assert_allclose(plan.schedule.rate_at([8_000]), cosine().rate_at([8_000]), rtol=0.01)


def test_the_pace_of_a_declared_schedule_is_assumed_past_its_end_where_no_rate_is_logged() -> None:
    plan = plan_of({"total_steps": 1_000, "schedule": {"family": "cosine", "peak": PEAK}})
    assert (plan.schedule_source, plan.total_source) == ("assumed", "assumed")
    assert "past its end, so its pace is assumed" in plan.schedule_why


def test_a_wrong_peak_of_a_whole_run_is_told_as_a_factor_and_never_as_followed() -> None:
    said = {"total_steps": 10_000, "schedule": {"family": "cosine", "peak": 1.3 * PEAK, "warmup_steps": 500}}
    why = plan_of(said, rate=log_rate(cosine(), 4_000), cutoff=4_000).schedule_why
    assert "0.769 times that, throughout" in why
    assert "follows it" not in why
