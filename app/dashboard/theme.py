"""Colours of the charts. static/dashboard/styles/01_tokens.css has the same; a test holds the two together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


@dataclass(frozen=True, slots=True)
class Palette:
    """One theme. Lines keep 3:1 and texts 4.5:1 against the surface (WCAG 2.2, AA)."""

    surface: str
    text: str
    muted: str  # axis labels, notes
    grid: str
    loss: str  # the metric in question and its forecast
    others: tuple[str, ...]  # further losses or runs beside it
    rate: str
    critical: str
    warning: str
    outer_opacity: float  # of the 90 % band
    inner_opacity: float  # of the 50 % band, drawn on top of it


LIGHT = Palette(
    surface="#ffffff",
    text="#16202f",
    muted="#4d5a6e",
    grid="#e4e8ee",
    loss="#1b5cc4",
    others=("#b0520a", "#0f766e", "#8a3ab9", "#a1304f", "#5f6b0f"),
    rate="#5b6577",
    critical="#b91c1c",
    warning="#92510a",
    outer_opacity=0.14,
    inner_opacity=0.20,
)

DARK = Palette(
    surface="#161d29",
    text="#e9eef6",
    muted="#a9b5c7",
    grid="#293446",
    loss="#73aaff",
    others=("#f2a35e", "#4fc9b8", "#c99aef", "#f08ba3", "#c2cb62"),
    rate="#a9b5c7",
    critical="#ff8a85",
    warning="#f4b860",
    outer_opacity=0.20,
    inner_opacity=0.26,
)


@dataclass(frozen=True, slots=True)
class Display:
    """What the browser said of itself: its theme, and whether it is as narrow as a phone."""

    palette: Palette = LIGHT
    narrow: bool = False

    @staticmethod
    def from_browser(data: Any) -> Display:
        """The browser may not have spoken yet (None)."""
        said = data if isinstance(data, dict) else {}
        return Display(DARK if said.get("theme") == "dark" else LIGHT, bool(said.get("narrow")))


def translucent(colour: str, opacity: float) -> str:
    """'#1b5cc4', 0.2 -> 'rgba(27, 92, 196, 0.2)'."""
    red, green, blue = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {opacity:g})"
