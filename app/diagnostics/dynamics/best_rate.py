r"""Which rate of a sweep is best, and which cannot be told from it.

The means at two rates, of :math:`n` and :math:`m` runs, differ by chance with the deviation
:math:`s \sqrt{1/n + 1/m}`. Where rates were run more than once, :math:`s` is what runs at one rate differ by, pooled
over the rates, and the quantile is Student's: two runs alone say little of it. Where none was, only the noise of each
run's own end is known, and that what another seed does is not counted has to be said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri, stdtrit

from app.diagnostics.dynamics.sensitivity import Sensitivity, SweptRun

SURENESS = 0.95
"""A rate is told from the best where chance alone sets it so far behind in less than one sweep of twenty."""


@dataclass(frozen=True, slots=True)
class RateMean:
    """The runs at one rate.

    final : mean over the runs, one that diverged as where it began                  [of the loss]
    behind : how much worse than the best rate's mean                                [of the loss]
    reach : how far behind chance alone can set it; infinite where nothing is known  [of the loss]
    """

    rate: float
    final: float
    n_runs: int
    behind: float
    reach: float


@dataclass(frozen=True, slots=True)
class BestRate:
    """The rate with the lowest mean, against the noise.

    alike : the others that cannot be told from it, the nearest first
    runner_up : the nearest of all the others
    seed_deviation : what runs at one rate differ by; None where no rate was run twice    [of the loss]
    repeats : how many runs more than rates that is known from
    """

    best: RateMean
    runner_up: RateMean
    alike: tuple[RateMean, ...]
    seed_deviation: float | None
    repeats: int

    @property
    def is_clear(self) -> bool:
        return not self.alike


def best_rate(runs: Sequence[SweptRun], found: Sensitivity) -> BestRate:
    """`found` is the sensitivity of the same runs."""
    at_rate = {rate: [run for run in runs if run.peak_rate == rate] for rate in found.rates}
    deviation, repeats = _between_seeds(list(at_rate.values()), found)
    quantile = float(stdtrit(repeats, SURENESS)) if repeats else float(ndtri(SURENESS))
    errors = {rate: _error_of_mean(here, deviation) for rate, here in at_rate.items()}
    means = [
        RateMean(
            rate,
            final,
            len(at_rate[rate]),
            final - found.best,
            quantile * math.hypot(errors[rate], errors[found.best_rate]),
        )
        for rate, final in zip(found.rates, found.finals, strict=True)
    ]
    best = next(one for one in means if one.rate == found.best_rate)
    others = sorted((one for one in means if one is not best), key=lambda one: one.behind)
    alike = tuple(one for one in others if one.behind <= one.reach and not _all_diverged(at_rate[one.rate], found))
    return BestRate(best, others[0], alike, deviation, repeats)


def _between_seeds(groups: Sequence[Sequence[SweptRun]], found: Sensitivity) -> tuple[float | None, int]:
    """Deviation of runs at one rate, and how many runs it is known from; those that diverged are no noise."""
    squares, repeats = 0.0, 0
    for group in groups:
        finals = [run.final for run in group if found.has_learned(run)]
        if len(finals) > 1:
            squares += float(np.sum((np.array(finals) - np.mean(finals)) ** 2))
            repeats += len(finals) - 1
    return (math.sqrt(squares / repeats), repeats) if repeats else (None, 0)


def _error_of_mean(runs: Sequence[SweptRun], between_seeds: float | None) -> float:
    """No run is known better than its own end is."""
    ends = [run.error for run in runs if math.isfinite(run.error)]
    if between_seeds is None and not ends:
        return math.inf
    deviations = np.maximum(between_seeds or 0.0, ends or [0.0])
    return math.sqrt(float(np.mean(np.square(deviations))) / len(runs))


def _all_diverged(runs: Sequence[SweptRun], found: Sensitivity) -> bool:
    """What ended where it began, or diverged, is not alike to the best, whatever the noise."""
    return found.best < found.first and not any(found.has_learned(run) for run in runs)
