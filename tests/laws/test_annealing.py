"""The law's features against the paper's sums, written out."""

from __future__ import annotations

import numpy as np
import pytest

from app.curves.schedule import Schedule
from app.laws.annealing import annealed_fraction, annealing_response, effective_steps, lagged_response

SCHEDULES = {
    "constant": Schedule(np.array([0.0, 900.0]), np.array([3e-4, 3e-4])),
    "warm-up, then linear decay": Schedule(np.array([0, 100, 700, 1000.0]), np.array([0, 3e-4, 3e-4, 0])),
    "cosine in forty pieces": Schedule(
        np.linspace(0, 1000, 41), 1e-3 * (0.55 + 0.45 * np.cos(np.linspace(0, np.pi, 41)))
    ),
    "jumps down and up again": Schedule(np.array([0, 50, 51, 300, 301, 900.0]), np.array([1, 1, 0.3, 0.3, 0.7, 0.1])),
    "no order at all": Schedule(np.arange(0.0, 1000, 7), np.random.default_rng(3).random(143)),
}


def literal_sums(schedule: Schedule, n_steps: int, memory: float, begin: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """S1 and S2 of Tissue et al., step by step; annealing is counted from step `begin`, the top of the warm-up."""
    rates = schedule.rate_at(np.arange(n_steps))
    area = np.cumsum(rates)
    decay = 1 - 1 / memory
    momentum, annealing = 0.0, np.zeros(n_steps)
    for step in range(begin + 1, n_steps):
        momentum = decay * momentum + rates[step - 1] - rates[step]
        annealing[step] = annealing[step - 1] + momentum
    return area, annealing


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_effective_steps_are_the_papers_forward_area_over_the_peak(schedule: Schedule) -> None:
    steps = np.arange(1200)
    area, _ = literal_sums(schedule, 1200, 10.0)
    # Exact but for rounding: a thousand additions of doubles.
    np.testing.assert_allclose(effective_steps(schedule, steps), area / schedule.peak, rtol=1e-11)


@pytest.mark.parametrize("memory", [1.0, 3.0, 100.0, 1e4])
@pytest.mark.parametrize(
    ("name", "top"),
    [
        ("constant", 0),
        ("warm-up, then linear decay", 100),
        ("cosine in forty pieces", 0),
        ("jumps down and up again", 0),
        ("no order at all", 7),
    ],
)
def test_the_response_is_the_papers_annealing_area_over_peak_and_memory(name: str, top: int, memory: float) -> None:
    schedule = SCHEDULES[name]
    if name == "no order at all":  # its warm-up is its first rise: to a knot where the second is the higher one
        schedule = schedule.since(top)
        top = int(schedule.steps[np.argmax(np.diff(schedule.rates) <= 0)])
    _, annealing = literal_sums(schedule, 1200, memory, begin=top)
    expected = annealing / memory / schedule.peak
    np.testing.assert_allclose(annealing_response(schedule, np.arange(1200), [memory])[0], expected, atol=1e-9)


def test_the_response_starts_at_the_top_of_the_warm_up_and_a_rewarm_lowers_it() -> None:
    schedule = Schedule(np.array([0, 100, 500, 501, 800, 801, 1000.0]), np.array([0, 1, 1, 0.1, 0.1, 1, 1]))
    response = annealing_response(schedule, [50, 100, 500, 800, 1000], [20.0])[0]
    np.testing.assert_array_equal(response[:3], 0)
    # Fifteen memories after the drop, and ten after the rise, only e^-15 and e^-10 of them are missing.
    assert response[3] == pytest.approx(0.9, abs=1e-3)
    assert response[4] == pytest.approx(0.0, abs=1e-3)


def test_memories_and_steps_may_come_in_any_order_and_number() -> None:
    schedule = SCHEDULES["no order at all"]
    steps, memories = np.array([900.0, 3.0, 450.5, 2000.0]), np.array([500.0, 2.0, 30.0])
    together = annealing_response(schedule, steps, memories)
    assert together.shape == (3, 4)
    for row, memory in zip(together, memories, strict=True):
        for value, step in zip(row, steps, strict=True):
            assert annealing_response(schedule, [step], [memory])[0, 0] == pytest.approx(value, abs=1e-13)


def test_features_do_not_depend_on_the_unit_of_the_rate() -> None:
    schedule = SCHEDULES["cosine in forty pieces"]
    steps = np.linspace(0, 1200, 50)
    for factor in (1e-12, 1e6):
        other = schedule.scaled(factor)
        np.testing.assert_allclose(effective_steps(other, steps), effective_steps(schedule, steps), rtol=1e-12)
        np.testing.assert_allclose(annealed_fraction(other, steps), annealed_fraction(schedule, steps), atol=1e-12)


def test_a_schedule_of_zeros_counts_as_constant() -> None:
    schedule = Schedule(np.array([0.0, 10.0]), np.array([0.0, 0.0]))
    np.testing.assert_array_equal(effective_steps(schedule, [0, 4, 20]), [1, 5, 21])
    np.testing.assert_array_equal(annealing_response(schedule, [0, 4, 20], [3.0]), 0)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize("power", [0.5, 1.0])
def test_the_lagged_response_solves_its_differential_equation(schedule: Schedule, power: float) -> None:
    memory, fine = 40.0, np.linspace(0.0, schedule.steps[-1], 200_001)
    rates = schedule.rate_at(fine) / schedule.peak
    top = schedule.rate_at(literal_start(schedule)) / schedule.peak
    falls = np.where(fine >= literal_start(schedule), top**power - rates**power, 0.0)
    # Backwards Euler on two hundred thousand steps.
    forgotten = 1 - np.exp(-np.diff(fine) * (rates[1:] + rates[:-1]) / 2 / memory)
    state, expected = 0.0, np.zeros_like(fine)
    for i, share in enumerate(forgotten):
        state += share * (falls[i + 1] - state)
        expected[i + 1] = state
    at = np.array([0, 20_000, 66_667, 120_000, 180_000, 200_000])
    found = lagged_response(schedule, fine[at], [memory], [power])[0, 0]
    np.testing.assert_allclose(found, expected[at], atol=1e-2)


def literal_start(schedule: Schedule) -> float:
    """The knot at the top of the warm-up."""
    begin = int(np.searchsorted(schedule.steps, schedule.warmup_end))
    falls = np.flatnonzero(np.diff(schedule.rates[begin:]) <= 0)
    return float(schedule.steps[begin + int(falls[0])] if len(falls) else schedule.steps[-1])


def test_a_rate_of_zero_stops_the_response() -> None:
    stopped = Schedule(np.array([0, 100, 500, 501, 1000.0]), np.array([0, 1, 1, 0, 0]))
    at_once, later = lagged_response(stopped, [501.0, 1000.0], [20.0], [0.5])[0, 0]
    assert later == pytest.approx(at_once)


def test_the_lagged_response_needs_no_unit_of_the_rate() -> None:
    schedule = SCHEDULES["cosine in forty pieces"]
    ours, theirs = (lagged_response(each, [300.0, 900.0], [20.0], [0.7]) for each in (schedule, schedule.scaled(1e4)))
    np.testing.assert_allclose(theirs, ours, rtol=1e-12)


def test_a_rate_that_still_rises_at_the_end_has_annealed_nothing() -> None:
    rising = Schedule(np.array([0.0, 100.0]), np.array([0.0, 1e-3]))
    response = lagged_response(rising, np.array([1.0, 50.0, 100.0]), [10.0, 100.0], [1.0])
    np.testing.assert_array_equal(response, np.zeros((1, 2, 3)))
