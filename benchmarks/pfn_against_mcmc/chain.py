"""A run sampled by emcee until the chain is long enough, with a proposal made of what it has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import emcee
import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from app.pfn.prior.tractable.coordinates import N_COORDINATES
from app.pfn.prior.tractable.posterior import Posterior

Array = npt.NDArray[np.float64]
Moves = list[tuple[Any, float]]

WALKERS = 48
BURN_IN, STEPS, MOST_STEPS = 600, 600, 19_200

KEPT = 150
"""Of each chain so many steps are kept, evenly: 7,200 points."""

N_GAUSSIANS, EM_STEPS, SHRINKAGE, WIDENING = 5, 12, 1.0, 1.1
"""Of the mixture that a chain's first part becomes: its normals, rounds of fitting, points' worth of the covariance of
all, and how much wider it is made."""

ENOUGH = 50.0
"""Autocorrelation times that a chain must be long, as emcee's authors ask: with 48 walkers, 2,400 independent draws."""

BLOCKS = (0.1, 0.3, 1.0)


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
