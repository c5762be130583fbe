"""The track record: every kept forecast against what happened, and what a project's runs say together. Pure.

**What a forecast is held to.** A forecast spoke of its horizon, and of every step on the way there. It is judged at the
horizon or at the run's end, whichever came first, always against the mean of the last 2 % of the points up to there:

- the run ended at its horizon (within the 2 %): the distribution of the final value;
- the run ended before it: the forecast's path, where the run ended. That was a promise too;
- the run went on beyond it: the distribution of the final value, against the level that the run had there.

In the last two cases the plan's total was wrong, and `horizon_off` says so.

**What a project's runs say.** The forecasts of one run share its fate, so that they are not independent: they are
averaged inside the run first, and intervals count runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from itertools import groupby
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from app.errors import BadInput
from app.forecasting.final_value import FINAL_SHARE
from app.forecasting.recorded_run import n_final_points
from app.forecasting.scores import QuantileForecast, ValueScore, score_value

Array = npt.NDArray[np.float64]

BINS = 20
"""The seen fraction in this many equal bins: what a line of a chart can show, and the edges below fall on theirs."""

BUCKETS = ((0.0, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9), (0.9, 1.0))
"""Seen fractions for tables: low end included, high end not."""

HALF_WAY = (0.3, 0.7)
"""The one forecast a run that reliability is read off is the nearest to half-way, in here."""

INTERVAL_Z = 1.959964
"""Normal score of a 95 % interval."""

TELLING_WIDTH = 0.5
"""An interval wider than this says nothing of a promise: three runs that all held leave one as wide."""


@dataclass(frozen=True, slots=True, eq=False)
class Path:
    """Quantiles along a forecast's steps: levels (n_levels,), steps (n_path,), values (n_levels, n_path)."""

    levels: Sequence[float]
    steps: npt.NDArray[np.int64]
    values: Array

    def at(self, step: float) -> dict[float, float]:
        """Level -> value at a step, linear between the path's own."""
        return {
            level: float(np.interp(step, self.steps, row)) for level, row in zip(self.levels, self.values, strict=True)
        }


