"""Another future for the same curve, on a real run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.measure import Measure
from app.curves.plan import Plan
from app.curves.planning.resolve import resolve_plan
from app.curves.schedule import Schedule
from app.errors import BadInput
from app.forecasting.asked_plan import COOLDOWN_SHAPES, Cooldown, Question, changed_plan
from app.forecasting.forecast import forecast_curve
from app.forecasting.what_if import alike, answer, best_cooldown, beyond_the_measured, in_a_tie
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


def rates(changed: Plan, *steps: int) -> np.ndarray:
    return changed.schedule.rate_at(steps)


@pytest.fixture(scope="module")
def falling() -> Plan:
    """A cosine, half of it gone at step 5,000."""
    return resolve_plan(
        declared={"total_steps": 10_000, "schedule": {"family": "cosine", "peak": 1e-3}},
        config={},
        rate=None,
        cutoff=5000,
    )


def test_a_cosine_from_here_is_the_cool_down_from_here_and_begins_at_the_rate_that_there_is(
    half: tuple[Curve, Plan],
) -> None:
    curve, plan = half
    steps = np.arange(0, TOTAL + 1, 10)
    for family, shape in (("cosine", "cosine"), ("linear", "linear"), ("wsd_sqrt", "sqrt")):
        left = TOTAL - curve.cutoff
        asked = {"family": family} | ({"decay_steps": left} if family.startswith("wsd") else {})
        named = changed_plan(plan, curve.cutoff, Question(schedule=asked))
        cooled = changed_plan(plan, curve.cutoff, Question(cooldown=Cooldown(left, shape=shape)))
        np.testing.assert_allclose(named.schedule.rate_at(steps), cooled.schedule.rate_at(steps), rtol=1e-9)
        assert f"from step {curve.cutoff:,} on, to step {TOTAL:,}" in named.schedule_why


@pytest.mark.parametrize(
    "asked",
    [
        {"family": "cosine"},
        {"family": "linear"},
        {"family": "rex"},
        {"family": "constant"},
        {"family": "inverse_sqrt"},
        {"family": "exponential"},
        {"family": "wsd_exponential", "decay_steps": 800},
        {"family": "polynomial", "power": 2},
        {"family": "step", "milestones": [2000, 7000], "factor": 0.5},
        {"family": "cosine_restarts", "cycles": 2},
        {"family": "cosine", "peak": 6e-4, "warmup_steps": 300},
    ],
    ids=str,
)
def test_every_family_goes_on_from_the_rate_that_there_is(falling: Plan, asked: dict[str, object]) -> None:
    changed = changed_plan(falling, 5000, Question(schedule=asked, total_steps=12_000))
    np.testing.assert_allclose(rates(changed, 5001, 5002), rates(falling, 5000).repeat(2), rtol=0.01)
    assert changed.schedule.steps[-1] == 12_000


def test_steps_that_a_schedule_names_are_those_of_the_run(falling: Plan) -> None:
    dropped = changed_plan(falling, 5000, Question(schedule={"family": "step", "milestones": [2000, 7000]}))
    np.testing.assert_allclose(rates(dropped, 6999, 7000), [5e-4, 5e-5])
    early = changed_plan(falling, 5000, Question(schedule={"family": "linear", "decay_end": 7000}))
    np.testing.assert_allclose(rates(early, 6000, 7000, 10_000), [2.5e-4, 0, 0], atol=1e-9)
    warmed = changed_plan(falling, 5000, Question(schedule={"family": "linear", "peak": 6e-4, "warmup_steps": 1000}))
    np.testing.assert_allclose(rates(warmed, 5500, 6000, 8000, 10_000), [5.5e-4, 6e-4, 3e-4, 0], atol=1e-9)
    root = changed_plan(falling, 5000, Question(schedule={"family": "inverse_sqrt"}, total_steps=20_000))
    assert rates(root, 20_000)[0] == pytest.approx(5e-4 * (5000 / 20_000) ** 0.5, rel=1e-3)


def test_until_it_begins_the_rate_goes_as_planned_or_is_kept(falling: Plan) -> None:
    for question in (
        Question(schedule={"family": "linear"}, start=8000),
        Question(cooldown=Cooldown(2000, start=8000)),
    ):
        planned = changed_plan(falling, 5000, question)
        np.testing.assert_allclose(rates(planned, 7000, 8000), rates(falling, 7000, 8000))
        held = changed_plan(falling, 5000, replace(question, hold=True))
        np.testing.assert_allclose(rates(held, 7000, 8000, 9000, 10_000), [5e-4, 5e-4, 2.5e-4, 0], atol=1e-9)
        assert "the rate kept until then" in held.schedule_why


def test_a_schedule_that_does_not_go_on_from_the_rate_that_there_is_is_told_so(half: tuple[Curve, Plan]) -> None:
    curve, plan = half
    assert answer(curve, plan, Question(schedule={"family": "cosine"})).caveat is None
    peak = plan.schedule.peak
    lower = answer(curve, plan, Question(schedule={"family": "constant", "peak": peak / 4}))
    assert lower.caveat is not None
    assert f"jumps from {peak:.3g} to {peak / 4:.3g} after step {curve.cutoff:,}" in lower.caveat
    knots = {"family": "explicit", "steps": [curve.cutoff, TOTAL], "rates": [peak / 2, 0]}
    assert "jumps" in str(answer(curve, plan, Question(schedule=knots)).caveat)


def test_from_a_rate_of_zero_no_schedule_goes_on_unless_it_names_a_peak(falling: Plan) -> None:
    with pytest.raises(BadInput, match="name a peak"):
        changed_plan(falling, 10_000, Question(schedule={"family": "cosine"}, total_steps=20_000))
    again = changed_plan(falling, 10_000, Question(schedule={"family": "linear", "peak": 4e-4}, total_steps=20_000))
    np.testing.assert_allclose(rates(again, 15_000), [2e-4], rtol=1e-3)


def test_the_best_of_all_shapes_keeps_to_the_budget_and_beats_the_best_of_one(half: tuple[Curve, Plan]) -> None:
    curve, plan = half
    tried = best_cooldown(curve, plan, tuple(COOLDOWN_SHAPES), total_steps=10_000, hold=True)
    assert {one.forecast.horizon for one in tried} == {10_000}
    asked = [one.question.cooldown for one in tried]
    assert {one.shape for one in asked if one} == set(COOLDOWN_SHAPES)
    assert 10_000 - curve.cutoff in {one.steps for one in asked if one}
    ends = [one.forecast.final_quantiles[0.50] for one in tried]
    assert ends == sorted(ends)
    of_one = answer(curve, plan, Question(cooldown=Cooldown(10_000 - curve.cutoff)))
    assert ends[0] <= of_one.forecast.final_quantiles[0.50] * (1 + 1e-9)


def test_where_a_search_cannot_tell_the_best_it_says_so(half: tuple[Curve, Plan]) -> None:
    curve, plan = half
    first, second = (answer(curve, plan, Question(total_steps=total)) for total in (TOTAL, 4 * TOTAL))
    assert alike([first, second]) == 1
    assert in_a_tie([first, second]) is None
    assert str(in_a_tie([first, first, second])).startswith("2 of the 3 that were tried end within 0.05 %")


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
        Question(schedule={"family": "cosine"}, start=5),
        Question(schedule={"family": "cosine"}, start=TOTAL),
        Question(schedule={"family": "cosine", "decay_end": 100}),
        Question(start=9000),
        Question(cooldown=Cooldown(500), start=9000),
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
