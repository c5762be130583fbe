"""Where the number of steps comes from, in which order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.curves.curve import Curve
from tests.curves.planning.made_plans import PEAK, cosine, log_rate, plan_of


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


@pytest.mark.parametrize("said", [1_000, 3_000, 4_999])
def test_a_run_past_its_total_that_logs_where_it_will_end_goes_there(said: int) -> None:
    plan = plan_of({"total_steps": said}, rate=log_rate(cosine(), 5_000), cutoff=5_000)
    assert (plan.total_steps, plan.total_source) == (10_000, "inferred")
    assert f"past its {said:,} steps" in plan.total_why
    assert "floor at about step 10,000" in plan.total_why
    np.testing.assert_allclose(plan.schedule.rate_at([7_000, 9_000]), cosine().rate_at([7_000, 9_000]), rtol=0.01)


def test_a_run_past_its_total_takes_the_next_that_is_told() -> None:
    plan = plan_of({"total_steps": 1_000}, {"max_steps": 9_000})
    assert (plan.total_steps, plan.total_source) == (9_000, "declared")
    assert plan.total_why == "The run is past its 1,000 steps. The config sets max_steps to 9,000 steps."
    logged = Curve.from_points([0, 1_000, 2_000], [6_000, 6_000, 6_000])
    told = plan_of({"total_steps": 1_000}, {"max_steps": 1_500}, lengths={"total_steps": logged})
    assert (told.total_steps, told.total_source) == (6_000, "inferred")
    # A total that stands is not spoken of together with one that nobody asked for.
    assert "past" not in plan_of({"total_steps": 9_000}, {"max_steps": 1_000}).total_why


@pytest.mark.parametrize("over", [1, 3, 30])
def test_a_decay_that_ends_where_the_run_stands_tells_no_total_to_a_run_past_it(over: int) -> None:
    rate = log_rate(cosine(5_000, floor=0.1 * PEAK), 5_000 + over, every=1)
    plan = plan_of({"total_steps": 5_000}, rate=rate, cutoff=5_000 + over)
    assert (plan.total_steps, plan.total_source) == (5_000 + over + (5_000 + over + 9) // 10, "assumed")


def test_a_total_corrected_after_the_run_has_passed_it_is_the_total() -> None:
    plan = plan_of({"total_steps": 12_000}, rate=log_rate(cosine(12_000), 5_000), cutoff=5_000)
    assert (plan.total_steps, plan.total_source, plan.total_why) == (
        12_000,
        "declared",
        "The run declares 12,000 steps.",
    )
