"""Runs that fell back to where they began, though no single point shows it. The first three are real."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from app.diagnostics.event import Event
from tests.diagnostics.made_runs import (
    Floats,
    Logged,
    engine_for,
    events_of,
    falling_loss,
    in_pieces,
    last_words,
    logged,
)

RUNS = Path(__file__).parents[1] / "data" / "small_runs"


def real_run(name: str) -> Logged:
    with (RUNS / f"noisy_{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    steps = np.array([int(row["step"]) for row in rows])
    return {metric: (steps, np.array([float(row[metric]) for row in rows])) for metric in ("train_loss", "lr")}


def divergences(run: Logged) -> list[Event]:
    return events_of(run, kinds=["cold_start", "spike", "divergence", "dead"])


def scattered(level: Floats, noise: float = 0.08) -> Floats:
    return np.asarray(level * np.exp(noise * np.random.default_rng(3).standard_normal(len(level))), np.float64)


def test_a_run_that_fell_back_to_chance_while_its_rate_warmed_up_has_diverged() -> None:
    [event] = divergences(real_run("fell_back"))
    assert (event.kind, event.severity, event.is_open) == ("divergence", "critical", True)
    assert event.raised_at < 400
    assert event.evidence["best"] == pytest.approx(3.93, abs=0.01)
    assert 0.5 < float(event.evidence["lost_share"] or 0) < 1
    assert "% of what it had gained since 4.23" in event.message


def test_a_run_that_climbs_from_its_start_has_diverged() -> None:
    [event] = divergences(real_run("climbed"))
    assert (event.kind, event.is_open) == ("divergence", True)
    assert event.raised_at < 300
    assert "where it began" in event.message


def test_the_same_network_at_a_rate_that_suits_it_has_not() -> None:
    assert not divergences(real_run("learned"))


@pytest.mark.parametrize("seed", range(8))
def test_noise_larger_than_all_progress_is_no_divergence(seed: int) -> None:
    rng = np.random.default_rng(seed)
    loss = np.linspace(4.2, 4.1, 3000) * np.exp(0.1 * rng.standard_normal(3000))
    assert not events_of(logged(train_loss=loss, lr=np.full(3000, 1e-3)), kinds=["divergence"])


def test_a_level_that_comes_back_within_a_hundred_points_is_no_divergence() -> None:
    loss = scattered(np.concatenate([np.linspace(4.2, 3.8, 300), np.full(70, 4.15), np.full(600, 3.75)]))
    assert not divergences(logged(train_loss=loss))


def test_it_is_over_once_three_quarters_are_regained_for_a_hundred_points() -> None:
    loss = scattered(np.concatenate([np.linspace(4.2, 3.5, 300), np.full(300, 4.1), np.full(600, 3.5)]))
    [event] = events_of(logged(train_loss=loss), kinds=["divergence"])
    assert 400 < event.raised_at < 600
    assert event.outcome == "recovered"
    assert event.resolved_at is not None
    assert 700 < event.resolved_at < 900


def fallen_at(step: int, noise: float) -> Logged:
    """Which its level shows some points later, and which is said after a hundred more."""
    level = np.concatenate([np.linspace(4.2, 3.2, 300), np.full(step - 300, 3.2), np.full(800, 4.1)])
    return logged(train_loss=scattered(level, noise))


@pytest.mark.parametrize("noise", [0.08, 0.15, 0.2])
def test_a_fall_is_dated_where_it_happened_not_where_the_level_showed_it(noise: float) -> None:
    [event] = divergences(fallen_at(900, noise))
    assert event.raised_at > 1000
    assert abs(event.step - 900) <= 10  # points stray by up to four fifths of what the loss rose


def test_a_second_fall_is_not_dated_at_the_first() -> None:
    levels = [np.linspace(4.2, 3.2, 300), np.full(600, 3.2), np.full(400, 4.1), np.full(300, 3.2), np.full(400, 4.1)]
    first, second = divergences(logged(train_loss=scattered(np.concatenate(levels), 0.15)))
    assert first.outcome == "recovered"
    assert (abs(first.step - 900) <= 10, abs(second.step - 1600) <= 10) == (True, True)


def test_the_date_of_a_fall_does_not_depend_on_how_its_points_came() -> None:
    run = fallen_at(900, 0.15)
    events, _, engine = in_pieces(run, range(7, 1700, 7))
    whole = engine_for(run)
    assert last_words(events) == last_words(whole.observe(run).events)
    assert engine.to_bytes() == whole.to_bytes()


def test_what_never_learned_does_not_recover_by_falling_back_to_chance_from_above() -> None:
    loss = scattered(np.concatenate([np.full(300, 4.2), np.full(400, 4.5), np.full(1500, 4.15)]))
    [event] = events_of(logged(train_loss=loss), kinds=["divergence"])
    assert event.is_open


def test_weights_begun_anew_at_a_rate_that_warms_up_again_are_no_divergence() -> None:
    loss = scattered(np.concatenate([falling_loss(800, noise=0), falling_loss(800, noise=0)]))
    rate = np.tile(np.concatenate([np.linspace(0, 1e-3, 200), np.full(600, 1e-3)]), 2)
    rate[700:800] = 0.0
    assert not divergences(logged(train_loss=loss, lr=rate))


def test_what_fell_and_lost_it_again_is_not_also_said_never_to_have_fallen() -> None:
    loss = scattered(np.concatenate([np.full(20, 4.23), np.full(80, 4.0), np.full(2000, 4.19)]))
    [event] = divergences(logged(train_loss=loss, lr=np.full(2100, 0.3)))
    assert event.kind == "divergence"
