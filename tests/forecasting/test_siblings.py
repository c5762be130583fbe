"""Other runs of a project sharpen the forecast of one, and the notes say so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.forecasting.forecast import forecast_curve
from app.forecasting.siblings import (
    LEVEL_SHARES,
    MARKS,
    MAX_SIBLINGS,
    UNKNOWN_SIMILARITY,
    Candidate,
    Sibling,
    Traits,
    closest,
    has_diverged,
    learn_prior,
    levels_of,
    mark_passed,
    share_told,
    similarity,
    similarity_of_levels,
    traits_of,
)
from app.laws.annealing import effective_steps, lagged_response
from app.laws.shipped import shipped_population

TOTAL = 4000
DECAYED = Schedule(np.array([0.0, 100, 3000, TOTAL]), np.array([0, 1e-3, 1e-3, 0]))
PLAN = Plan(TOTAL, "declared", "said", DECAYED, "declared", "wsd_linear", "said")


def curve_of(drop: float, last: int = TOTAL, seed: int = 0) -> Curve:
    """A run that gives `drop` of its loss to annealing."""
    steps = np.arange(1, last + 1)
    x = np.maximum(effective_steps(DECAYED, steps), 1.0)
    response = lagged_response(DECAYED, steps, [20.0], [0.7])[0, 0]
    noise = 0.01 * np.random.default_rng(seed).standard_normal(last)
    return Curve.from_points(steps, 3.0 + 0.3 * (x / TOTAL) ** -0.45 - 3.0 * drop * response + noise)


def test_finished_siblings_sharpen_the_forecast_of_a_decay_that_has_not_begun() -> None:
    curve, actual = curve_of(0.1, last=2000), float(curve_of(0.1).values[-8:].mean())
    siblings = [Sibling(curve_of(0.1, seed=seed), DECAYED) for seed in (1, 2, 3)]
    alone = forecast_curve(curve, PLAN)
    together = forecast_curve(curve, PLAN, learn_prior(siblings, shipped_population()))
    bands = [each.final_quantiles[0.95] - each.final_quantiles[0.05] for each in (alone, together)]
    errors = [abs(each.final_quantiles[0.5] - actual) for each in (alone, together)]
    assert bands[1] < 0.85 * bands[0]
    assert errors[1] < 0.5 * errors[0]
    assert together.final_quantiles[0.05] < actual < together.final_quantiles[0.95]
    assert any("3 finished runs of this project" in note for note in together.notes)
    assert not any("finished run" in note for note in alone.notes)


def test_runs_still_going_that_have_come_further_teach_the_decay_that_is_to_come() -> None:
    curve, actual = curve_of(0.1, last=2000), float(curve_of(0.1).values[-8:].mean())
    going = [Sibling(curve_of(0.1, last=3700, seed=seed), DECAYED, total_steps=TOTAL) for seed in (1, 2, 3)]
    alone = forecast_curve(curve, PLAN)
    together = forecast_curve(curve, PLAN, learn_prior(going, shipped_population()))
    errors = [abs(each.final_quantiles[0.5] - actual) for each in (alone, together)]
    assert errors[1] < 0.7 * errors[0]
    assert any("3 runs still going in this project" in note for note in together.notes)


def test_a_run_that_has_hardly_begun_says_far_less_than_one_that_has_ended() -> None:
    population = shipped_population()
    begun = Sibling(curve_of(0.1, last=100), DECAYED, total_steps=TOTAL)
    ended = Sibling(curve_of(0.1), DECAYED)
    moved = [
        abs(np.log(learn_prior([each], population).annealing.median / population.prior.annealing.median))
        for each in (begun, ended)
    ]
    assert moved[0] < 0.4 * moved[1]


def test_a_run_still_going_takes_no_finished_runs_place() -> None:
    finished = [Sibling(curve_of(0.1, seed=seed), DECAYED, similarity=0.5) for seed in range(MAX_SIBLINGS)]
    going = [Sibling(curve_of(0.02, last=3900), DECAYED, total_steps=TOTAL)]
    with_both, without = (learn_prior(each, shipped_population()) for each in (going + finished, finished))
    assert with_both == without
    assert (with_both.finished_runs, with_both.live_runs) == (MAX_SIBLINGS, 0)


def test_runs_still_going_leave_the_network_its_share() -> None:
    going = [Sibling(curve_of(0.1, last=3000), DECAYED, total_steps=TOTAL)]
    prior = learn_prior([*going, Sibling(curve_of(0.1), DECAYED)], shipped_population())
    assert (prior.finished_runs, prior.live_runs) == (1, 1)
    alone = learn_prior(going, shipped_population())
    shares = [forecast_curve(curve_of(0.1, last=1000), PLAN, each).forecasters["pfn"].weight for each in (None, alone)]
    assert shares[0] == pytest.approx(shares[1], rel=0.2)


def test_the_same_siblings_give_the_same_prior_in_any_order() -> None:
    siblings = [Sibling(curve_of(drop, seed=i), DECAYED, 1.0) for i, drop in enumerate((0.05, 0.1, 0.07))]
    ours, theirs = (learn_prior(each, shipped_population()) for each in (siblings, siblings[::-1]))
    assert ours.annealing.median == pytest.approx(theirs.annealing.median)
    assert ours.exponent.log_deviation == pytest.approx(theirs.exponent.log_deviation)


def test_the_note_tells_what_siblings_count_for_and_not_their_heads_alone() -> None:
    def note(similarity: float, n: int) -> str:
        siblings = [Sibling(curve_of(0.1, seed=seed), DECAYED, similarity) for seed in range(n)]
        notes = forecast_curve(curve_of(0.1, last=2000), PLAN, learn_prior(siblings, shipped_population())).notes
        (told,) = (each for each in notes if "judged from" in each)
        return told

    assert "judged from 4 finished runs of this project, which together count as 0.4 of a run just like" in note(0.1, 4)
    assert "judged from 3 finished runs of this project, which together count as 1.5 runs just like" in note(0.5, 3)
    assert "judged from one finished run of this project, which counts as 0.25 of a run just like" in note(0.25, 1)
    assert "judged from 2 finished runs of this project." in note(1.0, 2)


def test_siblings_too_short_or_too_different_say_nothing() -> None:
    population = shipped_population()
    short = Sibling(Curve.from_points([1, 2, 3], [3.0, 2.0, 1.5]), DECAYED)
    different = Sibling(curve_of(0.1), DECAYED, similarity=0.0)
    assert learn_prior([short, different], population) == population.prior
    assert learn_prior([], population) == population.prior


def test_configs_are_as_alike_as_what_both_name() -> None:
    own = {"lr": 1e-3, "n_layer": 12, "optimizer": "AdamW"}
    assert similarity(own, own) == 1.0
    assert similarity(own, {"note": "nothing in common"}) == 1.0
    nearer, further = (similarity(own, {**own, "lr": rate}) for rate in (2e-3, 1e-2))
    assert 1 > nearer > further > 0
    assert similarity(own, {**own, "optimizer": "adamw"}) == 1.0
    assert similarity(own, {**own, "optimizer": "Muon"}) == pytest.approx(np.exp(-0.5))
    assert similarity(own, {"learning_rate": "0.001"}) == 1.0


LIKE = Traits({"peak rate": 1e-3, "parameters": 1e8}, {"data": "web"})


def candidate(key: int, traits: Traits = LIKE, scale: float = 1.0, revision: int = 0) -> Candidate:
    levels = tuple(scale * level for level in levels_of(curve_of(0.1, seed=key)))
    return Candidate(key, f"run-{key}", "loss", traits, levels, revision)


def asked(candidates: list[Candidate], own: Traits = LIKE, last: int = 2000) -> dict[int, float]:
    return {each.key: similarity for each, similarity in closest(own, curve_of(0.1, last=last), TOTAL, candidates)}


def test_the_most_alike_are_asked_first_and_of_equals_the_newest() -> None:
    other_data = Traits(LIKE.numbers, {"data": "code"})
    pool = [candidate(1, revision=1), candidate(2, other_data, revision=9), candidate(3, revision=3)]
    assert list(asked(pool)) == [3, 1, 2]
    crowd = [candidate(key, revision=key) for key in range(MAX_SIBLINGS + 5)]
    assert list(asked(crowd)) == list(range(MAX_SIBLINGS + 4, 4, -1))


def test_a_loss_at_another_height_is_not_asked() -> None:
    perplexities = candidate(1)
    perplexities = dataclasses.replace(perplexities, levels=tuple(np.exp(level) for level in perplexities.levels))
    assert asked([perplexities]) == {}
    assert asked([candidate(1, scale=1.1)])[1] > 0.9


def test_heights_are_compared_at_the_same_share_of_the_way() -> None:
    """A run at a twentieth of its way stands far above where others ended; they are alike all the same."""
    assert asked([candidate(1)], last=200)[1] > 0.95


def going(key: int, last: int, mark: float, traits: Traits = LIKE) -> Candidate:
    levels = levels_of(curve_of(0.1, last=last, seed=key), TOTAL, mark)
    return Candidate(key, f"run-{key}", "loss", traits, levels, revision=0)


def test_a_run_still_going_tells_no_level_beyond_its_mark_nor_beyond_its_last_step() -> None:
    whole, curve = levels_of(curve_of(0.1)), curve_of(0.1, last=2000)
    assert levels_of(curve, TOTAL, 0.4) == pytest.approx(whole[: LEVEL_SHARES.index(0.4) + 1], rel=0.02)
    assert levels_of(curve, TOTAL, 0.8) == levels_of(curve, TOTAL, 0.4)  # this loss has not come so far
    assert share_told(whole) == 1
    assert set(MARKS) <= set(LEVEL_SHARES)


def test_marks_are_passed_at_fifths_of_the_way() -> None:
    passed = [mark_passed(cutoff, TOTAL) for cutoff in (0, 799, 800, 1599, 1600, 4000, 9000)]
    assert passed == [None, None, 0.2, 0.2, 0.4, 0.8, 0.8]


def test_heights_are_compared_no_further_than_both_have_come() -> None:
    for last in (400, 1700, 4000):
        assert asked([going(1, last=1700, mark=0.4)], last=last)[1] > 0.95


def test_a_run_still_going_ranks_by_what_it_has_made_and_counts_by_how_alike_it_is() -> None:
    other_data = Traits(LIKE.numbers, {"data": "code"})
    unlike = candidate(1, other_data)
    pool = [going(2, last=900, mark=0.2), unlike, going(3, last=3300, mark=0.8), candidate(4)]
    assert list(asked(pool)) == [4, 3, 1, 2]
    assert asked(pool)[2] > 0.95
    crowd = [going(key, last=900, mark=0.2) for key in range(10, 10 + MAX_SIBLINGS)]
    kept = asked([*crowd, unlike])
    assert (len(kept), next(iter(kept))) == (MAX_SIBLINGS, 1)


def test_losses_of_both_signs_have_no_ratio() -> None:
    assert similarity_of_levels(2.0, 0.5, [-1.0] * len(LEVEL_SHARES)) == 0
    assert similarity_of_levels(-2.0, 0.5, [-1.0] * len(LEVEL_SHARES)) == 1


def test_a_peak_rate_alone_is_no_acquaintance() -> None:
    silent, logged = traits_of({}), traits_of({}, peak_rate=1e-3)
    assert logged.numbers == {"peak rate": 1e-3}
    assert traits_of({"lr": 2e-3}, peak_rate=1e-3).numbers == {"peak rate": 2e-3}
    for unknown in (silent, logged):
        assert asked([candidate(1, unknown)])[1] <= UNKNOWN_SIMILARITY
        assert asked([candidate(1)], own=unknown)[1] <= UNKNOWN_SIMILARITY


def test_a_run_that_ends_above_its_first_tenth_has_diverged() -> None:
    assert not has_diverged(levels_of(curve_of(0.1)))
    steps = np.arange(1, 1001)
    rising = Curve.from_points(steps, np.where(steps < 500, 3.0 - steps / 1000, 4.0))
    assert has_diverged(levels_of(rising))
