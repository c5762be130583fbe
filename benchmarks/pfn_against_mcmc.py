"""How far is the shipped network from the posterior that it approximates? Against MCMC (emcee) on the same prior.

Run ``python -m benchmarks.pfn_against_mcmc [--curves 100] [--cutoffs 20 80] [--minutes 10] [--seed 0]``. Needs emcee
(the `dev` extra).

The whole prior has no likelihood that could be written down: events, upsets, plans that are not known. So both sides
are asked about the part of it that has one, `app.pfn.prior.tractable`. emcee is told all that makes it so: which family
it faces, that there are no events, that noise is white and normal and how small it cannot be, that the metric falls and
lies at no offset, how the response to the rate comes. The network is told nothing of it and must reckon with all that
its prior holds. So it falls short of the posterior of its own prior by less than of this one.

Of each run, questions about means of finitely many points are asked: given the parameters their density is normal, and
over the chain a mixture of normals. Where the noise of an answer is smaller than the distance of the chain's points
(Silverman's bandwidth) each normal is made that wide; and 2 % of each density is Student's t with the chain's mean and
deviation, since points are few in the tails, where an answer may lie. Both are to the sampler's advantage.

Walkers start at the likeliest of 4,000 draws from the prior. What they find becomes a proposal, beside emcee's own
moves, for a new chain that starts where the last one ended; if that is too short, it becomes the burn-in of one twice
as long. A chain has converged when it is `ENOUGH` autocorrelation times long, the largest of those of every coordinate
and of the levels asked about. Others are dropped and counted. What its two halves differ by in their log scores is
printed as well.

Both are timed from the bins to the log densities, on one thread, one run at a time; the network with its features.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import emcee
import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp
from scipy.stats import t as student

from app.pfn.features import read_features
from app.pfn.prior.tractable import N_COORDINATES, Posterior, Problem, sample_problems
from app.pfn.runtime import Predictor, shipped_predictor

Array = npt.NDArray[np.float64]
Moves = list[tuple[Any, float]]

CUTOFFS = (10, 20, 40, 80)
NEAR = 0.05
"""Cutoffs lie this near to the wanted share of the horizon, over that share."""

WALKERS = 48
BURN_IN, STEPS, MOST_STEPS = 1000, 600, 2400

N_GAUSSIANS, EM_STEPS, SHRINKAGE, WIDENING = 5, 12, 1.0, 1.1
"""Of the mixture that a chain's first part becomes: its normals, rounds of fitting, points' worth of the covariance of
all, and how much wider it is made."""

ENOUGH = 20.0
"""Autocorrelation times that a chain must be long: with 48 walkers, a thousand independent draws. emcee's authors ask
50, to know that time well; here the halves of the chain show what is not known."""

THIN = 4
"""Of the chain, every so manieth step is kept."""

TAIL_SHARE, TAIL_DEGREES = 0.02, 3.0

BLOCKS = (0.1, 0.3, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One forecaster on one run: log score and error of the median, means over the questions, in units of how far the
    curve had moved; share of the answers within the middle 90 %; what it cost."""

    log_score: float
    error: float
    covered: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """halves : log score by the first half of the chain less that by the second
    widened : share of the questions whose normals were widened
    length : of the chain, in autocorrelation times
    """

    network: Side
    mcmc: Side
    halves: float
    widened: float
    length: float

    @property
    def converged(self) -> bool:
        return self.length >= ENOUGH


def main() -> None:
    arguments = _arguments()
    predictor = shipped_predictor()
    print(f"network {predictor.card['sha256'][:16]}; {arguments.curves} curves a cutoff, seed {arguments.seed}")
    deadline = time.monotonic() + 60 * arguments.minutes
    # Round about, so that a run that is cut off has as many of each cutoff.
    drawn = {
        cutoff: sample_problems(
            np.random.default_rng([arguments.seed, cutoff]),
            least_seen=(1 - NEAR) * cutoff / 100,
            most_seen=min((1 + NEAR) * cutoff / 100, 1.0),
        )
        for cutoff in arguments.cutoffs
    }
    found: dict[int, list[Comparison]] = {cutoff: [] for cutoff in arguments.cutoffs}
    for index in range(arguments.curves):
        for cutoff in arguments.cutoffs:
            if time.monotonic() > deadline:
                break
            one = compare(next(drawn[cutoff]), predictor, seed=index)
            found[cutoff].append(one)
            if arguments.each:
                print(_line(cutoff, one), flush=True)
    print(table(found))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pfn_against_mcmc", description="Network against MCMC.")
    parser.add_argument("--curves", type=int, default=100, help="for each cutoff")
    parser.add_argument("--cutoffs", type=int, nargs="+", default=CUTOFFS, help="per cent of the horizon")
    parser.add_argument("--minutes", type=float, default=np.inf, help="start no curve after this long")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", action="store_true", help="a line for each curve")
    return parser.parse_args()


