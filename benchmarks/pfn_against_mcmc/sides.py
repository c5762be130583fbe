"""Both sides asked about one run, and scored alike."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.pfn.bars import Bars
from app.pfn.prior.tractable.posterior import Posterior
from app.pfn.prior.tractable.problems import Problem
from app.pfn.runtime import Predictor
from benchmarks.pfn_against_mcmc.chain import ENOUGH, Chain
from benchmarks.pfn_against_mcmc.mixture import Mixture

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One forecaster on one run, means over the questions, in units of how far the curve had moved.

    log_score : of the answers that came; expected : of those that the sampler deems likely
    error : of the median; covered : share of the answers within the middle 90 %
    seconds : what it cost
    ruled_out : by how much `expected` would be larger with nothing kept for what the sampler rules out
    width : of the middle 90 %, times the sampler's
    """

    log_score: float
    expected: float
    error: float
    covered: float
    seconds: float
    ruled_out: float = 0.0
    width: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """What the sampler said of one run.

    halves : what one half of the chain falls short of the other by, in expectation, mean of both ways
    likely : answers at even levels of its distributions, (N_LIKELY, n_questions)
    widened : share of the questions whose normals were widened
    length : of the chain, in autocorrelation times; steps : of each walker
    answers : their sum, to know the run again
    """

    side: Side
    halves: float
    likely: Array
    widened: float
    length: float
    steps: int
    answers: float

    @property
    def converged(self) -> bool:
        return self.length >= ENOUGH


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One run: each network by its name, and the sampler."""

    networks: dict[str, Side]
    sampled: Sampled


def by_sampler(problem: Problem, unit: float, *, seed: int) -> Sampled:
    started = time.process_time()
    chain = Chain.sampled(Posterior(problem), seed)
    mixture = Mixture.of(chain.levels, chain.deviations, problem)
    scores = mixture.log_density(problem.answers)
    seconds = time.process_time() - started
    likely = mixture.likely(seed)
    expected = mixture.log_densities_of_normals(likely)
    halves = [
        Mixture.of(levels, deviations, problem)
        for levels, deviations in zip(np.array_split(chain.levels, 2), np.array_split(chain.deviations, 2), strict=True)
    ]
    return Sampled(
        side=_side(scores, expected, mixture.quantiles([0.05, 0.5, 0.95], seed), problem, unit, seconds),
        halves=(halves[0].divergence(halves[1], seed) + halves[1].divergence(halves[0], seed)) / 2,
        likely=likely,
        widened=float(mixture.widened.mean()),
        length=chain.length,
        steps=chain.steps,
        answers=float(problem.answers.sum()),
    )


def by_network(problem: Problem, predictor: Predictor, unit: float, likely: Array, *, times: int = 3) -> Side:
    taken = []
    for _ in range(times):
        started = time.process_time()
        bars = predictor.predict(problem.task.tasks)
        scores = bars.log_density(problem.answers[None, :])[0]
        taken.append(time.process_time() - started)
    expected = np.array([bars.log_density(each[None, :])[0] for each in likely])
    side = _side(scores, expected, bars.quantiles([0.05, 0.5, 0.95])[:, 0], problem, unit, float(np.median(taken)))
    return replace(side, ruled_out=ruled_out(bars, likely), width=width(bars, likely))


def ruled_out(bars: Bars, likely: Array) -> float:
    """[nats], of answers at even levels, (n, n_queries)."""
    low, high = likely[[0, -1]]
    reach = (high - low) / 2
    left = bars.cdf((high + reach)[None, :]) - bars.cdf((low - reach)[None, :])
    return float(-np.log(np.maximum(left, 1e-300)).mean())


def width(bars: Bars, likely: Array) -> float:
    """Of the middle 90 % over that of answers at even levels, (n, n_queries), geometric mean over the queries."""
    low, high = np.quantile(likely, [0.05, 0.95], axis=0)
    ours = np.diff(bars.quantiles([0.05, 0.95]), axis=0)[0, 0]
    return float(np.exp(np.log(ours / (high - low)).mean()))


def _side(scores: Array, expected: Array, quantiles: Array, problem: Problem, unit: float, seconds: float) -> Side:
    low, median, high = quantiles
    answers = problem.answers
    return Side(
        log_score=float(scores.mean() + np.log(unit)),
        expected=float(expected.mean() + np.log(unit)),
        error=float(np.minimum(np.abs(median - answers) / unit, 10.0).mean()),
        covered=float(((answers >= low) & (answers <= high)).mean()),
        seconds=seconds,
    )
