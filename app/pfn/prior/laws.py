"""The lawful part of invented runs: a base family in effective steps, less what a falling rate gives."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from app.pfn.prior.draws import Array, Flags, chance, log_normal, log_uniform
from app.pfn.prior.families import Bases, sample_bases
from app.pfn.prior.response import Responses, effective_steps, gains, sample_responses
from app.pfn.prior.schedules import Schedules

INDIFFERENT_SHARE = 0.15
"""Runs that answer to no fall of the rate: small ones far from converged, and metrics that do not care."""

SLOWEST_SHARE = 0.3
"""A schedule with less than this part of a constant rate's progress may end above the run at a constant rate."""

LEAST_FALLEN = 0.05
"""So may one whose response, at the end, has come less far than this."""

SMALLEST_BENEFIT, SMALL_BENEFIT = 0.05, 1.0
"""Else a decay gives more than the progress that it costs, by at least a part of the cost between these: nobody would
decay otherwise."""

LARGEST_GAIN = 0.5
"""Of the level. A full decay takes 1 to 12 % of a language model's loss, half of a small classifier's."""


@dataclass(frozen=True, slots=True, eq=False)
class Laws:
    """Bases and responses of n runs, and `gain`, shape (n,): what a fall of the rate to zero takes off the level."""

    bases: Bases
    responses: Responses
    gain: Array

    def levels(self, schedules: Schedules, positions: Array) -> Array:
        """Shape of `positions`, (n, m); 1 at the end of a run at a constant rate without a warm-up."""
        progress = effective_steps(schedules, positions, self.responses.progress_power)
        return self.levels_at(progress, schedules, positions)

    def levels_at(self, progress: Array, schedules: Schedules, positions: Array) -> Array:
        """The same, at effective steps that something else has changed."""
        return self.bases.levels(progress) - self.gain[:, None] * gains(schedules, positions, self.responses)


def sample_laws(rng: np.random.Generator, schedules: Schedules) -> Laws:
    return beneficial(rng, sample_laws_alone(rng, len(schedules)), schedules)


def sample_laws_alone(rng: np.random.Generator, n: int) -> Laws:
    """Before any schedule is known: `beneficial` makes them laws of one."""
    indifferent = chance(rng, INDIFFERENT_SHARE, n)
    bases = sample_bases(rng, n)
    # Of the level: Hägele et al. (arXiv:2405.18392) and the annealing papers show 1 to 12 %. Of what there is left to
    # learn: any part up to 0.4, for classifiers and small models, whose loss has no large irreducible part.
    of_level = log_normal(rng, 0.04, 0.8, n)
    of_fall = bases.fall * 0.4 * rng.random(n)
    gain = np.where(chance(rng, 0.65, n), of_level, of_fall)
    gain = np.where(indifferent, 0.0, np.minimum(gain, LARGEST_GAIN))
    return Laws(bases, sample_responses(rng, n, indifferent=indifferent), gain)


def answering(laws: Laws) -> Flags:
    """Runs that answer to a fall of the rate, shape (n,)."""
    return laws.gain > 0


def beneficial(rng: np.random.Generator, laws: Laws, schedules: Schedules) -> Laws:
    """With gains large enough that decays end below the same run at a constant rate."""
    end = np.ones((len(schedules), 1))
    power = laws.responses.progress_power
    held = schedules.held_at_peak()
    progress, most = effective_steps(schedules, end, power), effective_steps(held, end, power)
    cost = (laws.bases.levels(progress) - laws.bases.levels(most))[:, 0]
    fallen = gains(schedules, end, laws.responses)[:, 0]
    worthwhile = answering(laws) & (progress[:, 0] >= SLOWEST_SHARE * most[:, 0]) & (fallen > LEAST_FALLEN)
    benefit = log_uniform(rng, SMALLEST_BENEFIT, SMALL_BENEFIT, len(schedules))
    least = (1.0 + benefit) * cost / np.maximum(fallen, LEAST_FALLEN)
    return replace(laws, gain=np.where(worthwhile, np.maximum(laws.gain, least), laws.gain))
