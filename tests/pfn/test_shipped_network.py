"""The network that ships: as good as its card says, calibrated, and aware of the learning rate."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.curves.curve import Curve
from app.curves.planning.resolve import resolve_plan
from app.pfn.features import read_features
from app.pfn.intrinsic_time import KnownSchedule
from app.pfn.prior import PRIOR_VERSION, sample_tasks
from app.pfn.reading import read_run
from app.pfn.runtime import Predictor, shipped_predictor
from app.pfn.tasks import Tasks
from app.pfn.training.examples import Examples, validation_examples
from app.pfn.training.score import Score, scores_of
from benchmarks.pfn_card import with_tables

TOTAL = 20_000
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return shipped_predictor()


@pytest.fixture(scope="module")
def examples(predictor: Predictor) -> Examples:
    return validation_examples(predictor.card["check"]["n_curves"])


@pytest.fixture(scope="module")
def scores(predictor: Predictor, examples: Examples) -> Mapping[str, Score]:
    return scores_of(predictor.judge(examples.inputs), examples)


def test_it_was_trained_on_the_prior_that_is_there(predictor: Predictor) -> None:
    assert predictor.card["trained"]["prior_version"] == PRIOR_VERSION


def test_it_scores_what_its_card_says(predictor: Predictor, scores: Mapping[str, Score]) -> None:
    said: Mapping[str, Any] = predictor.card["check"]["scores"]["all"]
    # Other builds of numpy round otherwise, and may draw a task or two anew.
    assert scores["all"].log_score == pytest.approx(said["log_score"], abs=0.02)
    assert scores["all"].error == pytest.approx(said["error"], abs=0.02)


def test_it_is_closer_than_the_fits_it_starts_from_and_than_the_last_level(scores: Mapping[str, Score]) -> None:
    for score in scores.values():
        assert score.error < 0.9 * score.error_of_bank
        assert score.error < 0.7 * score.error_of_last


def test_its_bands_hold_what_they_promise(scores: Mapping[str, Score]) -> None:
    # 6,000 questions of 300 curves: what curves have in common leaves about 2 % either way.
    assert 0.86 < scores["all"].cover_90 < 0.96
    assert 0.43 < scores["all"].cover_50 < 0.62


def test_without_the_learning_rate_it_knows_less_of_a_decay(predictor: Predictor) -> None:
    labelled = sample_tasks(np.random.default_rng(77), 500)
    tasks = labelled.tasks
    schedule = KnownSchedule.of(tasks)
    now, then = schedule.at(tasks.cutoff[:, None]).rate, schedule.at(tasks.queries).rate
    late = tasks.cutoff > 0.5 * tasks.queries[:, -1]
    decays = (tasks.past_known & tasks.future_known & late)[:, None] & (then < 0.3 * now)
    nothing = np.zeros(len(tasks), bool)

    def log_score(asked: Tasks) -> float:
        inputs = read_features(asked)
        scores = predictor.judge(inputs).log_density(labelled.targets) + np.log(inputs.scale)
        return float(scores[decays].mean())

    assert decays.sum() > 150
    # Half a nat, measured on other curves.
    assert log_score(tasks) > log_score(replace(tasks, past_known=nothing, future_known=nothing)) + 0.2


@pytest.mark.parametrize("exponent", [0.2, 0.4, 0.7])
@pytest.mark.parametrize("noise", [0.0005, 0.02])
def test_a_future_that_anneals_ends_below_one_that_does_not(
    predictor: Predictor, exponent: float, noise: float
) -> None:
    cutoff = 12_000
    steps = np.arange(1, cutoff + 1)
    values = 2.5 + 4 * steps**-exponent + np.random.default_rng(0).normal(0, noise, cutoff)
    curve = Curve.from_points(steps, values)
    finals = {}
    for family, shape in (("constant", {}), ("wsd_linear", {"decay_steps": 6000, "final_rate": 0.0})):
        schedule = {"family": family, "peak": 1e-3, "warmup_steps": 200, **shape}
        declared = {"total_steps": TOTAL, "schedule": schedule}
        plan = resolve_plan(declared=declared, config={}, rate=None, cutoff=cutoff)
        reading = read_run(curve, plan, np.array([TOTAL]))
        finals[family] = float(reading.restored(predictor.predict(reading.tasks)).quantiles([0.5])[0, 0, 0])
    assert finals["wsd_linear"] < finals["constant"]


def test_a_band_is_wider_further_ahead(predictor: Predictor) -> None:
    steps = np.arange(1, 4001)
    curve = Curve.from_points(steps, 2 + 3 * steps**-0.3 + np.random.default_rng(0).normal(0, 0.02, 4000))
    plan = resolve_plan(declared={"total_steps": 100_000}, config={}, rate=None, cutoff=4000)
    reading = read_run(curve, plan, np.array([4100, 8000, 30_000, 100_000]))
    low, high = reading.restored(predictor.predict(reading.tasks)).quantiles([0.05, 0.95])[:, 0]
    assert (np.diff(high - low) > 0).all()


def test_the_page_shows_the_card_that_ships(predictor: Predictor) -> None:
    page = (DOCS / "pfn.md").read_text(encoding="utf-8")
    assert with_tables(page, predictor.card) == page, "run: python -m benchmarks.pfn_card docs/pfn.md"
