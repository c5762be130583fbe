"""Which steps and which values the main chart of a run shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.dashboard.figures.axes import Floats, value_range
from app.dashboard.figures.loss_chart import LossChart, Scale
from app.runs import Points

BEGINNING = 0.05  # of the steps so far: what the focused scale may cut off at the top
FEW_TO_CUT = 20  # points: with fewer, the first drop is most of what there is to see
FLATTENS = 3.0  # times the height of the chosen metric: a line that needs more would press it flat
WARNED_FLATTENS = 12.0  # so much may one that a warning names: it is what people come to see


@dataclass(frozen=True, slots=True)
class ValuesInView:
    """The range of the upper axis, in its own units, and what lies outside of it.

    cut_off : the worst value of the chosen metric, where the start of it is cut off
    beyond : newest values of other metrics, where they are of another size
    """

    low: float
    high: float
    cut_off: float | None = None
    beyond: Mapping[str, float] = field(default_factory=dict)


def steps_in_view(chart: LossChart) -> tuple[float, float]:
    if chart.view is not None:
        return chart.view
    firsts = [points.steps[0] for points in (chart.points, *chart.others.values()) if len(points)]
    lasts = [points.steps[-1] for points in (chart.points, *chart.others.values()) if len(points)]
    end = max([*lasts, chart.forecast.horizon if chart.forecast else 0, 1])
    start = min([*firsts, end - 1])
    air = 0.015 * (end - start)
    return float(start - air), float(end + air)


def values_in_view(chart: LossChart) -> ValuesInView:
    view = steps_in_view(chart)
    steps, values = _in_view(chart.points, view)
    others = {metric: _in_view(points, view) for metric, points in chart.others.items()}
    fan = _fan_edges(chart, *view)
    everything = value_range([values, fan, *(seen for _, seen in others.values())], log=chart.scale is Scale.LOG)
    if chart.scale is not Scale.FOCUS or everything is None:
        return ValuesInView(*(everything or (0.0, 1.0)))
    # Only the beginning may leave the chart: a spike later on is news.
    start = view[0] if chart.view or len(steps) < FEW_TO_CUT else steps[0] + BEGINNING * (steps[-1] - steps[0])
    shown = [values[steps > start], fan]
    if value_range(shown, log=False) is None:
        return ValuesInView(*everything)
    height = float(np.ptp(_finite(shown)))
    for metric, (other_steps, other) in others.items():
        most = height * (WARNED_FLATTENS if metric in chart.warned_of else FLATTENS)
        # Inside what another has opened already, there is room.
        shown += _as_much_as_fits(other[other_steps > start], shown, max(most, float(np.ptp(_finite(shown)))))
    low, high = value_range(shown, log=False) or everything
    newest = {metric: seen[np.isfinite(seen)][-1:] for metric, (_, seen) in others.items()}
    return ValuesInView(
        low,
        high,
        cut_off=_worst_outside(values, low, high, rises=chart.rises),
        beyond={metric: float(value) for metric, last in newest.items() for value in last if not low <= value <= high},
    )


def _as_much_as_fits(other: Floats, shown: Sequence[Floats], most: float) -> list[Floats]:
    """All of another metric, else where it is now, else nothing of it: the chosen one must not be pressed flat."""
    for part in (other, other[np.isfinite(other)][-1:]):
        if len(_finite([part])) and np.ptp(_finite([*shown, part])) <= most:
            return [part]
    return []


def _finite(arrays: Sequence[Floats]) -> Floats:
    together = np.concatenate(arrays)
    return together[np.isfinite(together)]


def _worst_outside(values: Floats, low: float, high: float, *, rises: bool) -> float | None:
    finite = values[np.isfinite(values)]
    if rises:
        lowest = float(np.min(finite, initial=np.inf))
        return lowest if lowest < low else None
    top = float(np.max(finite, initial=-np.inf))
    return top if top > high else None


def _in_view(points: Points, view: tuple[float, float]) -> tuple[Floats, Floats]:
    inside = (points.steps >= view[0]) & (points.steps <= view[1])
    return points.steps[inside].astype(np.float64), points.values[inside]


def _fan_edges(chart: LossChart, low: float, high: float) -> Floats:
    forecast = chart.forecast
    if forecast is None or not len(forecast.path_steps):
        return np.empty(0)
    seen = (forecast.path_steps >= low) & (forecast.path_steps <= high)
    return np.asarray(forecast.quantiles[:, seen], np.float64).ravel()
