"""The prior-fitted network as a forecaster: one pass over the curve so far and the schedule, past and planned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.errors import CurveTooShort
from app.forecasting.forecaster import Array, Paths
from app.forecasting.law import FLOOR_SHARE, above_zero
from app.forecasting.observations import MIN_BINS, is_positive
from app.forecasting.typicality import hide_last_part
from app.pfn.reading import read_run
from app.pfn.runtime import Predictor, shipped_predictor

N_PATHS = 256

LEVELS_OF_A_CURVE = 20
"""The lowest level so far is that of the best twentieth of the bins: of shorter parts, the lowest is mostly luck."""

MOST_STEPS = 48
"""Steps that the network is asked about; a path of twice as many is as good as straight between them."""

READ_AT = np.linspace(-2.75, 2.75, 34)
"""Normal scores at which the network's distributions are read; paths between them are interpolated."""


@dataclass(frozen=True, slots=True)
class PfnForecaster:
    """What the network says of each step, as paths that keep their rank.

    The network answers for each step by itself. A path here is the same quantile at every step: right for every step,
    for a mean over the last steps (whose levels rise and fall together), and for how wide the band is; not for
    how a single future wanders inside it.

    Without a predictor, the shipped one.
    """

    name: str = "pfn"
    predictor: Predictor | None = None
    n_paths: int = N_PATHS

    @property
    def network(self) -> Predictor:
        """What it asks."""
        return self.predictor or shipped_predictor()

    def predict(self, curve: Curve, plan: Plan, steps: npt.NDArray[np.int64]) -> Paths:
        """Paths, the probability of a new lowest level before the last of the steps, and how typical the curve is.

        The network is asked for the lowest level to come, as the joint question it is. LC-PFN's criterion [1]_ asks
        each step by itself and takes the most promising; that is never more than this.

        .. [1] S. Adriaensen et al., "Efficient Bayesian Learning Curve Extrapolation using Prior-Data Fitted Networks,"
           arXiv:2310.20447, 2023, section 4.3.
        """
        if len(curve) < MIN_BINS:
            raise CurveTooShort(needed=MIN_BINS, got=len(curve))
        asked = steps[_evenly(len(steps))]
        ahead = np.maximum(np.append(asked, steps[-1]), curve.cutoff + 1)
        is_minimum = np.arange(len(ahead)) == len(asked)
        reading = read_run(curve, plan, ahead, minimum=is_minimum)
        hidden = hide_last_part(curve, plan)
        bars, *answers = self.network.answer([reading, *([hidden.reading] if hidden else [])])
        level, lowest = bars.of_queries(slice(-1)), bars.of_queries(slice(-1, None))
        read = level.quantiles(ndtr(READ_AT))[:, 0, :]
        values = _fanned(_between(read, asked, steps), self.n_paths)
        if is_positive(curve.values):
            values = above_zero(values, FLOOR_SHARE * float(np.median(curve.values[-MIN_BINS:])))
        lower = float(lowest.cdf(lowest_level(curve))[0, 0])
        return Paths(
            steps,
            values,
            improvement=lower if steps[-1] > curve.cutoff else None,
            typicality=hidden.judged(*answers) if hidden else None,
        )


def _evenly(n: int) -> npt.NDArray[np.intp]:
    """Which of the steps to ask about, at most `MOST_STEPS`: the first and the last among them."""
    return np.unique(np.linspace(0, n - 1, min(n, MOST_STEPS)).round().astype(np.intp))


def _between(values: Array, asked: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]) -> Array:
    """Quantiles at all steps, straight between those that were asked about."""
    if len(asked) == len(steps):
        return values
    after = np.clip(np.searchsorted(asked, steps), 1, len(asked) - 1)
    share = (steps - asked[after - 1]) / (asked[after] - asked[after - 1])
    between: Array = (1 - share) * values[:, after - 1] + share * values[:, after]
    return between


def lowest_level(curve: Curve) -> float:
    """The lowest of the levels so far, each a mean over some bins."""
    width = max(1, len(curve) // LEVELS_OF_A_CURVE)
    starts = np.arange(0, len(curve) - width + 1, width)
    starts += len(curve) - width - int(starts[-1])  # the last one ends at the cutoff
    weights = curve.counts.astype(np.float64)
    levels = np.add.reduceat(weights * curve.values, starts) / np.add.reduceat(weights, starts)
    return float(levels.min())


def _fanned(read: Array, n_paths: int) -> Array:
    """Equally likely paths, (n_paths, n_steps), one quantile each, from the values at the scores `READ_AT`."""
    wanted = np.clip(ndtri((np.arange(n_paths) + 0.5) / n_paths), READ_AT[0], READ_AT[-1])
    place = (wanted - READ_AT[0]) / (READ_AT[1] - READ_AT[0])
    before = np.minimum(place.astype(np.intp), len(READ_AT) - 2)
    share = (place - before)[:, None]
    paths: Array = (1 - share) * read[before] + share * read[before + 1]
    return paths
