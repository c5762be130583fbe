"""Which rate of a sweep is best, and which the noise leaves open: sweeps made up."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.diagnostics.dynamics.best_rate import BestRate, best_rate
from app.diagnostics.dynamics.sensitivity import SweptRun, sensitivity


def best(*ends: tuple[float, float], error: float = math.nan, first: float = 5.0) -> BestRate:
    runs = [SweptRun(f"run-{at}", rate, final, first, error) for at, (rate, final) in enumerate(ends)]
    found = sensitivity(runs)
    assert found is not None
    return best_rate(runs, found)


def test_a_lead_smaller_than_two_runs_at_one_rate_differ_by_names_no_best_rate() -> None:
    found = best((3e-3, 3.4), (1e-2, 2.774), (1e-2, 2.817), (2e-2, 2.790))
    assert (found.best.rate, found.best.n_runs) == (2e-2, 1)
    assert [(one.rate, one.n_runs) for one in found.alike] == [(1e-2, 2)]
    assert found.runner_up.behind == pytest.approx(0.0055)
    assert found.seed_deviation == pytest.approx(0.0304, abs=1e-4)
    assert not found.is_clear


def test_a_lead_far_beyond_the_noise_is_clear() -> None:
    found = best((1e-3, 2.900), (1e-3, 2.902), (1e-2, 2.500), (1e-2, 2.502), (1e-1, 2.800), (1e-1, 2.801))
    assert found.is_clear
    assert found.best.rate == 1e-2
    assert found.runner_up.rate == 1e-1
    assert found.repeats == 3


def test_without_a_repeat_the_noise_of_the_ends_is_what_counts() -> None:
    ends = (1e-3, 2.60), (1e-2, 2.50), (1e-1, 2.51)
    assert best(*ends, error=0.001).is_clear
    assert [one.rate for one in best(*ends, error=0.01).alike] == [1e-1]
    assert best(*ends, error=0.01).seed_deviation is None


def test_where_nothing_is_known_of_the_noise_no_rate_is_clear() -> None:
    assert not best((1e-3, 2.6), (1e-2, 2.5), (1e-1, 2.55)).is_clear


def test_seeds_do_not_make_an_end_better_known_than_its_points_do() -> None:
    ends = (1e-3, 2.60), (1e-2, 2.500), (1e-2, 2.5001), (1e-1, 2.51), (1e-1, 2.5101)
    assert best(*ends, error=1e-5).is_clear
    assert not best(*ends, error=0.01).is_clear


@pytest.mark.parametrize("end", [5.0, 80.0, math.nan])
def test_a_rate_at_which_all_runs_diverged_is_not_alike_to_the_best_and_makes_no_noise(end: float) -> None:
    found = best((1e-3, 2.60), (1e-3, 2.61), (1e-2, 2.0), (1e-1, end), (1e-1, 4.0), (1.0, end), (1.0, end))
    assert found.seed_deviation == pytest.approx(0.01 / math.sqrt(2))
    assert 1.0 not in [one.rate for one in found.alike]


def test_a_run_seen_to_diverge_is_no_noise_wherever_it_ended() -> None:
    runs = [
        SweptRun("a", 1e-3, 2.60, 5.0),
        SweptRun("b", 1e-2, 2.0, 5.0),
        SweptRun("c", 1e-2, 2.01, 5.0),
        SweptRun("d", 1e-1, 2.8, 5.0),
        SweptRun("e", 1e-1, 3.6, 5.0, has_diverged=True),
        SweptRun("f", 1.0, 2.02, 5.0, has_diverged=True),
    ]
    found = sensitivity(runs)
    assert found is not None
    chosen = best_rate(runs, found)
    assert chosen.seed_deviation == pytest.approx(0.01 / math.sqrt(2))
    assert chosen.alike == (), "whatever the noise, it is not alike to the best"


def test_a_run_that_gained_next_to_nothing_is_no_noise() -> None:
    found = best((1e-3, 2.60), (1e-3, 2.61), (1e-2, 2.0), (1e-1, 3.0), (1e-1, 4.9))
    assert found.seed_deviation == pytest.approx(0.01 / math.sqrt(2))


def test_of_rates_that_do_not_differ_the_lowest_is_called_clear_about_as_seldom_as_said() -> None:
    rng = np.random.default_rng(0)
    rates = [1e-3, 1e-3, 3e-3, 3e-3]
    clear = []
    for _ in range(400):
        found = best(*((rate, float(rng.normal(2.5, 0.02))) for rate in [*rates, 1e-2, 1e-2]))
        clear.append(found.is_clear)
    assert np.mean(clear) < 0.12  # 5 % for two rates; the lowest of three is chosen after the fact
