"""The grid of the posterior: it goes to where the data are, and loses nothing on the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.curves.schedule import Schedule
from app.laws.annealing import effective_steps, lagged_response
from app.laws.inference.grid import Grid, first_grid, whole_grid, zoomed_grid
from app.laws.inference.posterior import Inference, Observations, Posterior, infer
from app.laws.prior import LogNormal, Prior, geometric, spacings

HORIZON = 10_000.0
STEPPED = Schedule(np.array([0, 200, 4000, 4001, HORIZON]), np.array([0, 1e-3, 1e-3, 3e-4, 3e-4]))


def fine_about(exponent: float, memory: float) -> Prior:
    """The default prior with many nodes, near the truth where the data know it."""
    exponents, memories = geometric(exponent / 1.9, exponent * 1.9, 40), geometric(memory / 1.6, memory * 1.6, 40)
    return replace(
        Prior(),
        exponent=LogNormal(exponents, 0.45, 0.3),
        abrupt_exponent=LogNormal(exponents, 0.45, 0.8),
        memory=LogNormal(memories, 0.006, 1.2),
        misfit_of_power=LogNormal(geometric(0.001, 0.125, 8), 0.004, 1.2),
    )


def seen(exponent: float, memory: float, *, cutoff: float = 8000.0, noise: float = 2e-4) -> Observations:
    """A run whose parameters lie between the nodes of the first grid, exactly known but for little noise."""
    steps = np.linspace(600.0, cutoff, 40)
    x, x_cutoff = effective_steps(STEPPED, steps), effective_steps(STEPPED, [cutoff])
    z, z_cutoff = (lagged_response(STEPPED, s, [memory * HORIZON], [0.7])[0, 0] for s in (steps, np.array([cutoff])))
    values = 0.12 * ((x / x_cutoff) ** -exponent - 1) - 0.06 * (z - z_cutoff)
    values += noise * np.random.default_rng(0).standard_normal(len(steps))
    return Observations(steps, values, np.full(40, noise**2), np.ones(40), level=2.0, scale=2.0, cutoff=cutoff)


def finals(posterior: Posterior) -> np.ndarray:
    """The 5, 50 and 95 % quantile at the horizon; many paths, so that they stand to a hundredth of the band."""
    return np.quantile(posterior.paths(STEPPED, [HORIZON], n_paths=8192), [0.05, 0.5, 0.95])


@pytest.mark.parametrize(("exponent", "memory"), [(0.345, 0.0155), (0.46, 0.005), (0.6, 0.047)])
def test_what_lies_between_the_first_nodes_is_found_as_by_a_grid_ten_times_as_fine(
    exponent: float, memory: float
) -> None:
    data = seen(exponent, memory)
    finest = fine_about(exponent, memory)
    fine = Inference.of(data, STEPPED, HORIZON, finest).posterior(whole_grid(finest))
    zoomed, fixed = (infer(data, STEPPED, HORIZON, zoom=zoom) for zoom in (True, False))
    band = np.ptp(finals(fine))
    off, off_fixed = (np.abs(finals(each) - finals(fine)).max() / band for each in (zoomed, fixed))
    # The first grid alone is off by more than the whole band.
    assert off < 0.2
    assert off_fixed > 1.0
    assert zoomed.marginal_means()["memory"] == pytest.approx(memory, rel=0.15)


def test_a_parameter_that_the_data_do_not_speak_of_keeps_its_prior() -> None:
    flat = Schedule.constant(1.0, last=HORIZON)
    posterior = infer(seen(0.45, 0.006), flat, HORIZON)
    logs = np.log(posterior.grid.responses()[1])
    weights = posterior.probabilities.sum((0, 1, 3))
    mean = weights @ logs
    # Nothing was annealed: mean and deviation of the memory are the prior's, up to its bounds.
    assert mean == pytest.approx(np.log(0.006), abs=0.25)
    assert np.sqrt(weights @ (logs - mean) ** 2) == pytest.approx(1.2, abs=0.3)


def test_every_node_stands_for_its_share_of_the_prior() -> None:
    """A grid elsewhere carries the same prior: zoomed or not, the mass of the sizes is that of their kind of run."""
    prior = Prior()
    first = first_grid(prior)
    even = np.ones((len(first.sizes), len(first.exponents), len(first.responses()[0]), 4))
    zoomed = zoomed_grid(prior, first, even / even.sum())

    def mass_of_exponents(grid: Grid) -> float:
        return float(np.exp(grid.log_exponents[0]).sum())

    assert mass_of_exponents(first) == pytest.approx(1.0, abs=0.02)
    assert mass_of_exponents(zoomed) == pytest.approx(1.0, abs=0.05)
    assert (np.diff(zoomed.exponents) > 0).all()
    assert zoomed.exponents[0] >= first.exponents[0] * (1 - 1e-9)
    assert zoomed.exponents[-1] <= first.exponents[-1] * (1 + 1e-9)


def test_evidence_prefers_the_schedule_that_the_run_was_under() -> None:
    data = seen(0.45, 0.006)
    own, other = (infer(data, schedule, HORIZON) for schedule in (STEPPED, Schedule.constant(1.0, last=HORIZON)))
    assert own.log_evidence > other.log_evidence + 5


def test_nodes_share_the_axis_out_among_them() -> None:
    nodes = np.array([1.0, 2.0, 5.0, 5.5])
    assert spacings(nodes) == pytest.approx([1.0, 2.0, 1.75, 0.5])
    assert spacings(nodes[:2]) == pytest.approx([1.0, 1.0])
