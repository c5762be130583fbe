"""Inference: what it recovers, what it leaves open."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from app.curves.schedule import Schedule
from app.laws.annealing import effective_steps, lagged_response
from app.laws.inference.posterior import Observations, Posterior, infer
from app.laws.prior import Prior

HORIZON = 10_000.0
DECAYED = Schedule(np.array([0, 200, 5000, HORIZON]), np.array([0, 1e-3, 1e-3, 0]))


def curve_of_the_law(
    schedule: Schedule,
    steps: np.ndarray,
    cutoff: float,
    *,
    exponent: float,
    memory: float,
    a: float,
    d: float,
    power: float = 1.0,
) -> np.ndarray:
    """The law with one memory, in units of its level at the cutoff: zero there."""
    x, x_cutoff = effective_steps(schedule, steps), effective_steps(schedule, [cutoff])
    z, z_cutoff = (lagged_response(schedule, s, [memory], [power])[0, 0] for s in (steps, np.array([cutoff])))
    level: npt.NDArray[np.float64] = a * ((x / x_cutoff) ** -exponent - 1) - d * (z - z_cutoff)
    return level


def observed(schedule: Schedule, cutoff: float, *, noise: float = 1e-4, **parameters: float) -> Observations:
    steps = np.linspace(0.1 * cutoff, cutoff, 60)
    values = curve_of_the_law(schedule, steps, cutoff, **parameters)
    values = values + noise * np.random.default_rng(0).standard_normal(len(steps))
    return Observations(steps, values, np.full(60, noise**2), np.ones(60), level=2.0, scale=2.0, cutoff=cutoff)


def posterior_of(cutoff: float, **parameters: float) -> Posterior:
    return infer(observed(DECAYED, cutoff, **parameters), DECAYED, HORIZON)


def test_inference_recovers_the_parameters_it_was_given() -> None:
    # On the grid: the memory is its fourth node, the exponent its sixth, so that no cell is favoured by rounding.
    found = posterior_of(9000.0, exponent=0.4, memory=0.027 * HORIZON, a=0.12, d=0.08).marginal_means()
    # Four fifths of the decay are seen; the prior's mean of A is 0.1, its medians 0.055, 0.45 and 0.006.
    assert found["annealing"] == pytest.approx(0.08, abs=0.015)
    assert found["reducible"] == pytest.approx(0.12, abs=0.04)
    assert found["exponent"] == pytest.approx(0.4, abs=0.12)
    assert found["memory"] == pytest.approx(0.027, rel=0.5)
    assert found["misfit_of_power"] < 0.01


def test_a_seen_decay_overrules_the_prior_and_an_unseen_one_leaves_it() -> None:
    strong, weak = ({"exponent": 0.4, "memory": 150.0, "a": 0.1, "d": d} for d in (0.15, 0.01))
    before = [posterior_of(4500.0, **case).marginal_means()["annealing"] for case in (strong, weak)]
    after = [posterior_of(8500.0, **case).marginal_means()["annealing"] for case in (strong, weak)]
    # The rate has moved by the last percent of the warm-up alone: nothing was said about D.
    assert before[0] == pytest.approx(before[1], abs=0.002)
    assert after[0] > 0.11
    assert after[1] < 0.03


def test_paths_follow_the_law_that_made_the_data() -> None:
    parameters = {"exponent": 0.4, "memory": 160.0, "a": 0.1, "d": 0.06}
    posterior = posterior_of(8000.0, **parameters)
    steps = np.linspace(8001, HORIZON, 20)
    paths = posterior.paths(DECAYED, steps, n_paths=512)
    actual = 2.0 + 2.0 * curve_of_the_law(DECAYED, steps, 8000.0, **parameters)
    low, median, high = np.quantile(paths, [0.05, 0.5, 0.95], axis=0)
    assert ((low <= actual) & (actual <= high)).all()
    # A loss of 1.9: half a percent.
    np.testing.assert_allclose(median, actual, atol=0.01)


def test_bands_hold_what_they_say_for_runs_drawn_from_the_prior() -> None:
    """Calibration by simulation: parameters from the prior, so 90 % bands must hold 90 %."""
    rng, prior, held = np.random.default_rng(1), Prior(), []
    steps = np.linspace(400.0, 4000.0, 40)
    for _ in range(200):
        exponent = rng.choice(prior.exponent.points, p=prior.exponent.weights())
        memory = rng.choice(prior.memory.points, p=prior.memory.weights()) * HORIZON
        power = rng.choice(len(prior.rate_powers), p=prior.rate_power_weights)
        means, deviations, weights = prior.parts()
        part = rng.choice(len(weights), p=weights)
        a, d = rng.normal(means[:, part], deviations[:, part])
        # The prior speaks of the horizon, the curve of its level at the cutoff: more was left of a higher level.
        growth = (effective_steps(DECAYED, [HORIZON])[0] / effective_steps(DECAYED, [4000.0])[0]) ** exponent
        higher = 1 + means[0, part] * (growth - 1)
        parameters = {
            "exponent": exponent,
            "memory": memory,
            "a": a * growth / higher,
            "d": d * prior.annealing_gains[power] / higher,
            "power": prior.rate_powers[power],
        }
        everything = np.append(steps, HORIZON)
        values = curve_of_the_law(DECAYED, everything, 4000.0, **parameters)
        values[:-1] += 1e-3 * rng.standard_normal(len(steps))
        data = Observations(steps, values[:-1], np.full(40, 1e-6), np.ones(40), level=0.0, scale=1.0, cutoff=4000.0)
        finals = infer(data, DECAYED, HORIZON).paths(DECAYED, [HORIZON], n_paths=256)[:, 0]
        low, high = np.quantile(finals, [0.05, 0.95])
        held.append(low <= values[-1] <= high)
    # The model also allows for a misfit that these curves lack, so it holds more than 90 %, never much less:
    # 200 draws of 0.9 fall below 0.84 once in 300 times.
    assert np.mean(held) > 0.84


def test_a_run_that_jumps_about_gets_a_wider_band_than_a_smooth_one() -> None:
    steps = np.linspace(1000.0, 8000.0, 60)
    smooth = 0.1 * ((steps / 8000) ** -0.4 - 1)
    jumpy = smooth + np.cumsum(0.02 * np.random.default_rng(2).standard_normal(60))
    flat = Schedule.constant(1.0, last=HORIZON)
    widths = []
    for values in (smooth, jumpy - jumpy[-1]):
        data = Observations(steps, values, np.full(60, 1e-6), np.ones(60), level=1.0, scale=1.0, cutoff=8000.0)
        finals = infer(data, flat, HORIZON).paths(flat, [HORIZON], n_paths=256)
        widths.append(np.ptp(np.quantile(finals, [0.05, 0.95])))
    assert widths[1] > 5 * widths[0]


def test_other_futures_may_be_asked_of_one_posterior() -> None:
    posterior = posterior_of(4500.0, exponent=0.4, memory=100.0, a=0.1, d=0.06)
    held = Schedule(DECAYED.steps[:3], DECAYED.rates[:3])
    decayed, constant = (posterior.paths(each, [HORIZON], n_paths=256).mean() for each in (DECAYED, held))
    assert decayed < constant


@pytest.mark.parametrize("left", [1, 5, 15, 40])
def test_a_rate_that_is_almost_zero_leaves_no_hole_in_the_last_steps(left: int) -> None:
    """On a cosine's last steps the clocks of the misfit stand still, and rounding sets them back by 1e-16."""
    total = 19_560
    steps = np.linspace(0, total, 700).round()
    cosine = Schedule(steps, 6e-4 * np.minimum(steps / 700, 0.5 * (1 + np.cos(np.pi * steps / total))))
    cutoff = float(total - left)
    seen = np.linspace(0.1 * cutoff, cutoff, 40)
    data = Observations(
        seen, 0.1 * ((seen / cutoff) ** -0.4 - 1), np.full(40, 1e-6), np.ones(40), level=3.3, scale=3.3, cutoff=cutoff
    )
    paths = infer(data, cosine, total).paths(cosine, np.arange(cutoff + 1, total + 1), n_paths=64)
    assert np.isfinite(paths).all()
