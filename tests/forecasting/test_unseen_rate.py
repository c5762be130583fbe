"""Planned rates that go where no run has been."""

from __future__ import annotations

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.families import cosine_restarts
from app.curves.plan import ASSUMED, DECLARED, Plan
from app.curves.schedule import Schedule
from app.errors import RateNeverSeen
from app.forecasting.asked_plan import Cooldown, Question
from app.forecasting.forecast import forecast_curve
from app.forecasting.unseen_rate import UNSEEN_RATE, refuse_unheard_of, rise_to_come, unheard_of
from app.forecasting.what_if import answer

TOTAL = 4000


def plan_of(steps: list[float], rates: list[float], source: str = DECLARED) -> Plan:
    schedule = Schedule(np.array(steps), np.array(rates))
    return Plan(TOTAL, DECLARED, "Said so.", schedule, source, "explicit", "Said so.")


def ramp(per_decade: float = 800) -> Plan:
    """A rate that grows tenfold every so many steps, after a warm-up of 200: to 10,000 with the default."""
    steps = np.arange(0.0, TOTAL + 1, 20)
    return plan_of(list(steps), list(np.where(steps < 200, 0.1 * steps / 200, 0.1 * 10 ** (steps / per_decade))))


def warmed_up(share: float) -> Plan:
    """Linear from zero to the peak over that share of the run, then down."""
    return plan_of([0, share * TOTAL, TOTAL + 1], [0.0, 3e-4, 3e-5])


def curve_until(cutoff: int) -> Curve:
    steps = np.arange(1, cutoff + 1)
    return Curve.from_points(steps, 2.5 + 2.0 * (steps + 20.0) ** -0.3)


@pytest.mark.parametrize("cutoff", [163, 1000, 2000])
def test_a_rate_that_grows_tenfold_again_and_again_is_unheard_of(cutoff: int) -> None:
    rise = unheard_of(ramp(), cutoff)
    assert rise is not None
    assert rise.highest == pytest.approx(1e4)
    assert rise.step == TOTAL
    assert rise.seen == ramp().schedule.rate_at(cutoff)
    with pytest.raises(RateNeverSeen, match=r"still to rise to 1e\+04, at step 4,000; the highest .* nobody has seen"):
        refuse_unheard_of(ramp(), cutoff)


def test_once_the_rate_is_there_it_has_been_seen() -> None:
    assert rise_to_come(ramp(), 3900) is None
    assert rise_to_come(ramp(), TOTAL) is None


@pytest.mark.parametrize("share", [0.001, 0.02, 0.1])
@pytest.mark.parametrize("cutoff", [1, 40, 200, 399, 2000])
def test_a_warm_up_as_everybody_has_them_is_no_rise_to_the_unseen(share: float, cutoff: int) -> None:
    assert rise_to_come(warmed_up(share), cutoff) is None


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0])
def test_a_rise_over_much_of_the_run_is_doubtful_until_half_of_it_is_reached_but_not_unheard_of(share: float) -> None:
    plan = warmed_up(share)
    for cutoff in (20, 400, round(0.45 * share * TOTAL)):
        assert rise_to_come(plan, cutoff) is not None
        assert unheard_of(plan, cutoff) is None
    assert rise_to_come(plan, round(0.55 * share * TOTAL)) is None


def test_a_rate_that_falls_and_comes_back_has_been_seen() -> None:
    restarts = cosine_restarts(TOTAL, peak=1e-3, cycle_steps=1000)
    assert rise_to_come(Plan(TOTAL, DECLARED, "", restarts, DECLARED, "cosine_restarts", ""), 900) is None


def test_a_rate_that_nobody_knows_is_not_said_to_rise() -> None:
    assert rise_to_come(plan_of([0, TOTAL], [1.0, 1.0], source=ASSUMED), 500) is None


def test_a_forecast_across_such_a_rise_says_so_and_one_without_does_not() -> None:
    tripled = plan_of([0, 40, 2000, 2001, TOTAL], [0.0, 1e-3, 1e-3, 3e-3, 3e-3])
    (note,) = [note for note in forecast_curve(curve_until(1000), tripled).notes if note.startswith(UNSEEN_RATE)]
    assert "0.003, at step 2,001" in note
    notes = forecast_curve(curve_until(2500), tripled).notes
    assert not any(note.startswith(UNSEEN_RATE) for note in notes)


def test_what_if_it_stayed_as_it_is_can_be_asked_of_a_run_that_is_to_rise_and_a_rise_itself_cannot() -> None:
    down = answer(curve_until(1000), ramp(), Question(cooldown=Cooldown(1000)))
    assert down.forecast.horizon == 2000
    with pytest.raises(RateNeverSeen):
        answer(curve_until(1000), ramp(), Question(total_steps=5000))
