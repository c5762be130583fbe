"""Honest backtests: hide the rest of a finished run, forecast it, and score the forecast when the rest is shown. Pure.

Rolling origin: each run is cut at several fractions of its steps. A forecaster sees the points up to the cut and the
run's own plan (its length and its learning rate, past and future), and is scored

- on the final loss, the mean of the last 2 % of the points;
- on the whole path, block by block, since single points scatter by noise that no forecast of the level has in it.

Relative scores are over the size of what happened, so that runs at different levels can be averaged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.curves.curve import Curve
from app.curves.inference.inferred import HOLD
from app.curves.measure import measure_of
from app.curves.plan import ASSUMED, Plan
from app.curves.schedule import Schedule
from app.errors import CurveTooShort
from app.forecasting.forecast import LEVELS, NETWORK, Forecast, forecast_curve, forecasters, mix
from app.forecasting.forecaster import Forecaster
from app.forecasting.point_fit import point_fits
from app.forecasting.recorded_run import RecordedRun
from app.forecasting.scores import QuantileForecast, absolute_percentage_error, score_value
from app.laws.prior import Prior

Array = npt.NDArray[np.float64]
Contender = Callable[[Curve, Plan], Forecast]

FRACTIONS = (0.2, 0.4, 0.6, 0.8)

ENSEMBLE = "ensemble"
"""The product's own forecast, whatever it is made of."""

BLIND = "pfn_blind"
"""The network with the learning rate hidden from it: what knowing the schedule is worth."""

PATH_BLOCKS = 40
"""The rest of a run is scored in this many blocks of equal length, each by its mean."""


@dataclass(frozen=True, slots=True)
class Score:
    """One forecast of one run against what happened.

    error : signed error of the median of the final loss, over the final loss   [1]
    cover50, cover80, cover90 : whether the final loss lies in the central band
    crps_rel : CRPS of the final loss, over the final loss                      [1]
    log_score : log density at the final loss, per final loss; large is good    [1]
    path_ape : mean error of the median over the rest of the run                [1]
    path_cover90 : share of its blocks inside the band
    ms : time the forecast took by the clock that was given                     [ms]
    """

    forecaster: str
    fraction: float
    error: float
    cover50: bool
    cover80: bool
    cover90: bool
    crps_rel: float
    log_score: float
    path_ape: float
    path_cover90: float
    ms: float


@dataclass(frozen=True, slots=True)
class Summary:
    """Scores of one forecaster at one fraction over n runs; errors are fractions of the final loss.

    Means, except where the name says median; `ms` is a median.
    """

    n: int
    median_ape: float
    mean_ape: float
    bias: float
    cover50: float
    cover80: float
    cover90: float
    crps_rel: float
    log_score: float
    ms: float
    path_ape: float  # median over runs
    path_cover90: float


def contenders(prior: Prior | None = None, role: str = "train_loss") -> dict[str, Contender]:
    """Everything that can be compared, by name: the product's forecast, its parts one by one, the point fits.

    Parameters
    ----------
    prior : Prior, optional
        Instead of the shipped one: learned without the runs to be scored, say, or from a project's finished runs.
    role : str
        Of the metric. Of an accuracy, everything continues what is missing from its bound, as the product does.
    """

    def whole(curve: Curve, plan: Plan) -> Forecast:
        return forecast_curve(curve, plan, prior, measure=measure_of(role, curve))

    def by_itself(forecaster: Forecaster) -> Contender:
        return lambda curve, plan: mix(curve, plan, ((forecaster, 1.0),), measure=measure_of(role, curve))

    alone = [forecaster for forecaster, _ in forecasters(prior)]
    others = [each for each in point_fits() if each.name not in {one.name for one in alone}]
    product: dict[str, Contender] = {ENSEMBLE: whole}
    blind: dict[str, Contender] = {BLIND: lambda curve, plan: by_itself(NETWORK)(curve, _without_rate(plan))}
    parts = {each.name: by_itself(each) for each in alone}
    return product | parts | blind | {each.name: by_itself(each) for each in others}


