"""Where a curve is going: a predictive distribution from the cutoff to the horizon."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from app.curves.curve import Curve
from app.curves.measure import LOSS, Measure
from app.curves.plan import ASSUMED, Plan
from app.curves.schedule import Schedule
from app.forecasting.final_value import FINAL_SHARE, final_levels, final_noise
from app.forecasting.forecaster import Array, Forecaster
from app.forecasting.last import LastValueForecaster
from app.forecasting.law import LawForecaster, PowerLawForecaster, schedule_is_guessed
from app.forecasting.mixing import mixed_quantiles
from app.forecasting.observations import is_positive
from app.forecasting.pfn import PfnForecaster, lowest_level
from app.forecasting.typicality import Typicality
from app.forecasting.unseen_rate import rise_to_come
from app.forecasting.weights import Weights, shipped_network_share
from app.laws.prior import Prior

LEVELS = (0.05, 0.25, 0.50, 0.75, 0.95)

MOST_DOWN = -50.0
"""Logarithm of the most that a positive quantile is brought down by."""

NETWORK = PfnForecaster()

NOT_COUNTED = Weights.always(0.0)

UNLIKE = "This curve is unlike those that the network learned from"
"""How the note begins that says so: stored forecasts keep notes, and verdicts must know."""


def forecasters(prior: Prior | None = None) -> tuple[tuple[Forecaster, Weights], ...]:
    """Forecasters and their weights in the mixture: the law and the network, by what they earned in backtests.

    The network counts where the law doubts that this run follows it, and the less the more finished runs of the project
    the law has heard (`app.forecasting.weights`).
    """
    network = shipped_network_share().weights(prior.finished_runs if prior else 0)
    return (
        (LawForecaster(prior=prior), network.rest),
        (NETWORK, network),
        # Shown beside the forecast, so that people see what they would believe without a schedule; no part of it.
        (PowerLawForecaster(), NOT_COUNTED),
        (LastValueForecaster(), NOT_COUNTED),
    )


def accuracy_forecasters() -> tuple[tuple[Forecaster, float], ...]:
    """Of an accuracy the network alone: the law's prior was learned from losses (docs/forecasting.md: figures)."""
    return ((NETWORK, 1.0), (PowerLawForecaster(), 0.0), (LastValueForecaster(), 0.0))


