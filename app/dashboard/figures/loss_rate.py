"""The learning rate below the loss: as it was logged, and as it is planned."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from app.dashboard.figures.axes import Floats, plain_list
from app.dashboard.figures.loss_chart import LossChart
from app.dashboard.formatting import format_rate
from app.dashboard.theme import Palette


def rate_lines(chart: LossChart) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """(steps, rates) as logged, and as planned: from the cutoff on, or all along where none is logged.

    A stored forecast keeps the rates that were to come, not those before it.
    """
    knots = chart.forecast.schedule if chart.forecast else {}
    steps = np.asarray(knots.get("steps") or [], np.float64)
    rates = np.asarray(knots.get("rates") or [], np.float64)
    nothing = (np.empty(0), np.empty(0))
    past = (chart.rate.steps.astype(np.float64), chart.rate.values)
    if chart.forecast is None or not len(steps):
        return past, nothing
    if not len(past[0]) and knots.get("source") == "assumed":
        return nothing, nothing  # the size of a rate that nobody told us is made up
    cutoff, horizon = float(chart.forecast.cutoff), float(chart.forecast.horizon)
    planned = _stretch(steps, rates, cutoff, horizon) if horizon > cutoff else nothing
    said = chart.unlogged_rate
    if len(past[0]) or said is None or said.steps[0] >= cutoff:
        return past, planned
    before = _stretch(said.steps, said.rates, float(said.steps[0]), cutoff)
    return past, (np.concatenate((before[0][:-1], planned[0])), np.concatenate((before[1][:-1], planned[1])))


def _stretch(steps: Floats, rates: Floats, start: float, end: float) -> tuple[Floats, Floats]:
    """The knots between two steps, with the rates at both ends."""
    inside = (steps > start) & (steps < end)
    at = np.concatenate(([start], steps[inside], [end]))
    return at, np.interp(at, steps, rates)


def rate_traces(past: tuple[Floats, Floats], planned: tuple[Floats, Floats], palette: Palette) -> list[go.Scatter]:
    traces = []
    for (steps, rates), name, dash in ((past, "learning rate", "solid"), (planned, "planned rate", "5px,4px")):
        if len(steps):
            traces.append(
                go.Scatter(
                    x=plain_list(steps),
                    y=plain_list(rates),
                    yaxis="y2",
                    mode="lines",
                    name=name,
                    showlegend=False,
                    line={"color": palette.rate, "width": 1.6, "dash": dash},
                    customdata=[format_rate(rate) for rate in rates.tolist()],
                    hovertemplate="%{customdata}",
                )
            )
    return traces
