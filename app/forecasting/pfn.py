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
from app.pfn.bars import Bars
from app.pfn.reading import read_run
from app.pfn.runtime import Predictor, shipped_predictor

N_PATHS = 256

LEVELS_OF_A_CURVE = 50
"""The lowest level so far is that of the best fiftieth of the bins."""

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
        if len(curve) < MIN_BINS:
            raise CurveTooShort(needed=MIN_BINS, got=len(curve))
        reading = read_run(curve, plan, np.maximum(steps, curve.cutoff + 1))
        bars = reading.restored(self.network.predict(reading.tasks))
        values = paths_of(bars, self.n_paths)
        if is_positive(curve.values):
            values = above_zero(values, FLOOR_SHARE * float(np.median(curve.values[-MIN_BINS:])))
        return Paths(steps, values)

    def improvement(self, curve: Curve, plan: Plan) -> float | None:
        """Probability that the level falls below the lowest so far before the run ends; None where it has ended.

        The network is asked for the lowest level to come, as the joint question it is. LC-PFN's criterion [1]_ asks
        each step by itself and takes the most promising; that is never more than this.

        .. [1] S. Adriaensen et al., "Efficient Bayesian Learning Curve Extrapolation using Prior-Data Fitted Networks,"
           arXiv:2310.20447, 2023, section 4.3.
        """
        if plan.total_steps <= curve.cutoff or len(curve) < MIN_BINS:
            return None
        reading = read_run(curve, plan, np.array([plan.total_steps], dtype=np.int64), minimum=True)
        lowest = reading.restored(self.network.predict(reading.tasks))
        return float(lowest.cdf(lowest_level(curve))[0, 0])


def lowest_level(curve: Curve) -> float:
    """The lowest of the levels so far: of means over a few bins, since the lowest single bin is mostly luck."""
    width = max(1, len(curve) // LEVELS_OF_A_CURVE)
    starts = np.arange(0, len(curve) - width + 1, width)
    starts += len(curve) - width - int(starts[-1])  # the last one ends at the cutoff
    weights = curve.counts.astype(np.float64)
    levels = np.add.reduceat(weights * curve.values, starts) / np.add.reduceat(weights, starts)
    return float(levels.min())


def paths_of(bars: Bars, n_paths: int) -> Array:
    """Equally likely paths through the distributions of one run's steps, (n_paths, n_steps): one quantile each."""
    read = bars.quantiles(ndtr(READ_AT))[:, 0, :]
    wanted = np.clip(ndtri((np.arange(n_paths) + 0.5) / n_paths), READ_AT[0], READ_AT[-1])
    place = (wanted - READ_AT[0]) / (READ_AT[1] - READ_AT[0])
    before = np.minimum(place.astype(np.intp), len(READ_AT) - 2)
    share = (place - before)[:, None]
    paths: Array = (1 - share) * read[before] + share * read[before + 1]
    return paths
