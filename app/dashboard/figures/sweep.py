"""Final losses against the peak learning rate: a line a sweep."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from app.dashboard.figures.axes import axis, axis_title, base_layout, legend_above, plain_list
from app.dashboard.formatting import chart_text, format_rate
from app.dashboard.theme import Display
from app.storage.sweeps import Sweep

SHOWN = 6
"""Sweeps that have a colour of their own."""


def sweep_figure(sweeps: Sequence[Sweep], names: Sequence[str], display: Display) -> go.Figure:
    """Averages by rate, and the runs themselves where some rate has more than one.

    A run that diverged stands at the loss at which runs began.
    """
    palette = display.palette
    figure = go.Figure()
    for at, (sweep, name) in enumerate(zip(sweeps[:SHOWN], names, strict=False)):
        colour = (palette.loss, *palette.others)[at]
        found = sweep.found
        best = found.best_rate if sweep.best_rate.is_clear else None
        figure.add_trace(
            go.Scatter(
                x=plain_list(found.rates),
                y=plain_list(found.finals),
                mode="lines+markers",
                name=chart_text(name),
                line={"color": colour, "width": 2},
                marker={"size": [11 if rate == best else 6 for rate in found.rates], "color": colour},
                text=[format_rate(rate) for rate in found.rates],
                hovertemplate="%{y:.4g} at a peak rate of %{text}<extra></extra>",
            )
        )
        if len(sweep.runs) > len(found.rates):
            figure.add_trace(_runs_of(sweep, colour))
    rates = sorted({rate for sweep in sweeps[:SHOWN] for rate in sweep.found.rates})
    layout = base_layout(palette, narrow=display.narrow)
    layout |= {
        "hovermode": "closest",
        "dragmode": False,
        "showlegend": len(sweeps) > 1,
        "legend": legend_above(palette),
        "xaxis": axis(
            palette,
            type="log",
            title=axis_title(palette, "peak learning rate"),
            tickvals=rates,
            ticktext=[format_rate(rate) for rate in rates],
            showgrid=False,
            fixedrange=True,
        ),
        "yaxis": axis(palette, title=axis_title(palette, "final loss"), fixedrange=True),
    }
    layout["margin"] |= {"t": 30, "l": 62}
    figure.update_layout(layout)
    return figure


def _runs_of(sweep: Sweep, colour: str) -> go.Scatter:
    """Each run as a dash: how far apart those at one rate are."""
    first = sweep.found.first
    return go.Scatter(
        x=plain_list([run.peak_rate for run in sweep.runs]),
        y=plain_list([min(run.final, first) if math.isfinite(run.final) else first for run in sweep.runs]),
        mode="markers",
        marker={"symbol": "line-ew-open", "size": 11, "color": colour, "line": {"width": 1.5, "color": colour}},
        showlegend=False,
        text=[chart_text(run.run_id) for run in sweep.runs],
        hovertemplate="%{y:.4g}: %{text}<extra></extra>",
    )
