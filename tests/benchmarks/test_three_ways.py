"""The ways that `benchmarks.three_ways` sets beside the product's."""

from __future__ import annotations

import numpy as np
import pytest

from app.curves.schedule import Schedule
from app.forecasting.observations import observe
from app.laws.annealing import annealing_response, effective_steps
from app.laws.shipped import shipped_population
from benchmarks.forecast_accuracy import RecordedRun
from benchmarks.grid_against_mcmc import Target
from benchmarks.three_ways import most_probable, papers_end

TOTAL = 10_000
SCHEDULE = Schedule(np.array([0.0, 200.0, 5000.0, TOTAL]), np.array([0.0, 1e-3, 1e-3, 0.0]))


def run_of_the_papers_law() -> RecordedRun:
    """2.5 + 0.4 x^-0.5 - 0.15 z, of memory 1,000 steps (a decay factor that the authors try), without noise."""
    steps = np.arange(200, TOTAL + 1, 50)
    x = effective_steps(SCHEDULE, steps) / 7000
    values = 2.5 + 0.4 * x**-0.5 - 0.15 * annealing_response(SCHEDULE, steps, [1000.0])[0]
    return RecordedRun("made", SCHEDULE, steps, values, TOTAL)


def test_the_authors_fit_finds_the_end_of_a_run_that_follows_their_law() -> None:
    run = run_of_the_papers_law()
    seen = run.seen(0.8)
    assert papers_end(run, seen.steps, seen.values) == pytest.approx(float(run.values[-1]), rel=0.003)
    assert seen.values[-1] > 1.02 * run.values[-1], "the decay's gain was still to come"


def test_of_a_metric_below_zero_the_authors_fit_says_nothing() -> None:
    run = run_of_the_papers_law()
    seen = run.seen(0.8)
    assert np.isnan(papers_end(run, seen.steps, seen.values - 3))


def test_the_point_that_is_found_is_more_probable_than_where_each_search_began() -> None:
    run = run_of_the_papers_law()
    target = Target(observe(run.seen(0.6), SCHEDULE), run.plan(), shipped_population().prior)
    found = most_probable(target)
    assert (found >= target.bounds[:, 0]).all()
    assert (found <= target.bounds[:, 1]).all()
    assert target(found) > max(target(start) for start in target.starts(np.random.default_rng(0)))
