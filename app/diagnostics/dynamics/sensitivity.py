r"""How much the learning rate matters: what a sweep of runs that differ in it alone says.

LR sensitivity [1]_ is the mean over the swept rates :math:`\eta \in [a, b]` of how much worse than the best one ends,
:math:`E_\eta[\min(\ell(\eta), \ell_0) - \ell^*]`, where :math:`\ell_0` is the loss at the start: a run that diverged
ends no worse than where it began. The mean is over the logarithm of the rate, and the final loss is taken as linear
in it between two rates of the sweep.

.. [1] M. Wortsman et al., "Small-scale proxies for large-scale Transformer training instabilities,"
   arXiv:2309.14322, 2023.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST_RATES = 3
SMALLEST_SPAN = 3.0
"""Between the largest and the smallest rate; within less there is nothing to sweep."""

AT_START_SHARE = 0.1
"""A run that gained less than this share of what the best gained ended where it began: at chance, most likely, which
lies a little below the loss of fresh weights."""


@dataclass(frozen=True, slots=True)
class SweptRun:
    """One run of a sweep.

    peak_rate : largest learning rate
    final, first : loss at the end and at the start, NaN where it diverged
    error : standard error of `final`, as its points scatter; NaN where nobody knows it   [of the loss]
    has_diverged : it was seen to diverge and did not come back, wherever it ended
    """

    run_id: str
    peak_rate: float
    final: float
    first: float
    error: float = math.nan
    has_diverged: bool = False


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What a sweep says.

    value : LR sensitivity [of the loss]
    rates, finals : the sweep, by rate; runs at one rate are averaged, what diverged counts as the loss at the start
    diverged : how many runs ended where they began, or worse
    is_edge_best : whether the best rate is the smallest or largest of the sweep: a better one may lie outside
    """

    value: float
    rates: tuple[float, ...]
    finals: tuple[float, ...]
    first: float
    diverged: int
    best_rate: float
    best: float
    is_edge_best: bool

    def has_learned(self, run: SweptRun) -> bool:
        """Whether its end tells of its rate: it gained what counts as a gain, and kept it."""
        return not run.has_diverged and run.final < self.first - AT_START_SHARE * (self.first - self.best)


def sensitivity(runs: Sequence[SweptRun]) -> Sensitivity | None:
    """None where the sweep is too small, or no run says where it began."""
    firsts = [run.first for run in runs if math.isfinite(run.first)]
    rates = sorted({run.peak_rate for run in runs})
    if len(rates) < FEWEST_RATES or rates[-1] < SMALLEST_SPAN * rates[0] or not firsts:
        return None
    first = float(np.median(firsts))
    capped = [(run.peak_rate, min(run.final, first) if math.isfinite(run.final) else first) for run in runs]
    finals = [float(np.mean([final for rate, final in capped if rate == one])) for one in rates]
    at = int(np.argmin(finals))
    worse = np.array(finals) - finals[at]
    logs = np.log(rates)
    value = float(np.trapezoid(worse, logs) / (logs[-1] - logs[0]))
    return Sensitivity(
        value=value,
        rates=tuple(rates),
        finals=tuple(finals),
        first=first,
        diverged=sum(final >= first - AT_START_SHARE * (first - finals[at]) for _, final in capped),
        best_rate=rates[at],
        best=finals[at],
        is_edge_best=at in (0, len(rates) - 1),
    )
