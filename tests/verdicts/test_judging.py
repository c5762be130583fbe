"""Verdicts on curves whose end is known by construction."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.errors import BadInput
from app.forecasting.forecast import LEVELS
from app.forecasting.scores import QuantileForecast
from app.verdicts.guards import guards
from app.verdicts.history import History
from app.verdicts.judging import amount, judge, percent
from app.verdicts.outlook import Outlook
from app.verdicts.policies import Predictive, policy_named
from app.verdicts.rivals import Rival, RivalKind
from app.verdicts.situation import Situation
from app.verdicts.verdict import Decision

Z = np.array([-1.645, -0.674, 0.0, 0.674, 1.645])


def make_situation(final: float = 3.0, deviation: float = 0.02, rates: float | None = 1.0, **changes: Any) -> Situation:
    """A run of 1,000 steps at step 400, its level 3.2 and falling to `final`."""
    steps = np.arange(410, 1001, 10)
    medians = np.linspace(3.2, final, len(steps))
    outlook = Outlook(
        metric="loss",
        lower_is_better=True,
        cutoff=400,
        horizon=1000,
        final=QuantileForecast(np.array(LEVELS), final + deviation * Z),
        path_steps=steps,
        quantiles=medians + deviation * Z[:, None],
        rates=None if rates is None else np.full(len(steps), rates),
    )
    history = History(np.arange(10.0, 401, 10), np.linspace(6.0, 3.2, 40))
    return replace(Situation(outlook, history, total_steps=1000), **changes)


def finished(value: float) -> Rival:
    return Rival("r12", "run-12", RivalKind.FINISHED, value)


def test_a_run_that_will_end_above_a_finished_sibling_is_stopped() -> None:
    verdict = judge(make_situation(rivals=(finished(2.8),)))
    assert verdict.decision is Decision.STOP
    assert (verdict.reference, verdict.saved_steps) == ("run-12", 600)
    assert verdict.saved == pytest.approx(0.6)
    assert verdict.sentence.startswith("More than 99 % sure that this ends above run-12 (2.8); stopping now saves 60 %")
    assert verdict.next_step is None
    assert verdict.regret == pytest.approx(0.0, abs=1e-3)  # what a surprise could bring


def test_a_run_that_will_beat_everything_goes_on() -> None:
    verdict = judge(make_situation(rivals=(finished(3.1),)))
    assert verdict.decision is Decision.CONTINUE
    assert verdict.regret == pytest.approx(0.1, rel=0.05)
    assert verdict.expected_improvement == pytest.approx(verdict.evidence["best_so_far"] - 3.0, rel=0.02)


def test_what_is_not_sure_is_undecided_and_says_when_to_ask_again() -> None:
    verdict = judge(make_situation(rivals=(finished(2.99),)))
    assert verdict.decision is Decision.UNDECIDED
    assert verdict.probability is not None
    assert 0.5 < verdict.probability < 0.95
    assert verdict.next_step == 450


def test_when_to_look_again_stays_where_it_is_until_the_run_has_come_there() -> None:
    situation = make_situation(rivals=(finished(2.99),))
    asked = [judge(replace(situation, now=step)).next_step for step in (400, 410, 430, 449, 450, 960, 999)]
    assert asked == [450, 450, 450, 450, 500, 1000, 1000]
    falling = np.where(np.arange(60) < 2, 1.0, 0.5)
    assert judge(with_rates(situation, falling)).next_step == 430
    assert judge(make_situation(rivals=(finished(2.99),), total_steps=7, now=6)).next_step == 7


def test_without_a_forecast_nothing_is_decided_and_the_verdict_says_so() -> None:
    verdict = judge(replace(make_situation(rivals=(finished(2.0),)), outlook=None))
    assert verdict.decision is Decision.UNDECIDED
    assert [guard.name for guard in verdict.guards] == ["no_forecast"]
    assert "no forecast" in verdict.sentence


@pytest.mark.parametrize(
    ("changes", "guard"),
    [
        ({"states": {"grokking": "memorised"}}, "memorised"),
        ({"states": {"stability_gap": "in a gap"}}, "stability_gap"),
        ({"total_steps": 100_000}, "too_early"),
    ],
)
def test_a_guard_forbids_a_stop_and_is_named(changes: dict[str, Any], guard: str) -> None:
    verdict = judge(make_situation(rivals=(finished(2.0),), **changes))
    assert verdict.decision is Decision.UNDECIDED
    assert guard in [one.name for one in verdict.guards]
    assert all(one.sentence in verdict.sentence for one in verdict.guards)


@pytest.mark.parametrize(
    ("changes", "guard"),
    [({"schedule_known": False}, "schedule_assumed"), ({"is_atypical": True}, "unlike")],
)
def test_a_doubtful_forecast_forbids_a_stop(changes: dict[str, Any], guard: str) -> None:
    situation = make_situation(rivals=(finished(2.0),))
    assert situation.outlook is not None
    verdict = judge(replace(situation, outlook=replace(situation.outlook, **changes)))
    assert verdict.decision is Decision.UNDECIDED
    assert [one.name for one in verdict.guards] == [guard]


def with_rates(situation: Situation, rates: Any) -> Situation:
    assert situation.outlook is not None
    return replace(situation, outlook=replace(situation.outlook, rates=np.asarray(rates, dtype=np.float64)))


def test_a_raise_of_the_rate_to_come_forbids_a_stop_and_makes_the_forecast_a_doubtful_one() -> None:
    """Forecasts across a planned re-warm miss: of those of public runs four in ten by 2.5 deviations or more."""
    situation = make_situation(rivals=(finished(2.9),))
    falling = np.linspace(1.0, 0.1, 60)
    risen = np.where(np.arange(60) < 40, falling, 0.9)
    calm, raised = judge(with_rates(situation, falling)), judge(with_rates(situation, risen))
    assert raised.decision is Decision.UNDECIDED
    assert {guard.name for guard in raised.guards} == {"raise_to_come", "decay_to_come"}
    assert "is still to rise, from step 810 on" in raised.guards[0].sentence
    assert "raise_to_come" not in [guard.name for guard in calm.guards]
    assert calm.probability is not None
    assert raised.probability is not None
    assert raised.probability < 0.9 < calm.probability


@pytest.mark.parametrize(
    "rates",
    [
        np.full(60, 1e-3),
        np.linspace(1e-3, 0.0, 60),
        np.where(np.arange(60) % 2, 1.0, 0.9),  # as a rounded log has it
        np.concatenate([np.linspace(1.0, 1e-6, 40), np.linspace(1e-6, 1e-2, 20)]),  # next to nothing
        np.concatenate([np.linspace(0.1, 1.0, 20), np.linspace(1.0, 0.1, 40)]),  # the warm-up goes on
    ],
)
def test_a_rate_that_stays_falls_hardly_moves_or_is_rising_already_is_no_raise_to_come(rates: Any) -> None:
    outlook = with_rates(make_situation(), rates).outlook
    assert outlook is not None
    assert outlook.raise_start is None


def test_a_decay_to_come_forbids_a_stop_only_where_it_could_change_the_answer() -> None:
    def with_decay(reference: float) -> Situation:
        situation = make_situation(rivals=(finished(reference),))
        assert situation.outlook is not None
        rates = np.where(situation.outlook.path_steps > 700, 0.1, 1.0)
        return replace(situation, outlook=replace(situation.outlook, rates=rates))

    close, far = judge(with_decay(2.93)), judge(with_decay(2.0))
    assert close.decision is Decision.UNDECIDED
    assert [guard.name for guard in close.guards] == ["decay_to_come"]
    assert "from step 710 on" in close.sentence
    assert far.decision is Decision.STOP


def test_a_rewarmed_run_is_not_stopped_before_it_is_back_where_it_was() -> None:
    situation = make_situation(rivals=(finished(2.0),))
    steps, values = situation.history.steps, situation.history.values
    raised = replace(situation, raised_at=300, history=History(steps, np.where(steps > 300, values + 2.0, values)))
    verdict = judge(raised)
    assert verdict.decision is Decision.UNDECIDED
    assert [guard.name for guard in verdict.guards] == ["rewarm"]
    assert judge(replace(situation, raised_at=300)).decision is Decision.STOP


def test_of_two_live_runs_the_better_one_is_not_held_to_the_worse() -> None:
    worse = Rival("b", "b", RivalKind.LIVE, QuantileForecast(np.array(LEVELS), 3.1 + 0.02 * Z))
    better = Rival("a", "a", RivalKind.LIVE, QuantileForecast(np.array(LEVELS), 2.8 + 0.02 * Z))
    assert judge(make_situation(rivals=(worse,))).decision is Decision.CONTINUE
    assert judge(make_situation(rivals=(better,))).decision is Decision.STOP


def test_a_metric_that_is_better_when_high_gets_the_mirrored_verdict() -> None:
    situation = make_situation(rivals=(finished(2.95),))
    assert situation.outlook is not None
    outlook = situation.outlook
    turned = replace(
        situation,
        lower_is_better=False,
        history=situation.history.mirrored(),
        rivals=(finished(-2.95),),
        outlook=replace(
            outlook, lower_is_better=False, final=outlook.final.mirrored(), quantiles=-outlook.quantiles[::-1]
        ),
    )
    low, high = judge(situation), judge(turned)
    assert low.probability == pytest.approx(high.probability)
    assert low.regret == pytest.approx(high.regret)
    assert high.comparisons[0].value == pytest.approx(-2.95)
    assert "ends below run-12 (-2.95)" in high.sentence


def test_a_target_out_of_reach_is_the_reference() -> None:
    verdict = judge(make_situation(target=2.5))
    assert (verdict.decision, verdict.reference) == (Decision.STOP, "the target")


def test_a_gain_smaller_than_delta_is_no_gain() -> None:
    situation = make_situation(final=3.15, deviation=0.005)
    assert judge(situation).decision is Decision.CONTINUE
    assert judge(replace(situation, delta=0.3), Predictive(tolerance=1.0)).decision is Decision.STOP


def test_a_verdict_is_plain_json() -> None:
    told = json.loads(json.dumps(judge(make_situation(rivals=(finished(2.8),))).as_json(), allow_nan=False))
    assert told["decision"] == "stop"
    assert told["comparisons"][0]["kind"] == "finished"


@pytest.mark.parametrize(
    ("name", "parameters", "words"),
    [
        ("luck", {}, "No policy named"),
        ("predictive", {"nerve": 1}, "no parameter nerve"),
        ("predictive", {"confidence": 2}, "between"),
        ("predictive", {"confidence": 1}, "between 0.5 and 0.9999"),
        ("asha", {"first": 0}, "between 0 and 1, and is neither"),
        ("asha", {"first": 1}, "between 0 and 1, and is neither"),
        ("lcpfn", {"least": 1}, "between 0 and 1, and is neither"),
        ("median", {"grace": 1}, "between 0 and 0.95"),
        ("median", {"least": 1.5}, "least is a whole number; got 1.5"),
        ("patience", {"strips": 2.5}, "strips is a whole number; got 2.5"),
        ("patience", {"strips": 19}, "between 1 and 18"),
        ("up", {"strips": 0.5}, "between"),
        ("pq", {"strips": 3.5}, "whole number"),
    ],
)
def test_a_policy_that_is_not_known_is_refused_in_words(name: str, parameters: dict[str, float], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        policy_named(name, parameters)


def test_a_run_that_is_nan_for_long_is_stopped_whatever_the_policy() -> None:
    situation = replace(make_situation(), outlook=None, broken_since=300)
    for name in ("predictive", "asha"):
        verdict = judge(situation, policy_named(name))
        assert verdict.decision is Decision.STOP
        assert "since step 300" in verdict.sentence
    assert judge(replace(situation, broken_since=395)).decision is Decision.UNDECIDED


def test_guards_are_told_where_no_stop_was_asked_for_too() -> None:
    """A ranking reads them: a run that must not be stopped alone must not be stopped for its siblings either."""
    verdict = judge(make_situation(rivals=(finished(3.1),), states={"grokking": "memorised"}))
    assert verdict.decision is Decision.CONTINUE
    assert [guard.name for guard in verdict.guards] == ["memorised"]
    assert "no stop" not in verdict.sentence


def test_of_many_siblings_no_more_are_stopped_than_hold_the_best_with_little_chance() -> None:
    """Two dozen runs that all look alike: none is likely the best, and none may be stopped for that."""
    alike = tuple(
        Rival(str(i), str(i), RivalKind.LIVE, QuantileForecast(np.array(LEVELS), 3.0 + 0.0001 * i + 0.02 * Z))
        for i in range(-12, 13)
    )
    verdict = judge(make_situation(rivals=alike), Predictive(confidence=0.9))
    assert verdict.probability is not None
    assert verdict.probability > 0.9
    assert "not all can be stopped at once" in verdict.sentence
    assert verdict.decision is Decision.UNDECIDED


def test_a_sibling_whose_own_forecast_is_doubtful_stops_nobody() -> None:
    better = Rival("a", "a", RivalKind.LIVE, QuantileForecast(np.array(LEVELS), 2.5 + 0.02 * Z))
    assert judge(make_situation(rivals=(better,))).decision is Decision.STOP
    assert judge(make_situation(rivals=(replace(better, is_trusted=False),))).decision is Decision.CONTINUE


def test_earlier_forecasts_that_missed_forbid_a_stop() -> None:
    assert judge(make_situation(rivals=(finished(2.0),), missed=0.2)).decision is Decision.STOP
    verdict = judge(make_situation(rivals=(finished(2.0),), missed=0.7))
    assert verdict.decision is Decision.UNDECIDED
    assert [guard.name for guard in verdict.guards] == ["missed"]


def test_the_own_best_is_a_level_that_was_held() -> None:
    """One lucky point far below all others is no level, and nobody is stopped for not coming back to it."""
    situation = make_situation()
    values = situation.history.values.copy()
    values[35] = 0.5
    lucky = replace(situation, history=History(situation.history.steps, values))
    assert judge(lucky).decision is Decision.CONTINUE


@pytest.mark.parametrize(
    ("regret", "level", "said"),
    [(3.1e-302, 3.2, "below 0.0001"), (0.002, 3.2, "0.002"), (0.0, -0.05, "below 1e-06"), (0.0, 0.0, "0")],
)
def test_a_regret_is_told_in_no_more_digits_than_levels_have(regret: float, level: float, said: str) -> None:
    assert amount(regret, level) == said


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        (np.linspace(0.9, 0.1, 60), "keeps falling:"),  # under way
        (np.where(np.arange(60) < 30, 1.0, np.linspace(1.9, 0.05, 60)), "falls from step 710 on:"),
        (np.where(np.arange(60) < 30, 1.0, 0.1), "falls from step 710 on:"),  # at once
    ],
)
def test_a_decay_is_said_to_begin_where_it_begins_and_one_under_way_to_go_on(rates: Any, words: str) -> None:
    verdict = judge(with_rates(make_situation(rivals=(finished(2.95),)), rates))
    sentence = next(guard.sentence for guard in verdict.guards if guard.name == "decay_to_come")
    assert sentence == f"The learning rate {words} that may change the answer."


@pytest.mark.parametrize(
    ("probability", "asked", "words"),
    [
        (0.9494, 0.95, "94.9 %"),  # 95 % would not be less than 95 %
        (0.94999, 0.95, "94.9 %"),
        (0.9612, 0.962, "96 %"),
        (0.951, 0.95, "95 %"),
        (0.9543, 0.954, "95.5 %"),
        (0.9962, 0.999, "99.6 %"),
        (0.9995, 0.999, "More than 99 %"),
        (0.9494, None, "95 %"),
    ],
)
def test_a_percentage_stands_on_the_same_side_of_what_was_asked_as_the_decision(
    probability: float, asked: float | None, words: str
) -> None:
    assert percent(probability, asked) == words


def test_a_verdict_just_short_of_what_was_asked_does_not_claim_to_have_reached_it() -> None:
    short = make_situation(rivals=(finished(2.9),))
    reached = judge(short).probability
    assert reached is not None
    verdict = judge(short, Predictive(confidence=reached + 1e-6))
    assert verdict.decision is Decision.UNDECIDED
    shown = float(verdict.sentence.split(" %")[0].removeprefix("More than "))
    assert shown < 100 * (reached + 1e-6)
    assert "More than" not in verdict.sentence


def live(final: float, deviation: float, **changes: Any) -> Rival:
    quantiles = QuantileForecast(np.array(LEVELS), final + deviation * Z)
    return replace(Rival("r7", "run-7", RivalKind.LIVE, quantiles), **changes)


def test_a_sentence_claims_of_one_reference_what_holds_against_it_and_of_all_what_holds_against_all() -> None:
    """Two forecasts, each as likely as not to be beaten by the other's width: together harder than either."""
    situation = make_situation(rivals=(finished(2.99), live(2.98, 0.05), live(2.97, 0.2)))
    verdict = judge(situation, Predictive(confidence=0.95))
    assert verdict.probability is not None
    assert verdict.reference_probability is not None
    by_name = {one.name: one.probability for one in verdict.comparisons}
    assert verdict.reference_probability == by_name[verdict.reference] == max(by_name.values())
    assert verdict.probability > verdict.reference_probability + 0.02
    said = re.match(
        r"(\d+) % sure that this does not end below all 4 that it is held to, (\d+) % against the hardest alone, "
        r"(\S+) \(([\d.]+)\); stopping now saves 60 %",
        verdict.sentence,
    )
    assert said is not None, verdict.sentence
    together, alone, name, level = said.groups()
    assert (float(together), float(alone)) == pytest.approx((100 * verdict.probability, 100 * by_name[name]), abs=0.5)
    assert float(level) == pytest.approx(verdict.evidence["reference_level"])


