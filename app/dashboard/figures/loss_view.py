"""Which steps and which values the main chart of a run shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.dashboard.figures.axes import Floats, value_range
from app.dashboard.figures.loss_chart import LossChart, Scale
from app.runs import Points

BEGINNING = 0.05  # of the steps so far: what the focused scale may cut off at the top


def steps_in_view(chart: LossChart) -> tuple[float, float]:
    if chart.view is not None:
        return chart.view
    firsts = [points.steps[0] for points in (chart.points, *chart.others.values()) if len(points)]
    lasts = [points.steps[-1] for points in (chart.points, *chart.others.values()) if len(points)]
    end = max([*lasts, chart.forecast.horizon if chart.forecast else 0, 1])
    start = min([*firsts, end - 1])
    air = 0.015 * (end - start)
    return float(start - air), float(end + air)


def loss_range(chart: LossChart) -> tuple[tuple[float, float], float | None]:
    """The range of the upper axis, and the worst value of the chosen metric where that lies outside."""
    log = chart.scale is Scale.LOG
    view = steps_in_view(chart)
    steps, values = _in_view(chart.points, view)
    others = [_in_view(points, view)[1] for points in chart.others.values()]
    fan = _fan_edges(chart, *view)
    everything = value_range([values, fan, *others], log=log) or (0.0, 1.0)
    if chart.scale is not Scale.FOCUS:
        return everything, None
    # Only the beginning may leave the chart: a spike later on is news.
    start = view[0] if chart.view or not len(steps) else steps[0] + BEGINNING * (steps[-1] - steps[0])
    focused = value_range([values[steps > start], fan], log=False)
    if focused is None:
        return everything, None
    focused = _stretched(focused, [_in_view(points, (start, view[1]))[1] for points in chart.others.values()])
    finite = values[np.isfinite(values)]
    if chart.rises:
        lowest = float(np.min(finite, initial=np.inf))
        return focused, lowest if lowest < focused[0] else None
    top = float(np.max(finite, initial=-np.inf))
    return focused, top if top > focused[1] else None


def _in_view(points: Points, view: tuple[float, float]) -> tuple[Floats, Floats]:
    inside = (points.steps >= view[0]) & (points.steps <= view[1])
    return points.steps[inside].astype(np.float64), points.values[inside]


def _stretched(focused: tuple[float, float], others: Sequence[Floats]) -> tuple[float, float]:
    """The focused range with the other losses that are of its size; one of another size would flatten the chart."""
    for other in others:
        both = value_range([np.asarray(focused), other], log=False)
        if both is not None and both[1] - both[0] <= 3 * (focused[1] - focused[0]):
            finite = other[np.isfinite(other)]
            focused = (
                float(np.min(finite, initial=focused[0])),
                float(np.max(finite, initial=focused[1])),
            )
    return focused


def _fan_edges(chart: LossChart, low: float, high: float) -> Floats:
    forecast = chart.forecast
    if forecast is None or not len(forecast.path_steps):
        return np.empty(0)
    seen = (forecast.path_steps >= low) & (forecast.path_steps <= high)
    return np.asarray(forecast.quantiles[:, seen], np.float64).ravel()
