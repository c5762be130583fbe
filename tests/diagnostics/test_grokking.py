"""Memorising, turning, generalising: on a real run that groks, on one that cannot, and on curves made for the edges."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.diagnostics.event import Event
from app.diagnostics.grokking import Pace
from app.importers.curve_file import points_by_metric
from app.importers.run_files import read_file
from tests.diagnostics.made_runs import Logged, engine_for, events_of, falling_loss, in_pieces, logged

RUNS = Path(__file__).parents[1] / "data" / "small_runs"
KINDS = {"memorised", "grokking", "ungrokking"}


def real_run(name: str) -> Logged:
    points = points_by_metric(list(read_file(RUNS / f"{name}.jsonl").batches))
    return {metric: (one.steps, one.values) for metric, one in points.items()}


def make_run(val_loss: np.ndarray, val_acc: np.ndarray, *, train_acc: float = 1.0) -> Logged:
    """Training solved from the third evaluation on; validation as given."""
    n = len(val_loss)
    train_loss = np.full(n, 1e-3)
    train_loss[:2] = 4.0, 1.5
    accuracy = np.full(n, train_acc)
    accuracy[:2] = 0.01, 0.5
    return logged(every=10, train_loss=train_loss, train_acc=accuracy, val_loss=val_loss, val_acc=val_acc)


def grokking_run(n: int = 60) -> Logged:
    share = np.clip((np.arange(n) - 20) / 30, 0, 1)
    loss = np.concatenate([[4.0, 4.5], np.full(n - 2, 6.0)]) * (1 - 0.99 * share)
    return make_run(loss, 0.01 + 0.98 * share)


def says(run: Logged) -> list[Event]:
    return events_of(run, kinds=KINDS)


def test_a_real_run_that_groks_is_called_before_validation_passes_30_percent() -> None:
    run = real_run("grok_mlp_quad_a")
    steps, accuracy = run["val_acc"]

    memorised, call = says(run)

    assert (memorised.kind, memorised.step, memorised.outcome) == ("memorised", 60, "turning")
    assert call.kind == "grokking"
    assert accuracy[steps == call.raised_at] < 0.3
    assert call.outcome == "grokked"
    assert call.resolved_at == steps[accuracy >= 0.95][0]


def test_the_expected_step_is_said_with_an_interval_that_holds_the_truth() -> None:
    run = real_run("grok_mlp_quad_a")
    engine = engine_for(run)
    so_far = {metric: (steps[steps <= 170], values[steps <= 170]) for metric, (steps, values) in run.items()}

    call = engine.observe(so_far).events[-1]
    evidence: Mapping[str, Any] = call.evidence

    assert engine.states["grokking"] == "turning"
    assert 170 < evidence["expected_from"] <= 470 <= evidence["expected_to"]
    assert call.probability is not None
    assert 0.5 < call.probability < 1


def test_random_labels_are_memorised_and_nothing_more() -> None:
    run = real_run("nogrok_rand_s0")

    (memorised,) = says(run)

    assert memorised.kind == "memorised"
    assert memorised.is_open
    assert engine_state(run) == "memorised"


def test_a_memorised_run_is_not_told_to_stop() -> None:
    (memorised,) = says(real_run("nogrok_rand_s0"))

    assert memorised.severity == "info"
    assert "no reason to stop" in memorised.message


def test_without_accuracies_the_losses_suffice() -> None:
    n = 60
    loss = np.concatenate([np.full(20, 5.0), np.geomspace(5.0, 0.1, 40)])
    run = make_run(loss, np.zeros(n))
    del run["val_acc"], run["train_acc"]

    memorised, call = says(run)

    assert (memorised.kind, call.kind, call.outcome) == ("memorised", "grokking", "grokked")
    assert call.evidence["calibrated"] is False
    assert "val_accuracy" in call.sharpen


def test_a_network_that_generalises_while_it_fits_never_memorised() -> None:
    assert says(real_run("alive_lr.02")) == []
    n = 40
    assert says(make_run(np.full(n, 0.5), np.concatenate([[0.01, 0.6], np.full(n - 2, 0.97)]))) == []


def test_an_ordinary_language_model_is_only_fitting() -> None:
    loss = falling_loss(500)
    run = logged(train_loss=loss, val_loss=loss * 1.05)

    assert says(run) == []
    assert engine_state(run) == "fitting"


def test_one_bad_evaluation_of_a_solved_task_is_no_memorisation() -> None:
    loss = np.concatenate([[4.0, 2.0], np.full(40, 0.05)])
    val_loss = loss.copy()
    val_loss[20] = 50.0

    assert says(logged(every=10, train_loss=loss, val_loss=val_loss)) == []


def test_validation_that_is_lost_again_while_training_stays_solved_is_un_grokking() -> None:
    run = grokking_run(80)
    run["val_acc"][1][65:72] = 0.4
    run["val_loss"][1][65:72] = 3.0

    event = says(run)[-1]

    assert event.kind == "ungrokking"
    assert event.raised_at == 670, "the third evaluation in a row"
    assert (event.resolved_at, event.outcome) == (720, "recovered")


def test_a_slingshot_that_loses_training_too_is_no_un_grokking() -> None:
    run = grokking_run(80)
    for metric, value in (("val_acc", 0.4), ("train_acc", 0.5), ("val_loss", 3.0), ("train_loss", 3.0)):
        run[metric][1][65:72] = value

    assert [event.kind for event in says(run)] == ["memorised", "grokking"]


def test_a_turn_that_comes_to_nothing_is_taken_back() -> None:
    n = 50
    loss, accuracy = np.full(n, 6.0), np.full(n, 0.01)
    loss[20:25], accuracy[20:25] = 5.0, 0.1
    loss[25:] = 7.0

    _, call = says(make_run(loss, accuracy))

    assert call.outcome == "turned back"


def test_accuracies_in_percent_are_not_mistaken_for_shares() -> None:
    run = grokking_run()
    for metric in ("train_acc", "val_acc"):
        run[metric] = (run[metric][0], 100 * run[metric][1])

    call = says(run)[-1]

    assert call.kind == "grokking"
    assert call.evidence["calibrated"] is False


def test_other_data_are_another_task() -> None:
    run = grokking_run()
    phases = np.zeros(60)
    phases[15:] = 1
    run["train/phase"] = (run["val_loss"][0], phases)

    first = says(run)[0]

    assert (first.outcome, first.resolved_at) == ("other data", 150)


def test_what_else_is_logged_is_shown() -> None:
    run = grokking_run()
    run["param_norm"] = (run["val_loss"][0], np.linspace(10, 40, 60))
    run["moe/pathway_similarity"] = (run["val_loss"][0], np.linspace(0.2, 0.8, 60))
    run["local_complexity"] = (run["val_loss"][0], np.linspace(900, 300, 60))

    evidence: Mapping[str, Any] = says(run)[-1].evidence

    assert evidence["param_norm_since_memorisation"] > 1
    assert evidence["pathway_similarity_since_memorisation"] > 1
    assert evidence["complexity_since_memorisation"] < 1


@pytest.mark.parametrize("seed", range(4))
def test_any_split_of_the_input_says_the_same(seed: int) -> None:
    run = grokking_run(80)
    run["train_loss"] = (
        np.arange(800),
        np.interp(np.arange(800), *run["train_loss"]),
    )  # every step, not every evaluation
    run["val_acc"][1][65:72] = 0.4
    run["param_norm"] = (np.arange(0, 800, 7), np.linspace(10, 40, 115))
    run["train/phase"] = (np.arange(0, 800, 10), np.repeat([0.0, 1.0], [77, 3]))
    cuts = np.random.default_rng(seed).choice(800, size=25, replace=False)

    whole, _, whole_engine = in_pieces(run, [])
    pieces, _, engine = in_pieces(run, sorted(cuts.tolist()))

    assert pieces == whole
    assert engine.to_bytes() == whole_engine.to_bytes()
    assert {event.kind for event in whole} >= KINDS


def test_progress_at_a_steady_pace_is_expected_sooner_than_a_standstill() -> None:
    moving, standing = Pace(), Pace()
    for step in range(100, 1000, 50):
        moving.observe(step, step / 2000)
        standing.observe(step, 0.475)

    assert moving.remaining()[1] < standing.remaining()[1]
    early, expected, late = moving.remaining()
    assert 950 < early < expected < late


def test_the_pace_of_a_straight_line_is_its_slope() -> None:
    pace = Pace()
    for log_step in np.linspace(3, 9, 400):
        pace.observe(round(math.exp(log_step)), 1 / (1 + math.exp(-(1.5 * log_step - 9))))

    # The steps are whole numbers: their logarithms are not evenly spaced at first.
    assert pace.speed == pytest.approx(1.5, rel=0.02)


def engine_state(run: Logged) -> str:
    engine = engine_for(run)
    engine.observe(run)
    return engine.states["grokking"]
