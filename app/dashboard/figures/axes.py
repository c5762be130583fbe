"""What all charts share: quiet axes, and arrays in the form that the browser reads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go

from app.dashboard.theme import FONT, Palette

Floats = npt.NDArray[np.float64]

MOST_DIGITS = 15  # what a float tells apart

POINTS_A_TRACE = 3000  # SVG stays quick up to here: 20 traces of 3000 points draw in half a second


def plain_list(values: npt.NDArray[Any] | Sequence[float]) -> list[float | None]:
    """Python numbers, None where a value cannot be drawn.

    Never hand Plotly a NumPy array here: it travels as a typed array, in which a gap cannot be told from a NaN.
    """
    array = np.asarray(values, np.float64)
    return [
        value if finite else None for value, finite in zip(array.tolist(), np.isfinite(array).tolist(), strict=True)
    ]


def base_layout(palette: Palette, *, narrow: bool = False) -> dict[str, Any]:
    """A layout without axes. Its ground is the card's and its size is the stylesheet's."""
    return {
        "autosize": True,
        "margin": {"l": 48 if narrow else 60, "r": 8 if narrow else 16, "t": 8, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        # The card's own: on a clear ground Plotly lays a thick white line behind the one that follows the pointer.
        "plot_bgcolor": palette.surface,
        "font": {"family": FONT, "size": 12, "color": palette.muted},
        "hoverlabel": {
            "bgcolor": palette.surface,
            "bordercolor": palette.grid,
            "font": {"family": FONT, "size": 12, "color": palette.text},
            "align": "left",
        },
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": palette.muted, "activecolor": palette.text},
        "hovermode": "x unified",
        # On a phone a drag must scroll the page, not zoom the chart.
        "dragmode": False if narrow else "zoom",
        # No `transition`, not even one of no duration: with it Plotly draws an update in a later frame, and trips over
        # the missing panels ("reading '_plots'") where the reader has left the page by then.
        "showlegend": False,
    }


def legend_above(palette: Palette) -> dict[str, Any]:
    """A legend in one line over the chart's upper left corner."""
    return {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "font": {"color": palette.text}}


def axis_title(palette: Palette, text: str) -> dict[str, Any]:
    return {"text": text, "font": {"size": 12, "color": palette.muted}, "standoff": 6}


def axis(palette: Palette, **extra: Any) -> dict[str, Any]:
    return {
        "gridcolor": palette.grid,
        "linecolor": palette.grid,
        "zeroline": False,
        "ticks": "",
        "automargin": False,
        "tickfont": {"color": palette.muted, "size": 11},
        **extra,
    }


def value_ticks(low: float, high: float, *, digits: int = 4) -> str:
    """How numbers along an axis are written: in as many digits, `digits` at least, as tell neighbours apart."""
    span, size = high - low, max(abs(low), abs(high))
    if not (math.isfinite(span) and span > 0.0 and size > 0.0):
        return f".{digits}~g"
    apart = span / 10.0  # at least: an axis here has at most eight numbers
    needed = math.floor(math.log10(size)) - math.floor(math.log10(apart)) + 1
    return f".{min(max(digits, needed), MOST_DIGITS)}~g"


def step_axis(palette: Palette, **extra: Any) -> dict[str, Any]:
    return axis(
        palette,
        **{
            "title": axis_title(palette, "step"),
            "tickformat": "~s",
            "hoverformat": ",.0f",
            "showgrid": False,
            "nticks": 7,
            **extra,
        },
    )


def axis_holders() -> list[go.Scatter]:
    """An unseen trace on each axis, so that every update has the same panels: Plotly trips where they come and go."""
    unseen = {"x": [None], "y": [None], "mode": "lines", "showlegend": False, "hoverinfo": "skip"}
    return [go.Scatter(yaxis=name, **unseen) for name in ("y", "y2", "y3")]


def panel_title(text: str, palette: Palette, *, top: float) -> dict[str, Any]:
    """The name of a panel above its upper left corner, where it takes no room from the axis."""
    return {
        "text": text,
        "xref": "paper",
        "yref": "paper",
        "x": 0,
        "y": top,
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 12, "color": palette.text},
    }


def padded(low: float, high: float, *, share: float = 0.06) -> tuple[float, float]:
    """A range with air at both ends; a flat line gets some too."""
    air = share * (high - low) or share * max(abs(high), 1e-12)
    return low - air, high + air


def value_range(arrays: Sequence[Floats], *, log: bool) -> tuple[float, float] | None:
    """The padded range of all that can be drawn, in the axis' own units (log10 for a log axis)."""
    drawable = [array[np.isfinite(array) & ((array > 0) if log else True)] for array in arrays]
    values = np.concatenate([*drawable, np.empty(0)])
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    return padded(float(np.log10(low)), float(np.log10(high))) if log else padded(low, high)