@dataclass(frozen=True, slots=True)
class ForecasterShare:
    """What one forecaster says of the final value, and how much it counts for the median."""

    weight: float
    final_mean: float
    final_quantiles: dict[float, float]  # level -> value


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Predictive distribution of the smoothed level: the path's band is for the level, not for single noisy points.

    cutoff : last step seen                                                              [steps]
    horizon : last step of the run, and of the path                                      [steps]
    final_mean, final_quantiles : of the mean of the points in the last 2 % of the steps, noise included  [of the loss]
    path_steps : int64, shape (n_path,), from just after the cutoff to the horizon       [steps]
    quantiles : float64, shape (len(LEVELS), n_path)                                     [of the loss]
    forecasters : name -> what it says; weights sum to 1
    notes : plain sentences: what was assumed, why the band is wide
    improvement : probability of a new best level before the end, by the network; None where nobody said
    typicality : whether the network knows curves of this kind; None where nobody said
    lawful : probability that the run follows the law, by the law; None where nobody said
    measure : whether less or more is better, and the bounds that all of this lies in
    """

    cutoff: int
    horizon: int
    final_mean: float
    final_quantiles: dict[float, float]
    path_steps: npt.NDArray[np.int64]
    quantiles: Array
    forecasters: dict[str, ForecasterShare]
    notes: tuple[str, ...]
    improvement: float | None = None
    typicality: Typicality | None = None
    lawful: float | None = None
    measure: Measure = LOSS


def forecast_curve(curve: Curve, plan: Plan, prior: Prior | None = None, *, measure: Measure = LOSS) -> Forecast:
    """Forecast the rest of a curve.

    The same curve, plan and prior give the same forecast. Milliseconds, whatever the length of the run.

    Parameters
    ----------
    curve : Curve
    plan : Plan
    prior : Prior, optional
        What other runs of the same project say (`app.forecasting.siblings.learn_prior`); else the population's.
        Accuracies do not hear it.
    measure : Measure
        A loss, or an accuracy (`app.curves.measure.measure_of`).

    Raises
    ------
    CurveTooShort
        With fewer than 5 finite bins.
    """
    forecast = mix(curve, plan, accuracy_forecasters() if measure.rises else forecasters(prior), measure=measure)
    final = _stretched(np.array(list(forecast.final_quantiles.values())), forecast, curve)
    stretched = replace(
        forecast, final_quantiles=_by_level(final), quantiles=_stretched(forecast.quantiles, forecast, curve)
    )
    return replace(stretched, notes=(*stretched.notes, *_doubts(stretched), *_unseen(plan, curve.cutoff)))


def mix(
    curve: Curve, plan: Plan, forecasters: tuple[tuple[Forecaster, Weights | float], ...], *, measure: Measure = LOSS
) -> Forecast:
    """Mix the quantiles of forecasters by weight (`app.forecasting.mixing`).

    The weights must sum to 1, for either kind of run; which kind it is, the first forecaster that can tell says. A
    number counts for the median, for the width and for both kinds alike.
    """
    horizon = max(plan.total_steps, curve.cutoff)
    steps = path_steps(plan.schedule, curve.cutoff, horizon)
    as_loss, noise = measure.as_loss(curve), final_noise(curve, horizon)
    counted: list[tuple[float, float, Array, Array]] = []
    final_mean = 0.0
    improvement: float | None = None
    typicality: Typicality | None = None
    shares: dict[str, ForecasterShare] = {}
    notes: list[str] = []
    predicted = [(forecaster, weights, forecaster.predict(as_loss, plan, steps)) for forecaster, weights in forecasters]
    told = next((said.lawful for *_, said in predicted if said.lawful is not None), None)
    lawful = 1.0 if told is None else told
    for forecaster, given, said in predicted:
        weights = given if isinstance(given, Weights) else Weights.always(given)
        weight = weights.median.at(lawful)
        # Learned where the rate is known. Where it is guessed, the law's band spans what it may do.
        of_width = weight if schedule_is_guessed(plan) else weights.width.at(lawful)
        paths = replace(said, values=measure.restored(said.values))
        finals = final_levels(paths, curve, horizon)
        mean, quantiles = float(finals.mean()), _noisy(quantiles_of(finals, LEVELS), noise, curve, measure)
        typicality = typicality or paths.typicality
        shares[forecaster.name] = ForecasterShare(weight, mean, _by_level(quantiles))
        if weight > 0 or of_width > 0:
            counted.append((weight, of_width, quantiles_of(paths.values, LEVELS), quantiles))
            final_mean += weight * mean
            notes.extend(note for note in paths.notes if note not in notes)
            improvement = paths.improvement if improvement is None else improvement
    medians, widths, along_paths, at_the_end = (np.array(each) for each in zip(*counted, strict=True))
    if improvement is not None and measure.rises and lowest_level(as_loss) <= 0:
        improvement = 0.0  # nothing is better than all of it, which the network cannot know
    return Forecast(
        cutoff=curve.cutoff,
        horizon=horizon,
        final_mean=final_mean,
        final_quantiles=_by_level(mixed_quantiles(at_the_end, medians, widths)),
        path_steps=steps,
        quantiles=mixed_quantiles(along_paths, medians[:, None], widths[:, None]),
        forecasters=shares,
        notes=tuple(notes + _notes(curve, plan, measure)),
        improvement=improvement,
        typicality=typicality,
        lawful=told,
        measure=measure,
    )


def path_steps(schedule: Schedule, cutoff: int, horizon: int) -> npt.NDArray[np.int64]:
    """About a hundred steps from just after the cutoff to the horizon.

    Denser near the cutoff, where the eye joins them to the data, where the rate moves, and over the final stretch.
    Only the horizon itself where there is nothing left to come.
    """
    if horizon <= cutoff:
        return np.array([horizon], dtype=np.int64)
    first, last = float(cutoff + 1), float(horizon)
    even = np.linspace(first, last, 40)
    near = first + np.geomspace(1e-3, 0.2, 16) * (last - first)
    knots = np.concatenate([even, schedule.steps[(schedule.steps > first) & (schedule.steps < last)]])
    knots.sort()
    travelled = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(schedule.rate_at(knots))))])
    where_rate_moves = np.empty(0)
    if travelled[-1] > 0:
        where_rate_moves = np.interp(np.linspace(0, travelled[-1], 34)[1:-1], travelled, knots)
    final = np.linspace(max(first, (1 - FINAL_SHARE) * last), last, 8)
    steps = np.concatenate([even, near, where_rate_moves, final])
    return np.unique(np.clip(np.rint(steps).astype(np.int64), cutoff + 1, horizon))


def quantiles_of(values: Array, levels: tuple[float, ...]) -> Array:
    """Quantiles over the first axis, shape (len(levels), ...), of equally likely values.

    Hazen's definition: each value stands at the middle of its own weight. One sort costs a third of what numpy's
    quantiles do, which partition ten times.
    """
    ordered = np.sort(values, axis=0)
    places = np.clip(np.asarray(levels) * len(values) - 0.5, 0.0, len(values) - 1.0)
    below = places.astype(np.intp)
    above = np.minimum(below + 1, len(values) - 1)
    shares = (places - below).reshape(-1, *[1] * (values.ndim - 1))
    quantiles: Array = (1 - shares) * ordered[below] + shares * ordered[above]
    return quantiles


def _noisy(quantiles: Array, noise: float, curve: Curve, measure: Measure) -> Array:
    """Quantiles of a level as those of a mean of noisy points around it; positive ones and shares stay such."""
    middle = quantiles[LEVELS.index(0.5)]
    places = ndtri(np.asarray(LEVELS))
    wider = middle + np.sign(places) * np.hypot(quantiles - middle, noise * places)
    return _widened(quantiles, wider, curve, measure)


def _stretched(quantiles: Array, forecast: Forecast, curve: Curve) -> Array:
    """Quantiles further from the median where the curve is of an unknown kind; positive ones and shares stay such."""
    stretch = forecast.typicality.stretch if forecast.typicality else 1.0
    if stretch == 1.0:
        return quantiles
    middle = quantiles[LEVELS.index(0.5)]
    return _widened(quantiles, middle + stretch * (quantiles - middle), curve, forecast.measure)


def _widened(quantiles: Array, wider: Array, curve: Curve, measure: Measure) -> Array:
    """The wider ones; of a positive metric a quantile goes down by a factor, which for a small step is the same."""
    if measure.bounds is not None:
        return measure.within(wider)
    if not is_positive(curve.values):
        return wider
    lower = (quantiles >= 0) & (wider < quantiles)  # of a quantile so small that it is 0, no factor makes it negative
    steps = wider / np.where(lower & (quantiles > 0), quantiles, 1.0) - 1.0
    return np.where(lower, quantiles * np.exp(np.clip(steps, MOST_DOWN, 0.0)), wider)


def _doubts(forecast: Forecast) -> list[str]:
    """What the forecasters' record and their disagreement say against this forecast."""
    doubts: list[str] = []
    known = forecast.typicality
    if known is not None and known.is_atypical:
        doubts.append(
            f"{UNLIKE}: from step {known.hidden_from:,} it would have "
            f"missed what followed. The band is {known.stretch:.1f} times as wide for that."
        )
    law, network = (forecast.forecasters.get(name) for name in ("law", "pfn"))
    if law is not None and network is not None and _disagree(law, network):
        low, high = (forecast.final_quantiles[level] for level in (LEVELS[0], LEVELS[-1]))
        medians = (law.final_quantiles[0.5], network.final_quantiles[0.5])
        held = all(low <= median <= high for median in medians)
        doubts.append(
            f"The law and the network disagree about the final value, {medians[0]:.4g} and {medians[1]:.4g}: "
            + ("the band covers both." if held else "this forecast lies between, and its band does not cover both.")
        )
    return doubts


