"""How far off forecasts of finished siblings would have been sets the width of the next one's band."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.plan import ASSUMED, Plan
from app.curves.schedule import Schedule
from app.forecasting import hindsight
from app.forecasting.forecast import forecast_curve
from app.forecasting.law import N_PATHS, LawForecaster, corrected
from app.forecasting.siblings import Sibling, learn_prior
from app.laws.annealing import effective_steps, lagged_response
from app.laws.past_errors import PastErrors
from app.laws.prior import Prior, prior_from_dict, prior_to_dict
from app.laws.shipped import shipped_population

TOTAL = 4000
DECAYED = Schedule(np.array([0.0, 100, 2000, TOTAL]), np.array([0, 1e-3, 1e-3, 0]))
PLAN = Plan(TOTAL, "declared", "said", DECAYED, "declared", "wsd_linear", "said")
POPULATION = shipped_population()


def run_of(seed: int, *, late: float = 0.0, last: int = TOTAL) -> Curve:
    """A lawful run, but that after nine tenths of its way the loss goes up by a share of itself."""
    steps = np.arange(1, last + 1)
    x = np.maximum(effective_steps(DECAYED, steps), 1.0)
    response = lagged_response(DECAYED, steps, [20.0], [0.7])[0, 0]
    noise = 0.005 * np.random.default_rng(seed).standard_normal(last)
    rise = late * np.clip((steps / TOTAL - 0.9) / 0.08, 0.0, 1.0)
    return Curve.from_points(steps, (3.0 + 0.3 * (x / TOTAL) ** -0.45 - 0.2 * response) * (1 + rise) + noise)


def siblings_of(*lates: float) -> list[Sibling]:
    return [Sibling(run_of(seed, late=late), DECAYED) for seed, late in enumerate(lates)]


def untold(prior: Prior) -> Prior:
    """The same, of somebody who does not look back."""
    return replace(prior, past_errors=PastErrors())


def width(curve: Curve, prior: Prior) -> float:
    said = forecast_curve(curve, PLAN, prior).final_quantiles
    return said[0.95] - said[0.05]


def test_siblings_that_ended_where_they_were_foreseen_make_the_band_narrower() -> None:
    prior = learn_prior(siblings_of(0, 0, 0, 0), POPULATION)
    assert len(prior.past_errors.off) == 4 * len(hindsight.SHARES)
    curve = run_of(9, last=2400)
    assert width(curve, prior) < 0.9 * width(curve, untold(prior))


def test_siblings_whose_last_stretch_nobody_foresaw_move_the_forecast() -> None:
    prior = learn_prior(siblings_of(*6 * [0.015]), POPULATION)
    curve, actual = run_of(9, last=3200), float(run_of(9, late=0.015).values[-5:].mean())
    told, blind = (forecast_curve(curve, PLAN, each) for each in (prior, untold(prior)))
    assert abs(told.final_quantiles[0.5] - actual) < 0.75 * abs(blind.final_quantiles[0.5] - actual)
    assert told.final_quantiles[0.05] < actual < told.final_quantiles[0.95]


def test_past_forecasts_that_were_twice_as_far_off_as_foreseen_widen_the_band_and_the_note_says_so() -> None:
    as_sure = np.repeat(np.geomspace(0.0005, 0.05, 10), 2)  # whatever this one states
    past = PastErrors((0.8,) * 20, tuple(as_sure), (2.0, -2.0) * 10, (1.0,) * 20)
    prior, curve = replace(POPULATION.prior, finished_runs=5, past_errors=past), run_of(9, last=3200)
    assert width(curve, prior) > 1.4 * width(curve, untold(prior))
    told, blind = (forecast_curve(curve, PLAN, each) for each in (prior, untold(prior)))
    assert told.final_quantiles[0.5] == pytest.approx(blind.final_quantiles[0.5], rel=1e-4)
    assert any("times as far off as foreseen: the law's band is wider" in note for note in told.notes)


def test_errors_to_either_side_move_no_forecast() -> None:
    prior = learn_prior(siblings_of(0.01, -0.01, 0.01, -0.01), POPULATION)
    curve = run_of(9, last=3200)
    told, blind = (forecast_curve(curve, PLAN, each) for each in (prior, untold(prior)))
    quarter = (blind.final_quantiles[0.95] - blind.final_quantiles[0.05]) / 4
    assert told.final_quantiles[0.5] == pytest.approx(blind.final_quantiles[0.5], abs=quarter)


def test_a_forecast_in_hindsight_has_not_heard_the_run_that_it_is_about() -> None:
    (only,) = siblings_of(0.0)
    heard = learn_prior([only], POPULATION)
    by_the_population, by_itself = (
        [off for *_, off in hindsight.errors_of(only, each)] for each in (POPULATION.prior, untold(heard))
    )
    assert list(heard.past_errors.off) == by_the_population
    assert list(heard.past_errors.off) != pytest.approx(by_itself, rel=0.05)


def test_runs_still_going_are_not_looked_back_on() -> None:
    going = [
        replace(each, curve=run_of(seed, last=3000), total_steps=TOTAL) for seed, each in enumerate(siblings_of(0, 0))
    ]
    assert learn_prior(going, POPULATION).past_errors == PastErrors()
    assert len(learn_prior([*going, *siblings_of(0)], POPULATION).past_errors.off) == len(hindsight.SHARES)


def test_a_share_by_which_too_little_was_seen_says_nothing() -> None:
    """Twenty evaluations: by a fifth of the way there were four."""
    steps = np.arange(200, TOTAL + 1, 200)
    sparse = Sibling(Curve.from_points(steps, 3.0 + 0.3 * (steps / TOTAL) ** -0.45), DECAYED)
    assert len(list(hindsight.errors_of(sparse, POPULATION.prior))) == len(hindsight.SHARES) - 1


def test_a_stretched_fan_keeps_its_median() -> None:
    for n_paths in (200, 201):
        values = np.random.default_rng(0).normal(3.0, [0.1, 0.5], (n_paths, 2))
        wider = corrected(values, 0.0, 2.0)
        assert np.median(wider, axis=0) == pytest.approx(np.median(values, axis=0))
        assert np.ptp(wider, axis=0) == pytest.approx(2 * np.ptp(values, axis=0))


def test_a_moved_fan_still_starts_where_the_data_ends() -> None:
    values = np.random.default_rng(0).normal(3.0, [0.0, 0.1, 0.4], (200, 3))
    moved = np.median(corrected(values, 0.2, 1.0), axis=0) - np.median(values, axis=0)
    assert moved == pytest.approx([0.0, 0.05, 0.2], abs=0.005)


def test_what_the_rate_may_do_is_not_narrowed_by_forecasts_that_knew_it() -> None:
    """Held and decayed futures stay as far apart as they are; only what is foreseen of each is stretched."""
    curve = run_of(9, last=1900)
    held = Schedule(np.array([0.0, 100, TOTAL]), np.array([0, 1e-3, 1e-3]))
    plan = replace(PLAN, schedule=held, schedule_source=ASSUMED, schedule_family="hold")
    n_held = N_PATHS - round(0.4 * N_PATHS)

    def ends(past: PastErrors) -> tuple[float, float, float]:
        values = LawForecaster(prior=replace(POPULATION.prior, past_errors=past)).predict(
            curve, plan, np.array([TOTAL])
        )
        of_held, of_decayed = np.split(values.values[:, 0], [n_held])
        return float(np.median(of_held)), float(np.median(of_decayed)), float(np.ptp(of_held))

    never_off = PastErrors((0.5,) * 30, (0.005,) * 30, (0.0,) * 30, (1.0,) * 30)
    narrow, plain = ends(never_off), ends(PastErrors())
    assert narrow[:2] == pytest.approx(plain[:2])
    assert narrow[2] < 0.5 * plain[2]
    assert plain[1] < 0.99 * plain[0]


def test_what_was_told_in_hindsight_survives_being_stored() -> None:
    prior = learn_prior(siblings_of(0, 0.02), POPULATION)
    assert prior.past_errors.off
    assert prior_from_dict(json.loads(json.dumps(prior_to_dict(prior), allow_nan=False))) == prior
