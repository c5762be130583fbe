"""What to look at when a diagnosis speaks: its metrics around the event, or over the run, in drawings of a few lines.

A line is a mask over a block of colour, as in `app.dashboard.glyphs`; names, numbers and steps are text of the page.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from app.diagnostics.event import Event, Severity
from app.runs import Points, Series
from app.storage import points
from app.storage.diagnoses import Health

PLOTTED = 3
"""Events of a run that are drawn: the open ones, the worst first, then the newest of the others."""

WIDTH, HEIGHT = 320, 72  # of the view box
POINTS_A_LINE = 240
MOST_LINES = 3

AROUND = 2.0
"""Widths of an event shown before and after it, and at least so many logged points:"""
FEWEST_AROUND = 40

LOGARITHMIC = 20.0
"""From this ratio of the ends on, the height is the logarithm of the value."""

SHARES = ("train_accuracy", "val_accuracy", "top_share", "dead_fraction")
"""Signals between 0 and 1, which have no orders of magnitude."""

Panel = tuple[str, ...]

PANELS: Mapping[str, tuple[Panel, ...]] = MappingProxyType(
    {
        "overfit": (("train_loss", "val_loss"),),
        "memorised": (("train_accuracy", "val_accuracy"), ("train_loss", "val_loss")),
        "grokking": (("train_accuracy", "val_accuracy"), ("train_loss", "val_loss")),
        "ungrokking": (("train_accuracy", "val_accuracy"), ("train_loss", "val_loss")),
        "dimensional_collapse": (("feature_rank",), ("top_share",), ("loss",)),
        "rank_loss": (("feature_rank",), ("loss",)),
        "neural_collapse": (("nc1",), ("nc2",), ("nc3",)),
        "mode_collapse": (("modes",), ("sample_spread",)),
        "dead": (("loss",), ("grad_norm",), ("dead_fraction",)),
        "plateau": (("loss",), ("lr",)),
    }
)
"""Kind -> the signals of each drawing, over the whole run: these are judged by how they have come along."""

BESIDE = (("loss",), ("grad_norm",))
"""Of the other kinds, beside the metrics that decided, around the event."""


@dataclass(frozen=True, slots=True)
class PlottedLine:
    name: str
    mask: str


@dataclass(frozen=True, slots=True)
class PlottedPanel:
    """Lines over one height: from `low` to `high`, as their logarithm where `is_logarithmic`."""

    lines: tuple[PlottedLine, ...]
    low: float
    high: float
    is_logarithmic: bool


@dataclass(frozen=True, slots=True)
class EventPlot:
    """Drawings of one event, one below the other, over the same steps.

    begin, end : where the event shows, and where it was over or the run is now, in percent of the width
    """

    first_step: int
    last_step: int
    begin: float
    end: float
    panels: tuple[PlottedPanel, ...]


def read_event_plots(
    connection: Connection, run_id: str, health: Health | None, series: Sequence[Series]
) -> dict[str, EventPlot]:
    """Event -> its drawings, for those worth drawing. Reads some hundred points of some metrics."""
    if health is None:
        return {}
    known = {one.metric: one for one in series if one.points}
    plots = {}
    for event in worth_drawing(health.events)[:PLOTTED]:
        panels = metrics_of(event, health.watched, known)
        if not panels:
            continue
        first, last = shown_steps(event, [known[metric] for panel in panels for metric in panel], health.read_to)
        read = {
            metric: points.read_points(
                connection, run_id, metric, from_step=first, to_step=last, max_points=POINTS_A_LINE
            )
            for panel in panels
            for metric in panel
        }
        shares = {health.watched[signal] for signal in SHARES if signal in health.watched}
        plot = drawn(event, panels, read, first, last, shares)
        if plot is not None:
            plots[event.id] = plot
    return plots


def worth_drawing(events: Sequence[Event]) -> list[Event]:
    severities = list(Severity)
    open_ones = [event for event in events if event.is_open]
    return [
        *sorted(open_ones, key=lambda event: (-severities.index(event.severity), event.raised_at)),
        *reversed([event for event in events if not event.is_open]),
    ]


def metrics_of(event: Event, watched: Mapping[str, str], known: Mapping[str, Series]) -> list[list[str]]:
    """The metrics of each drawing; what is not logged is left out, and nothing is drawn twice."""
    loss = watched.get("train_loss", watched.get("val_loss", ""))
    by_signal = {"loss": loss, **watched}
    over_the_run = PANELS.get(event.kind)
    wanted = over_the_run if over_the_run is not None else (*BESIDE, *((metric,) for metric in event.inputs))
    panels: list[list[str]] = []
    for panel in wanted:
        drawn_already = {metric for one in panels for metric in one}
        names = dict.fromkeys(by_signal.get(signal, signal) for signal in panel)
        metrics = [name for name in names if name in known and name not in drawn_already]
        if metrics:
            panels.append(metrics[:MOST_LINES])
    return panels[:MOST_LINES]


def shown_steps(event: Event, series: Sequence[Series], read_to: int | None = None) -> tuple[int, int]:
    """All of them, or those around the event.

    What was not read is not shown: a step far beyond all others (`app.curves.strays`), and negative ones beside others.
    """
    ends = [_span(one, read_to) for one in series]
    first, last = min(begin for begin, _ in ends), max(end for _, end in ends)
    if event.kind in PANELS:
        return first, last
    begin, end = min(event.step, event.raised_at), max(event.raised_at, event.resolved_at or event.raised_at)
    densest = min((ends[at][1] - ends[at][0]) / max(one.points - 1, 1) for at, one in enumerate(series))
    air = math.ceil(max(AROUND * (end - begin), FEWEST_AROUND * densest, 1.0))
    return max(first, begin - air), min(last, end + air)


def _span(series: Series, read_to: int | None) -> tuple[int, int]:
    first, last = series.first_step or 0, series.last_step or 0
    if read_to is not None:
        last = min(last, read_to)
    return max(first, 0) if last >= 0 else first, last


def drawn(
    event: Event,
    panels: Sequence[Sequence[str]],
    read: Mapping[str, Points],
    first: int,
    last: int,
    shares: Collection[str] = (),
) -> EventPlot | None:
    """None where nothing finite is there to draw. `shares`: metrics that lie between 0 and 1."""
    asked = (({name: read[name] for name in metrics}, set(metrics) <= set(shares)) for metrics in panels)
    found = [panel for lines, are_shares in asked if (panel := _panel(lines, first, last, are_shares))]
    if not found or last <= first:
        return None
    end = last if event.resolved_at is None else event.resolved_at
    return EventPlot(first, last, _percent(event.step, first, last), _percent(end, first, last), tuple(found))


def _percent(step: int, first: int, last: int) -> float:
    return round(100.0 * min(max((step - first) / (last - first), 0.0), 1.0), 2)


def _panel(read: Mapping[str, Points], first: int, last: int, are_shares: bool) -> PlottedPanel | None:
    finite = np.concatenate([one.values[np.isfinite(one.values)] for one in read.values()])
    if len(finite) < 2 or last <= first:
        return None
    low, high = float(finite.min()), float(finite.max())
    is_logarithmic = low > 0 and high / low > LOGARITHMIC and not are_shares
    lines = []
    for name, one in read.items():
        heights = np.log(one.values, where=one.values > 0, out=np.full(len(one), np.nan)) if is_logarithmic else None
        ends = (math.log(low), math.log(high)) if is_logarithmic else (low, high)
        mask = line_mask(one.steps, one.values if heights is None else heights, first, last, *ends)
        lines.append(PlottedLine(name, mask))
    return PlottedPanel(tuple(lines), low, high, is_logarithmic)


def line_mask(
    steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64], first: int, last: int, low: float, high: float
) -> str:
    """A line that breaks where a value is not finite."""
    x = WIDTH * (steps - first) / (last - first)
    y = 3 + (HEIGHT - 6) * (high - values) / ((high - low) or 1.0)
    pieces = np.split(np.arange(len(steps)), np.flatnonzero(~np.isfinite(values)))
    drawing = ""
    for piece in pieces:
        shown = piece[np.isfinite(values[piece])]
        if len(shown) == 1:
            drawing += f"<circle cx='{x[shown[0]]:.1f}' cy='{y[shown[0]]:.1f}' r='1.5' fill='black'/>"
        elif len(shown):
            coordinates = " ".join(f"{x[i]:.1f},{y[i]:.1f}" for i in shown)
            drawing += (
                f"<polyline points='{coordinates}' fill='none' stroke='black' stroke-width='1.5' "
                "stroke-linejoin='round' vector-effect='non-scaling-stroke'/>"
            )
    svg = (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' preserveAspectRatio='none'>"
        f"{drawing}</svg>"
    )
    return f'url("data:image/svg+xml,{quote(svg, safe="")}")'
