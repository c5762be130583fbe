"""How forecasts of siblings err, learned: from ends that were drawn, and against the contest that reads it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy.stats import norm

from app.forecasting.forecast import LEVELS
from app.forecasting.scores import QuantileForecast
from app.verdicts.contest import Errors, probability_not_below
from app.verdicts.replay import GroupOutcome
from app.verdicts.shipped_errors import shipped_errors
from benchmarks.learn_errors import (
    CORRELATIONS,
    FAMILIES,
    PARTS,
    End,
    PairScores,
    errors_without,
    is_of_one_rate,
    learned,
    learned_of_pairs,
    pairs_of,
)
from benchmarks.nested_verdicts import choice


def normal_end(mean: float, deviation: float) -> QuantileForecast:
    return QuantileForecast.from_levels({level: float(norm.ppf(level, mean, deviation)) for level in LEVELS})


def drawn(errors: Errors, part: float, n_groups: int = 120) -> list[End]:
    """Groups of six runs at two rates, three at each; errors of unlike rates share a part of the correlation only."""
    rng = np.random.default_rng(8)
    found = []
    for group in range(n_groups):
        for number in range(2):
            of_all, of_rate = rng.normal(), rng.normal(size=2)
            for run in range(6):
                rate = run % 2
                shared = np.sqrt(part) * of_all + np.sqrt(1 - part) * of_rate[rate]
                own = rng.normal()
                score = np.sqrt(errors.correlation) * shared + np.sqrt(1 - errors.correlation) * own
                if rng.random() < errors.surprise:
                    score = errors.reach * rng.normal()
                mean = 50 + 0.8 * rng.normal()
                actual = mean + errors.stretch * score
                end = normal_end(mean, 1.0)
                found.append(End(f"family{group % 3} {group}", run, number, end, actual, (1e-3, 4e-3)[rate]))
    return found


def test_constants_are_found_again_in_ends_that_were_drawn_by_them() -> None:
    true = Errors(correlation=0.8, stretch=1.2, surprise=0.1, reach=4.0)
    ends = drawn(true, part=1.0)
    found = learned(ends, list(pairs_of(ends)))
    assert found.correlation == pytest.approx(true.correlation, abs=0.1)
    assert found.stretch == pytest.approx(true.stretch, rel=0.1)
    assert found.surprise == pytest.approx(true.surprise, abs=0.04)
    assert found.reach == pytest.approx(true.reach, rel=0.25)


def test_what_unlike_rates_share_is_found_again_in_pairs() -> None:
    true = Errors(correlation=0.9, surprise=0.05, reach=3.0)
    ends = drawn(true, part=0.3)
    scores = PairScores.of(list(pairs_of(ends)), dataclasses.replace(true, correlation=0.0))
    correlation, part = learned_of_pairs(scores, PARTS)
    assert correlation == pytest.approx(0.9, abs=0.1)
    assert part == pytest.approx(0.3, abs=0.2)
    assert scores.negative_log_score(correlation, part) < scores.negative_log_score(correlation, 1.0)


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_pairs_are_scored_by_the_probabilities_of_a_contest(correlation: float) -> None:
    first, second = normal_end(52.0, 1.0), QuantileForecast(np.array(LEVELS), np.array([50.0, 51.2, 51.6, 52.1, 54.0]))
    single = Errors(stretch=1.1, surprise=0.1, reach=3.0)
    pair = (End("g", 0, 3, first, 52.0, None), End("g", 1, 3, second, 51.0, None))
    scored = np.exp(-PairScores.of([pair], single).negative_log_score(correlation))
    fought = probability_not_below(first, second, dataclasses.replace(single, correlation=correlation))
    assert scored == pytest.approx(fought, abs=0.005)


def test_rates_within_a_quarter_are_one_and_unknown_ones_are_alike() -> None:
    assert is_of_one_rate(1e-3, 1.2e-3)
    assert not is_of_one_rate(1e-3, 2e-3)
    assert is_of_one_rate(None, None)
    assert not is_of_one_rate(None, 1e-3)


def test_what_ships_was_learned_and_so_was_what_each_family_is_reported_by() -> None:
    without = errors_without()
    assert set(without) == set(FAMILIES)
    for errors in (shipped_errors(), *without.values()):
        assert errors.correlation in CORRELATIONS
        assert 0 < errors.surprise < 0.3 < errors.stretch < 2 < errors.reach


def outcome(saved: float, *, stopped_best: bool) -> GroupOutcome:
    return GroupOutcome("g", 2, saved, 1, 2, 0.0, stopped_best, 0, 1, 0, (), {})


def test_the_fewest_wrong_stops_are_chosen_and_of_those_what_saves_most() -> None:
    tried = {0.95: [outcome(0.9, stopped_best=True)]}
    tried |= {
        confidence: [outcome(saved, stopped_best=False)]
        for confidence, saved in ((0.97, 0.2), (0.98, 0.4), (0.99, 0.3))
    }
    assert choice(tried) == 0.98