@dataclass(frozen=True, slots=True, eq=False)
class PastForecast:
    """What is needed of a stored forecast to judge it."""

    id: int
    segment: int
    cutoff: int
    horizon: int
    final_quantiles: Mapping[float, float]  # level -> value
    path: Path | None  # None where the run reached the horizon: then it is not needed


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one metric of a run ended: its last step, and the mean of the last 2 % of its points.

    The mean is NaN where one of them is not finite, or where there is no point.
    """

    end_step: int
    actual: float


@dataclass(frozen=True, slots=True)
class JudgedForecast:
    """One forecast against what happened.

    forecast_id : the forecast
    judged_step : what it was held to: its horizon or the run's end, whichever came first   [steps]
    actual : the level there                                                                [of the metric]
    horizon_off : the run did not end where the plan said
    stands : False where a restart went back behind its cutoff: its past was replaced
    seen : cutoff over the run's last step                                                  [1]
    p05, p50, p95 : quantiles of what was judged                                            [of the metric]
    """

    forecast_id: int
    judged_step: int
    actual: float
    horizon_off: bool
    stands: bool
    seen: float
    p05: float
    p50: float
    p95: float
    score: ValueScore


@dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """A metric of a run that is over.

    steps : int64, shape (n_points,), strictly increasing
    values : float64, shape (n_points,); NaN and the infinities are data
    starts : later segment -> the step from which it replaced earlier ones
    """

    steps: npt.NDArray[np.int64]
    values: Array
    starts: Mapping[int, int]

    def outcome(self) -> Outcome:
        if not len(self.steps):
            return Outcome(0, float("nan"))
        end = int(self.steps[-1])
        return Outcome(end, self.level_at(end)[0])

    def level_at(self, step: int) -> tuple[float, float]:
        """Mean of the last 2 % of the points up to a step, as a backtest takes it, and the mean of their steps."""
        n_points = int(np.searchsorted(self.steps, step, side="right"))
        if n_points == 0:
            return float("nan"), float(step)
        last = slice(n_points - n_final_points(n_points), n_points)
        with np.errstate(invalid="ignore", over="ignore"):
            return float(np.mean(self.values[last])), float(np.mean(self.steps[last].astype(np.float64)))


def ended_short_of(horizon: int, end_step: int) -> bool:
    """Whether a run did not come to the last 2 % before `horizon`: then its forecasts are judged along their path."""
    return end_step < (1 - FINAL_SHARE) * horizon


def judge(ended: Ended, forecasts: Iterable[PastForecast]) -> list[JudgedForecast]:
    """Every forecast that something can be held against.

    Left out are forecasts with nothing ahead of them, and those whose truth is not finite or is exactly zero (no error
    is relative to zero).
    """
    outcome = ended.outcome()
    if outcome.end_step <= 0:
        return []
    level_at = cache(ended.level_at)  # most forecasts of a run are held to the same step
    judged = (_judged(ended, outcome, level_at, forecast) for forecast in forecasts)
    return [one for one in judged if one is not None]


def _judged(
    ended: Ended, outcome: Outcome, level_at: Callable[[int], tuple[float, float]], forecast: PastForecast
) -> JudgedForecast | None:
    short = ended_short_of(forecast.horizon, outcome.end_step)
    passed = ended_short_of(outcome.end_step, forecast.horizon)
    judged_step = forecast.horizon if passed else outcome.end_step
    actual, at = level_at(judged_step)
    if not np.isfinite(actual) or actual == 0 or forecast.cutoff >= judged_step:
        return None
    quantiles = forecast.path.at(at) if short and forecast.path is not None else forecast.final_quantiles
    try:
        distribution = QuantileForecast.from_levels(quantiles)
    except BadInput:
        return None  # not finite: today's worker would not have kept it
    # Losses near the end of floats are scored as infinitely bad rather than not at all.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        score = score_value(distribution, actual)
    return JudgedForecast(
        forecast_id=forecast.id,
        judged_step=judged_step,
        actual=actual,
        horizon_off=short or passed,
        stands=not any(
            segment > forecast.segment and start <= forecast.cutoff for segment, start in ended.starts.items()
        ),
        seen=min(max(forecast.cutoff / outcome.end_step, 0.0), 1.0),
        p05=distribution.quantile(0.05),
        p50=distribution.quantile(0.5),
        p95=distribution.quantile(0.95),
        score=score,
    )


@dataclass(frozen=True, slots=True)
class RunBin:
    """One run's forecasts in one bin of the seen fraction, averaged.

    bin : counted from 0, `BINS` in all
    """

    run_id: str
    bin: int
    n_forecasts: int
    absolute_error: float  # [1]
    crps_rel: float  # [1]
    cover50: float
    cover80: float
    cover90: float

    @property
    def seen(self) -> float:
        """The middle of the bin. [1]"""
        return (self.bin + 0.5) / BINS


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often a band held, over runs, with a 95 % interval.

    stated : what the band promises   [1]
    held : runs inside; a fraction where forecasts were averaged inside a run
    """

    stated: float
    held: float
    n_runs: int
    low: float
    high: float

    @property
    def share(self) -> float:
        return self.held / self.n_runs


class Keeping(Enum):
    """What a count of bands that held says of what they promise."""

    SHORT = "held less often, beyond chance"
    PERHAPS_SHORT = "held less often; of so many counts, one may look so by chance"
    UNKNOWN = "too few runs to say"
    KEPT = "as far as so many runs can tell"
    PERHAPS_OVER = "held more often; of so many counts, one may look so by chance"
    OVER = "held more often, beyond chance"


@dataclass(frozen=True, slots=True)
class Bucket:
    """What the runs say of forecasts made at some seen fractions; None and nothing where no run has one there."""

    low: float
    high: float
    n_runs: int
    median_error: float | None  # of the runs' mean absolute errors   [1]
    mean_crps: float | None  # [1]
    coverage: Sequence[Coverage]


