"""What the network is told of a schedule agrees with the laws', and nothing unknown shows."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.curves.families import FAMILIES
from app.curves.schedule import Schedule
from app.laws.annealing import effective_steps, lagged_response
from app.pfn.intrinsic_time import MEMORIES, POWERS, KnownSchedule
from app.pfn.prior import sample_tasks
from app.pfn.tasks import Tasks

STEPS, CUTOFF = 100_000, 60_000


def task_under(schedule: Schedule, cutoff: float = CUTOFF, n_knots: int = 400) -> Tasks:
    """One task with that schedule, known throughout; positions in steps."""
    task = sample_tasks(np.random.default_rng(0), 1).tasks
    knots = np.union1d(np.append(np.linspace(0, STEPS, n_knots), cutoff), schedule.steps)
    rates: Any = schedule.rate_at(knots)  # in double precision, finer than the network's own numbers
    return replace(
        task,
        cutoff=np.array([cutoff]),
        knots=knots[None],
        rates=rates[None] / schedule.peak,
        past_known=np.array([True]),
        future_known=np.array([True]),
    )


@pytest.mark.parametrize("family", ["cosine", "linear", "wsd_sqrt", "inverse_sqrt", "constant"])
def test_time_and_lags_are_those_of_the_annealing_law(family: str) -> None:
    schedule = FAMILIES[family].build(STEPS, peak=3e-4, warmup_steps=2000)
    steps = np.linspace(5000, STEPS, 60)
    view = KnownSchedule.of(task_under(schedule)).at(steps[None])
    seen = effective_steps(schedule, [CUTOFF])[0]
    # The law sums over whole steps, the network integrates: half a step apart.
    assert view.time[0] == pytest.approx(effective_steps(schedule, steps) / seen, abs=1e-4)
    assert view.rate[0] == pytest.approx(schedule.rate_at(steps) / 3e-4, abs=1e-3)
    expected = lagged_response(schedule, steps, np.array(MEMORIES) * seen, POWERS)
    # Straight pieces of a hundredth of the run: the least memory is half of that.
    assert view.lags[0].T == pytest.approx(expected.reshape(-1, len(steps)), abs=0.01)


def test_a_place_is_seen_the_same_whatever_else_is_asked() -> None:
    known = KnownSchedule.of(task_under(FAMILIES["cosine"].build(STEPS, peak=1.0)))
    alone, among = known.at(np.array([[70_000.0]])), known.at(np.linspace(1, STEPS, 101)[None])
    assert alone.lags[0, 0] == pytest.approx(known.at(np.array([[3.0, 70_000.0, 9e4]])).lags[0, 1], abs=1e-15)
    assert np.isfinite(among.lags).all()


def test_an_unknown_future_is_the_rate_at_the_cutoff_wherever_its_knots_lie() -> None:
    schedule = FAMILIES["cosine"].build(STEPS, peak=1.0)
    task = replace(task_under(schedule), future_known=np.array([False]))
    later = task.knots > CUTOFF
    other = replace(task, rates=np.where(later, 0.123, task.rates), knots=np.where(later, task.knots + 17, task.knots))
    steps = np.linspace(1, STEPS, 50)[None]
    seen, hidden = KnownSchedule.of(task).at(steps), KnownSchedule.of(other).at(steps)
    for name in ("time", "rate", "lags"):
        assert getattr(seen, name) == pytest.approx(getattr(hidden, name), abs=1e-12)
    assert seen.rate[0, steps[0] > CUTOFF] == pytest.approx(float(schedule.rate_at(CUTOFF)), abs=1e-3)


def test_with_nothing_known_time_is_the_step() -> None:
    task = replace(
        task_under(FAMILIES["cosine"].build(STEPS, peak=1.0)),
        past_known=np.array([False]),
        future_known=np.array([False]),
    )
    steps = np.linspace(1, STEPS, 50)
    view = KnownSchedule.of(task).at(steps[None])
    assert view.time[0] == pytest.approx(steps / CUTOFF)
    assert not view.lags.any()


def test_a_jump_at_the_cutoff_does_not_show_where_the_future_is_unknown() -> None:
    jump = Schedule(np.array([0.0, CUTOFF, CUTOFF + 1e-6, STEPS]), np.array([1.0, 1.0, 0.1, 0.1]))
    task = task_under(jump)
    at_once = replace(task, knots=np.where(task.knots == CUTOFF + 1e-6, CUTOFF, task.knots))
    hidden = KnownSchedule.of(replace(at_once, future_known=np.array([False])))
    assert hidden.at(np.array([[CUTOFF, 80_000.0]])).rate[0] == pytest.approx([1.0, 1.0])


def test_a_rate_of_zero_throughout_counts_as_constant() -> None:
    task = task_under(FAMILIES["constant"].build(STEPS, peak=1.0))
    view = KnownSchedule.of(replace(task, rates=np.zeros_like(task.rates))).at(np.array([[1.0, CUTOFF, STEPS]]))
    assert view.rate[0] == pytest.approx([1.0, 1.0, 1.0])
