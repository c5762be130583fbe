"""Learn how much the network counts beside the law, and write it where the package reads it.

Run ``python -m benchmarks.learn_weights [DIRECTORY]``, with folders as for `benchmarks.forecast_accuracy`; it takes
a quarter of an hour of one core. Finished runs are forecast from 10, 30, ... 90 % of their steps (tables report 20, 40,
...) by the law and by the network; the law's prior has never seen their family, and is asked alone and with finished
runs of that family (`benchmarks.held_out`).

The constants of `app.forecasting.weights.NetworkShare` are learned one after the other. Those of the median have the
least mean pinball loss over the five levels that are kept (half of the CRPS but for the levels left out) of an average
of quantiles. The one of the width has, around that median, the largest mean log score: by the pinball loss a miss costs
too little for a band to be honest on kinds of runs that the law takes for its own.

Every cell (family, metric, prior, share seen) counts by its mean log score and by the logarithm of its mean loss, and
every family alike: a run that is hard to forecast must not outweigh those that can be.

What is reported of a family is nested: constants learned on forecasts of the others, whose priors had seen neither
that family nor their own. They are written beside the shipped ones, for `benchmarks.leave_one_out`.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit

from app.forecasting.forecast import LEVELS
from app.forecasting.mixing import mixed_quantiles
from app.forecasting.scores import QuantileForecast, score_value
from app.forecasting.weights import FILE, NetworkShare
from benchmarks.forecast_accuracy import FAMILIES
from benchmarks.held_out import METRICS, HeldOutForecast, held_out_forecasts, read_runs, runs_directory
from benchmarks.learn_prior import learn, read_families
from benchmarks.usage import tell_if_asked

Array = npt.NDArray[np.float64]

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
OUTPUT = Path(__file__).parents[1] / "app" / "forecasting" / FILE

MOST_LOSS = 1.0
"""Pinball loss of one forecast over the final loss: one run that diverged must not outweigh all others."""


def main() -> None:
    tell_if_asked(__doc__)
    directory = runs_directory()
    forecasts = list(_forecasts(directory))
    shares = {family: learned(Backtests.of(training_of(forecasts, family))) for family in FAMILIES}
    _print_left_out(forecasts, shares)
    shipped = learned(Backtests.of(reported(forecasts)))
    print(f"shipped: {shipped}")
    _write(shipped, shares, n_forecasts=len(reported(forecasts)))


def _forecasts(directory: Path) -> Iterator[Trial]:
    """Every family's forecasts under priors without it, and without it and one other."""
    runs = {family: [read_runs(directory / family, metric) for metric in METRICS] for family in FAMILIES}
    for unseen in [*((family,) for family in FAMILIES), *combinations(FAMILIES, 2)]:
        population = learn(read_families(directory, without=unseen))
        for family in unseen:
            for each in runs[family]:
                for forecast in held_out_forecasts(family, each, population, SHARES):
                    yield Trial(forecast, frozenset(unseen))
        print(f"forecast without {', '.join(unseen)}", file=sys.stderr)


def training_of(trials: Sequence[Trial], family: str) -> list[HeldOutForecast]:
    """Forecasts of the other families, by priors that had not seen this family either."""
    others = [each for each in trials if each.forecast.family != family]
    return [each.forecast for each in others if each.unseen == {family, each.forecast.family}]


def reported(trials: Sequence[Trial]) -> list[HeldOutForecast]:
    """Forecasts by priors that lack the run's own family, and no other."""
    return [each.forecast for each in trials if len(each.unseen) == 1]


def shares_without() -> dict[str, NetworkShare]:
    """The constants learned without each family, as they were written."""
    content = json.loads(OUTPUT.read_text(encoding="utf-8"))
    return {family: NetworkShare(**constants) for family, constants in content["without"].items()}


