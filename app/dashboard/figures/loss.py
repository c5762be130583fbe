"""The chart a run is judged by: the loss so far, where it is going, and the learning rate that drives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.dashboard.figures.axes import (
    Floats,
    axis,
    axis_holders,
    base_layout,
    panel_title,
    plain_list,
    step_axis,
    value_range,
)
from app.dashboard.figures.smooth import smoothed
from app.dashboard.formatting import chart_text, format_band, format_rate, format_step, format_value
from app.dashboard.theme import Display, Palette, translucent
from app.runs import Points, StoredForecast

FEW_POINTS = 80  # below this each point gets a dot
LABELLED_RESTARTS = 6  # more labels than this would cover each other
LABEL_OPACITY = 0.8  # of the ground of a label, so that a line behind it does not cross it out
NOTE_REACHES = 0.45  # of the width: the note on what is cut off, with the length of a label that ends before it
BEGINNING = 0.05  # of the steps so far: what the focused scale may cut off at the top


class Scale(StrEnum):
    """How the loss axis is laid out."""

    FOCUS = "focus"  # linear; the first drop may leave the top of the chart, a first rise the bottom
    FULL = "full"  # linear, everything in view
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Restart:
    """Where a later segment took over."""

    number: int
    step: int


@dataclass(frozen=True, slots=True, eq=False)
class LossChart:
    """What the chart shows.

    view : the steps in sight, None for all of the run and its horizon
    others : further metrics of its kind, drawn thinner
    rises : more is better; then the first rise may leave the bottom of the chart
    rate : the learning rate as logged; empty if it was not
    last_step : of the whole run, in view or not; the buttons below the chart count from it
    """

    metric: str
    points: Points
    others: Mapping[str, Points] = field(default_factory=dict)
    forecast: StoredForecast | None = None
    rate: Points = field(default_factory=Points.empty)
    restarts: Sequence[Restart] = ()
    last_step: int = 0
    view: tuple[float, float] | None = None
    scale: Scale = Scale.FOCUS
    smooth: bool = False
    rises: bool = False


def loss_figure(chart: LossChart, display: Display) -> go.Figure:
    """Loss above, learning rate below on the same steps; only the loss where no rate is known."""
    palette = display.palette
    past, planned = _rate_lines(chart)
    has_rate = len(past[0]) > 0 or len(planned[0]) > 0
    bottom = 0.30 if has_rate else 0.0

    figure = go.Figure()
    figure.add_traces(axis_holders())
    figure.add_traces([*_fan(chart, palette), *_loss_lines(chart, palette), *_nonfinite_marks(chart, palette)])
    if has_rate:
        figure.add_traces(_rate_traces(past, planned, palette))

    layout = base_layout(palette, narrow=display.narrow)
    layout["margin"]["t"] = 96 if display.narrow else 62
    steps_in_view = _steps_in_view(chart)
    loss_range, cut_off = _loss_range(chart)
    layout |= {
        "uirevision": chart.metric,
        "meta": {"last_step": chart.last_step, "shown": list(steps_in_view)},  # for static/dashboard/losscast.js
        "showlegend": True,
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.0 + (0.07 if display.narrow else 0.065),
            "yanchor": "bottom",
            "font": {"size": 12, "color": palette.text},
            "itemsizing": "constant",
            "bgcolor": "rgba(0,0,0,0)",
        },
        "xaxis": step_axis(
            palette,
            anchor="y2",
            range=list(steps_in_view),
            # An update that was under way while the reader zoomed comes with the old view: it must not undo the zoom.
            uirevision=f"{chart.metric}|{chart.view}",
            showspikes=True,
            spikemode="across",
            spikethickness=1,
            spikecolor=palette.muted,
            spikedash="dot",
        ),
        "yaxis": axis(
            palette,
            domain=[bottom, 1.0],
            type="log" if chart.scale is Scale.LOG else "linear",
            range=list(loss_range),
            # The height always fits what is in view; zooming is along the steps.
            fixedrange=True,
            uirevision=f"{chart.scale}|{loss_range}",
            tickformat="~g" if chart.scale is Scale.LOG else ".4~g",
            nticks=8,
        ),
        # Non-finite points have no height. They sit on an axis of their own that spans the same panel from 0 to 1.
        "yaxis3": {
            "domain": [bottom, 1.0],
            "overlaying": "y",
            "range": [0, 1],
            "fixedrange": True,
            "visible": False,
        },
        "annotations": [panel_title(f"<b>{chart_text(chart.metric)}</b>", palette, top=1.005)],
        "shapes": [],
    }
    layout["yaxis2"] = axis(
        palette,
        domain=[0.0, max(bottom - 0.115, 0.01)],
        visible=has_rate,
        rangemode="tozero",
        fixedrange=True,
        exponentformat="e",
        minexponent=1,
        nticks=4,
    )
    if has_rate:
        layout["annotations"].append(panel_title("<b>learning rate</b>", palette, top=bottom - 0.11))
    if cut_off is not None:
        layout["annotations"].append(_cut_off_note(cut_off, chart, display, bottom=bottom))
    for lines, labels in (_cutoff_mark(chart, display), _restart_marks(chart, palette)):
        layout["shapes"] += lines
        layout["annotations"] += labels
    figure.update_layout(layout)
    return figure


def _fan(chart: LossChart, palette: Palette) -> list[go.Scatter]:
    """Bands first, so that lines lie on top. Each band is a lower edge and an upper edge filled down to it."""
    forecast = chart.forecast
    if forecast is None or not len(forecast.path_steps):
        return []
    steps = forecast.path_steps.tolist()
    rows = {level: _drawable(forecast.quantiles[i], chart.scale) for i, level in enumerate(forecast.levels)}
    traces = []
    for low, high, name, opacity in (
        (0.05, 0.95, "90 % band", palette.outer_opacity),
        (0.25, 0.75, "50 % band", palette.inner_opacity),
    ):
        if low not in rows or high not in rows:
            continue
        hidden = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "legendgroup": name}
        traces.append(go.Scatter(x=steps, y=plain_list(rows[low]), showlegend=False, **hidden))
        traces.append(
            go.Scatter(
                x=steps,
                y=plain_list(rows[high]),
                fill="tonexty",
                fillcolor=translucent(palette.loss, opacity),
                name=name,
                legendrank=1003,
                **hidden,
            )
        )
    if 0.50 in rows:
        bands = [
            format_band(low, high) for low, high in zip(*(_row(forecast, level) for level in (0.05, 0.95)), strict=True)
        ]
        traces.append(
            go.Scatter(
                x=steps,
                y=plain_list(rows[0.50]),
                mode="lines",
                name="predicted",
                legendrank=1002,
                line={"color": palette.loss, "width": 2, "dash": "5px,4px"},
                customdata=bands,
                hovertemplate="%{y:.4g}  (90 %: %{customdata})",
            )
        )
    return traces


def _row(forecast: StoredForecast, level: float) -> list[float]:
    values: list[float] = forecast.quantiles[forecast.levels.index(level)].tolist()
    return values


def _loss_lines(chart: LossChart, palette: Palette) -> list[go.Scatter]:
    traces = []
    for colour, (metric, points) in zip(palette.others, chart.others.items(), strict=False):
        traces += _line(metric, points, colour, chart, width=1.4)
    return traces + _line(chart.metric, chart.points, palette.loss, chart, width=1.6)


def _line(metric: str, points: Points, colour: str, chart: LossChart, *, width: float) -> list[go.Scatter]:
    if not len(points):
        return []
    values = _drawable(points.values, chart.scale)
    name = chart_text(metric)
    rank = 1000 if metric == chart.metric else 1001
    raw = go.Scatter(
        x=points.steps.tolist(),
        y=plain_list(values),
        mode="lines+markers" if len(points) <= FEW_POINTS else "lines",
        name=name,
        legendgroup=name,
        legendrank=rank,
        line={"color": translucent(colour, 0.28) if chart.smooth else colour, "width": width},
        marker={"size": 5, "color": colour},
        hovertemplate="%{y:.4g}",
    )
    traces = [raw]
    if chart.smooth:
        raw.update(showlegend=False, hoverinfo="skip", hovertemplate=None)
        steps, line = smoothed(points.steps.astype(np.float64), values)
        traces.append(
            go.Scatter(
                x=plain_list(steps),
                y=plain_list(line),
                mode="lines",
                name=f"{name} (smoothed)",
                legendgroup=name,
                legendrank=rank,
                line={"color": colour, "width": width + 0.6},
                hovertemplate="%{y:.4g}",
            )
        )
    alone = _alone(np.isfinite(values))
    if alone.any() and len(points) > FEW_POINTS:
        # A line needs two neighbours: a finite point between two NaNs would vanish without its dot.
        traces.append(
            go.Scatter(
                x=points.steps[alone].tolist(),
                y=plain_list(values[alone]),
                mode="markers",
                marker={"size": 5, "color": colour},
                legendgroup=name,
                showlegend=False,
                hoverinfo="skip",
            )
        )
    return traces


def _alone(finite: np.typing.NDArray[np.bool_]) -> np.typing.NDArray[np.bool_]:
    """Finite points without a finite neighbour."""
    before = np.concatenate(([False], finite[:-1]))
    after = np.concatenate((finite[1:], [False]))
    return finite & ~before & ~after


def _nonfinite_marks(chart: LossChart, palette: Palette) -> list[go.Scatter]:
    """NaN as crosses on the floor, +Inf under the ceiling, -Inf on the floor."""
    kinds = (
        ("NaN", np.isnan, 0.015, "x-thin"),
        ("+Inf", np.isposinf, 0.985, "triangle-up"),
        ("-Inf", np.isneginf, 0.015, "triangle-down"),
    )
    traces = []
    for kind, is_kind, height, symbol in kinds:
        named = [(metric, points) for metric, points in {chart.metric: chart.points, **chart.others}.items()]
        steps = np.concatenate([points.steps[is_kind(points.values)] for _, points in named])
        names = [chart_text(metric) for metric, points in named for _ in range(int(is_kind(points.values).sum()))]
        if not len(steps):
            continue
        traces.append(
            go.Scatter(
                x=steps.tolist(),
                y=[height] * len(steps),
                yaxis="y3",
                mode="markers",
                name=f"{kind} logged",
                legendrank=1004,
                marker={
                    "symbol": symbol,
                    "size": 9,
                    "color": palette.critical,
                    "line": {"width": 2, "color": palette.critical},
                },
                text=names,
                hovertemplate=f"{kind} in %{{text}}",
                cliponaxis=False,
            )
        )
    return traces


def _rate_lines(chart: LossChart) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    """(steps, rates) of the past and of the plan. What was logged beats what the schedule says of the past."""
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
    if not len(past[0]) and steps[0] < cutoff:
        past = _stretch(steps, rates, float(steps[0]), cutoff)
    return past, _stretch(steps, rates, cutoff, horizon) if horizon > cutoff else nothing


def _stretch(steps: Floats, rates: Floats, start: float, end: float) -> tuple[Floats, Floats]:
    """The knots between two steps, with the rates at both ends."""
    inside = (steps > start) & (steps < end)
    at = np.concatenate(([start], steps[inside], [end]))
    return at, np.interp(at, steps, rates)


def _rate_traces(past: tuple[Floats, Floats], planned: tuple[Floats, Floats], palette: Palette) -> list[go.Scatter]:
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


def _drawable(values: Floats, scale: Scale) -> Floats:
    return np.where(values > 0, values, np.nan) if scale is Scale.LOG else values


def _steps_in_view(chart: LossChart) -> tuple[float, float]:
    if chart.view is not None:
        return chart.view
    firsts = [points.steps[0] for points in (chart.points, *chart.others.values()) if len(points)]
    lasts = [points.steps[-1] for points in (chart.points, *chart.others.values()) if len(points)]
    end = max([*lasts, chart.forecast.horizon if chart.forecast else 0, 1])
    start = min([*firsts, end - 1])
    air = 0.015 * (end - start)
    return float(start - air), float(end + air)


def _loss_range(chart: LossChart) -> tuple[tuple[float, float], float | None]:
    """The range of the upper axis, and the worst value of the chosen metric where that lies outside."""
    log = chart.scale is Scale.LOG
    view = _steps_in_view(chart)
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


def _cut_off_note(worst: float, chart: LossChart, display: Display, *, bottom: float) -> dict[str, Any]:
    if chart.rises:
        text = f"{'↓' if display.narrow else '↓ the start lies below:'} down to {format_value(worst)}"
    else:
        text = f"{'↑' if display.narrow else '↑ the start lies above:'} up to {format_value(worst)}"
    return {
        "text": text,
        "xref": "paper",
        "yref": "paper",
        "x": 0.09,
        "y": bottom + 0.015 if chart.rises else 0.87 if _is_forecast_from_the_left(chart) else 0.985,
        "xanchor": "left",
        "yanchor": "bottom" if chart.rises else "top",
        "showarrow": False,
        "bgcolor": translucent(display.palette.surface, LABEL_OPACITY),
        "font": {"size": 11, "color": display.palette.muted},
    }


def _is_forecast_from_the_left(chart: LossChart) -> bool:
    """Whether the mark of the cutoff is named where the note on the start stands."""
    forecast = chart.forecast
    if forecast is None or forecast.horizon <= forecast.cutoff:
        return False
    low, high = _steps_in_view(chart)
    return low <= forecast.cutoff < low + NOTE_REACHES * (high - low)


def _cutoff_mark(chart: LossChart, display: Display) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Where knowing ends and predicting begins."""
    forecast = chart.forecast
    if forecast is None or forecast.horizon <= forecast.cutoff:
        return [], []
    label = "forecast" if display.narrow else f"forecast from {format_step(forecast.cutoff)}"
    return _upright(forecast.cutoff, label, "dot", display.palette, chart)


