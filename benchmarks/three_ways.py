"""One run, three ways, in one table: a whole refit, a point fit by L-BFGS from many starts, and MCMC (emcee).

Run ``python -m benchmarks.three_ways [DIRECTORY] [--family NAME ...] [--runs N] [--seen F ...]``, with folders as for
`benchmarks.forecast_accuracy`. Needs emcee (the `dev` extra). Real runs, each hidden from a share of its steps on; of
each the quantiles of the final level and the CPU time, of the same curve, in the same process, by

* **refit**: what the worker does: the last batch into the reduction, then the forecast of law, network and baselines;
* **law**: the law's part of it alone, the posterior summed on the grid;
* **point**: the most probable parameters of the very same posterior, the best of `WALKERS` searches by L-BFGS-B, one
  from each place where a walker of the chain begins, and what the model says of the end given those parameters: what is
  not known of them is not in its band;
* **paper**: the point fit of the law's authors (`benchmarks.refit_cost`): a single value;
* **MCMC**: the same posterior sampled (`benchmarks.grid_against_mcmc`).

Law, point and MCMC share data, likelihood and prior, the one that ships; so they may differ by how they compute only.
The prior has seen these families: how well the runs are foretold is `benchmarks.leave_one_out`'s to say.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, minimize

from app.curves.reduction import Reduction
from app.forecasting.final_value import final_levels
from app.forecasting.forecast import forecast_curve, path_steps, quantiles_of
from app.forecasting.forecaster import Paths
from app.forecasting.law import FLOOR_SHARE, LawForecaster, above_zero
from app.forecasting.observations import is_positive, observe
from app.laws.annealing import annealing_response, effective_steps
from app.laws.shipped import shipped_population
from benchmarks.forecast_accuracy import FAMILIES, RecordedRun, read_family
from benchmarks.grid_against_mcmc import LEVELS, WALKERS, Target, sampled
from benchmarks.refit_cost import DECAYS, STARTS, fit_point

Array = npt.NDArray[np.float64]

SEEN = (0.4, 0.8)
BATCH = 10
"""Points of the batch that sets off the refit."""

PATHS = 8192
REPEATS = 5
"""Of what takes milliseconds; the median counts."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Quantiles of the final level at `LEVELS`, NaN where a way gives none, and CPU time [s]."""

    way: str
    quantiles: Array
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", default=os.environ.get("LOSSCAST_RUNS", "../shared/data"))
    parser.add_argument("--family", action="append", choices=FAMILIES, help="else each of them")
    parser.add_argument("--runs", type=int, default=1, help="of each family, evenly spaced by name")
    parser.add_argument("--seen", type=float, action="append", help="share of the steps that is seen; else 0.4 and 0.8")
    given = parser.parse_args()
    directory = Path(given.directory)
    if not directory.is_dir():
        sys.exit(f"No directory {directory}: give one with folders of CSV runs.")
    found: list[list[Answer]] = []
    for family in given.family or FAMILIES:
        runs = list(read_family(directory / family, "val_loss"))
        for run in runs[:: -(-len(runs) // given.runs)]:
            for share in given.seen or SEEN:
                found.append(answers(run, share))
                _print_table(f"{family}/{run.name}, {share:.0%} seen", run.final_loss(), found[-1])
    _print_summary(found)


def answers(run: RecordedRun, share: float) -> list[Answer]:
    """Every way's, of one run cut short."""
    curve, plan = run.seen(share), run.plan()
    prior = shipped_population().prior
    target = Target(observe(curve, plan.schedule), plan, prior)
    horizon = int(target.horizon)
    steps = path_steps(plan.schedule, curve.cutoff, horizon)

    known = run.steps <= share * run.total_steps
    before = Reduction.empty().extend(run.steps[known][:-BATCH], run.values[known][:-BATCH])

    def refit() -> Array:
        observe.cache_clear()
        after = before.extend(run.steps[known][-BATCH:], run.values[known][-BATCH:])
        final = forecast_curve(after.to_curve(), plan).final_quantiles
        return np.array([final[level] for level in LEVELS])

    def law() -> Array:
        observe.cache_clear()
        return quantiles_of(
            final_levels(LawForecaster(prior=prior).predict(curve, plan, steps), curve, steps[-1]), LEVELS
        )

    def point() -> Array:
        posterior = target.inference.posterior(target.cell(most_probable(target)))
        values = posterior.paths(plan.schedule, steps, n_paths=PATHS, seed=0)
        if is_positive(curve.values):
            values = above_zero(values, FLOOR_SHARE * target.observations.level)
        return quantiles_of(final_levels(Paths(steps, values), curve, horizon), LEVELS)

    def paper() -> Array:
        return np.where(np.array(LEVELS) == 0.5, papers_end(run, curve.steps, curve.values), np.nan)

    def mcmc() -> Array:
        chain, _ = sampled(target)
        return np.quantile(target.finals(chain, curve), LEVELS)

    ways: tuple[tuple[str, Callable[[], Array], int], ...] = (
        ("refit", refit, REPEATS),
        ("law", law, REPEATS),
        ("point", point, 1),
        ("paper", paper, 1),
        ("MCMC", mcmc, 1),
    )
    return [_timed(way, work, repeats) for way, work, repeats in ways]


def most_probable(target: Target) -> Array:
    """The parameters of the highest log posterior that L-BFGS-B finds; its slopes are differences."""
    starts = target.starts(np.random.default_rng(0))
    # Differences step outside a bound, where the posterior is none: a hair inside it there is one.
    margin = 1e-4 * np.ptp(target.bounds, axis=1)
    low, high = target.bounds[:, 0] + margin, target.bounds[:, 1] - margin

    def surprise(at: Array) -> float:
        return -target(at)

    searches = [
        minimize(surprise, np.clip(start, low, high), method="L-BFGS-B", bounds=Bounds(low, high)) for start in starts
    ]
    best: Array = min(searches, key=lambda found: float(found.fun)).x
    return best


def papers_end(run: RecordedRun, steps: Array, values: Array) -> float:
    """The final value by the authors' fit, under the decay factor that fitted best."""
    schedule = run.schedule
    if not is_positive(values):
        return np.nan  # it fits logarithms
    kept = steps >= schedule.warmup_end
    end = np.array([float(run.total_steps)])
    _, parameters, decay = fit_point(steps, values, schedule)
    level, scale, gain, exponent = np.exp(parameters)
    log_x = np.log(effective_steps(schedule, end)[0] / effective_steps(schedule, steps[kept])[-1])
    response = annealing_response(schedule, end, [1 / (1 - decay)])[0][0]
    return float(level + scale * np.exp(-exponent * log_x) - gain * response)


def _timed(way: str, work: Callable[[], Array], repeats: int) -> Answer:
    if repeats > 1:
        work()  # caches of fixed normals, pages of memory
    spent = []
    for _ in range(repeats):
        started = time.process_time()
        quantiles = work()
        spent.append(time.process_time() - started)
    return Answer(way, quantiles, float(np.median(spent)))


def _print_table(name: str, end: float, found: Sequence[Answer]) -> None:
    print(f"\n{name}; it came to {end:.5g}")
    print(f"{'':8}{'CPU':>12}" + "".join(f"{level:>10.0%}" for level in LEVELS))
    for answer in found:
        cells = "".join(f"{'':>10}" if np.isnan(value) else f"{value:10.5g}" for value in answer.quantiles)
        print(f"{answer.way:8}{_duration(answer.seconds):>12}{cells}", flush=True)


def _print_summary(found: Sequence[Sequence[Answer]]) -> None:
    """Of every way against the chain: how far off its median is, how wide its band, and what it costs."""
    print(f"\n{len(found)} forecasts. |median - MCMC's| in units of MCMC's 90 % band; width over MCMC's; CPU: medians")
    print(f"{'':8}{'off':>10}{'worst':>10}{'width':>10}{'CPU':>12}   (searches of point: {WALKERS},", end="")
    print(f" of paper: {len(STARTS) * len(DECAYS)})")
    for each in zip(*found, strict=True):
        chains = np.array([answers[-1].quantiles for answers in found])
        ours = np.array([answer.quantiles for answer in each])
        bands = chains[:, -1] - chains[:, 0]
        off = np.abs(ours[:, 2] - chains[:, 2]) / bands
        width = float(np.median((ours[:, -1] - ours[:, 0]) / bands))
        cost = _duration(float(np.median([answer.seconds for answer in each])))
        told = "" if np.isnan(width) else f"{width:.2f}"
        print(f"{each[0].way:8}{np.median(off):10.3f}{off.max():10.3f}{told:>10}{cost:>12}")


def _duration(seconds: float) -> str:
    return f"{1e3 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


if __name__ == "__main__":
    main()