def backtest_run(
    run: RecordedRun,
    compared: Mapping[str, Contender],
    fractions: Sequence[float],
    *,
    clock: Callable[[], float],
) -> list[Score]:
    """Scores of every forecaster at every fraction at which enough was seen for all of them.

    Parameters
    ----------
    run : RecordedRun
        Its final loss must be finite and not zero.
    fractions : sequence of float
        Of the run's steps, above 0 and below 1.
    clock : callable
        Seconds, for `Score.ms`.
    """
    scores: list[Score] = []
    for fraction in fractions:
        curve = run.seen(fraction)
        try:
            scores.extend([_score(run, curve, name, each, fraction, clock) for name, each in compared.items()])
        except CurveTooShort:
            continue
    return scores


def summarise(scores: Iterable[Score]) -> dict[str, dict[float, Summary]]:
    """By forecaster and fraction, in the order in which they first occur."""
    groups: dict[str, dict[float, list[Score]]] = {}
    for score in scores:
        groups.setdefault(score.forecaster, {}).setdefault(score.fraction, []).append(score)
    return {
        name: {fraction: _summary(of_both) for fraction, of_both in by_fraction.items()}
        for name, by_fraction in groups.items()
    }


def as_record(summary: Summary) -> dict[str, float | int | None]:
    """For JSON, which knows no infinities."""
    values = dataclasses.asdict(summary)
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def _without_rate(plan: Plan) -> Plan:
    constant = Schedule.constant(1.0, last=float(max(plan.total_steps, 1)))
    return dataclasses.replace(plan, schedule=constant, schedule_source=ASSUMED, schedule_family=HOLD)


def _score(
    run: RecordedRun, curve: Curve, name: str, forecaster: Contender, fraction: float, clock: Callable[[], float]
) -> Score:
    started = clock()
    forecast = forecaster(curve, run.plan())
    elapsed = clock() - started
    final = score_value(QuantileForecast.from_levels(forecast.final_quantiles), run.final_loss())
    path_ape, path_cover90 = _path_scores(run, forecast)
    return Score(
        forecaster=name,
        fraction=fraction,
        error=final.error,
        cover50=final.cover50,
        cover80=final.cover80,
        cover90=final.cover90,
        crps_rel=final.crps_rel,
        log_score=final.log_score,
        path_ape=path_ape,
        path_cover90=path_cover90,
        ms=1e3 * elapsed,
    )


def _path_scores(run: RecordedRun, forecast: Forecast) -> tuple[float, float]:
    """Mean APE of the median, and the share of blocks inside the 90 % band; NaN where nothing finite is to come."""
    ahead = (run.steps > forecast.cutoff) & np.isfinite(run.values)
    if not ahead.any():
        return float("nan"), float("nan")
    steps, values = run.steps[ahead].astype(np.float64), run.values[ahead]
    width = max((run.total_steps - forecast.cutoff) / PATH_BLOCKS, 1.0)
    _, starts = np.unique((steps - forecast.cutoff - 1) // width, return_index=True)
    counts = np.diff(np.append(starts, len(steps)))
    actual = np.add.reduceat(values, starts) / counts
    at = np.add.reduceat(steps, starts) / counts
    low, middle, high = (
        np.interp(at, forecast.path_steps, forecast.quantiles[LEVELS.index(level)]) for level in (0.05, 0.5, 0.95)
    )
    errors = [absolute_percentage_error(float(p), float(a)) for p, a in zip(middle, actual, strict=True)]
    return float(np.mean(errors)), float(np.mean((low <= actual) & (actual <= high)))


def _summary(scores: Sequence[Score]) -> Summary:
    def mean(name: str) -> float:
        return float(np.mean([getattr(score, name) for score in scores]))

    errors = np.array([score.error for score in scores])
    return Summary(
        n=len(scores),
        median_ape=float(np.median(np.abs(errors))),
        mean_ape=float(np.mean(np.abs(errors))),
        bias=float(np.mean(errors)),
        cover50=mean("cover50"),
        cover80=mean("cover80"),
        cover90=mean("cover90"),
        crps_rel=mean("crps_rel"),
        log_score=mean("log_score"),
        ms=float(np.median([score.ms for score in scores])),
        path_ape=_median_of_known([score.path_ape for score in scores]),
        path_cover90=_mean_of_known([score.path_cover90 for score in scores]),
    )


def _median_of_known(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.median(known)) if known else float("nan")


def _mean_of_known(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
