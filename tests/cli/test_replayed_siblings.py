"""What a replayed run hears of its siblings, on real runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.cli.backtest_verdicts import Job, replay_file
from app.cli.replayed_siblings import Learner, Told
from app.verdicts.outlook import Outlook
from app.verdicts.replay import Heard

DATA = Path(__file__).parents[1] / "data"
HALF = 9
"""Number of the checkpoint at half of a run's way; 11 is at 0.6."""


@pytest.fixture(scope="module")
def told() -> list[Told]:
    names = ("cosine_24000", "constant_24000", "wsd_20000_24000")
    found = [replay_file(Job(DATA / f"multipowerlaw_25M_{name}.csv", None, None)) for name in names]
    assert all(isinstance(one, Told) for one in found)
    return [one for one in found if isinstance(one, Told)]


def outlook(learner: Learner, place: int, heard: Heard, number: int = HALF) -> Outlook:
    found = learner(place, number, heard)
    assert found is not None
    return found


def width(outlook: Outlook) -> float:
    return outlook.final.quantile(0.95) - outlook.final.quantile(0.05)


def test_a_run_that_hears_nobody_is_forecast_as_it_was_by_itself(told: list[Told]) -> None:
    alone = told[2].run.moments[HALF].situation.outlook
    assert outlook(Learner(told, None), 2, Heard(HALF)) is alone


def test_siblings_that_still_go_say_something_and_one_that_has_ended_says_more(told: list[Told]) -> None:
    """The WSD run knows its flat phase alone; how its recipe decays, the cosine tells."""
    learner = Learner(told, None)
    alone = outlook(learner, 2, Heard(HALF))
    beside = outlook(learner, 2, Heard(HALF, ((0, 7), (1, 7))))
    after = outlook(learner, 2, Heard(HALF, ((0, 19), (1, 7))))
    assert width(after) < width(beside) < width(alone)
    assert beside.median != alone.median


def test_the_same_siblings_are_learned_from_once(told: list[Told]) -> None:
    learner = Learner(told, None)
    heard = Heard(HALF, ((0, 7), (1, 7)))
    assert outlook(learner, 2, heard) is outlook(learner, 2, heard)
    outlook(learner, 2, heard, HALF + 1)
    assert len(learner.priors) == 1


def test_a_sibling_is_heard_no_further_than_it_had_come(told: list[Told]) -> None:
    """Strictly causal: what it did after the mark may be anything."""
    later = told[0].recorded
    values = np.where(later.steps > 0.4 * later.total_steps, 9.0, later.values)
    other = [Told(replace(later, values=values), told[0].run), *told[1:]]
    heard = Heard(HALF, ((0, 7), (1, 7)))
    before, after = (outlook(Learner(each, None), 2, heard) for each in (told, other))
    assert after.median == before.median


def test_one_that_diverged_or_whose_rate_nobody_knows_says_nothing(told: list[Told]) -> None:
    run = told[0].recorded
    rising = replace(run, values=np.where(run.steps > 0.3 * run.total_steps, 20.0, run.values))
    for silent in (rising, replace(run, schedule=None)):
        learner = Learner([Told(silent, told[0].run), *told[1:]], None)
        assert outlook(learner, 2, Heard(HALF, ((0, 7),))) is outlook(learner, 2, Heard(HALF))
