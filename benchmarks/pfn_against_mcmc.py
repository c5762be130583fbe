"""How far is a network from the posterior that it approximates? Against MCMC (emcee) on the same runs.

Run ``python -m benchmarks.pfn_against_mcmc [--weights FOLDER ...] [--curves 25] [--cutoffs 10 20 40 80] [--minutes 10]
[--kept FILE]``. Needs emcee (the `dev` extra).

The whole prior has no likelihood that could be written down: events, upsets, plans that are not known. So both sides
are asked about the part of it that has one, `app.pfn.prior.tractable`. emcee samples its thirteen parameters under its
own densities. Two networks are compared, unless `--weights` names others:

- `TRACTABLE`, trained on that part alone (``losscast train-pfn --prior tractable``): the same prior on both sides. What
  it falls short by is what a network of this size, and its features, lose.
- the one that ships, trained on the whole prior. It is not told that nothing will happen, and must reckon with it: what
  it falls short of the other network by is the price of the broader prior.

Of each run, questions about means of finitely many points are asked: given the parameters their density is normal, and
over the chain a mixture of normals. Where the noise of an answer is smaller than the distance of the chain's points
(Silverman's bandwidth) each normal is made that wide; and 2 % of each density is Student's t with the chain's mean and
deviation, since points are few in the tails, where an answer may lie. Both are to the sampler's advantage.

Scored are the answers that came, one a question; and, sharper, all that the sampler deems possible, each as often as it
deems it likely. What a network falls short by is the same in expectation, since the runs are drawn from the prior that
the sampler samples under, and without the luck of the answers: the Kullback-Leibler divergence of the network's
distribution from the sampler's, never below zero. It holds what the sampler gets wrong, too. How much that may be, the
two halves of a chain say, each judged by the other in the same way. A part of it is what a network keeps for answers
that the sampler rules out: further beyond the outermost of the likely ones than half of what lies between those.

The fall, the size and the noise are sampled as offsets from what fits best given all else (`Posterior.unfolded`).
Walkers start at the likeliest of 4,000 draws from the prior. What they find becomes a proposal, beside emcee's own
moves, for a new chain that starts where the last one ended; if that is too short, it becomes the burn-in of a longer
one. A chain has converged when it is `ENOUGH` autocorrelation times long, the largest of those of every coordinate
and of the levels asked about. Others, if any, are left out of the tables, and counted there.

Both are timed from the bins to the log densities, on one thread, one run at a time, in turn, the network with its
features: in seconds of a core, so that what else the machine does counts for neither. `--kept` writes what the sampler
said to a file, and takes from there what it said before, times included: a comparison that was cut off goes on, and
another network is compared within seconds. How many times faster it is means something only without it: the times are
of the same minutes then.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # both sides on one thread, before numpy is loaded

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import emcee
import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp
from scipy.stats import t as student

from app.pfn.bars import Bars
from app.pfn.features import read_features
from app.pfn.prior.tractable.coordinates import N_COORDINATES
from app.pfn.prior.tractable.posterior import Posterior
from app.pfn.prior.tractable.problems import Problem, sample_problems
from app.pfn.runtime import Predictor, shipped_predictor
from app.pfn.weights import read_network

Array = npt.NDArray[np.float64]
Moves = list[tuple[Any, float]]

CUTOFFS = (10, 20, 40, 80)
NEAR = 0.05
"""Cutoffs lie this near to the wanted share of the horizon, over that share."""

TRACTABLE = Path(__file__).parent / "tractable_network"
"""Trained on the tractable part of the prior by the same code; its card says how."""

WALKERS = 48
BURN_IN, STEPS, MOST_STEPS = 600, 600, 19_200

KEPT = 150
"""Of each chain so many steps are kept, evenly: 7,200 points."""

N_GAUSSIANS, EM_STEPS, SHRINKAGE, WIDENING = 5, 12, 1.0, 1.1
"""Of the mixture that a chain's first part becomes: its normals, rounds of fitting, points' worth of the covariance of
all, and how much wider it is made."""

ENOUGH = 50.0
"""Autocorrelation times that a chain must be long, as emcee's authors ask: with 48 walkers, 2,400 independent draws."""

TAIL_SHARE, TAIL_DEGREES = 0.02, 3.0

BLOCKS = (0.1, 0.3, 1.0)

N_LIKELY = 100
"""Answers of each question, at even levels of the sampler's distribution. With 400 the divergences of six runs were
0.001 smaller, in the mean."""

