"""Final losses against the peak learning rate: a line a sweep."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from app.dashboard.figures.axes import axis, base_layout, plain_list
from app.dashboard.formatting import chart_text, format_rate
from app.dashboard.theme import Display
from app.storage.sweeps import Sweep

SHOWN = 6
"""Sweeps that have a colour of their own."""


def sweep_figure(sweeps: Sequence[Sweep], names: Sequence[str], display: Display) -> go.Figure:
    """Averages by rate; a run that diverged stands at the loss at which runs began."""
    palette = display.palette
    figure = go.Figure()
    for at, (sweep, name) in enumerate(zip(sweeps[:SHOWN], names, strict=False)):
        colour = (palette.loss, *palette.others)[at]
        found = sweep.found
        figure.add_trace(
            go.Scatter(
                x=plain_list(found.rates),
                y=plain_list(found.finals),
                mode="lines+markers",
                name=chart_text(name),
                line={"color": colour, "width": 2},
                marker={"size": [11 if rate == found.best_rate else 6 for rate in found.rates], "color": colour},
                text=[format_rate(rate) for rate in found.rates],
                hovertemplate="%{y:.4g} at a peak rate of %{text}<extra></extra>",
            )
        )
    rates = sorted({rate for sweep in sweeps[:SHOWN] for rate in sweep.found.rates})
    title = {"font": {"size": 12, "color": palette.muted}, "standoff": 6}
    layout = base_layout(palette, narrow=display.narrow)
    layout |= {
        "hovermode": "closest",
        "dragmode": False,
        "showlegend": len(sweeps) > 1,
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"color": palette.text}},
        "xaxis": axis(
            palette,
            type="log",
            title=title | {"text": "peak learning rate"},
            tickvals=rates,
            ticktext=[format_rate(rate) for rate in rates],
            showgrid=False,
            fixedrange=True,
        ),
        "yaxis": axis(palette, title=title | {"text": "final loss"}, fixedrange=True),
    }
    layout["margin"] |= {"t": 30, "l": 62}
    figure.update_layout(layout)
    return figure
