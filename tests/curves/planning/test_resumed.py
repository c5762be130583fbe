"""Plans of jobs that were started again, with the schedule that they had or with another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.families import build_schedule
from app.curves.plan import Plan
from app.curves.planning.declared import validate_declared_plan
from app.curves.schedule import Schedule
from tests.curves.planning.made_plans import PEAK, plan_of

RESTART = 2_001
FIRST = build_schedule("cosine", 4_000, {"peak": 2 * PEAK})
"""Of the first start; half of it done at the restart, at which it stands at PEAK."""
FLAT = build_schedule("constant", 4_000, {"peak": 2 * PEAK})
SECOND = {"family": "wsd_linear", "peak": PEAK, "decay_steps": 1_000}
KNOTS = {"family": "explicit", "steps": [2_000, 5_000, 6_000], "rates": [PEAK, PEAK, 0]}


def resumed(first: Schedule, second: Schedule, cutoff: int) -> Curve:
    steps = np.arange(0, cutoff + 1, 10)
    return Curve.from_points(steps, np.where(steps < RESTART, first.rate_at(steps), second.rate_at(steps)))


def resumed_plan(said: dict[str, Any], rate: Curve, *, total: int = 6_000, restarted_at: int | None = RESTART) -> Plan:
    declared = validate_declared_plan({"total_steps": total, "schedule": said})
    return plan_of(declared, rate=rate, cutoff=rate.cutoff, restarted_at=restarted_at)


@pytest.mark.parametrize("first", [FIRST, FLAT], ids=["cosine", "constant"])
@pytest.mark.parametrize("said", [SECOND, KNOTS], ids=["family", "knots"])
@pytest.mark.parametrize("cutoff", [2_010, 2_050, 2_500, 4_500])
def test_a_schedule_declared_at_a_restart_is_the_plan_though_the_past_was_another(
    first: Schedule, said: dict[str, Any], cutoff: int
) -> None:
    truth = build_schedule("wsd_linear", 6_000, {"peak": PEAK, "decay_steps": 1_000})
    plan = resumed_plan(said, resumed(first, truth, cutoff))
    assert (plan.schedule_source, plan.schedule_family) == ("declared", said["family"])
    ahead = np.arange(cutoff + 10, 6_001, 10)
    np.testing.assert_allclose(plan.schedule.rate_at(ahead), truth.rate_at(ahead), atol=1e-3 * PEAK)
    np.testing.assert_allclose(plan.schedule.rate_at([500, 1_500]), first.rate_at([500, 1_500]), rtol=0.02)


def test_the_plan_says_since_when_the_log_follows_it() -> None:
    truth = build_schedule("wsd_linear", 6_000, {"peak": PEAK, "decay_steps": 1_000})
    rate = resumed(FIRST, truth, 2_500)
    assert "follows it since the job's restart at step 2,001" in resumed_plan(SECOND, rate).schedule_why
    assert "since step 2,000, where the stated rates begin" in resumed_plan(KNOTS, rate).schedule_why


@pytest.mark.parametrize("first", [FIRST, FLAT], ids=["cosine", "constant"])
def test_a_new_schedule_is_followed_without_word_of_a_restart(first: Schedule) -> None:
    truth = build_schedule("wsd_linear", 6_000, {"peak": PEAK, "decay_steps": 1_000})
    plan = resumed_plan(SECOND, resumed(first, truth, 2_500), restarted_at=None)
    assert plan.schedule_source == "declared"
    assert plan.schedule.rate_at(5_500) == pytest.approx(0.5 * PEAK, rel=0.01)


@pytest.mark.parametrize("first", [FIRST, FLAT], ids=["cosine", "constant"])
@pytest.mark.parametrize("cutoff", [2_500, 4_500])
def test_a_restart_at_another_rate_than_declared_does_not_follow_it(first: Schedule, cutoff: int) -> None:
    truth = build_schedule("wsd_linear", 6_000, {"peak": PEAK, "decay_steps": 1_000})
    plan = resumed_plan(SECOND | {"peak": 1.6 * PEAK}, resumed(first, truth, cutoff))
    assert "does not follow it" in plan.schedule_why
    assert (plan.schedule_source, plan.schedule_family) == ("assumed", "hold")


def test_a_restart_that_declares_no_peak_takes_its_own() -> None:
    truth = build_schedule("wsd_linear", 6_000, {"peak": PEAK, "decay_steps": 1_000})
    plan = resumed_plan({"family": "wsd_linear", "decay_steps": 1_000}, resumed(FIRST, truth, 2_500))
    assert plan.schedule_source == "declared"
    assert plan.schedule.rate_at(4_900) == pytest.approx(PEAK, rel=0.01)


def test_a_cosine_stretched_at_a_restart_is_the_longer_one() -> None:
    longer = build_schedule("cosine", 6_000, {"peak": 2 * PEAK})
    plan = resumed_plan({"family": "cosine", "peak": 2 * PEAK}, resumed(FIRST, longer, 2_500))
    assert plan.schedule_source == "declared"
    assert plan.schedule.rate_at(4_000) == pytest.approx(longer.rate_at(4_000), rel=0.01)


@pytest.mark.parametrize("cutoff", [2_050, 2_200, 3_000, 5_000])
def test_a_schedule_may_count_its_steps_from_the_restart_warm_up_and_all(cutoff: int) -> None:
    anew = build_schedule("cosine", 6_000 - RESTART, {"peak": PEAK, "warmup_steps": 200})
    truth = Schedule(anew.steps + RESTART, anew.rates)
    said = {"family": "cosine", "peak": PEAK, "warmup_steps": 200}
    plan = resumed_plan(said, resumed(FIRST, truth, cutoff))
    assert plan.schedule_source == "declared"
    assert "counted from there" in plan.schedule_why
    ahead = np.arange(cutoff + 10, 6_001, 10)
    np.testing.assert_allclose(plan.schedule.rate_at(ahead), truth.rate_at(ahead), atol=0.01 * PEAK)


@pytest.mark.parametrize("warmup", [0, 100])
@pytest.mark.parametrize("cutoff", [2_010, 2_100, 2_400, 3_000])
def test_a_restart_with_the_same_schedule_goes_on_with_it_warmed_up_again_or_not(warmup: int, cutoff: int) -> None:
    steps = np.arange(RESTART, 4_001, dtype=np.float64)
    again = Schedule(steps, FIRST.rate_at(steps) * np.clip((steps - RESTART) / max(warmup, 1), 0, 1))
    plan = resumed_plan({"family": "cosine", "peak": 2 * PEAK}, resumed(FIRST, again, cutoff), total=4_000)
    assert plan.schedule_source == "declared"
    assert plan.schedule.rate_at(3_500) == pytest.approx(FIRST.rate_at(3_500), rel=0.01)


@pytest.mark.parametrize("cutoff", [2_200, 2_400, 3_000, 3_600])
def test_a_line_that_crosses_the_declared_cosine_after_a_restart_does_not_follow_it(cutoff: int) -> None:
    line = build_schedule("linear", 4_000, {"peak": 2 * PEAK})
    plan = resumed_plan({"family": "cosine", "peak": 2 * PEAK}, resumed(line, line, cutoff), total=4_000)
    assert (plan.schedule_source, plan.schedule_family) == ("inferred", "linear")
    assert "does not follow it" in plan.schedule_why


def test_a_decay_that_a_restart_cut_off_has_not_come_to_its_floor() -> None:
    flat = build_schedule("constant", 6_000, {"peak": PEAK})
    rate = resumed(FIRST, flat, 2_500)
    plan = plan_of({"total_steps": 6_000}, rate=rate, cutoff=2_500, restarted_at=RESTART)
    assert (plan.schedule_source, plan.schedule_family) == ("assumed", "hold")
    assert "constant since the job's restart at step 2,001" in plan.schedule_why


@pytest.mark.parametrize("first", [FIRST, FLAT], ids=["cosine", "constant"])
def test_the_decay_of_a_restarted_job_is_read_off_its_own_log(first: Schedule) -> None:
    truth = build_schedule("wsd_linear", 6_000, {"peak": PEAK, "decay_steps": 1_000})
    rate = resumed(first, truth, 5_500)
    plan = plan_of({"total_steps": 6_000}, rate=rate, cutoff=5_500, restarted_at=RESTART)
    assert (plan.schedule_source, plan.schedule_family) == ("inferred", "wsd_linear")
    assert plan.schedule.rate_at(5_800) == pytest.approx(truth.rate_at(5_800), rel=0.02)


def test_a_restart_that_has_logged_nothing_yet_changes_nothing() -> None:
    rate = resumed(FIRST, FIRST, 2_000)
    plan = resumed_plan({"family": "cosine", "peak": 2 * PEAK}, rate, total=4_000)
    assert (plan.schedule_source, plan.schedule_family) == ("declared", "cosine")


def test_declared_rates_that_all_lie_ahead_are_the_plan_and_the_last_rate_stays_until_then() -> None:
    rate = resumed(FIRST, FIRST, 1_500)
    plan = resumed_plan(KNOTS, rate, restarted_at=None)
    assert (plan.schedule_source, plan.schedule_family) == ("declared", "explicit")
    assert "begin at step 2,000" in plan.schedule_why
    now = float(FIRST.rate_at(1_500))
    np.testing.assert_allclose(plan.schedule.rate_at([1_800, 4_000, 5_500]), [now, PEAK, 0.5 * PEAK], rtol=0.02)


@pytest.mark.parametrize("cutoff", [4_050, 4_600])
def test_a_job_restarted_after_its_schedule_was_over_does_not_keep_its_last_rate(cutoff: int) -> None:
    steps = np.arange(0, cutoff + 1, 10)
    rate = Curve.from_points(steps, np.where(steps < 4_001, FIRST.rate_at(steps), PEAK))
    declared = validate_declared_plan({"total_steps": 4_000, "schedule": {"family": "cosine", "peak": 2 * PEAK}})
    plan = plan_of(declared, rate=rate, cutoff=cutoff, restarted_at=4_001)
    assert (plan.schedule_source, plan.total_source) == ("assumed", "assumed")
    assert "does not follow it" in plan.schedule_why
    assert plan.schedule.rate_at(plan.total_steps) == pytest.approx(PEAK, rel=0.01)