def test_where_one_reference_is_as_hard_to_beat_as_all_together_it_alone_is_named() -> None:
    verdict = judge(make_situation(rivals=(finished(2.8), finished(3.4), live(3.5, 0.02))))
    assert verdict.sentence.startswith("More than 99 % sure that this ends above run-12 (2.8); stopping now saves")


def test_the_hardest_to_beat_is_the_one_that_is_least_likely_beaten_not_the_one_with_the_lowest_median() -> None:
    """A forecast of 2.5 that may as well come to 3.5 is easier to beat than a run that has ended at 2.9."""
    verdict = judge(make_situation(rivals=(live(2.5, 0.6), finished(2.9))))
    assert verdict.comparisons[0].name == "run-7"
    assert verdict.reference == "run-12"
    assert "run-12 (2.9)" in verdict.sentence


def test_a_run_that_leads_is_said_to_lead_all_and_how_far_the_hardest() -> None:
    verdict = judge(make_situation(rivals=(finished(3.01), finished(3.015))))
    assert verdict.decision is Decision.CONTINUE
    assert re.match(r"\d+ % sure that this ends below", verdict.sentence)
    assert verdict.sentence.endswith(": go on.")


def test_where_others_must_be_beaten_by_a_margin_the_sentence_names_it() -> None:
    verdict = judge(make_situation(final=3.15, deviation=0.005, delta=0.3), Predictive(tolerance=1.0))
    assert verdict.decision is Decision.STOP
    assert "sure that this does not end more than 0.3 below the best level that it has held itself" in verdict.sentence


