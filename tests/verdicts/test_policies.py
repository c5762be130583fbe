"""Each policy where its own rule, worked out by hand, says stop, and where it does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from app.errors import BadInput
from app.forecasting.forecast import LEVELS
from app.forecasting.scores import QuantileForecast
from app.verdicts.history import History
from app.verdicts.judging import judge
from app.verdicts.outlook import Outlook
from app.verdicts.policies import (
    POLICIES,
    Asha,
    GeneralisationLoss,
    LcPfn,
    MedianRule,
    Patience,
    Policy,
    ProgressQuotient,
    Rising,
    parameters_of,
    policy_named,
)
from app.verdicts.rivals import Rival, RivalKind
from app.verdicts.situation import Situation
from app.verdicts.verdict import Decision

TOTAL = 1000
STRIP = 50


def history_of(strips: Sequence[float]) -> History:
    """Ten points a strip; one point of the next one, so that all of these are whole."""
    values = np.append(np.repeat(np.asarray(strips, dtype=float), 10), strips[-1])
    return History(np.arange(len(values)) * STRIP / 10, values)


def decide(policy: Policy, strips: Sequence[float], *siblings: Sequence[float], delta: float = 0.0) -> Decision:
    rivals = tuple(
        Rival(str(i), str(i), RivalKind.LIVE, float(strips[-1]), history_of(strips))
        for i, strips in enumerate(siblings)
    )
    situation = Situation(None, history_of(strips), TOTAL, rivals, delta=delta)
    return policy.rule(situation, None).decision


FALLING = (5.0, 4.0, 3.5, 3.2, 3.0, 2.9)


@pytest.mark.parametrize("policy", [GeneralisationLoss(), ProgressQuotient(), Rising(), Patience()])
def test_a_falling_loss_goes_on(policy: Policy) -> None:
    assert decide(policy, FALLING) is Decision.CONTINUE


def test_gl_stops_five_per_cent_above_the_lowest() -> None:
    assert decide(GeneralisationLoss(percent=5), (4.0, 3.0, 3.12)) is Decision.CONTINUE
    assert decide(GeneralisationLoss(percent=5), (4.0, 3.0, 3.18)) is Decision.STOP


def test_pq_gives_a_run_that_still_moves_time() -> None:
    moving, still = (5.0, 2.0, 4.0, 2.0, 2.2), (2.0, 2.2, 2.2, 2.2, 2.2, 2.2, 2.2)
    assert decide(ProgressQuotient(quotient=0.5, strips=5), moving) is Decision.CONTINUE
    assert decide(ProgressQuotient(quotient=0.5, strips=5), still) is Decision.STOP


def test_up_stops_after_so_many_rises_running() -> None:
    assert decide(Rising(strips=3), (3.0, 2.0, 2.1, 2.2)) is Decision.CONTINUE
    assert decide(Rising(strips=3), (3.0, 2.0, 2.1, 2.2, 2.3)) is Decision.STOP


@pytest.mark.parametrize("policy", [Patience(strips=18), Rising(strips=18), ProgressQuotient(quotient=0.1, strips=18)])
def test_the_longest_wait_that_is_accepted_is_one_that_a_run_can_live_to_see(policy: Policy) -> None:
    assert decide(policy, tuple(1.0 + 0.001 * strip for strip in range(19))) is Decision.STOP


def test_patience_waits_for_a_new_lowest() -> None:
    assert decide(Patience(strips=3), (3.0, 2.0, 2.5, 2.1)) is Decision.CONTINUE
    assert decide(Patience(strips=3), (3.0, 2.0, 2.5, 2.1, 2.2)) is Decision.STOP
    assert decide(Patience(strips=3), FALLING, delta=10.0) is Decision.STOP


def test_the_median_rule_holds_the_best_so_far_to_the_running_means_of_siblings() -> None:
    siblings = ((2.0, 2.0, 2.0, 2.0), (2.4, 2.4, 2.4, 2.4), (9.0, 9.0, 9.0, 9.0))
    assert decide(MedianRule(), (3.0, 2.5, 2.5, 2.5), *siblings) is Decision.STOP
    assert decide(MedianRule(), (3.0, 2.3, 2.3, 2.3), *siblings) is Decision.CONTINUE


def test_the_median_rule_says_nothing_alone_or_too_early() -> None:
    assert decide(MedianRule(least=2), (9.0, 9.0, 9.0), (2.0, 2.0, 2.0)) is Decision.CONTINUE
    assert decide(MedianRule(grace=0.5), (9.0, 9.0, 9.0), (2.0,) * 3, (2.0,) * 3) is Decision.CONTINUE


def test_asha_lets_one_in_three_past_a_rung() -> None:
    siblings = ((1.0,) * 4, (2.0,) * 4, (4.0,) * 4, (5.0,) * 4, (6.0,) * 4)
    assert decide(Asha(reduction=3, first=0.1), (1.5,) * 4, *siblings) is Decision.CONTINUE
    assert decide(Asha(reduction=3, first=0.1), (3.0,) * 4, *siblings) is Decision.STOP
    assert decide(Asha(reduction=3, first=0.9), (3.0,) * 4, *siblings) is Decision.CONTINUE


def test_asha_judges_the_level_at_the_rung_not_that_of_now() -> None:
    late_bloomer = (5.0, 5.0, 5.0, 1.0)
    others = ((4.0,) * 4, (4.1,) * 4)
    assert decide(Asha(reduction=3, first=0.1), late_bloomer, *others) is Decision.STOP


def test_a_lone_run_is_never_stopped_for_its_siblings() -> None:
    assert decide(Asha(), (9.0,) * 8) is Decision.CONTINUE
    assert decide(MedianRule(), (9.0,) * 8) is Decision.CONTINUE


def outlook(final: float) -> Outlook:
    steps = np.arange(310, 1001, 10)
    z = np.array([-1.645, -0.674, 0.0, 0.674, 1.645])
    medians = np.linspace(2.9, final, len(steps))
    return Outlook(
        "loss",
        True,
        300,
        TOTAL,
        QuantileForecast(np.array(LEVELS), final + 0.05 * z),
        steps,
        medians + 0.05 * z[:, None],
    )


@pytest.mark.parametrize(("reached", "decision"), [(2.0, Decision.STOP), (2.8, Decision.CONTINUE)])
def test_lcpfn_asks_whether_the_best_that_was_reached_will_be_passed(reached: float, decision: Decision) -> None:
    rival = Rival("a", "a", RivalKind.LIVE, 1.0, History(np.arange(10.0), np.full(10, reached)))
    rival = replace(rival, final=QuantileForecast(np.array(LEVELS), np.linspace(0.9, 1.1, 5)))
    situation = Situation(outlook(2.5), history_of(FALLING), TOTAL, (rival,))
    assert LcPfn().rule(situation, None).decision is decision


@pytest.mark.parametrize("name", list(POLICIES))
def test_every_policy_is_made_by_name_with_its_own_parameters(name: str) -> None:
    policy = policy_named(name, parameters_of(name))
    assert policy == POLICIES[name]()
    assert policy.name == name


@pytest.mark.parametrize("name", list(POLICIES))
def test_a_parameter_below_its_range_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="between"):
        policy_named(name, {next(iter(parameters_of(name))): -1.0})


def test_a_policy_without_a_forecast_is_held_back_by_the_guards() -> None:
    """Prechelt's rule may say stop without a forecast; the verdict, which cannot see the schedule, does not."""
    verdict = judge(Situation(None, history_of((3.0, 2.0, 4.0)), TOTAL), GeneralisationLoss())
    assert verdict.decision is Decision.UNDECIDED
    assert verdict.policy == "gl"
