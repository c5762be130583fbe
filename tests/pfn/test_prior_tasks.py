"""Whole tasks: reproducible, finite, answered exactly, and silent about what is withheld."""

from dataclasses import fields

import numpy as np
import pytest

from app.pfn.prior import PRIOR_VERSION, sample_tasks
from app.pfn.prior.runs import sample_runs
from app.pfn.prior.sampling import FEWEST_BINS, tasks_of
from app.pfn.prior.schedules import FAMILIES, HORIZON_FREE
from app.pfn.tasks import Labelled, Tasks


@pytest.fixture(scope="module")
def drawn() -> Labelled:
    return sample_tasks(np.random.default_rng(0), 3_000)


def test_one_seed_gives_one_set_of_tasks() -> None:
    first, again = (sample_tasks(np.random.default_rng(7), 700) for _ in range(2))
    for field in fields(Tasks):
        assert np.array_equal(getattr(first.tasks, field.name), getattr(again.tasks, field.name)), field.name
    assert np.array_equal(first.targets, again.targets)


def test_a_version_of_the_prior_draws_the_same_for_ever() -> None:
    """The shipped network's card names it. If this fails, something changed what is drawn: raise `PRIOR_VERSION`."""
    assert PRIOR_VERSION == 1
    drawn = sample_tasks(np.random.default_rng(11), 512)
    tasks = drawn.tasks
    medians = (
        np.median(drawn.targets),
        np.median(np.abs(tasks.values[tasks.seen])),
        np.median(tasks.cutoff),
        np.mean(tasks.rates),
        np.median(tasks.spreads[tasks.counts > 1]),
    )
    # Medians, not bytes: machines round the last bits of exponentials differently.
    assert medians == pytest.approx((1.68627, 2.3798, 0.29808, 0.66264, 0.01788), rel=1e-3)


def test_another_seed_gives_another() -> None:
    first, other = (sample_tasks(np.random.default_rng(seed), 50) for seed in (1, 2))
    assert not np.isclose(first.targets, other.targets).any(axis=1).all()


@pytest.mark.parametrize("n", [1, 30, 1_100])
def test_as_many_come_as_were_asked_for(n: int) -> None:
    tasks = sample_tasks(np.random.default_rng(0), n, n_queries=16)
    assert len(tasks) == n
    assert tasks.targets.shape == (n, 16)


def test_everything_is_finite_but_endless_averages(drawn: Labelled) -> None:
    tasks = drawn.tasks
    for name in ("positions", "values", "spreads", "counts", "knots", "rates", "queries", "cutoff", "horizon"):
        assert np.isfinite(getattr(tasks, name)).all(), name
    assert np.isfinite(drawn.targets).all()
    assert not np.isnan(tasks.averaged).any()
    # Half of them, and the minima.
    assert 0.5 < np.isinf(tasks.averaged).mean() < 0.62


def test_arrays_are_as_the_network_takes_them(drawn: Labelled) -> None:
    for field in fields(Tasks):
        assert getattr(drawn.tasks, field.name).dtype in (np.float32, np.bool_), field.name
    assert drawn.targets.dtype == np.float32


def test_questions_lie_beyond_the_cutoff_in_order(drawn: Labelled) -> None:
    tasks = drawn.tasks
    assert (tasks.queries > tasks.cutoff[:, None]).all()
    assert (np.diff(tasks.queries, axis=1) >= 0).all()
    assert (tasks.queries[tasks.horizon_known, -1] == 1).all()
    assert (tasks.knots[:, -1] >= tasks.queries[:, -1] * (1 - 1e-6)).all()


def test_the_context_lies_before_the_cutoff(drawn: Labelled) -> None:
    tasks = drawn.tasks
    assert (tasks.seen.sum(axis=1) >= FEWEST_BINS).all()
    latest = np.where(tasks.seen, tasks.positions, 0).max(axis=1)
    assert (latest <= tasks.cutoff * (1 + 1e-5)).all()
    assert (tasks.positions > 0).all()
    assert (tasks.counts >= 1).all()
    assert not tasks.spreads[tasks.counts == 1].any()