def compare(problem: Problem, predictor: Predictor, *, seed: int) -> Comparison:
    """Both on one run."""
    unit = float(read_features(problem.task.tasks).scale[0, 0])
    started = time.perf_counter()
    chain, length = sampled(Posterior(problem), seed)
    mixture = Mixture.of(chain, problem)
    scores = mixture.log_density(problem.answers)
    seconds = time.perf_counter() - started
    halves = [Mixture.of(half, problem).log_density(problem.answers).mean() for half in np.array_split(chain, 2)]
    return Comparison(
        network=by_network(problem, predictor, unit),
        mcmc=_side(scores, mixture.quantiles(seed), problem, unit, seconds),
        halves=float(halves[0] - halves[1]),
        widened=float(mixture.widened.mean()),
        length=length,
    )


def by_network(problem: Problem, predictor: Predictor, unit: float, *, times: int = 3) -> Side:
    taken = []
    for _ in range(times):
        started = time.perf_counter()
        bars = predictor.predict(problem.task.tasks)
        scores = bars.log_density(problem.answers[None, :])[0]
        taken.append(time.perf_counter() - started)
    return _side(scores, bars.quantiles([0.05, 0.5, 0.95])[:, 0], problem, unit, float(np.median(taken)))


def _side(scores: Array, quantiles: Array, problem: Problem, unit: float, seconds: float) -> Side:
    low, median, high = quantiles
    answers = problem.answers
    return Side(
        log_score=float(scores.mean() + np.log(unit)),
        error=float(np.minimum(np.abs(median - answers) / unit, 10.0).mean()),
        covered=float(((answers >= low) & (answers <= high)).mean()),
        seconds=seconds,
    )


