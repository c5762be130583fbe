"""Groups of runs, ranked and thinned out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.errors import BadInput
from app.forecasting.forecast import LEVELS
from app.forecasting.scores import QuantileForecast
from app.verdicts.measured_end import measured_end
from app.verdicts.sweep import Competitor, at_threshold, halve, rank

Z = np.array([-1.645, -0.674, 0.0, 0.674, 1.645])


def live(name: str, median: float, deviation: float = 0.05, cutoff: int = 200) -> Competitor:
    return Competitor(name, name, QuantileForecast(np.array(LEVELS), median + deviation * Z), cutoff, 1000, True)


GROUP = (live("b", 2.95), live("a", 2.9), live("c", 3.6), Competitor("d", "d", 3.05, 1000, 1000, False))


def test_a_group_is_ranked_by_where_it_will_end() -> None:
    ranking = rank(GROUP)
    assert [one.run_id for one in ranking.placings] == ["a", "b", "d", "c"]
    assert [one.rank for one in ranking.placings] == [1, 2, 3, 4]
    assert sum(one.chance_best for one in ranking.placings) == pytest.approx(1.0)
    assert ranking.placings[0].chance_best > 0.7
    assert sum(one.expected_rank for one in ranking.placings) == pytest.approx(10.0, rel=0.01)


def test_only_the_hopeless_are_to_be_stopped_and_only_while_they_run() -> None:
    ranking = rank(GROUP)
    assert ranking.proposal.run_ids == ("c",)
    assert ranking.proposal.freed_steps == 800
    assert ranking.proposal.freed_share == pytest.approx(1 / 3)
    assert ranking.proposal.chance_best_lost < 0.002
    assert [one.run_id for one in ranking.placings if one.is_to_stop] == ["c"]


def test_a_guarded_run_is_ranked_but_never_to_be_stopped() -> None:
    ranking = rank((*GROUP[:2], replace(GROUP[2], is_guarded=True)))
    assert ranking.proposal.run_ids == ()
    assert ranking.placings[-1].run_id == "c"


def test_a_sure_group_keeps_one_run() -> None:
    ranking = rank([live(str(i), 3.0 + 0.1 * i, 0.01) for i in range(6)])
    assert ranking.proposal.run_ids == ("1", "2", "3", "4", "5")
    assert ranking.proposal.freed_share == pytest.approx(5 / 6)


def test_where_high_is_better_the_highest_leads() -> None:
    ranking = rank(GROUP, lower_is_better=False)
    assert ranking.placings[0].run_id == "c"
    assert ranking.placings[0].chance_best > 0.99
    assert "c" not in ranking.proposal.run_ids


def test_halving_keeps_the_half_with_the_best_chances() -> None:
    proposal = halve([live(name, median) for name, median in (("a", 3.3), ("b", 2.9), ("c", 3.0), ("d", 3.4))])
    assert proposal.run_ids == ("a", "d")
    assert proposal.freed_share == pytest.approx(0.5)


def test_a_higher_threshold_stops_no_fewer_and_risks_no_less() -> None:
    proposals = [at_threshold(GROUP, threshold) for threshold in (0.0, 0.01, 0.2, 1.0)]
    assert [len(one.run_ids) for one in proposals] == sorted(len(one.run_ids) for one in proposals)
    assert [one.regret for one in proposals] == sorted(one.regret for one in proposals)
    assert proposals[0].run_ids == ()
    assert "a" not in proposals[-1].run_ids


def test_a_group_without_runs_is_refused_in_words() -> None:
    with pytest.raises(BadInput, match="no run to rank"):
        rank([])


@pytest.mark.parametrize("keep", [0.0, 1.0, -1.0])
def test_halving_keeps_some_and_stops_some(keep: float) -> None:
    with pytest.raises(BadInput, match="share to keep"):
        halve(GROUP, keep=keep)


def ended(name: str, level: float, error: float | None) -> Competitor:
    return Competitor(name, name, measured_end(level, error), 1000, 1000, False)


@pytest.mark.parametrize("lower_is_better", [True, False])
def test_ended_runs_within_the_noise_of_each_other_are_a_coin_flip(lower_is_better: bool) -> None:
    ranking = rank([ended("a", 2.63649, 0.0045), ended("b", 2.63666, 0.0045)], lower_is_better=lower_is_better)
    assert all(one.chance_best == pytest.approx(0.5, abs=0.02) for one in ranking.placings)
    assert [one.median for one in ranking.placings] == ([2.63649, 2.63666] if lower_is_better else [2.63666, 2.63649])


@pytest.mark.parametrize("others", [0, 50])
def test_of_two_measured_ends_the_chance_is_that_of_the_normal_difference(others: int) -> None:
    far = [ended(str(number), 4 + 0.01 * number, 0.003) for number in range(others)]
    first, second, *_ = rank([ended("a", 3.0, 0.003), ended("b", 3.005, 0.004), *far]).placings
    assert first.chance_best == pytest.approx(0.8413, abs=0.005), "0.005 is one standard error of the difference"
    assert second.chance_best == pytest.approx(0.1587, abs=0.005)


def test_an_ended_run_whose_error_nobody_knows_is_taken_at_its_level() -> None:
    (only,) = rank([ended("a", 3.0, None)]).placings
    assert (only.low, only.median, only.high) == (3.0, 3.0, 3.0)


def test_of_ended_runs_nobody_is_to_be_stopped() -> None:
    assert rank([ended("a", 2.6, 0.005), ended("b", 3.6, 0.005)]).proposal.run_ids == ()
