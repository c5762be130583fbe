"""The training itself: it learns, it goes on where it was, and what it exports is what it trained."""

import datetime
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import BadInput, Conflict, NotFound, Unavailable
from app.pfn.bars import Knots
from app.pfn.network import Size
from app.pfn.prior import PRIOR_VERSION, Prior
from app.pfn.runtime import Predictor
from app.pfn.weights import PARAMETERS, read_network
from tests.pfn.torch_or_skip import torch

from app.pfn.training import examples, export, training  # isort: skip  (after the skip: it imports torch)
from app.pfn.training.training import Budget, Given, Recipe, Training  # isort: skip

CHUNK = 256
SMALL = Recipe(seed=3, size=Size(width=32, layers=2, heads=4, inner=48, bars=60), batch=32)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(examples, "CHUNK", CHUNK)
    monkeypatch.setattr(training, "N_FOR_KNOTS", 512)
    for module in (training, export):
        monkeypatch.setattr(module, "N_VALIDATION", 400)


def nothing(entry: Mapping[str, Any]) -> None:
    pass


def train(folder: Path, n_chunks: int, report: Callable[[Mapping[str, Any]], None] = nothing) -> Training:
    trained = Training(folder, SMALL, Budget(curves=n_chunks * CHUNK), CPU)
    trained.run(0, report)
    return trained


def test_a_short_training_scores_better_than_none(tmp_path: Path) -> None:
    before = Training(tmp_path, SMALL, Budget(curves=1), CPU).scores(examples.validation_examples(400))["all"]
    trained = train(tmp_path, 16)
    after = trained.scores(examples.validation_examples(400))["all"]
    # Seconds bring some 0.1 nats; half of that cannot be luck on the same 8,000 questions.
    assert after.log_score > before.log_score + 0.05


def test_a_training_that_was_cut_off_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", 4)

    class CutOff(Exception):
        pass

    def cut_off_after_two(entry: Mapping[str, Any]) -> None:
        if entry["chunks"] == 2:
            raise CutOff

    patient = pytest.MonkeyPatch()
    patient.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(CutOff):
        train(tmp_path / "cut", 4, cut_off_after_two)
    patient.undo()
    resumed = Training.resume(tmp_path / "cut", Budget(curves=4 * CHUNK), CPU)
    assert resumed.clock.chunks == 2
    resumed.run(0, nothing)
    assert resumed.clock.updates == whole.clock.updates
    for name, value in whole.mean.items():
        assert torch.equal(resumed.mean[name], value), name


def test_a_worker_process_makes_the_same_curves() -> None:
    here, there = (examples.training_chunks(Prior.WHOLE, 5, 2, workers) for workers in (0, 1))
    for _ in range(2):
        one, other = next(here), next(there)
        assert np.array_equal(one.answers, other.answers)
        assert np.array_equal(one.inputs.tokens, other.inputs.tokens)
    there.close()


def test_another_prior_is_not_trained_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path, 1)
    monkeypatch.setattr(training, "PRIOR_VERSION", PRIOR_VERSION + 1)
    with pytest.raises(Conflict, match="Start anew"):
        Training.resume(tmp_path, Budget(curves=10_000), CPU)


