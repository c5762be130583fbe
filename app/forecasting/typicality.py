"""Whether a curve is of a kind that the network knows: how much what was already seen would have surprised it.

The curve is hidden from an earlier step on, and the network is asked for the bins that followed. Under a network that
knows the kind, the probability integral transform `u` of each is uniform, and the surprise `-ln(2 min(u, 1 - u))` is 1
on average. Curves that surprise it far more are not what it was trained on, whatever it says of their future.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.pfn.bars import Bars
from app.pfn.reading import Reading, read_run

Array = npt.NDArray[np.float64]

HIDDEN_SHARE = 0.4
"""Share of the seen steps that is hidden again."""

LEAST_BINS = 8
"""On either side; with fewer there is nothing to judge by."""

MOST_QUESTIONS = 16

MOST_SURPRISE = 10.0
"""Of one bin, as a normal deviate of 4.2: one spike must not condemn a curve."""

ATYPICAL = 3.5
"""99 of 100 invented curves surprise the network by less (`benchmarks.pfn_typicality`)."""


@dataclass(frozen=True, slots=True)
class Typicality:
    """How well the network would have forecast what is already known.

    surprise : mean surprise, 1 as expected                                                     [1]
    deviation : root mean square of the normal scores, 1 as expected; how much too narrow the bands were  [1]
    hidden_from : the step from which the curve was hidden for this                             [steps]
    """

    surprise: float
    deviation: float
    hidden_from: int

    @property
    def is_atypical(self) -> bool:
        return self.surprise > ATYPICAL

    @property
    def stretch(self) -> float:
        """By how much to stretch a band about its median: 1 for a curve of a known kind."""
        return max(self.deviation, 1.0) if self.is_atypical else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class HiddenPart:
    """The last part of what was seen, hidden again: what to ask the network, and what it should have said.

    reading : the curve before, and the steps that followed
    values : float64, shape (n,), at those steps                   [of the metric]
    hidden_from : the step from which the curve was hidden         [steps]
    """

    reading: Reading
    values: Array
    hidden_from: int

    def judged(self, answer: Bars) -> Typicality:
        """How surprising the values are, after what the network answered to the reading."""
        transforms = answer.cdf(self.values)
        return Typicality(
            surprise=float(np.mean(surprises(transforms))),
            deviation=float(np.sqrt(np.mean(normal_scores(transforms) ** 2))),
            hidden_from=self.hidden_from,
        )


def hide_last_part(curve: Curve, plan: Plan) -> HiddenPart | None:
    """What to judge a curve's typicality by. None: too few bins."""
    if len(curve) < 2 * LEAST_BINS:
        return None
    first = float(curve.steps[0])
    earlier = curve.steps <= first + (1 - HIDDEN_SHARE) * (curve.cutoff - first)
    n_later = int((~earlier).sum())
    if min(n_later, int(earlier.sum())) < LEAST_BINS:
        return None
    asked = np.flatnonzero(~earlier)[np.linspace(0, n_later - 1, min(n_later, MOST_QUESTIONS)).astype(int)]
    before = Curve(
        steps=curve.steps[earlier],
        values=curve.values[earlier],
        counts=curve.counts[earlier],
        spreads=curve.spreads[earlier],
        cutoff=int(np.ceil(curve.steps[earlier][-1])),
        nonfinite=0,
    )
    steps = np.maximum(np.rint(curve.steps[asked]).astype(np.int64), before.cutoff + 1)
    reading = read_run(before, plan, steps, averaged=curve.counts[asked])
    return HiddenPart(reading, curve.values[asked], before.cutoff)


def surprises(transforms: npt.ArrayLike) -> Array:
    """Surprise of each value of the probability integral transform, at most `MOST_SURPRISE`."""
    u = np.asarray(transforms, dtype=np.float64)
    surprise: Array = np.minimum(-np.log(np.maximum(2 * np.minimum(u, 1 - u), 1e-300)), MOST_SURPRISE)
    return surprise


def normal_scores(transforms: npt.ArrayLike) -> Array:
    """What a normal variable would be at those probabilities, as far out as `MOST_SURPRISE` goes."""
    least = np.exp(-MOST_SURPRISE) / 2
    scores: Array = ndtri(np.clip(np.asarray(transforms, dtype=np.float64), least, 1 - least))
    return scores
