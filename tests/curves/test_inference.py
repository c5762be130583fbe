"""What a logged rate tells of its future, and where it must own that it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.families import build_schedule
from app.curves.inference.infer import DOUBT_LIMIT, infer_schedule
from app.curves.inference.inferred import HOLD, InferredSchedule
from app.curves.schedule import Schedule

PEAK = 3e-4
TOTAL = 20_000
RATES = Path(__file__).parents[1] / "data" / "rates"


def make_schedule(family: str, **parameters: Any) -> Schedule:
    return build_schedule(family, TOTAL, {"peak": PEAK, "warmup_steps": 500, **parameters})


def log_of(schedule: Schedule, until: float, *, every: int = 10, digits: int | None = None, first: int = 0) -> Curve:
    steps = np.arange(first, int(until) + 1, every)
    rates = schedule.rate_at(steps)
    if digits is not None:
        rates = np.array([float(f"{rate:.{digits}g}") for rate in rates])
    return Curve.from_points(steps, rates)


def future_error(inferred: InferredSchedule, truth: Schedule, cutoff: float, last: float = TOTAL) -> float:
    """Mean distance of the future rates. [fraction of the peak]"""
    ahead = np.linspace(cutoff, last, 500)
    return float(np.abs(inferred.schedule.rate_at(ahead) - truth.rate_at(ahead)).mean() / truth.peak)


DECAYS: list[tuple[str, dict[str, Any]]] = [
    ("cosine", {}),
    ("cosine", {"final_rate": 0.1 * PEAK}),
    ("linear", {}),
    ("polynomial", {"power": 2.0}),
    ("rex", {}),
    ("wsd_linear", {"decay_steps": 12_000}),
    ("wsd_sqrt", {"decay_steps": 12_000}),
    ("wsd_cosine", {"decay_steps": 15_000}),
]


@pytest.mark.parametrize(("family", "parameters"), DECAYS)
@pytest.mark.parametrize("seen", [0.6, 0.8])
@pytest.mark.parametrize("digits", [None, 3])
def test_a_decay_under_way_tells_its_family_and_its_end(
    family: str, parameters: dict[str, Any], seen: float, digits: int | None
) -> None:
    truth = make_schedule(family, **parameters)
    inferred = infer_schedule(log_of(truth, seen * TOTAL, digits=digits))
    assert inferred.family == family
    # 1 % of the peak: the course is settled. The end is less so, since a floor of a few percent hardly shows yet.
    assert future_error(inferred, truth, seen * TOTAL) < 0.01
    assert inferred.decay_end == pytest.approx(TOTAL, rel=0.05)


@pytest.mark.parametrize(("family", "parameters"), [d for d in DECAYS if not d[0].startswith("wsd")])
@pytest.mark.parametrize("digits", [None, 3])
def test_with_the_total_known_a_fifth_of_the_run_tells_the_rest(
    family: str, parameters: dict[str, Any], digits: int | None
) -> None:
    truth = make_schedule(family, **parameters)
    inferred = infer_schedule(log_of(truth, 0.2 * TOTAL, digits=digits), total_steps=TOTAL)
    assert inferred.family == family
    assert inferred.decay_end == TOTAL
    assert future_error(inferred, truth, 0.2 * TOTAL) < 0.01


@pytest.mark.parametrize("family", ["inverse_sqrt", "exponential"])
def test_decays_without_an_end_are_followed_without_one(family: str) -> None:
    truth = make_schedule(family)
    inferred = infer_schedule(log_of(truth, 8_000), total_steps=TOTAL)
    assert inferred.family == family
    assert inferred.decay_end is None
    assert future_error(inferred, truth, 8_000) < 0.005


def test_sparse_logs_are_enough() -> None:
    truth = make_schedule("cosine", final_rate=0.1 * PEAK)
    inferred = infer_schedule(log_of(truth, 10_000, every=500, digits=4), total_steps=TOTAL)
    assert inferred.family == "cosine"
    assert future_error(inferred, truth, 10_000) < 0.01


def test_a_log_that_starts_after_the_warm_up_is_enough() -> None:
    truth = make_schedule("cosine")
    inferred = infer_schedule(log_of(truth, 12_000, first=3_000), total_steps=TOTAL)
    assert inferred.family == "cosine"
    assert future_error(inferred, truth, 12_000) < 0.01


def test_a_cosine_that_runs_from_step_zero_below_its_warm_up_is_known() -> None:
    steps = np.arange(0, 6_001)
    rates = PEAK * np.minimum(steps / 500, 1.0) * (1 + np.cos(np.pi * steps / TOTAL)) / 2
    inferred = infer_schedule(Curve.from_points(steps, rates))
    assert inferred.family == "cosine"
    assert inferred.schedule.rate_at(15_000) == pytest.approx(PEAK * (1 + np.cos(0.75 * np.pi)) / 2, abs=0.02 * PEAK)


def test_the_same_start_is_read_differently_with_another_total() -> None:
    """A falling line that reaches zero at the total is linear; one that does not has a floor or ends elsewhere."""
    line = make_schedule("linear")
    seen = log_of(line, 8_000)
    assert infer_schedule(seen, total_steps=TOTAL).schedule.rate_at(TOTAL) == pytest.approx(0.0, abs=1e-3 * PEAK)
    short = infer_schedule(seen, total_steps=12_000)
    assert short.schedule.rate_at(12_000) == pytest.approx(float(line.rate_at(12_000)), rel=0.05)


def test_a_finished_decay_stays_at_its_floor() -> None:
    truth = make_schedule("cosine", final_rate=0.1 * PEAK, decay_end=10_000)
    inferred = infer_schedule(log_of(truth, 14_000), total_steps=TOTAL)
    np.testing.assert_allclose(inferred.schedule.rate_at([15_000, TOTAL]), 0.1 * PEAK, rtol=0.01)


# Where the data cannot tell.


@pytest.mark.parametrize("total", [None, TOTAL])
def test_a_constant_rate_is_held_since_a_later_decay_does_not_show(total: int | None) -> None:
    for family, parameters in (("constant", {}), ("wsd_linear", {"decay_steps": 4_000})):
        inferred = infer_schedule(log_of(make_schedule(family, **parameters), 12_000), total_steps=total)
        assert inferred.family == HOLD
        assert not inferred.is_known
        assert "cannot be seen coming" in inferred.why
        assert inferred.schedule.rate_at(TOTAL) == pytest.approx(PEAK)


def test_a_warm_up_tells_nothing_of_what_follows() -> None:
    inferred = infer_schedule(log_of(make_schedule("cosine"), 400), total_steps=TOTAL)
    assert inferred.family == HOLD
    assert "warming up" in inferred.why


def test_the_first_points_of_a_decay_do_not_tell_its_course() -> None:
    truth = make_schedule("wsd_linear", decay_steps=4_000)
    inferred = infer_schedule(log_of(truth, 16_200, every=100))
    assert inferred.family == HOLD
    assert "only just begun" in inferred.why


@pytest.mark.parametrize("values", [[], [PEAK], [0.0] * 50])
def test_too_few_rates_are_held(values: list[float]) -> None:
    inferred = infer_schedule(Curve.from_points(np.arange(len(values)), np.array(values)), total_steps=100)
    assert inferred.family == HOLD
    assert "Too few" in inferred.why


def test_a_rate_that_follows_no_family_is_held() -> None:
    steps = np.arange(0, 5_000, 10)
    wild = PEAK * (1 - steps / 8_000 - 0.03 * np.sin(steps / 300))
    inferred = infer_schedule(Curve.from_points(steps, wild))
    assert inferred.family == HOLD
    assert inferred.schedule.rate_at(9_000) == pytest.approx(wild[-1], rel=0.01)


@pytest.mark.parametrize("seen", [0.1, 0.15, 0.2, 0.3])
@pytest.mark.parametrize(("family", "parameters"), DECAYS[:4])
def test_an_early_inference_is_either_refused_or_good(family: str, parameters: dict[str, Any], seen: float) -> None:
    truth = make_schedule(family, **parameters)
    inferred = infer_schedule(log_of(truth, seen * TOTAL, digits=4))
    if inferred.is_known:
        # A floor that lies far ahead is a guess between the usual ones, 0 and a tenth: hence the tolerance.
        assert inferred.doubt <= DOUBT_LIMIT
        assert future_error(inferred, truth, seen * TOTAL) < 0.06


# Steps and cycles.


def test_a_single_step_down_is_held_afterwards() -> None:
    truth = make_schedule("step", milestones=[6_000], factor=0.3)
    inferred = infer_schedule(log_of(truth, 9_000), total_steps=TOTAL)
    assert inferred.family == "step"
    assert "no further step is assumed" in inferred.why
    assert inferred.schedule.rate_at(TOTAL) == pytest.approx(0.3 * PEAK)


def test_regular_steps_go_on() -> None:
    truth = make_schedule("step", every=4_000, factor=0.5)
    inferred = infer_schedule(log_of(truth, 13_000), total_steps=TOTAL)
    assert inferred.family == "step"
    np.testing.assert_allclose(inferred.schedule.rate_at([15_000, 18_000]), PEAK * np.array([0.125, 0.0625]), rtol=0.01)


def test_rounding_to_few_digits_is_not_a_step_schedule() -> None:
    inferred = infer_schedule(log_of(make_schedule("cosine"), 12_000, digits=2), total_steps=TOTAL)
    assert inferred.family == "cosine"


@pytest.mark.parametrize(
    ("family", "parameters"), [("cosine_restarts", {"cycles": 4}), ("cyclic", {"cycle_steps": 3_000})]
)
@pytest.mark.parametrize("seen", [0.5, 0.62, 0.8])
def test_a_cycle_that_has_come_round_goes_on(family: str, parameters: dict[str, Any], seen: float) -> None:
    truth = make_schedule(family, **parameters)
    inferred = infer_schedule(log_of(truth, seen * TOTAL), total_steps=TOTAL)
    assert inferred.family == "cyclic"
    # A percent: a period read off a log of every tenth step is off by a few steps a cycle.
    assert future_error(inferred, truth, seen * TOTAL) < 0.015


# Real logs.


def real_log(name: str, seen: float) -> tuple[Curve, np.ndarray, np.ndarray]:
    steps, rates = np.loadtxt(RATES / name, delimiter=",", skiprows=1, unpack=True)
    past = steps <= steps[0] + seen * (steps[-1] - steps[0])
    return Curve.from_points(steps[past].astype(np.int64), rates[past]), steps[~past], rates[~past]


@pytest.mark.parametrize(
    ("name", "seen", "family"),
    [
        ("multipowerlaw_cosine.csv", 0.4, "cosine"),
        ("multipowerlaw_cosine.csv", 0.8, "cosine"),
        ("lr_scheduling_wsd.csv", 0.6, "wsd_linear"),
        ("whisper_linear.csv", 0.2, "linear"),
        ("whisper_linear.csv", 0.6, "linear"),
        ("algoperf_restarts.csv", 0.8, "cosine"),
    ],
)
def test_the_rates_of_real_runs_are_foreseen(name: str, seen: float, family: str) -> None:
    curve, steps, rates = real_log(name, seen)
    inferred = infer_schedule(curve)
    assert inferred.family == family
    assert np.abs(inferred.schedule.rate_at(steps) - rates).mean() < 0.05 * curve.values.max()


def test_a_real_stable_phase_is_held() -> None:
    curve, _, _ = real_log("lr_scheduling_wsd.csv", 0.3)
    assert infer_schedule(curve, total_steps=15_000).family == HOLD


def test_a_total_that_the_log_has_passed_freezes_nothing() -> None:
    truth = make_schedule("cosine")
    stale, unsaid = (infer_schedule(log_of(truth, 12_000), total_steps=total) for total in (9_000, None))
    assert stale.why == unsaid.why
    np.testing.assert_allclose(stale.schedule.rate_at([15_000]), truth.rate_at([15_000]), rtol=0.01)


def test_a_decay_that_is_over_is_told_as_such_and_not_as_known_ahead() -> None:
    ended = infer_schedule(log_of(make_schedule("cosine", decay_end=8_000), 12_000))
    assert ended.why.endswith("since then it has stayed there, and is taken to go on so.")
