"""Does the grid lose anything? The law's posterior by `app.laws.inference`, beside the same posterior by MCMC (emcee).

Run ``python -m benchmarks.grid_against_mcmc [DIRECTORY]``, with folders as for `benchmarks.forecast_accuracy`. Needs
emcee (the `dev` extra). Real runs of every family, each hidden from 40 and from 80 % of its steps on.

Same data, same likelihood, same priors; what the grid takes at nodes is continuous here: exponent, memory, power of the
rate, and the sizes of the three misfits. Level, A and D stay marginalised in closed form on both sides, and so do the
alternatives that are alternatives in the model itself (correlated residuals or none, the parts of the prior of A and
D, a lawful run or an abrupt one). The log posterior of one set of continuous parameters is the model's own evidence on
a grid of that one cell. One thing cannot be the same: the power has three values in the model, and a prior that is
straight between them here.

Walkers start at draws from the prior and not near the grid's answer. Printed, for each forecast of the final level:
quantiles by the grid minus those by MCMC in units of the 90 % band by MCMC, for the 512 paths that forecasts draw and
for 16 times as many (so that what is the grid's stands apart from what is the paths'); the same difference between the
two halves of the chain; CPU time of both; how many autocorrelation times the chain is long.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import emcee
import numpy as np
import numpy.typing as npt
from scipy.special import log_ndtr, ndtr

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.forecasting.final_value import final_levels
from app.forecasting.forecast import path_steps, quantiles_of
from app.forecasting.forecaster import Paths
from app.forecasting.law import FLOOR_SHARE, LawForecaster, above_zero
from app.forecasting.observations import is_positive, observe
from app.laws.inference.grid import Axis, Grid
from app.laws.inference.posterior import Inference, Observations
from app.laws.prior import LogNormal, Prior
from app.laws.shipped import shipped_population
from benchmarks.forecast_accuracy import FAMILIES, read_family
from benchmarks.usage import tell_if_asked

Array = npt.NDArray[np.float64]

SEEN = (0.4, 0.8)
RUNS_PER_FAMILY = 3
WALKERS = 16
STEPS, MOST_STEPS = 1250, 20_000
BURN_IN = 0.25
"""Share of the chain that is thrown away."""

ENOUGH = 50.0
"""Autocorrelation times that a chain must be long, as emcee's authors ask."""

