"""Where a curve is going: a predictive distribution from the cutoff to the horizon."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.curves.curve import Curve
from app.curves.plan import ASSUMED, Plan
from app.curves.schedule import Schedule
from app.forecasting.forecaster import Array, Forecaster, Paths
from app.forecasting.last import LastValueForecaster
from app.forecasting.law import LawForecaster, PowerLawForecaster
from app.laws.prior import Prior

LEVELS = (0.05, 0.25, 0.50, 0.75, 0.95)

FINAL_SHARE = 0.02
"""The final value is the mean level over this last share of the steps: a single point is mostly noise."""


def forecasters(prior: Prior | None = None) -> tuple[tuple[Forecaster, float], ...]:
    """Forecasters and their weights in the mixture."""
    return (
        (LawForecaster(prior=prior), 1.0),
        # Shown beside the forecast, so that people see what they would believe without a schedule; no part of it.
        (PowerLawForecaster(), 0.0),
        (LastValueForecaster(), 0.0),
    )


FORECASTERS = forecasters()
"""What a run of a project without finished runs is forecast by."""


@dataclass(frozen=True, slots=True)
class ForecasterShare:
    """What one forecaster says of the final value, and how much it counts."""

    weight: float
    final_mean: float
    final_quantiles: dict[float, float]  # level -> value


@dataclass(frozen=True, slots=True, eq=False)
class Forecast:
    """Predictive distribution of the smoothed loss level: the band is for the level, not for single noisy points.

    cutoff : last step seen                                                              [steps]
    horizon : last step of the run, and of the path                                      [steps]
    final_mean, final_quantiles : of the level averaged over the last 2 % of the steps   [of the loss]
    path_steps : int64, shape (n_path,), from just after the cutoff to the horizon       [steps]
    quantiles : float64, shape (len(LEVELS), n_path)                                     [of the loss]
    forecasters : name -> what it says; weights sum to 1
    notes : plain sentences: what was assumed, why the band is wide
    """

    cutoff: int
    horizon: int
    final_mean: float
    final_quantiles: dict[float, float]
    path_steps: npt.NDArray[np.int64]
    quantiles: Array
    forecasters: dict[str, ForecasterShare]
    notes: tuple[str, ...]


def forecast_curve(curve: Curve, plan: Plan, prior: Prior | None = None) -> Forecast:
    """Forecast the rest of a curve.

    The same curve, plan and prior give the same forecast. Milliseconds, whatever the length of the run.

    Parameters
    ----------
    curve : Curve
    plan : Plan
    prior : Prior, optional
        What finished runs of the same project say (`app.forecasting.siblings.learn_prior`); else the population's.

    Raises
    ------
    CurveTooShort
        With fewer than 5 finite bins.
    """
    return mix(curve, plan, FORECASTERS if prior is None else forecasters(prior))


def mix(curve: Curve, plan: Plan, forecasters: tuple[tuple[Forecaster, float], ...]) -> Forecast:
    """Pool forecasters by weight. The weights must sum to 1."""
    horizon = max(plan.total_steps, curve.cutoff)
    steps = path_steps(plan.schedule, curve.cutoff, horizon)
    pool: list[Paths] = []
    weights: list[Array] = []
    shares: dict[str, ForecasterShare] = {}
    notes: list[str] = []
    for forecaster, weight in forecasters:
        paths = forecaster.predict(curve, plan, steps)
        finals = final_levels(paths, curve, horizon)
        shares[forecaster.name] = ForecasterShare(weight, float(finals.mean()), _by_level(finals, np.ones(len(finals))))
        if weight > 0:
            pool.append(paths)
            weights.append(np.full(len(finals), weight / len(finals)))
            notes.extend(note for note in paths.notes if note not in notes)
    values = np.concatenate([paths.values for paths in pool])
    weight_of_path = np.concatenate(weights)
    finals = final_levels(Paths(steps, values), curve, horizon)
    return Forecast(
        cutoff=curve.cutoff,
        horizon=horizon,
        final_mean=float(np.average(finals, weights=weight_of_path)),
        final_quantiles=_by_level(finals, weight_of_path),
        path_steps=steps,
        quantiles=weighted_quantiles(values, weight_of_path, LEVELS),
        forecasters=shares,
        notes=tuple(notes + _notes(curve, plan)),
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


def final_levels(paths: Paths, curve: Curve, horizon: int) -> Array:
    """Level of each path averaged over the last 2 % of the steps; what was already seen of them counts as seen."""
    start = (1 - FINAL_SHARE) * horizon
    future = paths.steps >= start
    if not future.any():
        future[-1] = True
    steps, values = paths.steps[future].astype(np.float64), paths.values[:, future]
    ahead = values[:, -1] if len(steps) == 1 else np.trapezoid(values, steps, axis=1) / (steps[-1] - steps[0])
    seen = curve.steps >= start
    if not seen.any():
        return ahead
    share = (min(curve.cutoff, horizon) - start) / max(horizon - start, 1e-300)
    return share * float(np.average(curve.values[seen], weights=curve.counts[seen])) + (1 - share) * ahead


def weighted_quantiles(values: Array, weights: Array, levels: tuple[float, ...]) -> Array:
    """Quantiles over the first axis, shape (len(levels), ...), of points that count by weight.

    A point stands at the middle of its own weight; between points, linear.
    """
    if np.ptp(weights) == 0:
        # The same in closed form; one sort costs a third of what numpy's quantiles do, which partition ten times.
        ordered = np.sort(values, axis=0)
        places = np.clip(np.asarray(levels) * len(values) - 0.5, 0.0, len(values) - 1.0)
        below = places.astype(np.intp)
        above = np.minimum(below + 1, len(values) - 1)
        shares = (places - below).reshape(-1, *[1] * (values.ndim - 1))
        quantiles: Array = ordered[below] + shares * (ordered[above] - ordered[below])
        return quantiles
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    heavy = weights[order]
    places = (np.cumsum(heavy, axis=0) - heavy / 2) / weights.sum()
    flat_places, flat_values = places.reshape(len(values), -1), ordered.reshape(len(values), -1)
    columns = [np.interp(levels, flat_places[:, i], flat_values[:, i]) for i in range(flat_values.shape[1])]
    return np.stack(columns, axis=1).reshape(len(levels), *values.shape[1:])


def _by_level(finals: Array, weights: Array) -> dict[float, float]:
    return dict(zip(LEVELS, map(float, weighted_quantiles(finals, weights, LEVELS)), strict=True))


def _notes(curve: Curve, plan: Plan) -> list[str]:
    notes: list[str] = []
    if plan.total_source == ASSUMED:
        notes.append(f"The end of the run is assumed ({plan.total_why.rstrip('.')}); declare total_steps to forecast its end.")
    if curve.nonfinite:
        notes.append(f"{curve.nonfinite} points were NaN or infinite and are left out.")
    if len(curve) < 16:
        notes.append("Few points so far: the band is wide.")
    return notes
