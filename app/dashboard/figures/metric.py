"""A small chart of any one metric."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from app.dashboard.figures.axes import axis, base_layout, plain_list, step_axis, value_ticks
from app.dashboard.theme import Display
from app.runs import Points


def metric_figure(points: Points, display: Display, *, view: tuple[float, float] | None = None) -> go.Figure:
    """The metric against its steps; non-finite points as red crosses on the floor."""
    palette = display.palette
    broken = ~np.isfinite(points.values)
    figure = go.Figure(
        [
            go.Scatter(
                x=points.steps.tolist(),
                y=plain_list(points.values),
                mode="lines+markers" if len(points) <= 80 else "lines",
                line={"color": palette.loss, "width": 1.4},
                marker={"size": 4},
                hovertemplate="%{y:.4g}<extra></extra>",
            ),
            go.Scatter(
                x=points.steps[broken].tolist(),
                y=[0.02] * int(broken.sum()),
                yaxis="y2",
                mode="markers",
                marker={"symbol": "x-thin", "size": 7, "line": {"width": 2, "color": palette.critical}},
                text=[str(value) for value in points.values[broken].tolist()],
                hovertemplate="%{text}<extra></extra>",
            ),
        ]
    )
    layout = base_layout(palette, narrow=display.narrow)
    layout["margin"] |= {"t": 6, "b": 26}
    layout |= {
        "dragmode": False,
        "xaxis": step_axis(palette, title=None, nticks=5, fixedrange=True, **({"range": list(view)} if view else {})),
        "yaxis": axis(palette, nticks=5, tickformat=_ticks(points.values), fixedrange=True),
        "yaxis2": {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True},
    }
    figure.update_layout(layout)
    return figure


def _ticks(values: npt.NDArray[np.float64]) -> str:
    finite = values[np.isfinite(values)]
    return value_ticks(float(finite.min()), float(finite.max()), digits=3) if len(finite) else ".3~g"
