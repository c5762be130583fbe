"""Where a plan comes from, in which order, and what it tells the user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from app.curves.curve import Curve
from app.curves.families import build_schedule
from app.curves.plan import Plan, resolve_plan, validate_declared_plan
from app.curves.schedule import Schedule
from app.errors import BadInput

PEAK = 3e-4


def log_rate(schedule: Schedule, cutoff: int, *, every: int = 10, first: int = 0) -> Curve:
    steps = np.arange(first, cutoff + 1, every)
    return Curve.from_points(steps, schedule.rate_at(steps))


def plan_of(
    declared: dict[str, Any] | None = None, config: dict[str, Any] | None = None, *, cutoff: int = 2_000, **rest: Any
) -> Plan:
    rest.setdefault("rate", None)
    return resolve_plan(declared=declared or {}, config=config or {}, cutoff=cutoff, **rest)


def cosine(total: int = 10_000, warmup: int = 500, floor: float = 0.0) -> Schedule:
    return build_schedule("cosine", total, {"peak": PEAK, "warmup_steps": warmup, "final_rate": floor})


# Total.


def test_a_declared_total_beats_the_config() -> None:
    plan = plan_of({"total_steps": 5_000}, {"max_steps": 9_000})
    assert (plan.total_steps, plan.total_source) == (5_000, "declared")
    assert "5,000" in plan.total_why


@pytest.mark.parametrize(
    ("config", "total"),
    [
        ({"max_steps": 9_000}, 9_000),
        ({"max_steps": "9000"}, 9_000),
        ({"max_steps": -1, "train_iters": 700}, 700),
        ({"max_steps": "-1", "max_iters": "600000"}, 600_000),
        ({"max_steps": "None", "num_iterations": 21_400}, 21_400),
        ({"training": {"steps": 10_000}}, 10_000),
        ({"training.steps": "10000"}, 10_000),
        ({"trainer": {"max_steps": 123}}, 123),
        ({"args/max_steps": 77}, 77),
        ({"max_duration": "4800ba"}, 4_800),
        ({"train_samples": 10_240, "global_batch_size": 1_024}, 10),
        ({"steps": 1_500}, 1_500),
    ],
)
def test_the_config_tells_the_total_in_the_keys_of_its_framework(config: dict[str, Any], total: int) -> None:
    plan = plan_of(config=config, cutoff=5)
    assert (plan.total_steps, plan.total_source) == (total, "declared")


@pytest.mark.parametrize(
    "config",
    [
        {"max_steps": True},
        {"max_steps": "soon"},
        {"max_steps": float("nan")},
        {"max_steps": float("inf")},
        {"a": {"max_steps": 5_000}, "b": {"max_steps": 6_000}},
        {"save": {"steps": 9_000}},
        {"max_duration": "10ep"},
        {"max_steps": [9_000]},
    ],
)
def test_a_config_that_does_not_say_gives_no_total(config: dict[str, Any]) -> None:
    assert plan_of(config=config).total_source == "assumed"


def test_epochs_done_tell_the_total() -> None:
    steps = np.arange(10, 2_010, 10)
    epoch = Curve.from_points(steps, np.round(steps / 1_250, 2))
    plan = plan_of(config={"max_steps": -1, "num_train_epochs": "3"}, epoch=epoch)
    assert plan.total_source == "inferred"
    # The epoch is logged with two decimals: 1.60 stands for 1.595 to 1.605, and is the mean of a bin.
    assert plan.total_steps == pytest.approx(3_750, rel=0.005)
    assert "epoch" in plan.total_why


def test_whole_epochs_are_too_coarse_for_a_total() -> None:
    epoch = Curve.from_points(np.arange(100), np.arange(100) // 50)
    assert plan_of(config={"max_epochs": 4}, epoch=epoch, cutoff=99).total_source == "assumed"


def test_a_logged_total_is_the_total() -> None:
    total = Curve.from_points([0, 10, 20], [6_000, 6_000, 6_000])
    plan = plan_of(lengths={"total_steps": total}, cutoff=20)
    assert (plan.total_steps, plan.total_source) == (6_000, "inferred")
    assert "logs that it will have 6,000" in plan.total_why
    # What was declared, or is in the config, comes first.
    assert plan_of(config={"max_steps": 9_000}, lengths={"total_steps": total}).total_steps == 9_000


def test_epochs_done_of_a_logged_number_of_epochs_tell_the_total() -> None:
    steps = np.arange(10, 1_001, 10)
    lengths = {"epoch": Curve.from_points(steps, steps / 1_250), "total_epochs": Curve.from_points(steps, [3.0] * 100)}
    plan = plan_of(lengths=lengths, cutoff=1_000)
    assert plan.total_source == "inferred"
    assert plan.total_steps == pytest.approx(3_750, rel=0.005)


@pytest.mark.parametrize(("role", "whole"), [("progress", 1.0), ("percent_done", 100.0), ("progress", 100.0)])
def test_a_logged_share_done_tells_the_total(role: str, whole: float) -> None:
    steps = np.arange(10, 2_001, 10)
    done = Curve.from_points(steps, np.round(whole * steps / 8_000, 4))
    plan = plan_of(lengths={role: done}, cutoff=2_000)
    assert plan.total_source == "inferred"
    # The bins of a curve are means: half a bin is 0.2 %.
    assert plan.total_steps == pytest.approx(8_000, rel=0.005)
    assert "0.25 of the run is done" in plan.total_why


def test_a_share_done_that_was_resumed_with_steps_from_zero_tells_the_total_by_its_pace() -> None:
    steps = np.arange(0, 1_001, 10)
    plan = plan_of(lengths={"progress": Curve.from_points(steps, 0.5 + steps / 8_000)}, cutoff=1_000)
    assert plan.total_steps == pytest.approx(4_000, rel=0.01)


@pytest.mark.parametrize(
    ("role", "values"),
    [
        ("progress", np.full(40, 0.001)),  # the run has hardly begun
        ("percent_done", np.linspace(0, 0.4, 40)),
        ("progress", np.linspace(-1, 1, 40)),  # no share
        ("progress", np.linspace(0.9, 0.1, 40)),  # falls
        ("progress", np.geomspace(0.01, 1, 40)),  # uneven: not in steps
        ("total_steps", np.linspace(100, 1_000, 40)),  # moves: no total, but steps so far
        ("total_steps", np.zeros(40)),
    ],
)
def test_what_does_not_tell_the_total_is_not_taken_for_it(role: str, values: np.ndarray) -> None:
    logged = Curve.from_points(np.arange(40) * 50, values)
    assert plan_of(lengths={role: logged}).total_source == "assumed"


def test_a_cosine_tells_the_total_by_its_curvature() -> None:
    plan = plan_of(rate=log_rate(cosine(), 5_000), cutoff=5_000)
    assert plan.total_source == "inferred"
    assert plan.total_steps == pytest.approx(10_000, rel=0.02)
    assert plan.schedule_family == "cosine"


def test_without_a_total_the_plan_looks_as_far_ahead_as_the_run_has_come() -> None:
    plan = plan_of(cutoff=2_000)
    assert (plan.total_steps, plan.total_source) == (4_000, "assumed")
    assert "not known" in plan.total_why
    counting_samples = Curve.from_points(2**40 + np.arange(100) * 1_024, np.full(100, PEAK))
    far = plan_of(rate=counting_samples, cutoff=counting_samples.cutoff)
    assert far.total_steps - far.total_steps % 1_024 == pytest.approx(2**40 + 198 * 1_024, abs=2_048)


def test_a_run_past_its_total_is_looked_at_a_little_further() -> None:
    plan = plan_of({"total_steps": 1_000}, rate=log_rate(cosine(1_000, 50), 1_500), cutoff=1_500)
    assert (plan.total_steps, plan.total_source) == (1_650, "assumed")
    assert "past its 1,000 steps" in plan.total_why
    assert plan.schedule.rate_at(1_650) == pytest.approx(0.0, abs=1e-9)


def test_a_run_at_its_total_is_done() -> None:
    plan = plan_of({"total_steps": 2_000}, rate=log_rate(cosine(2_000), 2_000), cutoff=2_000)
    assert (plan.total_steps, plan.total_source) == (2_000, "declared")


@pytest.mark.parametrize("cutoff", [-7, 0, 1])
def test_a_run_of_one_step_has_a_plan(cutoff: int) -> None:
    plan = plan_of(cutoff=cutoff, rate=Curve.from_points([cutoff], [PEAK]))
    assert plan.total_steps >= max(cutoff, 1)
    assert plan.schedule.rate_at(plan.total_steps) == pytest.approx(PEAK)


# Schedule.


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


def test_a_plan_without_a_warm_up_in_its_log_starts_where_the_log_does() -> None:
    plan = plan_of({"total_steps": 9_000}, rate=log_rate(cosine(), 6_000, first=3_000), cutoff=6_000)
    assert plan.schedule.steps[0] == 0
    assert plan.schedule.steps[-1] == 9_000
    np.testing.assert_allclose(plan.schedule.rate_at([3_000, 6_000]), cosine().rate_at([3_000, 6_000]), rtol=0.02)


# Declarations.


def test_a_valid_declaration_comes_back_in_our_words() -> None:
    raw = {"total_steps": "10000", "schedule": {"family": "cosine_with_warmup", "peak": "3e-4", "warmup_steps": 500.0}}
    assert validate_declared_plan(raw) == {
        "total_steps": 10_000,
        "schedule": {"family": "cosine", "peak": 3e-4, "warmup_steps": 500},
    }
    assert validate_declared_plan({}) == {}
    assert validate_declared_plan({"total_steps": None, "schedule": "linear"}) == {"schedule": {"family": "linear"}}
    assert validate_declared_plan({"schedule": {"family": "plateau", "patience": 3}}) == {
        "schedule": {"family": "reactive"}
    }
    step = {"family": "multi_step", "milestones": [600, 300], "factor": 0.1}
    assert validate_declared_plan({"schedule": step})["schedule"]["milestones"] == [300, 600]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ({"total_steps": 0}, "above zero"),
        ({"total_steps": -5}, "above zero"),
        ({"total_steps": 2.5}, "whole"),
        ({"total_steps": "many"}, "whole"),
        ({"total_steps": True}, "whole"),
        ({"total_steps": 2**62}, "whole"),
        ({"total_steps": float("nan")}, "whole"),
        ({"steps": 5}, "total_steps and schedule"),
        ({"schedule": {}}, "with a family"),
        ({"schedule": 5}, "with a family"),
        ({"schedule": {"family": "nosuch"}}, "explicit"),
        ({"schedule": {"family": "cosine", "peak": -1}}, "at least zero"),
        ({"schedule": {"family": "cosine", "peak": 0}}, "above zero"),
        ({"schedule": {"family": "cosine", "warmup_steps": 1.5}}, "in steps"),
        ({"schedule": {"family": "cosine", "final_fraction": 10}}, "between 0 and 1"),
        ({"schedule": {"family": "cosine", "typo": 1}}, "takes no typo"),
        ({"schedule": {"family": "step", "milestones": "300"}}, "list"),
        ({"schedule": {"family": "step"}}, "milestones"),
        ({"schedule": {"family": "explicit", "steps": [0, 1], "rates": [1]}}, "as many"),
        ({"schedule": {"family": "explicit", "steps": [], "rates": []}}, "as many"),
        ({"schedule": {"family": "explicit", "steps": [1, 0], "rates": [1, 1]}}, "increasing"),
        ({"schedule": {"family": "explicit", "steps": [0, 1], "rates": [1, "x"]}}, "finite"),
        ({"schedule": {"family": "explicit", "steps": list(range(5_000)), "rates": [1.0] * 5_000}}, "4096"),
    ],
)
def test_a_declaration_that_cannot_be_used_is_refused_with_what_to_send(raw: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        validate_declared_plan(raw)


def test_a_plan_knows_three_sources() -> None:
    schedule = Schedule.constant(1.0, last=10)
    with pytest.raises(BadInput, match="declared, inferred or assumed"):
        Plan(10, "guessed", "", schedule, "assumed", "hold", "")


# Anything at all.

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