def test_a_run_whose_rate_goes_where_nobody_has_seen_one_is_not_stopped_and_stops_nobody() -> None:
    usual = make_situation(rivals=(finished(2.8),))
    assert usual.outlook is not None
    doubtful = replace(usual, outlook=replace(usual.outlook, is_unforeseen=True))
    verdict = judge(doubtful)
    assert (verdict.decision, [guard.name for guard in verdict.guards]) == (Decision.UNDECIDED, ["unseen_rate"])
    assert "no forecast knows what follows" in verdict.sentence
    held_to_it = judge(make_situation(rivals=(live(2.0, 0.01, is_trusted=False),)))
    assert "run-7" not in [one.name for one in held_to_it.comparisons]


def test_no_run_is_likelier_to_beat_all_by_a_margin_than_one_of_them_alone() -> None:
    """The lowest median may be the widest forecast: lowered by the margin alone, the sure end above it is forgotten."""
    rivals = (live(2.95, 0.2), finished(3.0))
    verdict = judge(make_situation(final=2.96, deviation=0.02, rivals=rivals, delta=0.1))
    assert verdict.probability is not None
    assert verdict.probability > max(one.probability for one in verdict.comparisons) > 0.98


@pytest.mark.parametrize("rival", [finished(0.05), live(0.05, 0.005)])
def test_a_margin_greater_than_what_is_left_to_zero_cannot_be_won(rival: Rival) -> None:
    """No end of a positive loss lies below zero, that of a surprise neither."""
    situation = make_situation(final=0.04, deviation=0.01, rivals=(rival,), delta=0.2)
    verdict = judge(replace(situation, history=History(situation.history.steps, situation.history.values / 20)))
    assert verdict.probability == pytest.approx(1.0, abs=1e-6)
    assert verdict.reference_probability == pytest.approx(1.0, abs=1e-6)


