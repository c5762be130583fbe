"""Another future for the same curve, on a real run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.measure import Measure
from app.curves.plan import Plan
from app.curves.planning.resolve import resolve_plan
from app.curves.schedule import Schedule
from app.errors import BadInput
from app.forecasting.forecast import forecast_curve
from app.forecasting.what_if import Cooldown, Question, answer, best_cooldown, beyond_the_measured, changed_plan
from app.importers.curve_file import read_curve_file

RUN = Path(__file__).parents[2] / "app" / "demo" / "data" / "lm_wsd.csv"
TOTAL = 15_000


@pytest.fixture(scope="module")
def half() -> tuple[Curve, Plan]:
    """The first half of a real WSD run: its rate is still flat."""
    read = read_curve_file(RUN, "val_loss")
    assert read.rate is not None
    seen, logged = read.points.steps <= TOTAL // 2, read.rate.steps <= TOTAL // 2
    curve = Curve.from_points(read.points.steps[seen], read.points.values[seen])
    rate = Curve.from_points(read.rate.steps[logged], read.rate.values[logged])
    declared = {"total_steps": TOTAL, "schedule": {"family": "wsd_linear", "decay_steps": 6000}}
    return curve, resolve_plan(declared=declared, config={}, rate=rate, cutoff=curve.cutoff)


def test_cooling_down_now_ends_lower_than_holding_the_rate_as_long(half: tuple[Curve, Plan]) -> None:
    curve, plan = half
    total = curve.cutoff + 2000
    cooled = answer(curve, plan, Question(cooldown=Cooldown(2000)))
    held = answer(curve, plan, Question(total_steps=total, schedule={"family": "constant"}))
    assert cooled.plan.total_steps == held.plan.total_steps == total
    assert cooled.forecast.final_mean < held.forecast.final_mean


def test_a_longer_budget_ends_lower(half: tuple[Curve, Plan]) -> None:
    curve, plan = half
    longer = answer(curve, plan, Question(total_steps=round(1.5 * TOTAL)))
    assert longer.forecast.horizon == 22_500
    assert longer.forecast.final_mean < forecast_curve(curve, plan).final_mean


def test_the_past_stays_as_it_was_logged(half: tuple[Curve, Plan]) -> None:
    curve, plan = half
    steps = np.arange(0, curve.cutoff)
    for question in (
        Question(cooldown=Cooldown(500, shape="sqrt")),
        Question(schedule={"family": "cosine"}),
        Question(total_steps=40_000),
    ):
        changed = changed_plan(plan, curve.cutoff, question)
        np.testing.assert_array_equal(changed.schedule.rate_at(steps), plan.schedule.rate_at(steps))


def test_a_cooldown_ends_at_the_rate_it_was_asked_for(half: tuple[Curve, Plan]) -> None:
    curve, plan = half
    asked = Cooldown(1000, start=curve.cutoff + 500, shape="cosine", final_fraction=0.1)
    changed = changed_plan(plan, curve.cutoff, Question(cooldown=asked, total_steps=curve.cutoff + 4000))
    start = plan.schedule.rate_at([curve.cutoff + 500])[0]
    ends = changed.schedule.rate_at([curve.cutoff + 1500, curve.cutoff + 4000])
    np.testing.assert_allclose(ends, 0.1 * start, rtol=1e-6)
    assert changed.total_steps == curve.cutoff + 4000


def test_the_best_cooldown_is_no_worse_than_any_other(half: tuple[Curve, Plan]) -> None:
    curve, plan = half
    answers = best_cooldown(curve, plan)
    finals = [one.forecast.final_quantiles[0.50] for one in answers]
    assert finals == sorted(finals)
    assert {one.forecast.horizon for one in answers} == {plan.total_steps}


@pytest.mark.parametrize(
    "question",
    [
        Question(),
        Question(total_steps=10),
        Question(cooldown=Cooldown(100, start=5)),
        Question(cooldown=Cooldown(0)),
        Question(cooldown=Cooldown(100, shape="zigzag")),
        Question(cooldown=Cooldown(100, final_fraction=2.0)),
        Question(cooldown=Cooldown(5000), total_steps=8000),
        Question(cooldown=Cooldown(100), schedule={"family": "cosine"}),
        Question(schedule={"family": "wobbly"}),
        Question(schedule={"family": "reactive"}),
        Question(schedule={"family": "cosine", "colour": 1}),
        Question(schedule={"family": "explicit", "steps": [0, 10], "rates": [1, 1]}),
    ],
    ids=repr,
)
def test_questions_that_make_no_sense_are_refused_with_a_reason(half: tuple[Curve, Plan], question: Question) -> None:
    curve, plan = half
    with pytest.raises(BadInput, match=r"\w{3,} \w+"):
        answer(curve, plan, question)


def test_of_an_accuracy_the_best_cooldown_ends_highest() -> None:
    """A real next-character model, half-way: its rate is still flat."""
    read = read_curve_file(RUN.parents[3] / "tests" / "data" / "accuracies" / "text_wsd.csv", "val_acc")
    seen = read.points.steps <= 500
    curve = Curve.from_points(read.points.steps[seen], read.points.values[seen])
    declared = {"total_steps": 1000, "schedule": {"family": "constant", "peak": 2e-3}}
    plan = resolve_plan(declared=declared, config={}, rate=None, cutoff=curve.cutoff)
    tried = best_cooldown(curve, plan, measure=Measure(1.0))
    ends = [one.forecast.final_quantiles[0.50] for one in tried]
    assert ends == sorted(ends, reverse=True)
    assert ends[0] > forecast_curve(curve, plan, measure=Measure(1.0)).final_quantiles[0.50]
    assert all(one.forecast.quantiles.max() <= 1 for one in tried)


def test_an_end_further_away_than_anything_measured_is_told_so_and_one_far_beyond_is_refused(
    half: tuple[Curve, Plan],
) -> None:
    curve, plan = half
    assert answer(curve, plan, Question(total_steps=2 * TOTAL)).caveat is None
    beyond = answer(curve, plan, Question(total_steps=6 * curve.cutoff))
    assert beyond.caveat is not None
    assert "6 times as far as the run has come" in beyond.caveat
    with pytest.raises(BadInput, match=f"Ask for an end at step {50 * curve.cutoff:,} or before"):
        answer(curve, plan, Question(cooldown=Cooldown(10**9)))


def test_what_is_planned_itself_is_never_too_far_away() -> None:
    plan = Plan(10**6, "declared", "", Schedule.constant(1e-3, first=0, last=1e6), "declared", "constant", "")
    assert beyond_the_measured(plan, 10**6, 1000) is None
    assert beyond_the_measured(plan, 1_200_000, 1000) is not None


def test_a_rate_above_the_runs_peak_is_told_so_and_one_far_above_is_refused(half: tuple[Curve, Plan]) -> None:
    curve, plan = half
    peak = plan.schedule.peak
    assert answer(curve, plan, Question(schedule={"family": "constant"})).caveat is None
    higher = answer(curve, plan, Question(schedule={"family": "constant", "peak": 3 * peak}))
    assert higher.caveat is not None
    assert "3 times the run's peak" in higher.caveat
    with pytest.raises(BadInput, match="nobody can say whether it would diverge"):
        answer(curve, plan, Question(schedule={"family": "constant", "peak": 1e9}))


def test_a_schedule_is_asked_for_in_the_words_in_which_one_is_declared(half: tuple[Curve, Plan]) -> None:
    curve, plan = half
    tenth = changed_plan(plan, curve.cutoff, Question(schedule={"family": "cosine", "final_fraction": 0.1}))
    assert tenth.schedule.rate_at([TOTAL])[0] == pytest.approx(0.1 * plan.schedule.peak)
    with pytest.raises(BadInput, match="decay_steps is in steps"):
        changed_plan(plan, curve.cutoff, Question(schedule={"family": "wsd_linear", "decay_steps": -4}))