def sampled(posterior: Posterior, seed: int) -> tuple[Array, float]:
    """The chain after its burn-in, in order of time, (n, N_COORDINATES), and its length in autocorrelation times."""
    rng = np.random.default_rng(seed)
    moves: Moves = [
        (emcee.moves.DEMove(), 0.4),
        (emcee.moves.DESnookerMove(), 0.1),
        (emcee.moves.MHMove(towards_prior), 0.5),
    ]
    random = np.random.RandomState(seed)  # what emcee takes
    chain = _chain(posterior, moves, posterior.starts(rng, WALKERS), random, BURN_IN)
    steps = STEPS
    while True:
        # What the chain has found so far becomes a proposal, fixed from here on; what came before is thrown away.
        jumps = emcee.moves.MHMove(Gaussians.of(chain[len(chain) // 2 :].reshape(-1, N_COORDINATES), rng))
        mixed = [(jumps, 0.6), *((move, 0.4 * share) for move, share in moves)]
        chain = _chain(posterior, mixed, chain[-1], random, steps)
        length = length_of(chain, posterior)
        if length >= ENOUGH or 2 * steps > MOST_STEPS:
            return chain.reshape(-1, N_COORDINATES), length
        steps *= 2


def _chain(posterior: Posterior, moves: Moves, start: Array, random: np.random.RandomState, steps: int) -> Array:
    sampler = emcee.EnsembleSampler(WALKERS, N_COORDINATES, posterior, moves=moves, vectorize=True)
    sampler.random_state = random.get_state()
    sampler.run_mcmc(start, steps // THIN, thin_by=THIN, skip_initial_state_check=True)
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
    whiteners: Array

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
            roots = WIDENING * np.linalg.cholesky(covariances)
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


def length_of(chain: Array, posterior: Posterior) -> float:
    """Of a chain, (n_steps, n_walkers, N_COORDINATES), in autocorrelation times: the largest there is."""
    levels = posterior.levels_asked(chain.reshape(-1, N_COORDINATES)).reshape(*chain.shape[:2], -1)
    watched = np.concatenate([chain, levels[..., [0, levels.shape[-1] // 2, -1]]], axis=2)
    if (np.ptp(watched, axis=0) == 0).any():
        return 0.0  # a walker that never moved
    return float(len(chain) / emcee.autocorr.integrated_time(watched, tol=0, quiet=True).max())


def towards_prior(z: Array, random: np.random.RandomState) -> tuple[Array, Array]:
    """A proposal that leaves the prior as it is, for some coordinates of each walker: what the data say nothing of is
    accepted whatever it becomes. The last coordinate, whose prior is no standard normal, stays.
    """
    n, n_normal = z.shape[0], z.shape[1] - 1
    share, step = random.choice(BLOCKS, size=(n, 1)), random.choice(BLOCKS, size=(n, 1))
    old = z[:, :-1]
    fresh = np.sqrt(1 - step**2) * old + step * random.standard_normal((n, n_normal))
    new = np.where(random.random_sample((n, n_normal)) < share, fresh, old)
    return np.column_stack([new, z[:, -1]]), (new**2 - old**2).sum(axis=1) / 2


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """What a chain says of the answers: normals, (n_draws, n_queries); which queries' were widened, (n_queries,)."""

    means: Array
    deviations: Array
    widened: npt.NDArray[np.bool_]

    @staticmethod
    def of(chain: Array, problem: Problem) -> Mixture:
        posterior = Posterior(problem)
        means = np.concatenate([posterior.levels_asked(part) for part in np.array_split(chain, 50)])
        noise = posterior.deviations(chain, problem.family)[:, None] / np.sqrt(problem.averaged)
        spread = np.minimum(means.std(axis=0), np.ptp(np.quantile(means, [0.25, 0.75], axis=0), axis=0) / 1.34)
        bandwidth = 0.9 * spread * len(means) ** -0.2
        return Mixture(means, np.maximum(noise, bandwidth), np.median(noise, axis=0) < bandwidth)

    def log_density(self, values: Array) -> Array:
        off = (values - self.means) / self.deviations
        each = -0.5 * off**2 - np.log(self.deviations) - 0.5 * np.log(2 * np.pi)
        mixed = logsumexp(each, axis=0) - np.log(len(each))
        broad = np.sqrt(self.means.var(axis=0) + np.median(self.deviations, axis=0) ** 2)
        tails = student.logpdf(values, TAIL_DEGREES, self.means.mean(axis=0), broad)
        return np.asarray(np.logaddexp(np.log(1 - TAIL_SHARE) + mixed, np.log(TAIL_SHARE) + tails))

    def quantiles(self, seed: int) -> Array:
        """5, 50 and 95 %, (3, n_queries), of one draw from each normal."""
        noise = np.random.default_rng(seed).standard_normal(self.means.shape)
        return np.asarray(np.quantile(self.means + self.deviations * noise, [0.05, 0.5, 0.95], axis=0))


def table(found: dict[int, list[Comparison]]) -> str:
    """In Markdown."""
    lines = [
        "| seen | curves (dropped) | network | MCMC | network - MCMC | network better | error, network | MCMC "
        "| in the 90 % band, network | MCMC | halves differ by | ms, network | s, MCMC | times faster |",
        "|" + "---|" * 14,
    ]
    lines += [_row(cutoff, each) for cutoff, each in found.items() if sum(one.converged for one in each) > 1]
    return "\n".join(lines)


def _row(cutoff: int, each: Sequence[Comparison]) -> str:
    kept = [one for one in each if one.converged]
    network, mcmc = [one.network for one in kept], [one.mcmc for one in kept]
    gap = np.array([ours.log_score - theirs.log_score for ours, theirs in zip(network, mcmc, strict=True)])
    ours, theirs = (float(np.median([one.seconds for one in side])) for side in (network, mcmc))
    scores, errors, covered = (
        [float(np.mean([getattr(one, name) for one in side])) for side in (network, mcmc)]
        for name in ("log_score", "error", "covered")
    )
    cells = [
        f"{cutoff} %",
        f"{len(kept)} ({len(each) - len(kept)})",
        *(f"{score:+.3f}" for score in scores),
        f"{gap.mean():+.3f} ± {gap.std(ddof=1) / np.sqrt(len(gap)):.3f}",
        f"{(gap > 0).mean():.0%}",
        *(f"{error:.3f}" for error in errors),
        *(f"{share:.1%}" for share in covered),
        f"{np.mean([abs(one.halves) for one in kept]):.3f}",
        f"{1e3 * ours:.1f}",
        f"{theirs:.1f}",
        f"{theirs / ours:,.0f}",
    ]
    return f"| {' | '.join(cells)} |"


def _line(cutoff: int, one: Comparison) -> str:
    return (
        f"{cutoff:3} % network {one.network.log_score:+.3f} MCMC {one.mcmc.log_score:+.3f} halves {one.halves:+.3f} "
        f"length {one.length:.0f} widened {one.widened:.0%} | "
        f"{1e3 * one.network.seconds:.1f} ms {one.mcmc.seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