def test_padding_is_neutral(drawn: Labelled) -> None:
    tasks = drawn.tasks
    unseen = ~tasks.seen
    assert unseen.any()
    assert (tasks.positions[unseen] == 1).all()
    assert not tasks.values[unseen].any()
    assert not tasks.spreads[unseen].any()
    assert (tasks.counts[unseen] == 1).all()


def test_an_unknown_rate_is_flat(drawn: Labelled) -> None:
    tasks = drawn.tasks
    assert 0.1 < (~tasks.past_known).mean() < 0.2
    assert (tasks.rates[~tasks.past_known] == 1).all()
    assert not (tasks.future_known & ~tasks.past_known).any()


def test_an_unknown_rate_to_come_is_held(drawn: Labelled) -> None:
    tasks = drawn.tasks.rows(drawn.tasks.past_known & ~drawn.tasks.future_known)
    assert len(tasks) > 100
    later = tasks.knots > tasks.cutoff[:, None]
    # At the cutoff itself the last known rate is reached; from there on nothing moves.
    at_cutoff = np.array([np.interp(c, k, r) for c, k, r in zip(tasks.cutoff, tasks.knots, tasks.rates, strict=True)])
    assert (np.abs(tasks.rates - at_cutoff[:, None])[later] < 1e-4).all()
    assert tasks.rates.max(axis=1) == pytest.approx(1.0)


def test_an_unknown_horizon_shows_nowhere() -> None:
    runs = sample_runs(np.random.default_rng(1), 2_000)
    tasks = tasks_of(np.random.default_rng(2), runs, n_queries=20).tasks
    hidden = ~tasks.horizon_known
    assert 0.1 < hidden.mean() < 0.3
    assert (tasks.horizon[hidden] == tasks.cutoff[hidden]).all()
    assert (tasks.knots[hidden, -1] == tasks.queries[hidden, -1]).all()
    # The last question lies anywhere up to the horizon, not at it.
    assert (tasks.queries[hidden, -1] < 1).mean() > 0.9
    free = np.isin(runs.schedules.family, [list(FAMILIES).index(name) for name in HORIZON_FREE])
    assert free[hidden & tasks.future_known].all()


def test_answers_free_of_noise_are_the_levels() -> None:
    runs = sample_runs(np.random.default_rng(3), 400)
    drawn = tasks_of(np.random.default_rng(4), runs, n_queries=20)
    tasks = drawn.tasks
    exact = np.isinf(tasks.averaged) & ~tasks.minimum
    future = runs.future.astype(np.float32)
    for row in range(len(drawn)):
        which = [int(np.argmin(np.abs(future[row] - query))) for query in tasks.queries[row, exact[row]]]
        expected = runs.units.of(runs.levels)[row, which]
        # Single precision, and neighbouring nodes that it cannot tell apart.
        largest = float(np.abs(expected).max(initial=0.0))
        assert drawn.targets[row, exact[row]] == pytest.approx(expected, abs=2e-4 * largest)


def test_a_minimum_never_rises_and_is_no_higher_than_the_level(drawn: Labelled) -> None:
    tasks, targets = drawn.tasks, drawn.targets
    for row in range(500):
        minima = targets[row, tasks.minimum[row]]
        assert (np.diff(minima) <= 0).all()
    level = np.isinf(tasks.averaged) & ~tasks.minimum
    both = np.flatnonzero(tasks.minimum[:, -1] & level[:, -2])
    assert len(both) > 30
    assert (targets[both, -1] <= targets[both, -2] + 1e-5 * np.abs(targets[both, -2])).all()


def test_losses_are_positive_and_some_metrics_rise(drawn: Labelled) -> None:
    tasks = drawn.tasks
    first = tasks.values[np.arange(len(drawn)), tasks.seen.argmax(axis=1)]
    rises = drawn.targets[:, -1] > first
    assert 0.08 < rises.mean() < 0.25
    assert (drawn.targets > 0).all(axis=1).mean() > 0.8