def _print_left_out(trials: Sequence[Trial], shares: Mapping[str, NetworkShare]) -> None:
    """Of each family left out: loss over that of others' quantiles; and what a width of its own does to the band.

    "Averaged" is the average of quantiles by the median's weights. Coverage is a mean over cells.
    """
    print("| family left out | lawful | abrupt | width | pinball over law | over network | over half and half ", end="")
    print("| over averaged | inside 50/80/90 % [%] | averaged | log score over averaged |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for family, share in shares.items():
        backtests = Backtests.of([each for each in reported(trials) if each.family == family])
        mixed, averaged = backtests.mixed(share), backtests.averaged(backtests.median_weight(share))
        loss = backtests.log_loss(mixed)
        others = [backtests.averaged(weight) for weight in (0.0, 1.0, 1 / (2 + backtests.finished_runs))]
        over = [f"{np.exp(loss - backtests.log_loss(each)):.3f}" for each in (*others, averaged)]
        constants = [f"{each:.2f}" for each in dataclasses.astuple(share)]
        inside = ["/".join(f"{each:.0f}" for each in backtests.coverage(quantiles)) for quantiles in (mixed, averaged)]
        gained = f"{backtests.log_score(mixed) - backtests.log_score(averaged):+.2f}"
        print(f"| {' | '.join([family, *constants, *over, *inside, gained])} |")


def _write(shipped: NetworkShare, shares: Mapping[str, NetworkShare], n_forecasts: int) -> None:
    content: dict[str, Any] = {
        "made_by": "python -m benchmarks.learn_weights",
        "made_on": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "forecasts": n_forecasts,
        "network_share": dataclasses.asdict(shipped),
        "without": {family: dataclasses.asdict(share) for family, share in shares.items()},
    }
    OUTPUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Trial:
    """A forecast, and the families that its prior has not seen."""

    forecast: HeldOutForecast
    unseen: frozenset[str]


@dataclass(frozen=True, slots=True, eq=False)
class Backtests:
    """Forecasts as arrays over n forecasts; values are over the final loss that came, in size.

    law, pfn : (n, n_levels)
    actual : (n,), 1 or -1
    lawful, finished_runs, stretch : (n,)
    cell : (n,), index of the cell of each; family_of : (n_cells,), index of the family of each cell
    """

    law: Array
    pfn: Array
    actual: Array
    lawful: Array
    finished_runs: Array
    stretch: Array
    cell: npt.NDArray[np.intp]
    family_of: npt.NDArray[np.intp]

    @staticmethod
    def of(forecasts: Sequence[HeldOutForecast]) -> Backtests:
        size = np.array([abs(each.actual) for each in forecasts])
        cells, cell = np.unique(
            [f"{each.family}|{each.metric}|{each.kind}|{each.seen}" for each in forecasts], return_inverse=True
        )
        _, family_of = np.unique([name.split("|")[0] for name in cells], return_inverse=True)
        return Backtests(
            law=np.array([each.law for each in forecasts]) / size[:, None],
            pfn=np.array([each.pfn for each in forecasts]) / size[:, None],
            actual=np.array([each.actual for each in forecasts]) / size,
            lawful=np.array([each.lawful for each in forecasts]),
            finished_runs=np.array([each.finished_runs for each in forecasts], dtype=np.float64),
            stretch=np.array([each.stretch for each in forecasts]),
            cell=cell,
            family_of=family_of,
        )

    def median_weight(self, share: NetworkShare) -> Array:
        """The network's in the median of each forecast, (n,)."""
        weight: Array = self.lawful * share.lawful / (1 + self.finished_runs) + (1 - self.lawful) * share.abrupt
        return weight

    def width_weight(self, share: NetworkShare) -> Array:
        """The network's in the distances from the median, (n,)."""
        weight: Array = share.width * (self.lawful / (1 + self.finished_runs) + 1 - self.lawful)
        return weight

    def averaged(self, weight: Array | float) -> Array:
        """Quantiles, (n, n_levels), averaged where the network has this weight, (n,)."""
        share = np.broadcast_to(weight, self.actual.shape)[:, None]
        return self._stretched((1 - share) * self.law + share * self.pfn)

    def mixed(self, share: NetworkShare) -> Array:
        """Quantiles as the product mixes them, (n, n_levels)."""
        median, width = (np.array([1 - each, each]) for each in (self.median_weight(share), self.width_weight(share)))
        return self._stretched(mixed_quantiles(np.array([self.law.T, self.pfn.T]), median, width).T)

    def _stretched(self, quantiles: Array) -> Array:
        middle = quantiles[:, [LEVELS.index(0.5)]]
        stretched: Array = middle + self.stretch[:, None] * (quantiles - middle)
        return stretched

    def log_loss(self, quantiles: Array) -> float:
        """Mean over families and cells of the log of the mean pinball loss."""
        off = self.actual[:, None] - quantiles
        levels = np.asarray(LEVELS)
        losses = np.minimum(np.maximum(levels * off, (levels - 1) * off).mean(axis=1), MOST_LOSS)
        return float(self._over_families(np.log(self._over_forecasts(losses))))

    def log_score(self, quantiles: Array) -> float:
        """Mean over families, cells and forecasts."""
        scores = [
            QuantileForecast.from_levels(dict(zip(LEVELS, each, strict=True))).log_score(actual)
            for each, actual in zip(quantiles, self.actual, strict=True)
        ]
        return self._over_families(self._over_forecasts(np.array(scores)))

    def coverage(self, quantiles: Array) -> tuple[float, ...]:
        """How often the truth lies inside the central 50, 80 and 90 % [%]: mean over families, cells and forecasts."""
        scores = [
            score_value(QuantileForecast.from_levels(dict(zip(LEVELS, each, strict=True))), actual)
            for each, actual in zip(quantiles, self.actual, strict=True)
        ]
        return tuple(
            100 * self._over_families(self._over_forecasts(np.array([getattr(score, name) for score in scores])))
            for name in ("cover50", "cover80", "cover90")
        )

    def _over_forecasts(self, values: Array) -> Array:
        """Means of the cells."""
        means: Array = np.bincount(self.cell, values) / np.bincount(self.cell)
        return means

    def _over_families(self, of_cells: Array) -> float:
        """Mean over families of the mean of their cells."""
        return float((np.bincount(self.family_of, of_cells) / np.bincount(self.family_of)).mean())


def learned(backtests: Backtests) -> NetworkShare:
    """The constants of the median with the least loss, and that of the width with the best log score around it."""

    def loss(free: Array) -> float:
        lawful, abrupt = expit(free)
        return backtests.log_loss(
            backtests.averaged(backtests.median_weight(NetworkShare(float(lawful), float(abrupt), width=0.0)))
        )

    # From half and half; in log-odds, so that shares stay between 0 and 1.
    found = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-7})
    lawful, abrupt = (round(float(each), 3) for each in expit(found.x))

    def badness(width: float) -> float:
        return -backtests.log_score(backtests.mixed(NetworkShare(lawful, abrupt, width)))

    width = minimize_scalar(badness, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-3}).x
    return NetworkShare(lawful, abrupt, round(float(width), 3))


if __name__ == "__main__":
    main()
