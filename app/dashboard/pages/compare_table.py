"""Where compared runs stand and where they end, on one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dash import dcc, html
from dash.development.base_component import Component

from app.dashboard.components import (
    BAND_MEANING,
    cut_in_middle,
    data,
    hint,
    range_image,
    run_href,
    status_badge,
    value_text,
)
from app.dashboard.figures.compare import run_colour
from app.dashboard.formatting import MISSING, format_band, format_value
from app.dashboard.glyphs import RangeGlyph
from app.dashboard.pages.run_progress import run_progress
from app.dashboard.readings.compared_runs import ComparedRun
from app.dashboard.theme import Palette
from app.runs import RunStatus

FINAL_MEANING = "Of a run that goes on the median of its forecast and the 90 % band. " + BAND_MEANING
ENDED_MEANING = (
    "Of an ended run where it came to: the mean of the last 2 %, once the worker has concluded it. Until then, "
    "and of metrics that are not forecast, its last value; it says which."
)
SCALE_MEANING = "All runs on one scale. Bar: 90 % band. Tick: median, or where an ended run came to."
BEST_MEANING = "Difference to the best median or end in this list: the lowest of a loss, the highest of an accuracy."


def compare_table(runs: Sequence[ComparedRun], palette: Palette) -> Component:
    heads = [
        ("Run", "", None),
        ("State", "col-state", None),
        ("Progress", "col-progress", None),
        ("Last", "number col-last", "The newest value, one point: noise and all."),
        ("Final", "number col-final", FINAL_MEANING + " " + ENDED_MEANING),
        ("", "col-range", None),
        ("To best", "number col-best", BEST_MEANING),
    ]
    head = html.Tr(
        [
            html.Th(hint(text, meaning) if meaning else text, scope="col", className=name)
            for text, name, meaning in heads
        ]
    )
    ends = [one.predicted for one in runs]
    scale = _scale(ends)
    best = _best(runs)
    rows = [_row(number, one, scale, best, palette) for number, one in enumerate(runs, start=1)]
    return html.Table([html.Thead(head), html.Tbody(rows)], className="table compare-table")


def _best(runs: Sequence[ComparedRun]) -> float | None:
    """The lowest median or end of a loss, the highest of an accuracy; None where there are not two to compare."""
    known = [one.predicted[1] for one in runs if one.is_forecast and one.predicted]
    if len(known) < 2:
        return None
    return max(known) if any(one.rises for one in runs) else min(known)


def _scale(ends: Sequence[tuple[float, float, float] | None]) -> tuple[float, float]:
    known = [value for end in ends if end for value in end]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return low, (high - low) or 1.0


def _row(number: int, one: ComparedRun, scale: tuple[float, float], best: float | None, palette: Palette) -> Component:
    summary, is_over = one.summary, one.run.status is not RunStatus.RUNNING
    colour = run_colour(number, palette)
    swatch = html.Span(str(number), className="swatch-number", style={"background": colour})
    return html.Tr(
        [
            html.Th(
                html.Div(
                    [
                        swatch,
                        dcc.Link(
                            cut_in_middle(one.run.name),
                            href=run_href(one.run.id),
                            className="cut-in-middle",
                            title=one.run.name,
                        ),
                    ],
                    className="compare-name",
                ),
                scope="row",
            ),
            html.Td(status_badge(one.state, one.ended_at), className="col-state"),
            html.Td(
                run_progress(one.run, summary, one.state),
                className="col-progress",
            ),
            html.Td(value_text(one.last_value), className="number col-last", **data(label="Last")),
            html.Td(_final(one, is_over), className="number col-final", **data(label="Final")),
            html.Td(_place(one, scale, colour), className="col-range"),
            html.Td(_to_best(one, best), className="number col-best", **data(label="To best")),
        ]
    )


def _final(one: ComparedRun, is_over: bool) -> Component | str:
    if one.predicted is None:
        if is_over and one.ended_at is not None:
            kind = html.Span(_kind_of_end(one), className="muted")
            return html.Div([value_text(one.ended_at), kind], className="pair-cell")
        return html.Span(MISSING, className="muted", title="No forecast yet")
    low, middle, high = one.predicted
    beside = _kind_of_end(one) if is_over else format_band(low, high)
    return html.Div([html.B(format_value(middle)), html.Span(beside, className="muted")], className="pair-cell")


def _kind_of_end(one: ComparedRun) -> str:
    return "ended" if one.is_level else "last value"


def _place(one: ComparedRun, scale: tuple[float, float], colour: str) -> Component | None:
    """The band on the scale of all runs, in the colour of this one."""
    if one.predicted is None:
        return None
    return html.Div(range_image(_range(one.predicted, scale), SCALE_MEANING), style={"--accent": colour})


def _range(end: tuple[float, float, float], scale: tuple[float, float]) -> RangeGlyph:
    low, middle, high = (round(4 + 92 * (value - scale[0]) / scale[1], 2) for value in end)
    return RangeGlyph(low, middle, high, None)


def _to_best(one: ComparedRun, best: float | None) -> str:
    if best is None or not one.is_forecast or one.predicted is None or not math.isfinite(one.predicted[1]):
        return MISSING
    difference = one.predicted[1] - best
    return "best" if difference == 0 else f"{difference:+#.2g}".replace("-", "−")