def test_a_target_is_met_at_its_own_level_whatever_others_must_be_beaten_by() -> None:
    situation = make_situation(final=3.19, deviation=0.001, target=3.2)
    with_margin = judge(replace(situation, delta=0.005))
    assert with_margin.decision is Decision.CONTINUE
    target = next(one for one in with_margin.comparisons if one.kind is RivalKind.TARGET)
    without = next(one for one in judge(situation).comparisons if one.kind is RivalKind.TARGET)
    assert target.probability == without.probability < 0.01


def test_a_sentence_asks_no_margin_of_a_target() -> None:
    alone = judge(make_situation(final=3.05, deviation=0.01, target=2.9, delta=0.02))
    assert "ends above the target (2.9)" in alone.sentence
    many = judge(make_situation(final=2.99, target=2.97, rivals=(live(2.98, 0.03), finished(3.0)), delta=0.02))
    assert "more than 0.02 below all 4 that it is held to (the target is met at its own level)" in many.sentence


def test_the_curve_policy_of_forecasts_passes_a_target_at_its_own_level() -> None:
    situation = make_situation(final=2.99, deviation=0.001, target=3.0, delta=0.1)
    assert judge(situation, policy_named("lcpfn")).decision is Decision.CONTINUE


def ended(name: str, value: float) -> Rival:
    history = History(np.arange(10.0, 1001, 10), np.linspace(value + 1, value, 100))
    return Rival(name, name, RivalKind.FINISHED, value, history)


