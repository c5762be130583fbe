"""Overfitting and learning by heart look the same: on real runs of each, and on curves made for what lies between."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.diagnostics.engine import Engine
from app.diagnostics.overfit import NAMED_RULES
from app.importers.curve_file import points_by_metric
from app.importers.run_files import read_file
from tests.diagnostics.made_runs import Logged, engine_for, events_of, in_pieces, logged

RUNS = Path(__file__).parents[1] / "data" / "small_runs"
KINDS = {"overfit", "memorised", "grokking"}


def real_run(name: str) -> Logged:
    points = points_by_metric(list(read_file(RUNS / f"{name}.jsonl").batches))
    return {metric: (one.steps, one.values) for metric, one in points.items()}


def run_that_loses_what_held(n: int = 60) -> Logged:
    """Validation comes down with training, to two thirds, and is lost again before training is solved."""
    train = np.concatenate([np.geomspace(4.0, 1.5, 15), np.geomspace(1.5, 0.01, n - 15)])
    validation = np.concatenate([np.linspace(4.0, 2.6, 15), np.linspace(2.6, 6.0, n - 15)])
    return logged(every=10, train_loss=train, val_loss=validation)


@pytest.mark.parametrize("name", ["grok_mlp_quad_a", "nogrok_rand_s0"])
def test_a_run_that_memorised_from_the_start_is_never_said_to_overfit(name: str) -> None:
    run = real_run(name)

    assert {event.kind for event in events_of(run, kinds=KINDS)} >= {"memorised"}
    assert not events_of(run, kinds=["overfit"])


def test_overfit_is_taken_back_when_the_run_turns_out_to_have_memorised() -> None:
    overfit, memorised, *_ = events_of(real_run("grok_mlp_quad_wd03"), kinds=KINDS)

    assert (overfit.kind, overfit.raised_at) == ("overfit", 70), "training is not solved yet: nobody could know"
    assert (overfit.resolved_at, overfit.outcome) == (memorised.raised_at, "memorised")


def test_a_real_language_model_that_overfits_is_still_told_so() -> None:
    [event] = events_of(real_run("lm_overfit_12k"), kinds=KINDS)

    assert (event.kind, event.step) == ("overfit", 100)
    assert event.is_open


def test_memorising_what_had_held_for_other_data_is_overfit_and_says_why() -> None:
    run = run_that_loses_what_held()

    overfit, memorised = events_of(run, kinds=KINDS)

    assert (overfit.kind, memorised.kind) == ("overfit", "memorised")
    assert overfit.is_open


def test_overfit_that_is_noticed_after_training_was_solved_says_what_speaks_for_it() -> None:
    n = 40
    train = np.concatenate([np.geomspace(4.0, 0.02, 10), np.full(n - 10, 0.01) * 0.99 ** np.arange(n - 10)])
    validation = np.concatenate([[4.0, 3.1], np.full(8, 3.3), np.full(10, 3.3), np.linspace(3.3, 6.0, n - 20)])
    run = logged(every=10, train_loss=train, val_loss=validation)
    accuracy = np.concatenate([np.linspace(0.1, 1.0, 9), np.ones(n - 9)])
    run["train_acc"] = (run["train_loss"][0], accuracy)
    run["val_acc"] = (run["train_loss"][0], np.full(n, 0.3))

    memorised, overfit = sorted(events_of(run, kinds=KINDS), key=lambda event: event.raised_at)

    assert memorised.kind == "memorised"
    assert "had held for other data" in overfit.message


def test_the_state_of_a_memorised_run_points_to_grokking() -> None:
    run = real_run("nogrok_rand_s0")
    engine = engine_for(run)
    engine.observe(run)

    assert engine.states["overfit"] == "memorised, see grokking"


def test_after_other_data_a_run_can_overfit_again() -> None:
    run = real_run("nogrok_rand_s0")
    end = int(run["val_loss"][0][-1])
    later = run_that_loses_what_held()
    for metric, (steps, values) in later.items():
        run[metric] = (np.concatenate([run[metric][0], steps + end + 10]), np.concatenate([run[metric][1], values]))
    run["train/phase"] = (np.array([0, end + 10]), np.array([0.0, 1.0]))
    for metric in ("train_acc", "val_acc"):
        del run[metric]

    *before, overfit = events_of(run, kinds=["overfit"])

    assert all(event.outcome == "memorised" for event in before)
    assert overfit.raised_at > end
    assert overfit.is_open


@pytest.mark.parametrize("name", ["grok_mlp_quad_wd03", "nogrok_rand_s0", "lm_overfit_12k"])
def test_any_split_of_a_real_run_says_the_same(name: str) -> None:
    run = real_run(name)
    last = int(run["train_loss"][0][-1])
    cuts = np.random.default_rng(0).choice(np.arange(1, last), size=30, replace=False)

    whole, _, whole_engine = in_pieces(run, [])
    pieces, _, engine = in_pieces(run, sorted(cuts.tolist()))

    assert pieces == whole
    assert engine.to_bytes() == whole_engine.to_bytes()


def overfit_by(rule: str, run: Logged) -> list[int]:
    """Steps at which overfitting is said."""
    engine = Engine(engine_for(run).inputs, rule)
    return [event.raised_at for event in engine.observe(run).events if event.kind == "overfit" and event.is_open]


@pytest.mark.parametrize(
    ("rule", "step"), [("gl2", 160), ("gl5", 220), ("up3", 160), ("patience3", 160), ("patience10", 300)]
)
def test_a_published_rule_can_be_chosen_by_its_name(rule: str, step: int) -> None:
    assert overfit_by(rule, real_run("lm_overfit_12k")) == [step]


def test_pq_waits_while_training_still_makes_progress() -> None:
    """GL over P: the same validation, with training that falls by a tenth an evaluation and one that stands."""
    validation = np.concatenate([np.linspace(4.0, 2.0, 20), np.linspace(2.0, 2.2, 20)])
    training = 4 * np.geomspace(1.0, 0.9**39, 40)
    moving = logged(every=10, train_loss=training, val_loss=validation)
    standing = logged(every=10, train_loss=np.clip(training, training[22], None), val_loss=validation)

    assert overfit_by("pq", moving) == []
    assert len(overfit_by("pq", standing)) == 1


@pytest.mark.parametrize("rule", NAMED_RULES)
def test_no_rule_says_of_a_run_that_memorised_that_it_overfits(rule: str) -> None:
    run = real_run("nogrok_rand_s0")
    engine = Engine(engine_for(run).inputs, rule)
    engine.observe(run)

    assert not engine.states["overfit"].startswith("overfitting")


def test_a_chosen_rule_is_kept_with_the_state() -> None:
    run = real_run("lm_overfit_12k")
    engine = Engine(engine_for(run).inputs, "gl5")
    engine.observe({metric: (steps[steps < 100], values[steps < 100]) for metric, (steps, values) in run.items()})
    engine = Engine.from_bytes(engine.to_bytes())
    found = engine.observe(
        {metric: (steps[steps >= 100], values[steps >= 100]) for metric, (steps, values) in run.items()}
    )

    assert [event.raised_at for event in found.events if event.kind == "overfit"] == [220]
    assert engine.truncated(150)[0].observe(run).events[-1].raised_at == 220
