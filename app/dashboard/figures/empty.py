"""A chart with nothing in it but a sentence: no axes that promise data."""

from __future__ import annotations

from typing import Any

from app.dashboard.figures.axes import axis_holders
from app.dashboard.theme import FONT, LIGHT, Palette


def empty_figure(text: str = "", palette: Palette = LIGHT) -> dict[str, Any]:
    axis = {"visible": False, "fixedrange": True}
    return {
        "data": axis_holders(),
        "layout": {
            "autosize": True,
            "xaxis": {**axis, "anchor": "y2"},
            "yaxis": axis,
            "yaxis2": axis,
            "yaxis3": {**axis, "overlaying": "y"},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "annotations": [sentence(text, palette)] if text else [],
            "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        },
    }


def sentence(text: str, palette: Palette) -> dict[str, Any]:
    """In the middle of where the chart would be."""
    return {
        "text": text,
        "showarrow": False,
        "xref": "paper",
        "yref": "paper",
        "x": 0.5,
        "y": 0.5,
        "font": {"family": FONT, "size": 13, "color": palette.muted},
    }
