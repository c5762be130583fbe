"""Priors learned from runs: a population's from families, a project's from its finished runs."""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from app.curves.schedule import Schedule
from app.laws.annealing import effective_steps, lagged_response
from app.laws.inference.moments import Moments
from app.laws.inference.posterior import Observations, infer
from app.laws.population import SPREADS, Population, population_prior, project_prior, within_families
from app.laws.prior import Prior, prior_from_dict, prior_to_dict
from app.laws.shipped import FILE, shipped_population
from benchmarks.forecast_accuracy import FAMILIES
from benchmarks.learn_prior import MAX_RUNS

HORIZON = 10_000.0
DECAYED = Schedule(np.array([0, 200, 5000, HORIZON]), np.array([0, 1e-3, 1e-3, 0]))


def run_of(drop: float, *, exponent: float = 0.45, seed: int = 0) -> Observations:
    """A finished run that gave `drop` of its final level to annealing."""
    steps = np.linspace(1000.0, HORIZON, 60)
    x = effective_steps(DECAYED, steps)
    z = lagged_response(DECAYED, steps, [50.0], [0.7])[0, 0]
    values = 0.1 * ((x / x[-1]) ** -exponent - 1) - drop * (z - z[-1])
    values += 3e-4 * np.random.default_rng(seed).standard_normal(len(steps))
    return Observations(steps, values, np.full(60, 9e-8), np.ones(60), level=1.0, scale=1.0, cutoff=HORIZON)


def moments_of(drops: list[float], prior: Prior) -> list[Moments]:
    return [infer(run_of(drop, seed=i), DECAYED, HORIZON, prior).moments(DECAYED) for i, drop in enumerate(drops)]


def test_moments_are_those_of_the_run() -> None:
    weight, first, _ = moments_of([0.1], Prior())[0].annealing
    # Over the gain of its power, 1.1; the run is known to a few percent.
    assert np.exp(first / weight) == pytest.approx(0.1 / 1.1, rel=0.2)


def test_a_population_centres_where_its_families_are() -> None:
    families = {"low": moments_of([0.03, 0.035], Prior()), "high": moments_of([0.12, 0.13], Prior())}
    learned = population_prior(Prior(), families)
    assert 0.035 < learned.annealing.median < 0.1
    alike = population_prior(Prior(), {"one": families["high"], "two": families["high"]})
    assert alike.annealing.median > learned.annealing.median
    assert alike.annealing.log_deviation < learned.annealing.log_deviation


def test_a_family_counts_once_however_many_runs_it_has() -> None:
    high, low = moments_of([0.12], Prior()), moments_of([0.03], Prior())
    few, many = (population_prior(Prior(), {"high": high * n, "low": low}) for n in (1, 50))
    assert many.annealing.median == pytest.approx(few.annealing.median)


def test_runs_of_one_family_differ_less_than_families_do() -> None:
    families = {
        "low": moments_of([0.03, 0.032, 0.034, 0.031], Prior()),
        "high": moments_of([0.12, 0.125, 0.13, 0.122], Prior()),
    }
    prior = population_prior(Prior(), families)
    within = within_families(prior, families)
    assert within["annealing"] < 0.5 * prior.annealing.log_deviation


def population() -> Population:
    within = {
        "exponent": 0.1,
        "memory": 0.6,
        "reducible": 0.03,
        "annealing": 0.25,
        "misfit_of_power": 0.7,
        "misfit_of_response": 0.7,
    }
    return Population(Prior(), within)


def test_finished_siblings_move_and_sharpen_the_prior_the_more_the_more_there_are() -> None:
    given, medians, deviations = population(), [], []
    for n in (1, 2, 6):
        learned = project_prior(given, given.prior, moments_of([0.12] * n, given.prior), np.ones(n))
        medians.append(learned.annealing.median)
        deviations.append(learned.annealing.log_deviation)
    assert given.prior.annealing.median < medians[0] < medians[1] < medians[2] < 0.12
    assert given.prior.annealing.log_deviation > deviations[0] > deviations[1] > deviations[2]