KEPT_FORMAT = 2
"""Of a line of `--kept`. The first had no likely answers."""


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


def main() -> None:
    arguments = _arguments()
    predictors = dict(_predictors(arguments.weights))
    for name, predictor in predictors.items():
        print(f"{name}: network {predictor.card['sha256'][:16]}, trained on the {_prior_of(predictor)} prior")
    print(f"{arguments.curves} curves a cutoff, seed {arguments.seed}")
    found = compared(arguments, predictors)
    for name in predictors:
        print(f"\n{name} network\n\n{table(name, found)}")
    if len(predictors) > 1:
        for by, title in (("expected", "in expectation under MCMC"), ("log_score", "by the answers that came")):
            print(f"\nwhere the differences come from, {title}\n\n{parts(list(predictors), found, by=by)}")
    print(f"\nwhat the networks answer\n\n{shapes(list(predictors), found)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pfn_against_mcmc", description="Network against MCMC.")
    parser.add_argument("--weights", type=Path, action="append", help="folder of a network; once for each")
    parser.add_argument("--curves", type=int, default=25, help="for each cutoff")
    parser.add_argument("--cutoffs", type=int, nargs="+", default=CUTOFFS, help="per cent of the horizon")
    parser.add_argument("--minutes", type=float, default=np.inf, help="start no curve after this long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kept", type=Path, help="file of what the sampler said, and is not asked again")
    parser.add_argument("--each", action="store_true", help="a line for each curve")
    return parser.parse_args()


def _predictors(folders: Sequence[Path] | None) -> Iterator[tuple[str, Predictor]]:
    if folders:
        yield from ((folder.name, Predictor(*read_network(folder))) for folder in folders)
    else:
        yield "shipped", shipped_predictor()
        yield "tractable", Predictor(*read_network(TRACTABLE))


def _prior_of(predictor: Predictor) -> str:
    return str(predictor.card["trained"].get("prior", "whole"))


def compared(arguments: argparse.Namespace, predictors: dict[str, Predictor]) -> dict[int, list[Comparison]]:
    """Round about the cutoffs, so that a comparison that is cut off has as many runs of each."""
    deadline = time.monotonic() + 60 * arguments.minutes
    drawn = {
        cutoff: sample_problems(
            np.random.default_rng([arguments.seed, cutoff]),
            least_seen=(1 - NEAR) * cutoff / 100,
            most_seen=min((1 + NEAR) * cutoff / 100, 1.0),
        )
        for cutoff in arguments.cutoffs
    }
    kept = Kept(arguments.kept)
    found: dict[int, list[Comparison]] = {cutoff: [] for cutoff in arguments.cutoffs}
    for index in range(arguments.curves):
        for cutoff in arguments.cutoffs:
            if time.monotonic() > deadline:
                return found
            one = compare(next(drawn[cutoff]), predictors, kept, key=(arguments.seed, cutoff, index))
            found[cutoff].append(one)
            if arguments.each:
                print(_line(cutoff, one), flush=True)
    return found