def test_a_policy_that_reads_curves_says_its_own_reason_and_apart_what_the_forecast_makes_of_it() -> None:
    """Stopped by its rank among siblings while the forecast is sure that it would have ended best of all."""
    rivals = tuple(ended(f"s{place}", 3.01 + place / 1000) for place in range(3))
    values = np.concatenate([np.linspace(6.0, 4.2, 30), np.linspace(4.2, 3.2, 10)])
    late = replace(make_situation(final=2.9, rivals=rivals), history=History(np.arange(10.0, 401, 10), values))
    verdict = judge(late, policy_named("asha"))
    assert verdict.decision is Decision.STOP
    assert verdict.sentence.startswith(
        "At step 300 it was number 4 of 4, of which 1 may go on (asha); stopping now saves 60 % of the run. "
        "The forecast: more than 99 % sure that this ends below s0 (3.01), expected regret 0.1"
    )


def test_a_policy_that_goes_on_against_the_odds_does_not_borrow_them_as_its_reason() -> None:
    verdict = judge(make_situation(rivals=(finished(2.8),)), policy_named("patience"))
    assert verdict.decision is Decision.CONTINUE
    assert verdict.sentence == (
        "It had a new best of late (patience): go on. The forecast: more than 99 % sure that this ends above "
        "run-12 (2.8)."
    )