def test_a_sibling_that_is_less_alike_says_less() -> None:
    given = population()
    runs = moments_of([0.12, 0.12], given.prior)
    near, far = (project_prior(given, given.prior, runs, np.full(2, weight)) for weight in (1.0, 0.1))
    assert given.prior.annealing.median < far.annealing.median < near.annealing.median


def test_no_siblings_leave_the_population_prior() -> None:
    given = population()
    assert project_prior(given, given.prior, [], []) == given.prior


def test_a_run_that_never_decayed_says_nothing_of_annealing() -> None:
    given = population()
    flat = Schedule.constant(1.0, last=HORIZON)
    moments = infer(run_of(0.0), flat, HORIZON, given.prior).moments(flat)
    learned = project_prior(given, given.prior, [moments], [1.0])
    assert learned.annealing.median == pytest.approx(given.prior.annealing.median, rel=0.1)


def test_a_prior_survives_being_written_and_read() -> None:
    prior = replace(shipped_population().prior, finished_runs=3)
    assert prior_from_dict(json.loads(json.dumps(prior_to_dict(prior)))) == prior


def test_the_shipped_population_is_a_prior_for_losses() -> None:
    given = shipped_population()
    assert given.prior.finished_runs == 0
    assert sum(given.prior.rate_power_weights) == pytest.approx(1.0)
    assert 0.02 < given.prior.annealing.median < 0.15
    assert all(0 < deviation < 3 for deviation in given.within.values())
    means, deviations, weights = given.prior.parts()
    assert means.shape == deviations.shape == (2, 4)
    assert weights.sum() == pytest.approx(1.0)
    # A skewed prior: the mass below zero is small, but for the part that is room for anything.
    assert (means[1, :3] > 1.5 * deviations[1, :3]).all()


def test_the_shipped_population_holds_every_number_of_a_prior() -> None:
    """Written by this version of the prior: a field that the file lacks would silently keep its weak default."""
    content = json.loads(resources.files("app.laws").joinpath(FILE).read_text(encoding="utf-8"))
    given = shipped_population()
    assert set(content["prior"]) == {field.name for field in dataclasses.fields(Prior)}
    assert json.loads(json.dumps(prior_to_dict(given.prior))) == content["prior"]
    assert set(given.within) == set(SPREADS)


def test_the_shipped_population_says_which_code_made_it_of_which_runs() -> None:
    content = json.loads(resources.files("app.laws").joinpath(FILE).read_text(encoding="utf-8"))
    assert content["made_by"] == "python -m benchmarks.learn_prior", "from every family, none left out"
    assert re.fullmatch("[0-9a-f]{40}", content["commit"]), "a commit, and nothing changed since"
    assert datetime.date.fromisoformat(content["made_on"]).year >= 2026
    assert set(content["families"]) == set(FAMILIES)
    assert content["families"] == {name: len(set(runs)) for name, runs in content["runs"].items()}
    assert content["n_runs"] == sum(content["families"].values())
    assert all(0 < n <= MAX_RUNS for n in content["families"].values())
    assert re.fullmatch("[0-9a-f]{64}", content["sha256_of_names_and_finals"])


def test_a_few_families_leave_more_open_than_many_that_say_the_same() -> None:
    """The predictive for one family more: F families tell their own spread only roughly."""
    low, high = moments_of([0.04], Prior())[0], moments_of([0.1], Prior())[0]
    few = population_prior(Prior(), {"a": [low], "b": [high]})
    many = population_prior(Prior(), {f"{kind}{i}": [run] for i in range(8) for kind, run in (("a", low), ("b", high))})
    assert many.annealing.median == pytest.approx(few.annealing.median, rel=0.15)
    assert few.annealing.log_deviation > 1.15 * many.annealing.log_deviation


def test_what_families_agree_on_is_not_widened() -> None:
    high = moments_of([0.1], Prior())[0]
    few, many = (population_prior(Prior(), {str(i): [high] for i in range(n)}) for n in (10, 200))
    # All but the weak prior say the same: the more of them, the nearer to what a run of theirs says of itself.
    assert many.annealing.log_deviation < few.annealing.log_deviation
    assert many.annealing.log_deviation < 0.25
