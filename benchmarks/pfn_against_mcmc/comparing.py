"""Networks and the sampler on the same runs, round about the cutoffs."""

from __future__ import annotations

import argparse
import time

import numpy as np

from app.pfn.features import read_features
from app.pfn.prior.tractable.problems import Problem, sample_problems
from app.pfn.runtime import Predictor
from benchmarks.pfn_against_mcmc.kept import Kept
from benchmarks.pfn_against_mcmc.sides import Comparison, by_network, by_sampler
from benchmarks.pfn_against_mcmc.tables import line_of

NEAR = 0.05
"""Cutoffs lie this near to the wanted share of the horizon, over that share."""


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
                print(line_of(cutoff, one), flush=True)
    return found


def compare(problem: Problem, predictors: dict[str, Predictor], kept: Kept, *, key: tuple[int, int, int]) -> Comparison:
    """All on one run."""
    unit = float(read_features(problem.task.tasks).scale[0, 0])
    known = kept.get(key, problem)
    if known is None:
        known = by_sampler(problem, unit, seed=key[-1])
        kept.add(key, known)
    networks = {name: by_network(problem, each, unit, known.likely) for name, each in predictors.items()}
    return Comparison(networks, known)
