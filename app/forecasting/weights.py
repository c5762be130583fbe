r"""How much the network counts beside the law: what it earned in backtests of runs that have ended.

Two things known at the time of a forecast tell which of the two will be nearer: the law's own posterior probability
that the run is a *lawful* one, and how many finished runs of the project the law has heard, of which the network knows
nothing. The network's share of the median is

.. math:: p\,\frac{w_\text{lawful}}{1 + n} + (1 - p)\,w_\text{abrupt}

with `p` that probability and `n` that number: the law's word counts where the law holds, the more of the project it
knows, and the network's where it does not.

Who is nearer is not who knows best how far off it may be. A law that thinks a run of an unknown kind a lawful one is
too sure of it, so the network has a share of its own in the distances from the median to the 5 and the 95 % quantile,

.. math:: w_\text{width}\left(\frac{p}{1 + n} + 1 - p\right)

The first two constants are learned from backtests by the pinball loss of the final loss, the third by the log score,
which a band that misses costs more (``python -m benchmarks.learn_weights``). What else was looked at, and did not help
families that were left out, is in docs/forecasting.md.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

FILE = "weights.json"


@dataclass(frozen=True, slots=True)
class Weight:
    """How much a forecaster counts in a run that follows the law, and in one that does not; both in [0, 1]."""

    lawful: float
    abrupt: float

    def at(self, lawful: float) -> float:
        """Where the run is a lawful one with this probability."""
        return lawful * self.lawful + (1 - lawful) * self.abrupt

    @property
    def rest(self) -> Weight:
        """What is left for another."""
        return Weight(1 - self.lawful, 1 - self.abrupt)


@dataclass(frozen=True, slots=True)
class Weights:
    """How much a forecaster counts for the median and what lies next to it, and for the ends of the 90 % band."""

    median: Weight
    width: Weight

    @staticmethod
    def always(share: float) -> Weights:
        """The same for both, whatever the run."""
        return Weights(Weight(share, share), Weight(share, share))

    @property
    def rest(self) -> Weights:
        """What is left for another."""
        return Weights(self.median.rest, self.width.rest)


@dataclass(frozen=True, slots=True)
class NetworkShare:
    """The constants of the network's share.

    lawful : of the median of a run that surely follows the law, without finished runs of its project   [1]
    abrupt : of the median of a run that surely does not                                                [1]
    width : of the ends of the 90 % band, where it does not, or without finished runs                  [1]
    """

    lawful: float
    abrupt: float
    width: float

    def weights(self, finished_runs: int) -> Weights:
        """The network's, where the law has heard so many finished runs."""
        heard = 1 + finished_runs
        return Weights(Weight(self.lawful / heard, self.abrupt), Weight(self.width / heard, self.width))


@lru_cache(maxsize=1)
def shipped_network_share() -> NetworkShare:
    """Learned from every public family; the file says from how many forecasts, when, and by which command."""
    content = json.loads(resources.files("app.forecasting").joinpath(FILE).read_text(encoding="utf-8"))
    return NetworkShare(**content["network_share"])
