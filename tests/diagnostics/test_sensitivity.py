"""How much the learning rate matters, on sweeps made up and on real ones."""

from __future__ import annotations

import math

import pytest

from app.diagnostics.dynamics.sensitivity import SweptRun, sensitivity


def sweep(*ends: tuple[float, float], first: float = 5.0) -> list[SweptRun]:
    return [SweptRun(f"run-{at}", rate, final, first) for at, (rate, final) in enumerate(ends)]


def test_a_loss_that_does_not_depend_on_the_rate_has_none() -> None:
    found = sensitivity(sweep((1e-4, 2.0), (1e-3, 2.0), (1e-2, 2.0)))
    assert found is not None
    assert found.value == 0.0


def test_it_is_the_mean_over_the_logarithm_of_the_rate() -> None:
    found = sensitivity(sweep((1e-4, 2.0), (1e-3, 2.0), (1e-2, 3.0)))
    assert found is not None
    assert found.value == pytest.approx(0.25), "half a unit on average over half of the sweep"
    # A fourth rate on the line between two others changes nothing.
    between = sensitivity(sweep((1e-4, 2.0), (1e-3, 2.0), (10**-2.5, 2.5), (1e-2, 3.0)))
    assert between is not None
    assert between.value == pytest.approx(0.25)


@pytest.mark.parametrize("final", [math.nan, math.inf, 5.0, 80.0])
def test_a_run_that_diverged_ended_no_worse_than_it_began(final: float) -> None:
    found = sensitivity(sweep((1e-4, 2.0), (1e-3, 2.0), (1e-2, final)))
    assert found is not None
    assert found.value == pytest.approx(0.75)
    assert found.diverged == 1


@pytest.mark.parametrize(("final", "diverged"), [(4.75, 1), (4.65, 0)])
def test_a_run_that_gained_a_tenth_of_what_the_best_did_ended_where_it_began(final: float, diverged: int) -> None:
    found = sensitivity(sweep((1e-4, 2.5), (1e-3, 2.0), (1e-2, final)))
    assert found is not None
    assert found.diverged == diverged


def test_runs_at_one_rate_are_averaged() -> None:
    found = sensitivity(sweep((1e-4, 2.0), (1e-3, 1.0), (1e-3, 3.0), (1e-2, 3.0)))
    assert found is not None
    assert found.finals == (2.0, 2.0, 3.0)


def test_a_best_rate_at_the_edge_of_the_sweep_is_named_as_such() -> None:
    inside, edge = (
        sensitivity(sweep((1e-4, 3), (1e-3, 2), (1e-2, 3))),
        sensitivity(sweep((1e-4, 3), (1e-3, 2), (1e-2, 1))),
    )
    assert inside is not None
    assert edge is not None
    assert (inside.is_edge_best, edge.is_edge_best) == (False, True)


@pytest.mark.parametrize(
    "runs",
    [
        sweep((1e-3, 2.0), (1e-2, 3.0)),
        sweep((1e-3, 2.0), (1.5e-3, 2.1), (2e-3, 2.2)),
        sweep((1e-4, 2.0), (1e-3, 2.0), (1e-2, 3.0), first=math.nan),
        [],
    ],
)
def test_what_is_no_sweep_has_none(runs: list[SweptRun]) -> None:
    assert sensitivity(runs) is None