def coverage(stated: float, inside: Sequence[float]) -> Coverage:
    """From one number a run: 1 where the band held, 0 where not, between them where forecasts were averaged."""
    low, high = wilson_interval(sum(inside), len(inside))
    return Coverage(stated, float(sum(inside)), len(inside), low, high)


def reliability(half_way: Sequence[ValueScore]) -> list[Coverage]:
    """Each stated band against the runs that it held, from one forecast a run; nothing where there is none."""
    if not half_way:
        return []
    return [
        coverage(0.5, [score.cover50 for score in half_way]),
        coverage(0.8, [score.cover80 for score in half_way]),
        coverage(0.9, [score.cover90 for score in half_way]),
    ]


def keeping(found: Coverage, n_looks: int) -> Keeping:
    """What one of `n_looks` counts says of its band; each is shown with its own 95 % interval.

    Beyond chance is what also falls out of the wider interval that honest bands leave with any of the counts in 5 of
    100 records (Bonferroni). Some one of six falls out of its own interval in about every fourth record.
    """
    z = NormalDist().inv_cdf(1 - 0.025 / n_looks)
    low, high = wilson_interval(found.held, found.n_runs, z=z)
    if found.high < found.stated:
        return Keeping.SHORT if high < found.stated else Keeping.PERHAPS_SHORT
    if found.low > found.stated:
        return Keeping.OVER if low > found.stated else Keeping.PERHAPS_OVER
    return Keeping.UNKNOWN if found.high - found.low > TELLING_WIDTH else Keeping.KEPT


def wilson_interval(held: float, n: int, z: float = INTERVAL_Z) -> tuple[float, float]:
    """Interval of a share by Wilson (1927), of 95 % by default: honest for few runs, and for none or all of them.

    Shares averaged inside runs vary less than yes and no do, so that for them it is a little wide.
    """
    share, z2 = held / n, z**2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    reach = z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, float(middle - reach)), min(1.0, float(middle + reach))


def buckets(bins: Iterable[RunBin]) -> list[Bucket]:
    """One for each of `BUCKETS`; each run counts once in each, however many forecasts it has there."""
    known = sorted(bins, key=lambda one: one.run_id)
    return [_bucket(low, high, [one for one in known if low <= one.seen < high]) for low, high in BUCKETS]


def _bucket(low: float, high: float, bins: Sequence[RunBin]) -> Bucket:
    runs = [_pooled(list(of_run)) for _, of_run in groupby(bins, key=lambda one: one.run_id)]
    if not runs:
        return Bucket(low, high, 0, None, None, ())
    return Bucket(
        low=low,
        high=high,
        n_runs=len(runs),
        median_error=float(np.median([run.absolute_error for run in runs])),
        mean_crps=float(np.mean([run.crps_rel for run in runs])),
        coverage=(
            coverage(0.5, [run.cover50 for run in runs]),
            coverage(0.8, [run.cover80 for run in runs]),
            coverage(0.9, [run.cover90 for run in runs]),
        ),
    )


def _pooled(bins: Sequence[RunBin]) -> RunBin:
    """Several bins of one run as one, each forecast counting alike."""
    counts = [one.n_forecasts for one in bins]

    def mean(name: str) -> float:
        return float(np.average([getattr(one, name) for one in bins], weights=counts))

    return RunBin(
        run_id=bins[0].run_id,
        bin=bins[0].bin,
        n_forecasts=sum(counts),
        absolute_error=mean("absolute_error"),
        crps_rel=mean("crps_rel"),
        cover50=mean("cover50"),
        cover80=mean("cover80"),
        cover90=mean("cover90"),
    )


def median_errors(bins: Iterable[RunBin]) -> list[tuple[float, float]]:
    """(seen, median over runs of their absolute error) where at least half of the runs have a forecast."""
    known = sorted(bins, key=lambda one: one.bin)
    n_runs = len({one.run_id for one in known})
    found = []
    for _, group in groupby(known, key=lambda one: one.bin):
        here = list(group)
        if 2 * len(here) >= n_runs:
            found.append((here[0].seen, float(np.median([one.absolute_error for one in here]))))
    return found