def test_a_stop_of_such_a_policy_that_a_guard_forbids_names_reason_and_guard() -> None:
    flat = replace(make_situation(), history=History(np.arange(10.0, 401, 10), np.full(40, 3.2)), outlook=None)
    verdict = judge(flat, policy_named("patience"))
    assert verdict.decision is Decision.UNDECIDED
    assert verdict.sentence.startswith(
        "It had no new best for 7 twentieths of the run (patience), but no stop: There is"
    )
    assert verdict.sentence.endswith("Ask again at step 450.")


BY_HEART = {"grokking": "fitting", "overfit": "overfitting"}


def test_a_run_that_learns_by_heart_from_the_beginning_is_not_stopped_before_it_has_memorised() -> None:
    steps = np.arange(10.0, 401, 10)
    rising = make_situation(rivals=(finished(2.0),), states=BY_HEART, history=History(steps, np.linspace(4.0, 4.4, 40)))
    verdict = judge(rising)
    assert verdict.decision is Decision.UNDECIDED
    assert [guard.name for guard in verdict.guards] == ["by_heart"]
    for other in ({"grokking": "fitting", "overfit": "no sign"}, {"grokking": "too early", "overfit": "overfitting"}):
        assert judge(replace(rising, states=other)).decision is Decision.STOP


def test_a_run_that_overfits_what_it_had_learned_is_stopped() -> None:
    values = np.concatenate([np.linspace(4.0, 2.8, 20), np.linspace(2.8, 3.2, 20)])
    overfit = make_situation(
        rivals=(finished(2.0),), states=BY_HEART, history=History(np.arange(10.0, 401, 10), values)
    )
    assert judge(overfit).decision is Decision.STOP


@pytest.mark.parametrize("whole", [1.0, 100.0])
def test_an_accuracy_learned_by_heart_counts_as_none_up_to_what_is_taken_for_a_turn(whole: float) -> None:
    steps, states = np.arange(10.0, 401, 10), BY_HEART
    low = make_situation(
        rivals=(finished(2.0),), states=states, history=History(steps, -whole * np.linspace(0.02, 0.1, 40))
    )
    assert "by_heart" in [guard.name for guard in guards(low, None)]
    learned = replace(low, history=History(steps, -whole * np.linspace(0.02, 0.4, 40)))
    assert "by_heart" not in [guard.name for guard in guards(learned, None)]
