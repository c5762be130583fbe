"""The chart a run is judged by: the loss so far, where it is going, and the learning rate that drives it."""

from __future__ import annotations

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
    value_ticks,
)
from app.dashboard.figures.loss_chart import LossChart, Scale
from app.dashboard.figures.loss_marks import beyond_notes, cut_off_note, cutoff_mark, restart_marks
from app.dashboard.figures.loss_rate import rate_lines, rate_traces
from app.dashboard.figures.loss_view import steps_in_view, values_in_view
from app.dashboard.figures.smooth import smoothed
from app.dashboard.formatting import chart_text, format_band
from app.dashboard.theme import Display, Palette, translucent
from app.runs import Points, StoredForecast

FEW_POINTS = 80  # below this each point gets a dot
EDGE_OPACITY = 0.65  # of the outer band's edge: 3:1 against the card in both themes


def loss_figure(chart: LossChart, display: Display) -> go.Figure:
    """Loss above, learning rate below on the same steps; only the loss where no rate is known."""
    palette = display.palette
    past, planned = rate_lines(chart)
    has_rate = len(past[0]) > 0 or len(planned[0]) > 0
    figure = go.Figure()
    figure.add_traces(axis_holders())
    figure.add_traces([*_fan(chart, palette), *_loss_lines(chart, palette), *_nonfinite_marks(chart, palette)])
    if has_rate:
        figure.add_traces(rate_traces(past, planned, palette))
    figure.update_layout(_layout(chart, display, has_rate=has_rate))
    return figure


def _layout(chart: LossChart, display: Display, *, has_rate: bool) -> dict[str, Any]:
    palette = display.palette
    bottom = 0.30 if has_rate else 0.0
    steps = steps_in_view(chart)
    values = values_in_view(chart)
    layout = base_layout(palette, narrow=display.narrow)
    layout["margin"]["t"] = 96 if display.narrow else 62
    layout |= {
        "uirevision": chart.metric,
        "meta": {"last_step": chart.last_step, "shown": list(steps)},  # for static/dashboard/losscast.js
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
            range=list(steps),
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
            range=[values.low, values.high],
            # The height always fits what is in view; zooming is along the steps.
            fixedrange=True,
            uirevision=f"{chart.scale}|{values.low}|{values.high}",
            tickformat="~g" if chart.scale is Scale.LOG else value_ticks(values.low, values.high),
            nticks=8,
        ),
        "yaxis2": axis(
            palette,
            domain=[0.0, max(bottom - 0.115, 0.01)],
            visible=has_rate,
            rangemode="tozero",
            fixedrange=True,
            exponentformat="e",
            minexponent=1,
            nticks=4,
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
    if has_rate:
        layout["annotations"].append(panel_title("<b>learning rate</b>", palette, top=bottom - 0.11))
    if values.cut_off is not None:
        layout["annotations"].append(cut_off_note(values.cut_off, chart, display, bottom=bottom))
    layout["annotations"] += beyond_notes(values, chart, display, bottom=bottom)
    for lines, labels in (cutoff_mark(chart, display), restart_marks(chart, palette)):
        layout["shapes"] += lines
        layout["annotations"] += labels
    return layout


def _fan(chart: LossChart, palette: Palette) -> list[go.Scatter]:
    """Bands first, so that lines lie on top. Each band is a lower edge and an upper edge filled down to it."""
    forecast = chart.forecast
    if forecast is None or not len(forecast.path_steps):
        return []
    steps = forecast.path_steps.tolist()
    rows = {level: _drawable(forecast.quantiles[i], chart.scale) for i, level in enumerate(forecast.levels)}
    traces = []
    # The outer band is pale against the card, and in the legend like the inner one: an edge tells them apart.
    edge = {"width": 1, "color": translucent(palette.loss, EDGE_OPACITY)}
    for low, high, name, opacity, line in (
        (0.05, 0.95, "90 % band", palette.outer_opacity, edge),
        (0.25, 0.75, "50 % band", palette.inner_opacity, {"width": 0}),
    ):
        if low not in rows or high not in rows:
            continue
        hidden = {"mode": "lines", "line": line, "hoverinfo": "skip", "legendgroup": name}
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
    """The chosen metric last, on top of the others, and below it what a warning names; but few points, as of a
    validation, would vanish behind many."""
    others = [
        (points, metric in chart.warned_of, _line(metric, points, colour, chart, width=1.4))
        for colour, (metric, points) in zip(palette.others, chart.others.items(), strict=False)
    ]
    own = _line(chart.metric, chart.points, palette.loss, chart, width=1.6)
    lines = [*sorted(others, key=lambda line: line[1]), (chart.points, True, own)]
    return [trace for _, _, traces in sorted(lines, key=lambda line: -len(line[0])) for trace in traces]


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


def _drawable(values: Floats, scale: Scale) -> Floats:
    return np.where(values > 0, values, np.nan) if scale is Scale.LOG else values
