"""How good a project's forecasts were: the error against how much had been seen, and whether the bands held."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import plotly.graph_objects as go

from app.dashboard.figures.axes import axis, axis_title, base_layout, legend_above, plain_list
from app.dashboard.formatting import chart_text, format_percent
from app.dashboard.theme import Display, Palette, translucent
from app.forecasting.track_record import Coverage, RunBin, median_errors

LEAST_ERROR = 1e-5
"""Smaller errors are drawn here: a logarithmic axis has no zero. [1]"""


def errors_figure(bins: Sequence[RunBin], names: Mapping[str, str], display: Display) -> go.Figure:
    """Absolute error against the fraction seen: a thin line a run, and their median.

    names : run id -> what users call it
    """
    palette = display.palette
    each = _each_run(bins, names, palette)
    figure = go.Figure([each, _median_of_runs(bins, palette)])
    layout = _over_percent("of the run seen", display, showgrid=False) | {
        "yaxis": axis(palette, type="log", **percent_ticks(round_values(each.y)), fixedrange=True)
    }
    layout["margin"] |= {"l": 58}
    figure.update_layout(layout)
    return figure


def _each_run(bins: Sequence[RunBin], names: Mapping[str, str], palette: Palette) -> go.Scatter:
    """All runs in one trace, kept apart by gaps: hundreds of traces would be slow."""
    runs = [list(of_run) for _, of_run in groupby(sorted(bins, key=lambda one: (one.run_id, one.bin)), _run_id)]
    seen: list[float | None] = []
    errors: list[float | None] = []
    texts: list[str] = []  # of points, for the pointer
    for of_run in runs:
        seen += [*plain_list([100 * one.seen for one in of_run]), None]
        errors += [*plain_list([_percent(one.absolute_error) for one in of_run]), None]
        texts += [chart_text(names.get(of_run[0].run_id, of_run[0].run_id))] * (len(of_run) + 1)
    return go.Scatter(
        x=seen,
        y=errors,
        mode="lines+markers",
        name="each run",
        line={"color": translucent(palette.rate, 0.5 if len(runs) < 30 else 0.22), "width": 1.1},
        marker={"size": 3},
        text=texts,
        hovertemplate="%{text}<br>%{y:.2g} % off at %{x:.0f} %<extra></extra>",
    )


def _median_of_runs(bins: Sequence[RunBin], palette: Palette) -> go.Scatter:
    median = median_errors(bins)
    return go.Scatter(
        x=plain_list([100 * at for at, _ in median]),
        y=plain_list([_percent(error) for _, error in median]),
        mode="lines+markers",
        name="median of the runs",
        line={"color": palette.loss, "width": 2.4},
        marker={"size": 5},
        hovertemplate="median %{y:.2g} % off at %{x:.0f} %<extra></extra>",
    )


def percent_ticks(values: Sequence[float]) -> dict[str, Any]:
    """Ticks with their unit on each: Plotly leaves it out where ticks are given, and between powers of ten."""
    return {"tickvals": list(values), "ticktext": [f"{value:g} %" for value in values]}


def round_values(errors: Sequence[float | None]) -> list[float]:
    """1, 2, 5, 10, ... around the errors, the powers of ten alone where these span much. [%]"""
    known = [error for error in errors if error is not None] or [1.0]
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    digits = (1, 2, 5) if high - low <= 3 else (1,)
    return [digit * 10.0**power for power in range(low, high + 1) for digit in digits]


def _run_id(one: RunBin) -> str:
    return one.run_id


def _percent(error: float) -> float:
    return 100 * max(error, LEAST_ERROR)


def reliability_figure(reliability: Sequence[Coverage], display: Display) -> go.Figure:
    """A row a band: a dot where the runs are that it held, with their interval, and a tick at what it promises."""
    palette = display.palette
    rows = [format_percent(one.stated) for one in reliability]
    shares = [100 * one.share for one in reliability]
    figure = go.Figure(
        [
            go.Scatter(
                x=[100 * one.stated for one in reliability],
                y=rows,
                mode="markers",
                name="promised",
                marker={"symbol": "line-ns", "size": 26, "line": {"width": 2, "color": palette.text}},
                hovertemplate="promised %{x:.0f} %<extra></extra>",
            ),
            go.Scatter(
                x=shares,
                y=rows,
                mode="markers",
                name="held, and how far chance alone can move it",
                marker={"size": 11, "color": palette.loss},
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [100 * one.high - share for one, share in zip(reliability, shares, strict=True)],
                    "arrayminus": [share - 100 * one.low for one, share in zip(reliability, shares, strict=True)],
                    "color": palette.loss,
                    "thickness": 2,
                    "width": 5,
                },
                text=[f"held {one.held:g} of {one.n_runs} ({format_percent(one.share)})" for one in reliability],
                hovertemplate="%{text}<extra></extra>",
            ),
        ]
    )
    layout = _over_percent("of the runs inside", display) | {
        "yaxis": axis(
            palette,
            type="category",
            categoryarray=rows[::-1],
            range=[-0.6, len(rows) - 0.4],
            fixedrange=True,
            showgrid=False,
            tickfont={"color": palette.text, "size": 12},
        ),
    }
    layout["margin"] |= {"l": 48}
    figure.update_layout(layout)
    return figure


def _over_percent(title: str, display: Display, **extra: Any) -> dict[str, Any]:
    """A chart that stands still, over an axis from 0 to 100 %."""
    palette = display.palette
    layout = base_layout(palette, narrow=display.narrow) | {
        "hovermode": "closest",
        "dragmode": False,
        "showlegend": True,
        "legend": legend_above(palette),
        "xaxis": axis(
            palette,
            title=axis_title(palette, title),
            range=[0, 104],
            **percent_ticks([0, 25, 50, 75, 100]),
            fixedrange=True,
            **extra,
        ),
    }
    layout["margin"] |= {"t": 30}
    return layout