DRAWS, PATHS_PER_DRAW = 600, 32
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
NAMES = ("exponent", "memory", "power of the rate", "misfit of power", "misfit of response", "abrupt")


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Differences of the five quantiles, in units of the band by MCMC, and what each side cost."""

    paths_512: Array
    paths_8192: Array
    halves: Array
    grid_milliseconds: float
    mcmc_seconds: float
    chain_length: float  # in autocorrelation times


def main() -> None:
    tell_if_asked(__doc__)
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LOSSCAST_RUNS", "../shared/data"))
    if not directory.is_dir():
        sys.exit(f"No directory {directory}: give one with folders of CSV runs.")
    print(
        f"{'run':52} seen | grid - MCMC at 5 25 50 75 95 % [band] | worst, 8192 paths | halves |     ms |    s |  tau"
    )
    found = []
    for family in FAMILIES:
        runs = list(read_family(directory / family, "val_loss"))
        for run in runs[:: -(-len(runs) // RUNS_PER_FAMILY)]:
            for fraction in SEEN:
                comparison = compare(run.seen(fraction), run.plan())
                found.append(comparison)
                print(_row(f"{family}/{run.name}"[:52], fraction, comparison), flush=True)
    _print_summary(found)


def _row(name: str, fraction: float, found: Comparison) -> str:
    each = " ".join(f"{value:+.3f}" for value in found.paths_512)
    worst, noise = np.abs(found.paths_8192).max(), np.abs(found.halves).max()
    cost = f"{found.grid_milliseconds:6.1f} | {found.mcmc_seconds:4.0f} | {found.chain_length:4.0f}"
    return f"{name:52} {fraction:4.0%} | {each} | {worst:17.3f} | {noise:6.3f} | {cost}"


def _print_summary(found: list[Comparison]) -> None:
    print(f"\n{len(found)} forecasts; |difference| of a quantile [band]      median    worst")
    for label, values in (
        ("grid, 512 paths, to MCMC", [one.paths_512 for one in found]),
        ("grid, 8192 paths, to MCMC", [one.paths_8192 for one in found]),
        ("first half of the chain to the second", [one.halves for one in found]),
    ):
        for index, level in enumerate(LEVELS):
            column = np.abs([one[index] for one in values])
            print(f"{label:38} {level:4.0%} {np.median(column):18.3f} {column.max():8.3f}")
    seconds, milliseconds = (
        float(np.median([getattr(one, name) for one in found])) for name in ("mcmc_seconds", "grid_milliseconds")
    )
    print(f"median cost: grid {milliseconds:.1f} ms, MCMC {seconds:.0f} s: {1e3 * seconds / milliseconds:,.0f} times")


def compare(curve: Curve, plan: Plan) -> Comparison:
    """The forecast of the final level, both ways."""
    prior = shipped_population().prior
    target = Target(observe(curve, plan.schedule), plan, prior)
    horizon = int(target.horizon)
    started = time.process_time()
    chain, length = sampled(target)
    finals = target.finals(chain, curve)
    seconds = time.process_time() - started
    reference = np.quantile(finals, LEVELS)
    band = reference[-1] - reference[0]

    def by_grid(n_paths: int) -> Array:
        observe.cache_clear()
        steps = path_steps(plan.schedule, curve.cutoff, horizon)
        paths = LawForecaster(prior=prior, n_paths=n_paths).predict(curve, plan, steps)
        return quantiles_of(final_levels(paths, curve, horizon), LEVELS)

    by_grid(512)
    started = time.process_time()
    few = by_grid(512)
    milliseconds = 1e3 * (time.process_time() - started)
    first, second = (np.quantile(half, LEVELS) for half in np.array_split(finals, 2))
    return Comparison(
        paths_512=(few - reference) / band,
        paths_8192=(by_grid(8192) - reference) / band,
        halves=(first - second) / band,
        grid_milliseconds=milliseconds,
        mcmc_seconds=seconds,
        chain_length=length,
    )


class Target:
    """The log posterior of one forecast over the continuous parameters (logs, but for the power); and draws from it.

    A lawful run has no abrupt changes and an abrupt one no other misfit to be inferred: where a kind lacks a parameter,
    any density of it will do, and the other kind's is taken.
    """

    def __init__(self, observations: Observations, plan: Plan, prior: Prior) -> None:
        self.observations, self.plan, self.prior = observations, plan, prior
        self.horizon = float(max(plan.total_steps, observations.cutoff))
        self.inference = Inference.of(observations, plan.schedule, self.horizon, prior)
        exponent, memory, *misfits = (
            _bounds(part)
            for part in (
                prior.exponent,
                prior.memory,
                prior.misfit_of_power,
                prior.misfit_of_response,
                prior.abrupt,
            )
        )
        self.bounds = np.array([exponent, memory, [prior.rate_powers[0], prior.rate_powers[-1]], *misfits])

    def __call__(self, at: Array) -> float:
        if ((at < self.bounds[:, 0]) | (at > self.bounds[:, 1])).any():
            return -np.inf
        return self.inference.posterior(self.cell(at)).log_evidence

    def cell(self, at: Array) -> Grid:
        """A grid of this cell alone, with the log densities of the priors as its weights."""
        prior = self.prior
        exponent, memory, power, misfit, response, abrupt = at
        powers = np.asarray(prior.rate_powers)
        lawful = _log_density(prior.misfit_of_power, misfit) + np.log(1 - prior.abrupt_probability)
        smooth = prior.misfit_of_power.points[::2]
        unlawful = _even_log_density(prior.misfit_of_power) + np.log(prior.abrupt_probability / len(smooth))
        common = (
            _log_density(prior.memory, memory)
            + _log_power_density(prior, power)
            + _log_density(prior.misfit_of_response, response)
            + _log_density(prior.abrupt, abrupt)
        )
        rows = [
            (np.exp(misfit), np.exp(response), 0.0, size, lawful + np.log(weight))
            for size, weight in zip(prior.correlated, prior.correlated_weights, strict=True)
        ] + [(size, prior.misfit_of_response.points[-1], np.exp(abrupt), 0.0, unlawful) for size in smooth]
        table = np.array(rows)
        return Grid(
            exponents=np.exp([exponent]),
            log_exponents=np.array(
                [[_log_density(prior.exponent, exponent)], [_log_density(prior.abrupt_exponent, exponent)]]
            ),
            memories=Axis(np.exp([memory]), np.zeros(1)),
            powers=np.array([power]),
            gains=np.array([np.interp(power, powers, prior.annealing_gains)]),
            log_powers=np.zeros(1),
            sizes=table[:, :4],
            log_sizes=table[:, 4] + common,
        )

    def starts(self, rng: np.random.Generator) -> Array:
        """Walkers at draws from the prior of a lawful run, (WALKERS, 6)."""
        prior = self.prior
        parts = (prior.exponent, prior.memory, None, prior.misfit_of_power, prior.misfit_of_response, prior.abrupt)
        columns = [
            rng.uniform(bounds[0], bounds[1], WALKERS)
            if part is None
            else np.clip(np.log(part.median) + part.log_deviation * rng.standard_normal(WALKERS), *bounds)
            for part, bounds in zip(parts, self.bounds, strict=True)
        ]
        middle = self.bounds.mean(axis=1)
        # A hair off the bounds, where clipping has put some of them on one and the same spot.
        inside: Array = middle + (np.stack(columns, axis=1) - middle) * rng.uniform(0.9, 0.999, (WALKERS, 1))
        return inside

    def finals(self, chain: Array, curve: Curve) -> Array:
        """Draws of the final level, (DRAWS * PATHS_PER_DRAW,), in the order of the chain."""
        steps = path_steps(self.plan.schedule, curve.cutoff, int(self.horizon))
        places = np.linspace(0, len(chain) - 1, DRAWS).round().astype(int)
        drawn = []
        for seed, place in enumerate(places):
            posterior = self.inference.posterior(self.cell(chain[place]))
            values = posterior.paths(self.plan.schedule, steps, n_paths=PATHS_PER_DRAW, seed=seed)
            if is_positive(curve.values):
                values = above_zero(values, FLOOR_SHARE * self.observations.level)
            drawn.append(final_levels(Paths(steps, values), curve, int(self.horizon)))
        return np.concatenate(drawn)


def sampled(target: Target) -> tuple[Array, float]:
    """The chain after its burn-in, flat but in order of time, and how many autocorrelation times it is long."""
    moves = [(emcee.moves.DEMove(), 0.7), (emcee.moves.DESnookerMove(), 0.1), (emcee.moves.StretchMove(), 0.2)]
    sampler = emcee.EnsembleSampler(WALKERS, len(NAMES), target, moves=moves)
    sampler.random_state = np.random.RandomState(0).get_state()  # what emcee takes
    state = target.starts(np.random.default_rng(0))
    steps = STEPS
    while True:
        state = sampler.run_mcmc(state, steps)
        discard = int(BURN_IN * sampler.iteration)
        times = sampler.get_autocorr_time(discard=discard, tol=0)
        length = (sampler.iteration - discard) / float(np.max(times))
        if length > ENOUGH or 2 * sampler.iteration > MOST_STEPS:
            return sampler.get_chain(discard=discard, flat=True), length
        steps = sampler.iteration


def _bounds(part: LogNormal) -> Array:
    """Of the logarithm: what the grid's nodes stand for, half a spacing beyond the first and the last."""
    logs = np.log(part.points)
    return np.array([logs[0] - (logs[1] - logs[0]) / 2, logs[-1] + (logs[-1] - logs[-2]) / 2])


def _log_density(part: LogNormal, log_value: float) -> float:
    """Of the logarithm, inside the bounds."""
    low, high = (_bounds(part) - np.log(part.median)) / part.log_deviation
    inside = np.log(ndtr(high) - ndtr(low)) if low < 0 < high else log_ndtr(-abs(low))
    off = (log_value - np.log(part.median)) / part.log_deviation
    return float(-0.5 * off**2 - np.log(part.log_deviation) - 0.5 * np.log(2 * np.pi) - inside)


def _even_log_density(part: LogNormal) -> float:
    """Of the logarithm, even between the bounds: a stand-in where a kind of run lacks the parameter."""
    return -float(np.log(np.ptp(_bounds(part))))


def _log_power_density(prior: Prior, power: float) -> float:
    """Straight between the nodes, each of which stands for its weight."""
    powers = np.array(prior.rate_powers)
    widths = np.diff(powers)
    shares = np.concatenate([[widths[0] / 2], (widths[1:] + widths[:-1]) / 2, [widths[-1] / 2]])
    return float(np.log(np.interp(power, powers, np.array(prior.rate_power_weights) / shares)))


if __name__ == "__main__":
    main()