def _unseen(plan: Plan, cutoff: int) -> list[str]:
    rise = rise_to_come(plan, cutoff)
    return [] if rise is None else [f"{rise.sentence} No forecast was ever measured across such a rise."]


def _disagree(one: ForecasterShare, other: ForecasterShare) -> bool:
    """Whether neither holds the other's median for likely."""
    return all(
        not mine.final_quantiles[LEVELS[0]] <= its.final_quantiles[0.5] <= mine.final_quantiles[LEVELS[-1]]
        for mine, its in ((one, other), (other, one))
    )


def _by_level(quantiles: Array) -> dict[float, float]:
    return dict(zip(LEVELS, map(float, quantiles), strict=True))


def _notes(curve: Curve, plan: Plan, measure: Measure) -> list[str]:
    notes: list[str] = []
    if measure.upper is not None:
        notes.append(
            f"Taken for a share of {measure.upper:g}: the band stays between 0 and {measure.upper:g}. "
            "Only the network is asked."
        )
        if schedule_is_guessed(plan):
            notes.append("The learning rate's future is not known; declare the schedule for a sharper forecast.")
    if plan.total_source == ASSUMED:
        notes.append(
            f"The end of the run is assumed ({plan.total_why.rstrip('.')}); declare total_steps to forecast its end."
        )
    if curve.nonfinite:
        notes.append(f"{curve.nonfinite} points were NaN or infinite and are left out.")
    if len(curve) < 16:
        notes.append("Few points so far: the band is wide.")
    return notes
