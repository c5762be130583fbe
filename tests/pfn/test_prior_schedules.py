"""Invented schedules: every family at its share, and of the shape that `app.curves.families` gives it."""

import numpy as np
import pytest

from app.curves import families as real
from app.pfn.prior.schedules import FAMILIES, SHARES, Schedules, sample_schedules

STEPS = 1_000_000


def schedules(n: int = 20_000, seed: int = 0) -> Schedules:
    return sample_schedules(np.random.default_rng(seed), n)


def test_every_family_comes_at_its_share() -> None:
    drawn = schedules()
    shares = np.bincount(drawn.family, minlength=len(FAMILIES)) / len(drawn)
    expected = np.array(SHARES) / sum(SHARES)
    deviations = np.sqrt(expected * (1 - expected) / len(drawn))
    assert (np.abs(shares - expected) < 4.5 * deviations).all()


def test_every_family_of_the_product_is_among_them() -> None:
    assert set(real.FAMILIES) - {"explicit"} <= set(FAMILIES)


def test_knots_run_from_the_start_to_the_horizon_without_turning_back() -> None:
    drawn = schedules()
    assert (drawn.knots[:, 0] == 0).all()
    assert (drawn.knots[:, -1] == 1).all()
    assert (np.diff(drawn.knots, axis=1) >= 0).all()


def test_rates_are_over_their_peak() -> None:
    drawn = schedules()
    assert (drawn.rates >= 0).all()
    assert drawn.rates.max(axis=1) == pytest.approx(1.0)


def test_no_schedule_jumps_at_its_ends() -> None:
    drawn = schedules()
    jumps = (np.diff(drawn.knots, axis=1) == 0) & (np.abs(np.diff(drawn.rates, axis=1)) > 1e-9)
    at_an_end = (drawn.knots[:, 1:] == 0) | (drawn.knots[:, 1:] == 1)
    assert jumps.any()
    assert not (jumps & at_an_end).any()


@pytest.mark.parametrize("family", ["cosine", "linear", "rex"])
def test_a_decay_has_the_shape_of_its_family(family: str) -> None:
    drawn = schedules(n=4_000)
    drawn = drawn.rows(drawn.family == list(FAMILIES).index(family))
    positions = np.linspace(0.01, 1.0, 200)
    rates = drawn.rate_at(np.broadcast_to(positions, (len(drawn), 200)))
    follows = []
    for row in range(len(drawn)):
        warmup, final = round(drawn.warmup_end[row] * STEPS), drawn.rates[row, -1]
        schedule = real.FAMILIES[family].build(STEPS, peak=1.0, warmup_steps=warmup, final_rate=final)
        # 72 straight pieces on the whole run: within 1e-3 even where rex is steepest.
        follows.append(np.abs(schedule.rate_at(positions * STEPS) - rates[row]).max() < 2e-3)
    # A tenth ends before the run, a tenth is cut by its end.
    assert 0.7 < np.mean(follows) < 0.9


def test_an_inverse_root_falls_as_one() -> None:
    drawn = schedules(n=4_000)
    drawn = drawn.rows((drawn.family == list(FAMILIES).index("inverse_sqrt")) & (drawn.warmup_end == 0))
    # 1 / rate^2 is linear in the step.
    inverse = drawn.rates**-2.0
    slope = (inverse[:, -1] - 1.0)[:, None]
    assert inverse == pytest.approx(1.0 + slope * drawn.knots, rel=1e-6)


def test_held_at_its_peak_a_schedule_only_warms_up() -> None:
    held = schedules(n=500).held_at_peak()
    assert (np.diff(held.rates, axis=1) >= 0).all()
    assert (held.rates[:, -1] == 1).all()