def _restart_marks(chart: LossChart, palette: Palette) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    shapes: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for restart in chart.restarts:
        label = f"restart {restart.number - 1}" if len(chart.restarts) <= LABELLED_RESTARTS else ""
        more_shapes, more_annotations = _upright(restart.step, label, "dash", palette, chart, high=False)
        shapes += more_shapes
        annotations += more_annotations
    return shapes, annotations


def _upright(
    step: float, label: str, dash: str, palette: Palette, chart: LossChart, *, high: bool = True
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A vertical line through all panels, with its label inside the chart."""
    low_step, high_step = _steps_in_view(chart)
    line = {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": step,
        "x1": step,
        "y0": 0,
        "y1": 1,
        "line": {"color": palette.muted, "width": 1, "dash": dash},
        "layer": "below",
    }
    if not label or not low_step <= step <= high_step:
        return [line], []
    on_the_right = step < low_step + 0.72 * (high_step - low_step)
    text = {
        "text": label,
        "xref": "x",
        "yref": "paper",
        "x": step,
        "y": 1.0 if high else 0.93,
        "xanchor": "left" if on_the_right else "right",
        "yanchor": "top",
        "xshift": 5 if on_the_right else -5,
        "showarrow": False,
        "bgcolor": translucent(palette.surface, LABEL_OPACITY),
        "font": {"size": 11, "color": palette.muted},
    }
    return [line], [text]
