"""What invented runs do at a constant rate, and how they answer to a falling one."""

from dataclasses import replace

import numpy as np
import pytest

from app.curves import families as real
from app.curves.schedule import Schedule
from app.laws import annealing
from app.pfn.prior.families import FAMILIES, SHARES, sample_bases
from app.pfn.prior.laws import LEAST_FALLEN, SLOWEST_SHARE, answering, sample_laws
from app.pfn.prior.response import Responses, effective_steps, gains, sample_responses
from app.pfn.prior.schedules import Schedules, sample_schedules
from app.pfn.tasks import MAX_KNOTS

STEPS = 1_000_000


def as_invented(schedule: Schedule) -> Schedules:
    """A schedule over `STEPS` steps, with a knot every hundredth of them."""
    knots = np.linspace(0.0, 1.0, MAX_KNOTS)
    rates = schedule.rate_at(knots * STEPS)
    return Schedules(knots[None], rates[None] / rates.max(), np.zeros(1), np.zeros(1, np.intp))


def answer(*, memory: float, power: float) -> Responses:
    """One mode that runs in effective steps."""
    return Responses(np.ones(1), np.array([power]), np.ones(1), np.full((1, 4), memory), np.eye(4)[:1])


@pytest.mark.parametrize("memory", [0.003, 0.03, 0.3])
@pytest.mark.parametrize("power", [0.5, 1.0])
@pytest.mark.parametrize("family", ["cosine", "linear", "exponential"])
def test_the_lagged_answer_is_that_of_the_law(family: str, memory: float, power: float) -> None:
    schedule = real.FAMILIES[family].build(STEPS, peak=1.0, final_rate=0.1)
    positions = np.linspace(0.01, 1.0, 80)
    expected = annealing.lagged_response(schedule, positions * STEPS, [memory * STEPS], [power])[0, 0]
    z = gains(as_invented(schedule), positions[None], answer(memory=memory, power=power))[0]
    # Both take the fall as linear between their knots; ours has 96, bends and all.
    assert z == pytest.approx(expected, abs=3e-3)


def test_progress_is_the_area_under_the_rate() -> None:
    schedule = real.wsd_linear(STEPS, peak=1.0, warmup_steps=50_000, decay_steps=300_000)
    positions = np.linspace(0.01, 1.0, 80)
    knots = np.pad([0.0, 0.05, 0.7, 1.0], (0, MAX_KNOTS - 4), mode="edge")
    rates = np.pad([0.0, 1.0, 1.0, 0.0], (0, MAX_KNOTS - 4), mode="edge")
    invented = Schedules(knots[None], rates[None], np.array([0.05]), np.zeros(1, np.intp))
    expected = annealing.effective_steps(schedule, positions * STEPS) / STEPS
    assert effective_steps(invented, positions[None], np.ones(1))[0] == pytest.approx(expected, abs=2e-6)


def test_a_constant_rate_brings_no_gain() -> None:
    rng = np.random.default_rng(0)
    drawn = sample_schedules(rng, 500).held_at_peak()
    responses = sample_responses(rng, 500, indifferent=np.zeros(500, bool))
    positions = np.sort(rng.random((500, 40)), axis=1)
    assert not gains(drawn, positions, responses).any()


def test_the_answer_stays_between_none_and_all() -> None:
    rng = np.random.default_rng(1)
    drawn = sample_schedules(rng, 2_000)
    responses = sample_responses(rng, 2_000, indifferent=np.zeros(2_000, bool))
    z = gains(drawn, np.sort(rng.random((2_000, 40)), axis=1), responses)
    assert (z >= -1e-9).all()
    assert (z <= 1 + 1e-9).all()
    assert z.max() > 0.9


def test_a_jump_of_the_rate_is_not_felt_at_once() -> None:
    knots = np.pad([0.0, 0.5, 0.5, 1.0], (0, MAX_KNOTS - 4), mode="edge")
    rates = np.pad([1.0, 1.0, 0.1, 0.1], (0, MAX_KNOTS - 4), mode="edge")
    drop = Schedules(knots[None], rates[None], np.zeros(1), np.zeros(1, np.intp))
    z = gains(drop, np.array([[0.499, 0.501, 0.6, 1.0]]), answer(memory=0.01, power=1.0))[0]
    # After the drop a thousandth of the horizon takes 1e-4 effective steps.
    assert z == pytest.approx([0.0, *(0.9 * -np.expm1(-np.array([1e-4, 1e-2, 5e-2]) / 0.01))], abs=1e-9)


def test_every_base_family_falls_with_training() -> None:
    bases = sample_bases(np.random.default_rng(2), 5_000)
    levels = bases.levels(np.broadcast_to(np.linspace(0.0, 1.0, 200), (5_000, 200)))
    assert np.isfinite(levels).all()
    assert (np.diff(levels, axis=1) <= 1e-9).all()


def test_base_families_come_at_their_shares() -> None:
    family = sample_bases(np.random.default_rng(3), 20_000).family
    shares = np.bincount(family, minlength=len(FAMILIES)) / 20_000
    assert shares == pytest.approx(np.array(SHARES) / sum(SHARES), abs=0.015)


def test_a_decay_ends_below_the_same_run_at_a_constant_rate() -> None:
    rng = np.random.default_rng(4)
    drawn = sample_schedules(rng, 10_000)
    laws = sample_laws(rng, drawn)
    end, held = np.ones((10_000, 1)), drawn.held_at_peak()
    power = laws.responses.progress_power
    progress = effective_steps(drawn, end, power) / effective_steps(held, end, power)
    answers = answering(laws) & (progress[:, 0] >= SLOWEST_SHARE)
    answers &= gains(drawn, end, laws.responses)[:, 0] > LEAST_FALLEN
    assert answers.mean() > 0.5
    assert (laws.levels(drawn, end) < laws.levels(held, end))[answers].all()


def test_without_an_answer_a_decay_only_slows_the_run() -> None:
    rng = np.random.default_rng(5)
    drawn = sample_schedules(rng, 2_000)
    laws = sample_laws(rng, drawn)
    laws = replace(laws, gain=np.zeros(2_000))
    end = np.ones((2_000, 1))
    assert (laws.levels(drawn, end) >= laws.levels(drawn.held_at_peak(), end) - 1e-12).all()
