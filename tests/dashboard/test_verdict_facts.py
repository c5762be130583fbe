"""The numbers beside a verdict on a run's page, against those that were stored, of real runs."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np
import pytest

from app.dashboard.pages.verdict import read, shown
from app.runs import RunStatus
from app.storage.database import Database
from app.storage.goals import Goal, save_project_policy
from app.verdicts.stopping import Mode
from tests.dashboard.component_words import words
from tests.dashboard.seeding import Seeder, decaying, replayed

TOTAL = 50_000


@pytest.fixture
def half(database: Database, seed: Seeder) -> Database:
    """A run of the project "lm" that has made half of its 50,000 steps, beside one that has finished."""
    replayed(seed, "done", "lm_cosine.csv", TOTAL, share=1.0, status=RunStatus.FINISHED, project="lm")
    replayed(seed, "run", "lm_cosine.csv", TOTAL, share=0.5, project="lm")
    return database


def facts(database: Database, run_id: str = "run") -> str:
    return words(shown(read(database, run_id), datetime.now(UTC)))


def test_what_going_on_adds_to_the_runs_own_best_stands_beside_the_verdict(half: Database) -> None:
    verdict = read(half, "run").verdict
    assert verdict is not None
    evidence = verdict.details["evidence"]
    told = re.search(r"expected improvement (0\.\d+)", facts(half))
    assert told is not None, facts(half)
    assert float(told[1]) == pytest.approx(evidence["best_so_far"] - evidence["final_p50"], rel=0.1)


@pytest.mark.parametrize(
    ("budget", "told"),
    [
        (40_000, r"reaches 3.000 by step 40,000 [\d<> ]+ %[^;]*look again"),
        (TOTAL, r"reaches 3.000 by step 50,000 [\d<> ]+ %[^;]*look again"),
        (60_000, r"reaches 3.000 by its end at step 50,000 [\d<> ]+ %.*; the budget, step 60,000, lies beyond it"),
    ],
)
def test_a_budget_beyond_the_runs_end_says_so(half: Database, seed: Seeder, budget: int, told: str) -> None:
    goals = {"train_loss": Goal(target=3.0, budget_steps=budget)}
    with half.write() as connection:
        save_project_policy(
            connection, "lm", mode=Mode.ADVISE, policy="predictive", parameters={}, goals=goals, baselines=[]
        )
    seed.refit("run")
    assert re.search(told, facts(half)), facts(half)


def test_without_a_forecast_no_improvement_is_told(database: Database, seed: Seeder) -> None:
    seed.open("run", plan={"total_steps": TOTAL})
    steps = np.arange(1, 4)
    seed.log("run", steps, {"loss": decaying(steps)})
    told = facts(database)
    assert "There is no forecast yet" in told
    assert "stopping saves" in told
    assert "expected improvement" not in told