class Kept:
    """What the sampler said of runs, by seed, cutoff and number: in a file of JSON lines, or in none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path is not None and path.exists() else []
        records = [json.loads(line) for line in lines]
        if any(record.pop("format", 1) != KEPT_FORMAT for record in records):
            raise SystemExit(f"{path} holds other things than are compared by now. Name another file.")
        self._known = {tuple(record.pop("key")): record for record in records}

    def get(self, key: tuple[int, int, int], problem: Problem) -> Sampled | None:
        record = self._known.get(key)
        if record is None:
            return None
        known = Sampled(**{**record, "side": Side(**record["side"]), "likely": np.array(record["likely"])})
        if not np.isclose(known.answers, problem.answers.sum(), rtol=1e-9):
            raise SystemExit(f"{self._path} is about other runs: the prior has changed since. Name another file.")
        return known

    def add(self, key: tuple[int, int, int], sampled: Sampled) -> None:
        if self._path is not None:
            record = {"format": KEPT_FORMAT, "key": key, **asdict(sampled), "likely": sampled.likely.tolist()}
            with self._path.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(record) + "\n")


def compare(problem: Problem, predictors: dict[str, Predictor], kept: Kept, *, key: tuple[int, int, int]) -> Comparison:
    """All on one run."""
    unit = float(read_features(problem.task.tasks).scale[0, 0])
    known = kept.get(key, problem)
    if known is None:
        known = by_sampler(problem, unit, seed=key[-1])
        kept.add(key, known)
    networks = {name: by_network(problem, each, unit, known.likely) for name, each in predictors.items()}
    return Comparison(networks, known)


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


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """What is left of a chain after its burn-in, in order of time.

    levels : at the queries, (KEPT, WALKERS, n_queries); deviations : of single points, (KEPT, WALKERS)
    length : in autocorrelation times; steps : of each walker, kept or not
    """

    levels: Array
    deviations: Array
    length: float
    steps: int

    @staticmethod
    def sampled(posterior: Posterior, seed: int) -> Chain:
        rng = np.random.default_rng(seed)
        moves: Moves = [
            (emcee.moves.DEMove(), 0.4),
            (emcee.moves.DESnookerMove(), 0.1),
            (emcee.moves.MHMove(towards_prior), 0.5),
        ]
        random = np.random.RandomState(seed)  # what emcee takes
        walked = _walked(posterior, moves, posterior.starts(rng, WALKERS), random, BURN_IN)
        steps = STEPS
        while True:
            # What the chain has found so far becomes a proposal, fixed from here on; what came before is thrown away.
            jumps = emcee.moves.MHMove(Gaussians.of(walked[KEPT // 2 :].reshape(-1, N_COORDINATES), rng))
            mixed = [(jumps, 0.6), *((move, 0.4 * share) for move, share in moves)]
            walked = _walked(posterior, mixed, walked[-1], random, steps)
            chain = Chain._of(walked, posterior, steps)
            if chain.length >= ENOUGH or steps >= MOST_STEPS:
                return chain
            steps = KEPT * round(steps / KEPT * np.clip(1.2 * ENOUGH / max(chain.length, 1.0), 1.25, 2.0))

    @staticmethod
    def _of(walked: Array, posterior: Posterior, steps: int) -> Chain:
        z = [posterior.folded(part) for part in np.array_split(walked.reshape(-1, N_COORDINATES), 50)]
        levels = np.concatenate([posterior.levels_asked(part) for part in z])
        deviations = np.concatenate([posterior.deviations(part) for part in z])
        levels, deviations = levels.reshape(KEPT, WALKERS, -1), deviations.reshape(KEPT, WALKERS)
        watched = np.concatenate([walked, levels[..., [0, levels.shape[-1] // 2, -1]]], axis=2)
        if (np.ptp(watched, axis=0) == 0).any():
            return Chain(levels, deviations, 0.0, steps)  # a walker that never moved
        times = emcee.autocorr.integrated_time(watched, tol=0, quiet=True)
        return Chain(levels, deviations, KEPT / float(times.max()), steps)


def _walked(posterior: Posterior, moves: Moves, start: Array, random: np.random.RandomState, steps: int) -> Array:
    """(KEPT, WALKERS, N_COORDINATES), unfolded."""
    sampler = emcee.EnsembleSampler(WALKERS, N_COORDINATES, posterior.unfolded, moves=moves, vectorize=True)
    sampler.random_state = random.get_state()
    sampler.run_mcmc(start, KEPT, thin_by=steps // KEPT, skip_initial_state_check=True)
    random.set_state(sampler.random_state)
    return np.asarray(sampler.get_chain())


@dataclass(frozen=True, slots=True, eq=False)
class Gaussians:
    """A mixture, a little wider than what it was fitted to, as a proposal that does not depend on where a walker is.

    log_shares : (k,); centres : (k, d); roots : (k, d, d), of the covariances; whiteners : their inverses
    """

    log_shares: Array
    centres: Array
    roots: Array
    whiteners: npt.NDArray[np.floating]

    @staticmethod
    def of(points: Array, rng: np.random.Generator) -> Gaussians:
        """By expectation and maximisation; covariances drawn a little towards that of all points."""
        n, d = points.shape
        overall = np.cov(points.T) + 1e-12 * np.eye(d)
        whitened = points @ np.linalg.inv(np.linalg.cholesky(overall)).T
        first = whitened[rng.choice(n, N_GAUSSIANS, replace=False)]
        belongs = np.eye(N_GAUSSIANS)[((whitened[:, None] - first) ** 2).sum(axis=2).argmin(axis=1)]
        for _ in range(EM_STEPS):
            weights = belongs.sum(axis=0) + 1e-9
            centres = (belongs.T @ points) / weights[:, None]
            covariances = np.stack(
                [
                    ((points - centre) * each[:, None]).T @ (points - centre)
                    for centre, each in zip(centres, belongs.T, strict=True)
                ]
            )
            covariances = (covariances + SHRINKAGE * overall) / (weights + SHRINKAGE)[:, None, None]
            roots = WIDENING * np.asarray(np.linalg.cholesky(covariances), dtype=np.float64)
            fitted = Gaussians(np.log(weights / weights.sum()), centres, roots, np.linalg.inv(roots))
            parts = fitted._parts(points)
            belongs = np.exp(parts - logsumexp(parts, axis=1, keepdims=True))
        return fitted

    def __call__(self, z: Array, random: np.random.RandomState) -> tuple[Array, Array]:
        part = random.choice(len(self.log_shares), size=len(z), p=np.exp(self.log_shares))
        new = self.centres[part] + np.einsum("nij,nj->ni", self.roots[part], random.standard_normal(z.shape))
        old_density, new_density = (np.logaddexp.reduce(self._parts(each), axis=1) for each in (z, new))
        return new, old_density - new_density

    def _parts(self, z: Array) -> Array:
        """Log shares times densities, (n, k), up to a constant."""
        off = np.einsum("kij,nkj->nki", self.whiteners, z[:, None] - self.centres)
        volume = np.log(np.abs(np.diagonal(self.roots, axis1=1, axis2=2))).sum(axis=1)
        return np.asarray(self.log_shares - volume - 0.5 * (off**2).sum(axis=2))


def towards_prior(z: Array, random: np.random.RandomState) -> tuple[Array, Array]:
    """A proposal that leaves normal numbers as they are, for some coordinates of each walker: what the data say nothing
    of is accepted whatever it becomes.
    """
    n = len(z)
    share, step = random.choice(BLOCKS, size=(n, 1)), random.choice(BLOCKS, size=(n, 1))
    fresh = np.sqrt(1 - step**2) * z + step * random.standard_normal(z.shape)
    new = np.where(random.random_sample(z.shape) < share, fresh, z)
    return new, (new**2 - z**2).sum(axis=1) / 2


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """What a chain says of the answers: normals, (n_draws, n_queries); which queries' were widened, (n_queries,)."""

    means: Array
    deviations: Array
    widened: npt.NDArray[np.bool_]

    @staticmethod
    def of(levels: Array, deviations: Array, problem: Problem) -> Mixture:
        """Of levels at the queries and the noise of points, by steps and walkers."""
        means = levels.reshape(-1, levels.shape[-1])
        noise = deviations.reshape(-1, 1) / np.sqrt(problem.averaged)
        spread = np.minimum(means.std(axis=0), np.ptp(np.quantile(means, [0.25, 0.75], axis=0), axis=0) / 1.34)
        bandwidth = 0.9 * spread * len(means) ** -0.2
        return Mixture(means, np.maximum(noise, bandwidth), np.median(noise, axis=0) < bandwidth)

    def log_density(self, values: Array) -> Array:
        """With tails, of (n_queries,)."""
        mixed = self.log_densities_of_normals(values[None, :])[0]
        broad = np.sqrt(self.means.var(axis=0) + np.median(self.deviations, axis=0) ** 2)
        tails = student.logpdf(values, TAIL_DEGREES, self.means.mean(axis=0), broad)
        return np.asarray(np.logaddexp(np.log(1 - TAIL_SHARE) + mixed, np.log(TAIL_SHARE) + tails))

    def log_densities_of_normals(self, values: Array) -> Array:
        """Without tails, (n, n_queries)."""
        heights = np.log(self.deviations) + 0.5 * np.log(2 * np.pi) + np.log(len(self.means))
        each = (-0.5 * ((value - self.means) / self.deviations) ** 2 - heights for value in values)
        return np.array([logsumexp(one, axis=0) for one in each])

    def quantiles(self, levels: Sequence[float] | Array, seed: int) -> Array:
        """(n_levels, n_queries), of one draw from each normal."""
        noise = np.random.default_rng(seed).standard_normal(self.means.shape)
        return np.asarray(np.quantile(self.means + self.deviations * noise, levels, axis=0))

    def likely(self, seed: int) -> Array:
        """Answers at even levels, (N_LIKELY, n_queries): a mean over them is an expectation."""
        return self.quantiles((np.arange(N_LIKELY) + 0.5) / N_LIKELY, seed)

    def divergence(self, other: Mixture, seed: int) -> float:
        """What the other falls short of this by in log score, in expectation under this, mean over the questions."""
        likely = self.likely(seed)
        return float((self.log_densities_of_normals(likely) - other.log_densities_of_normals(likely)).mean())


