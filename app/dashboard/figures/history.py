"""How the predicted final value moved as the run went on, and whether it was right."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.dashboard.figures.axes import axis, axis_title, base_layout, padded, plain_list, step_axis, value_ticks
from app.dashboard.formatting import format_band, format_step, format_value
from app.dashboard.theme import Display, Palette, translucent
from app.runs import ForecastPoint


def history_figure(history: Sequence[ForecastPoint], display: Display, *, actual: float | None = None) -> go.Figure:
    """Predicted final value against the step at which it was predicted, with its 90 % band.

    actual : the final value, once the run has one
    """
    palette = display.palette
    history = standing(history)
    figure = go.Figure([*_band(history, palette), _medians(history, palette)])
    low, high = _range(history, actual)
    layout = base_layout(palette, narrow=display.narrow) | {
        "uirevision": "history",
        "xaxis": step_axis(
            palette,
            title=axis_title(palette, "step at which it was predicted"),
            fixedrange=True,
            range=[0, 1.04 * max((point.cutoff for point in history), default=1)],
        ),
        "yaxis": axis(palette, range=[low, high], fixedrange=True, tickformat=value_ticks(low, high), nticks=6),
    }
    if actual is not None and np.isfinite(actual):
        layout |= _line_at(actual, palette)
    figure.update_layout(layout)
    return figure


def _band(history: Sequence[ForecastPoint], palette: Palette) -> list[go.Scatter]:
    cutoffs = [point.cutoff for point in history]
    hidden = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    return [
        go.Scatter(x=cutoffs, y=plain_list([point.p05 for point in history]), **hidden),
        go.Scatter(
            x=cutoffs,
            y=plain_list([point.p95 for point in history]),
            fill="tonexty",
            fillcolor=translucent(palette.loss, palette.outer_opacity + 0.06),
            **hidden,
        ),
    ]


def _medians(history: Sequence[ForecastPoint], palette: Palette) -> go.Scatter:
    return go.Scatter(
        x=[point.cutoff for point in history],
        y=plain_list([point.p50 for point in history]),
        mode="lines+markers" if len(history) <= 40 else "lines",
        name="predicted final value",
        line={"color": palette.loss, "width": 1.8},
        marker={"size": 5},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [point.p95 - point.p50 for point in history],
            "arrayminus": [point.p50 - point.p05 for point in history],
            "visible": len(history) < 3,  # a band needs two forecasts to be seen; one or two also get bars
            "color": palette.loss,
            "thickness": 1.4,
        },
        customdata=[
            [format_value(point.p50), format_band(point.p05, point.p95), format_step(point.horizon)]
            for point in history
        ],
        hovertemplate="%{customdata[0]}  (90 %: %{customdata[1]})<br>at step %{customdata[2]}<extra></extra>",
    )


def _line_at(actual: float, palette: Palette) -> dict[str, Any]:
    """What the run came to, named."""
    line = {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "yref": "y",
        "y0": actual,
        "y1": actual,
        "line": {"color": palette.text, "width": 1.4, "dash": "dash"},
    }
    name = {
        "text": f"actual {format_value(actual)}",
        "xref": "paper",
        "x": 1,
        "xanchor": "right",
        "yref": "y",
        "y": actual,
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 12, "color": palette.text},
    }
    return {"shapes": [line], "annotations": [name]}


def standing(history: Sequence[ForecastPoint]) -> list[ForecastPoint]:
    """The forecasts whose past still holds: what was made beyond the step to which a restart went back is left out."""
    kept: list[ForecastPoint] = []
    for point in reversed(history):
        if not kept or point.cutoff < kept[-1].cutoff:
            kept.append(point)
    return kept[::-1]


def _range(history: Sequence[ForecastPoint], actual: float | None) -> tuple[float, float]:
    """Early bands can be so wide that they flatten all that follows: they may leave the chart, medians may not."""
    lows, highs = (np.array([getattr(point, name) for point in history]) for name in ("p05", "p95"))
    medians = [point.p50 for point in history] + ([actual] if actual is not None else [])
    ends = np.concatenate((medians, np.quantile(lows, [0.15]), np.quantile(highs, [0.85])))
    ends = ends[np.isfinite(ends)]
    return padded(float(ends.min()), float(ends.max())) if len(ends) else (0.0, 1.0)
