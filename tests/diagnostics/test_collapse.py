"""Each collapse beside its healthy twin."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.diagnostics.event import Event
from app.importers.curve_file import points_by_metric
from app.importers.run_files import read_file
from tests.diagnostics.made_runs import Logged, events_of, falling_loss, in_pieces, logged

RUNS = Path(__file__).parents[1] / "data" / "small_runs"
KINDS = {"dimensional_collapse", "rank_loss", "neural_collapse", "mode_collapse"}


def real_run(name: str) -> Logged:
    file = RUNS / (f"{name}.csv" if name.startswith("gan_") else f"{name}.jsonl")
    points = points_by_metric(list(read_file(file).batches))
    return {metric: (one.steps, one.values) for metric, one in points.items()}


def says(run: Logged) -> list[Event]:
    return events_of(run, kinds=KINDS)


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("ss_nosg", ["dimensional_collapse"]),  # SimSiam without its stop-gradient
        ("ss_sg", []),
        ("nc_wd5e-3", ["neural_collapse"]),
        ("nc_wd0", []),
        ("alive_lr.02", []),  # the rank falls to a third, and the loss to a thousandth
        ("grok_mlp_quad_a", []),
        ("gan_collapsing", ["mode_collapse"]),  # one mode of eight, and on to the next
        ("gan_healthy", []),  # all eight; for its first six looks it is no better
    ],
)
def test_real_runs_are_named_rightly_and_their_healthy_twins_not_at_all(name: str, kinds: list[str]) -> None:
    assert [event.kind for event in says(real_run(name))] == kinds


def test_neural_collapse_is_no_fault() -> None:
    (event,) = says(real_run("nc_wd5e-3"))

    assert event.severity == "info"


def test_a_language_model_that_loses_rank_at_first_and_regains_it_is_healthy() -> None:
    rank = np.concatenate([[18.0, 1.7, 2.9, 4.3], np.linspace(5, 13, 40)])

    assert says(logged(every=20, train_loss=falling_loss(44), feat_erank=rank)) == []


def test_no_rank_left_without_a_better_loss_is_a_collapse_until_it_comes_back() -> None:
    rank = np.concatenate([np.full(10, 18.0), np.full(10, 1.2), np.full(10, 12.0)])

    (event,) = says(logged(every=20, train_loss=np.full(30, 3.0), feat_erank=rank))

    assert (event.kind, event.step, event.raised_at) == ("dimensional_collapse", 200, 240)
    assert (event.resolved_at, event.outcome) == (440, "recovered")


def test_rank_that_goes_from_task_to_task_is_said_long_before_none_is_left() -> None:
    rank = 300 * 0.95 ** np.arange(120.0)
    run = logged(train_loss=np.full(120, 0.01), features_rankme=rank, task=np.arange(120.0))
    run["features/rankme"] = run.pop("features_rankme")

    first, second = says(run)

    assert first.kind == "rank_loss"
    assert second.kind == "dimensional_collapse"
    assert second.raised_at - first.raised_at > 40


def test_a_generator_that_falls_to_one_mode_is_named_though_its_losses_look_healthy() -> None:
    modes = np.concatenate([np.linspace(1, 8, 20), np.full(10, 8.0), np.full(10, 1.0)])
    run = logged(every=25, g_loss=np.full(40, 0.72), d_loss=np.full(40, 1.36), modes=modes)

    (event,) = says(run)

    assert (event.kind, event.step) == ("mode_collapse", 30 * 25)


def test_a_generator_that_never_made_more_than_one_mode_is_named_once() -> None:
    (event,) = says(real_run("gan_collapsing"))

    assert (event.step, event.raised_at) == (475, 525)
    assert event.is_open
    assert event.inputs == ("samples/modes_covered", "samples/relative_modes", "samples/spread")
    assert "13 % of the real modes" in event.message


def test_a_generator_that_is_still_finding_its_modes_has_not_collapsed() -> None:
    relative = np.concatenate([np.full(10, 0.2), np.linspace(0.3, 1.0, 28)])

    assert says(logged(every=25, g_loss=np.full(38, 0.7), relative_modes=relative)) == []


def test_one_bad_look_is_not_enough() -> None:
    rank = np.full(40, 20.0)
    rank[20:22] = 1.0

    assert says(logged(train_loss=np.full(40, 3.0), feat_erank=rank)) == []


@pytest.mark.parametrize("seed", range(4))
def test_any_split_of_the_input_says_the_same(seed: int) -> None:
    rank = np.concatenate([np.full(30, 18.0), np.full(40, 1.2), np.full(30, 12.0)])
    run = logged(train_loss=np.full(100, 3.0), modes=np.repeat([8.0, 1.0], 50))
    run |= logged(every=3, feat_erank=rank[:33], top1=np.linspace(0.1, 0.9, 33))
    run |= logged(every=2, relative_modes=np.repeat([1.0, 0.2], 25))
    cuts = np.random.default_rng(seed).choice(100, size=20, replace=False)

    whole, _, whole_engine = in_pieces(run, [])
    pieces, _, engine = in_pieces(run, sorted(cuts.tolist()))

    assert pieces == whole
    assert engine.to_bytes() == whole_engine.to_bytes()
    assert len(says(run)) >= 2