def table(name: str, found: dict[int, list[Comparison]]) -> str:
    """One network against the sampler, in Markdown."""
    lines = [
        "| seen | curves (dropped) | network - MCMC, expected | median | by the answers that came | network better "
        "| log score, network | MCMC | error, network | MCMC | in the 90 % band, network | MCMC "
        "| half a chain - the other, expected | ms, network | s, MCMC | times faster |",
        "|" + "---|" * 16,
    ]
    rows = [(f"{cutoff} %", each) for cutoff, each in found.items()]
    return "\n".join(lines + [_row(label, name, each) for label, each in _with_all(rows)])


def parts(names: list[str], found: dict[int, list[Comparison]], *, by: str) -> str:
    """Differences of each network from the next, and of the last from the sampler, by one of two scores of a `Side`."""
    columns = [*zip(names, [*names[1:], "MCMC"], strict=True), (names[0], "MCMC")]
    lines = [
        "| seen | curves | " + " | ".join(f"{one} - {other}" for one, other in columns) + " |",
        "|" + "---|" * (2 + len(columns)),
    ]
    rows = [(f"{cutoff} %", each) for cutoff, each in found.items()]
    for label, each in _with_all(rows):
        kept = [one for one in each if one.sampled.converged]
        scores = {"MCMC": np.array([getattr(one.sampled.side, by) for one in kept])}
        scores |= {name: np.array([getattr(one.networks[name], by) for one in kept]) for name in names}
        cells = [_difference(scores[one] - scores[other]) for one, other in columns]
        lines.append(f"| {label} | {len(kept)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def shapes(names: Sequence[str], found: dict[int, list[Comparison]]) -> str:
    """Where each network's distributions are not the sampler's, in Markdown."""
    lines = ["| seen | network | kept for what MCMC rules out | times as wide as MCMC |", "|" + "---|" * 4]
    for label, each in _with_all([(f"{cutoff} %", each) for cutoff, each in found.items()]):
        for name in names:
            sides = [one.networks[name] for one in each if one.sampled.converged]
            wide = np.exp(np.mean([np.log(side.width) for side in sides]))
            lines.append(f"| {label} | {name} | {np.mean([side.ruled_out for side in sides]):.3f} | {wide:.2f} |")
    return "\n".join(lines)


def _with_all(rows: list[tuple[str, list[Comparison]]]) -> list[tuple[str, list[Comparison]]]:
    rows = [*rows, ("all", [one for _, each in rows for one in each])]
    return [(label, each) for label, each in rows if sum(one.sampled.converged for one in each) > 1]


def _row(label: str, name: str, each: Sequence[Comparison]) -> str:
    kept = [one for one in each if one.sampled.converged]
    network, mcmc = [one.networks[name] for one in kept], [one.sampled.side for one in kept]
    expected, came = (
        np.array([getattr(ours, by) - getattr(theirs, by) for ours, theirs in zip(network, mcmc, strict=True)])
        for by in ("expected", "log_score")
    )
    ours, theirs = (float(np.median([one.seconds for one in side])) for side in (network, mcmc))
    scores, errors, covered = (
        [float(np.mean([getattr(one, what) for one in side])) for side in (network, mcmc)]
        for what in ("log_score", "error", "covered")
    )
    cells = [
        label,
        f"{len(kept)} ({len(each) - len(kept)})",
        _difference(expected),
        f"{np.median(expected):+.3f}",
        _difference(came),
        f"{(came > 0).mean():.0%}",
        *(f"{score:+.3f}" for score in scores),
        *(f"{error:.3f}" for error in errors),
        *(f"{share:.1%}" for share in covered),
        f"{-np.mean([one.sampled.halves for one in kept]):+.3f}",
        f"{1e3 * ours:.1f}",
        f"{theirs:.1f}",
        f"{theirs / ours:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _difference(each: Array) -> str:
    return f"{each.mean():+.3f} ± {each.std(ddof=1) / np.sqrt(len(each)):.3f}"


def _line(cutoff: int, one: Comparison) -> str:
    said, networks = one.sampled, one.networks.items()
    scores = " ".join(
        f"{name} {side.log_score:+.3f} expected {side.expected - said.side.expected:+.3f} ({1e3 * side.seconds:.1f} ms)"
        for name, side in networks
    )
    return (
        f"{cutoff:3} % {scores} MCMC {said.side.log_score:+.3f} ({said.side.seconds:.1f} s) halves {-said.halves:+.3f} "
        f"length {said.length:.0f} in {said.steps} steps, widened {said.widened:.0%}"
    )


if __name__ == "__main__":
    main()