def test_what_is_exported_scores_like_what_was_trained(tmp_path: Path) -> None:
    trained = train(tmp_path, 2)
    validation = examples.validation_examples(400)
    card = export.export(tmp_path, tmp_path / "shipped", datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    expected = trained.scores(validation)["all"]
    # Half precision: the fourth decimal.
    assert card["validation"]["scores"]["all"]["log_score"] == pytest.approx(expected.log_score, abs=1e-3)
    assert card["trained"]["curves"] == 2 * CHUNK
    predictor = Predictor(*read_network(tmp_path / "shipped"))
    assert np.isfinite(predictor.judge(validation.inputs).mean()).all()
    assert (tmp_path / "shipped" / PARAMETERS).stat().st_size < 200_000


def test_a_training_on_the_tractable_prior_goes_on_with_it_and_says_so(tmp_path: Path) -> None:
    recipe = replace(SMALL, prior=Prior.TRACTABLE)
    Training(tmp_path, recipe, Budget(curves=CHUNK), CPU).run(0, nothing)
    resumed = Training.resume(tmp_path, Budget(curves=12 * CHUNK), CPU)
    assert resumed.recipe == recipe
    validation = examples.validation_examples(400, Prior.TRACTABLE)
    before = resumed.scores(validation)["all"].log_score
    after = resumed.run(0, nothing)["all"].log_score
    assert after > before + 0.05
    card = export.export(tmp_path, tmp_path / "shipped", datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    assert card["trained"]["prior"] == "tractable"
    assert card["validation"]["scores"]["all"]["log_score"] == pytest.approx(after, abs=1e-3)


def test_a_checkpoint_that_knows_of_one_prior_is_of_the_whole(tmp_path: Path) -> None:
    train(tmp_path, 1)
    saved = training.read_checkpoint(tmp_path)
    for name in ("prior", "begun_from"):
        del saved["recipe"][name]
    assert training.saved_recipe(saved) == SMALL


def test_a_network_begun_from_another_has_its_parameters_on_knots_of_its_own(tmp_path: Path) -> None:
    given = trained_and_read(tmp_path, 2)
    begun = Training.begin_from(
        given, tmp_path / "begun", Recipe(seed=9, prior=Prior.TRACTABLE), Budget(curves=CHUNK), CPU
    )
    assert begun.recipe.size == SMALL.size
    assert begun.recipe.begun_from == given.sha256
    assert not np.allclose(begun.knots.places, given.knots.places)
    for name, value in given.on_knots(begun.knots).items():
        assert torch.equal(begun.mean[name], value), name
        assert torch.equal(value, given.parameters[name]) == (not name.startswith("answer.")), name


def test_between_its_knots_the_logarithm_of_a_density_is_straight(tmp_path: Path) -> None:
    given = trained_and_read(tmp_path, 4)
    old = given.knots
    middles = (old.places[:-1] + old.places[1:]) / 2
    finer = Knots(np.sort(np.concatenate([old.places, middles])), old.left_tail, old.right_tail)
    moved, rng = given.on_knots(finer), np.random.default_rng(0)
    read = rng.standard_normal((5, SMALL.size.inner)).astype(np.float32)

    def log_heights(parameters: Mapping[str, Any], knots: Knots) -> np.ndarray[Any, Any]:
        weight, bias = (parameters[f"answer.{name}"].numpy() for name in ("weight", "bias"))
        return np.asarray(read @ weight.T + bias - np.log(knots.areas))

    before, after = log_heights(given.parameters, old), log_heights(moved, finer)
    # Single precision.
    assert after[:, ::2] == pytest.approx(before, abs=1e-4)
    assert after[:, 1::2] == pytest.approx((before[:, :-1] + before[:, 1:]) / 2, abs=1e-4)


def test_on_its_own_knots_a_network_is_what_it_was(tmp_path: Path) -> None:
    given = trained_and_read(tmp_path, 1)
    for name, value in given.on_knots(given.knots).items():
        # A factor common to all knots may be left.
        off = (value - given.parameters[name]).numpy()
        assert np.ptp(off) < 1e-5 if name == "answer.bias" else np.abs(off).max() < 1e-5


def test_beyond_its_knots_a_network_falls_as_its_tails(tmp_path: Path) -> None:
    given = trained_and_read(tmp_path, 1)
    old = given.knots
    beyond = Knots(np.concatenate([old.places, old.places[-1] + old.right_tail * np.arange(1, 4)]), 1.0, 1.0)
    bias = given.on_knots(beyond)["answer.bias"].numpy() - np.log(beyond.areas)
    assert np.diff(bias[-4:]) == pytest.approx(-1.0, abs=1e-4)


def trained_and_read(folder: Path, n_chunks: int) -> Given:
    train(folder, n_chunks)
    export.export(folder, folder / "shipped", datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))
    return Given.read(folder / "shipped")


def test_the_record_says_how_it_went(tmp_path: Path) -> None:
    train(tmp_path, 2)
    entries = [json.loads(line) for line in (tmp_path / training.RECORD).read_text().splitlines()]
    assert [entry["curves"] for entry in entries] == [CHUNK, 2 * CHUNK]
    assert entries[-1]["progress"] == 1
    assert set(entries[-1]["scores"]) >= {"all", "80"}


def test_the_rate_warms_up_and_comes_down() -> None:
    rates = np.array([SMALL.rate(progress) for progress in np.linspace(0, 1, 201)])
    peak = int(rates.argmax())
    assert rates[peak] == pytest.approx(SMALL.peak_rate)
    assert (np.diff(rates[: peak + 1]) > 0).all()
    assert (np.diff(rates[peak:]) < 0).all()
    assert rates[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("minutes", "curves"), [(None, None), (1.0, 10), (0.0, None), (None, -5)])
def test_a_budget_is_minutes_or_curves(minutes: float | None, curves: int | None) -> None:
    with pytest.raises(BadInput):
        Budget(minutes, curves)


def test_without_a_checkpoint_there_is_nothing_to_export(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="Train first"):
        export.export(tmp_path, tmp_path / "shipped", datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))


@pytest.mark.parametrize("kept", [0, 100, 0.5], ids=["empty", "its beginning", "half"])
def test_a_damaged_checkpoint_is_said_to_be_damaged(tmp_path: Path, kept: float) -> None:
    train(tmp_path, 1)
    content = (tmp_path / training.CHECKPOINT).read_bytes()
    (tmp_path / training.CHECKPOINT).write_bytes(content[: int(kept if kept >= 1 else kept * len(content))])
    with pytest.raises(Unavailable, match="damaged"):
        Training.resume(tmp_path, Budget(curves=10_000), CPU)


def test_a_file_of_torch_that_is_no_checkpoint_is_said_to_be_none(tmp_path: Path) -> None:
    torch.save({"network": {}}, tmp_path / training.CHECKPOINT)
    with pytest.raises(Unavailable, match="no budget, clock, commit"):
        training.read_checkpoint(tmp_path)
