"""Finished runs with the fit through them, and what it makes of other schedules; all schedules below."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.curves.schedule import Schedule
from app.dashboard.figures.axes import (
    Floats,
    axis,
    axis_holders,
    base_layout,
    panel_title,
    plain_list,
    step_axis,
    value_range,
    value_ticks,
)
from app.dashboard.formatting import chart_text, format_band, format_rate
from app.dashboard.theme import Display, Palette, translucent
from app.forecasting.other_schedules.comparison import Comparison, Prediction
from app.forecasting.recorded_run import RecordedRun

BOTTOM = 0.32  # height of the rates' panel, with its title
BEGINNING = 0.15  # of the steps: their first drop may leave the top of the chart, the end is what counts
RUN_DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def fit_figure(found: Comparison, display: Display) -> go.Figure:
    """Data of the fitted runs in grey, each with its fit; a colour for each schedule, with its 90 % band."""
    palette = display.palette
    figure = go.Figure()
    figure.add_traces(axis_holders())
    for position, run in enumerate(found.runs):
        figure.add_traces(_run_traces(found, run, RUN_DASHES[position % len(RUN_DASHES)], palette))
    for position, one in enumerate(found.predictions):
        figure.add_traces(_prediction_traces(one, position, palette))
    layout = base_layout(palette, narrow=display.narrow)
    layout["margin"]["t"] = 34 if display.narrow else 62
    low, high = _loss_range(found)
    layout |= {
        "uirevision": "fit",
        "showlegend": not display.narrow,
        "legend": {
            "orientation": "h",
            "traceorder": "normal",
            "x": 0,
            "y": 1.065,
            "yanchor": "bottom",
            "font": {"size": 12, "color": palette.text},
            "bgcolor": "rgba(0,0,0,0)",
        },
        "xaxis": step_axis(
            palette, anchor="y2", showspikes=True, spikemode="across", spikethickness=1, spikedash="dot"
        ),
        "yaxis": axis(
            palette,
            domain=[BOTTOM, 1.0],
            range=[low, high],
            fixedrange=True,
            tickformat=value_ticks(low, high),
            nticks=8,
        ),
        "yaxis2": axis(
            palette,
            domain=[0.0, BOTTOM - 0.115],
            rangemode="tozero",
            fixedrange=True,
            exponentformat="e",
            minexponent=1,
            nticks=4,
        ),
        "yaxis3": {"overlaying": "y", "visible": False},
        "annotations": [
            panel_title(f"<b>{chart_text(found.runs[0].metric)}</b>", palette, top=1.005),
            panel_title("<b>learning rate</b>", palette, top=BOTTOM - 0.11),
        ],
    }
    figure.update_layout(layout)
    return figure


def prediction_colour(position: int, palette: Palette) -> str:
    """Of a schedule, by its place in the table."""
    colours = (palette.loss, *palette.others)
    return colours[position % len(colours)]


def _run_traces(found: Comparison, run: RecordedRun, dash: str, palette: Palette) -> list[go.Scatter]:
    sample = run.sample()
    fitted = np.mean([law.predict(sample.schedule, sample.steps) for law in found.fits], axis=0)
    name = chart_text(run.name, longest=32)
    return [
        go.Scatter(
            x=run.steps.tolist(),
            y=plain_list(run.values),
            mode="lines",
            name=name,
            showlegend=False,
            line={"color": translucent(palette.muted, 0.45), "width": 1.2},
            hoverinfo="skip",
        ),
        go.Scatter(
            x=sample.steps.tolist(),
            y=plain_list(fitted),
            mode="lines",
            name=f"{name}, fit",
            line={"color": palette.text, "width": 1.6, "dash": dash},
            hovertemplate="%{y:.4g}",
        ),
        _rate_trace(sample.schedule, run.total_steps, name, {"color": palette.muted, "width": 1.2, "dash": dash}),
    ]


def _prediction_traces(one: Prediction, position: int, palette: Palette) -> list[go.Scatter]:
    colour = prediction_colour(position, palette)
    steps = one.steps.tolist()
    low, middle, high = one.quantiles[0], one.quantiles[len(one.quantiles) // 2], one.quantiles[-1]
    edge: dict[str, Any] = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    name = f"{position + 1}. {one.candidate.family.replace('_', ' ')}"
    return [
        go.Scatter(x=steps, y=plain_list(low), **edge),
        go.Scatter(
            x=steps, y=plain_list(high), fill="tonexty", fillcolor=translucent(colour, palette.outer_opacity), **edge
        ),
        go.Scatter(
            x=steps,
            y=plain_list(middle),
            mode="lines",
            name=name,
            line={"color": colour, "width": 2},
            customdata=[format_band(*ends) for ends in zip(low.tolist(), high.tolist(), strict=True)],
            hovertemplate="%{y:.4g}  (90 %: %{customdata})",
        ),
        _rate_trace(one.candidate.schedule, one.candidate.total_steps, name, {"color": colour, "width": 1.8}),
    ]


def _rate_trace(schedule: Schedule, total_steps: int, name: str, line: dict[str, Any]) -> go.Scatter:
    whole = schedule.until(float(total_steps)) if total_steps > schedule.steps[0] else schedule
    return go.Scatter(
        x=whole.steps.tolist(),
        y=plain_list(whole.rates),
        yaxis="y2",
        mode="lines",
        name=name,
        showlegend=False,
        line=line,
        customdata=[format_rate(rate) for rate in whole.rates.tolist()],
        hovertemplate="%{customdata}",
    )


def _loss_range(found: Comparison) -> tuple[float, float]:
    """What is of interest is the end: the first drop may leave the chart."""
    last = max([run.total_steps for run in found.runs] + [one.candidate.total_steps for one in found.predictions])
    shown: list[Floats] = [run.values[run.steps >= BEGINNING * last] for run in found.runs]
    shown += [one.quantiles[2, one.steps >= BEGINNING * last] for one in found.predictions]
    shown += [one.quantiles[:, -1] for one in found.predictions]
    return value_range(shown, log=False) or (0.0, 1.0)
