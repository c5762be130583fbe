"""What is written and ruled across the main chart of a run: the cutoff, restarts, what the axis cuts off."""

from __future__ import annotations

from typing import Any

from app.dashboard.figures.loss_chart import LossChart
from app.dashboard.figures.loss_view import ValuesInView, steps_in_view
from app.dashboard.formatting import chart_text, format_step, format_value
from app.dashboard.theme import Display, Palette, translucent

LABELLED_RESTARTS = 6  # more labels than this would cover each other
LABEL_OPACITY = 0.8  # of the ground of a label, so that a line behind it does not cross it out
NOTE_REACHES = 0.3  # of the width: the note on what is cut off, with the length of a label that ends before it
NOTE_REACHES_NARROW = 0.45
NOTE_LINE = 0.06  # of the height of the chart, between two notes


def cut_off_note(worst: float, chart: LossChart, display: Display, *, bottom: float) -> dict[str, Any]:
    if chart.rises:
        text = f"{'↓' if display.narrow else '↓ the start lies below:'} down to {format_value(worst)}"
    else:
        text = f"{'↑' if display.narrow else '↑ the start lies above:'} up to {format_value(worst)}"
    return {
        "text": text,
        "xref": "paper",
        "yref": "paper",
        "x": 0.09,
        "y": bottom + 0.015
        if chart.rises
        else 0.87
        if _is_forecast_from_the_left(chart, narrow=display.narrow)
        else 0.985,
        "xanchor": "left",
        "yanchor": "bottom" if chart.rises else "top",
        "showarrow": False,
        "bgcolor": translucent(display.palette.surface, LABEL_OPACITY),
        "font": {"size": 11, "color": display.palette.muted},
    }


def beyond_notes(values: ValuesInView, chart: LossChart, display: Display, *, bottom: float) -> list[dict[str, Any]]:
    """Where a line that runs out of the chart has come to, in its colour, beside its newest step."""
    low, high = steps_in_view(chart)
    colours = dict(zip(chart.others, display.palette.others, strict=False))
    notes = []
    for place, (metric, newest) in enumerate(values.beyond.items()):
        is_above = newest > values.high
        step = float(min(chart.others[metric].steps[-1], high))
        is_late = step > low + 0.5 * (high - low)
        # Late, it ends before the cutoff; early, it stands below what is written to the right of that.
        top = (0.93 if is_late else 0.8) - NOTE_LINE * place
        word = "" if display.narrow else " lies above," if is_above else " lies below,"
        notes.append(
            {
                "text": f"{'↑' if is_above else '↓'} {chart_text(metric)}{word} at {format_value(newest)}",
                "xref": "x",
                "yref": "paper",
                "x": step,
                "y": top if is_above else bottom + 0.015 + NOTE_LINE * (place + 1),
                "xanchor": "right" if is_late else "left",
                "yanchor": "top" if is_above else "bottom",
                "xshift": -5 if is_late else 5,
                "showarrow": False,
                "bgcolor": translucent(display.palette.surface, LABEL_OPACITY),
                "font": {"size": 11, "color": colours.get(metric, display.palette.muted)},
            }
        )
    return notes


def _is_forecast_from_the_left(chart: LossChart, *, narrow: bool) -> bool:
    """Whether the mark of the cutoff is named where the note on the start stands."""
    forecast = chart.forecast
    if forecast is None or forecast.horizon <= forecast.cutoff:
        return False
    low, high = steps_in_view(chart)
    return low <= forecast.cutoff < low + (NOTE_REACHES_NARROW if narrow else NOTE_REACHES) * (high - low)


def cutoff_mark(chart: LossChart, display: Display) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Where knowing ends and predicting begins."""
    forecast = chart.forecast
    if forecast is None or forecast.horizon <= forecast.cutoff:
        return [], []
    label = "forecast" if display.narrow else f"forecast from {format_step(forecast.cutoff)}"
    return _upright(forecast.cutoff, label, "dot", display.palette, chart)


def restart_marks(chart: LossChart, palette: Palette) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    shapes: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for restart in chart.restarts:
        label = f"restart {restart.number - 1}" if len(chart.restarts) <= LABELLED_RESTARTS else ""
        more_shapes, more_annotations = _upright(restart.step, label, "dash", palette, chart, high=False)
        shapes += more_shapes
        annotations += more_annotations
    return shapes, annotations


def _upright(
    step: float, label: str, dash: str, palette: Palette, chart: LossChart, *, high: bool = True
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A vertical line through all panels, with its label inside the chart."""
    low_step, high_step = steps_in_view(chart)
    line = {
        "type": "line",
        "xref": "x",
        "yref": "paper",
        "x0": step,
        "x1": step,
        "y0": 0,
        "y1": 1,
        "line": {"color": palette.muted, "width": 1, "dash": dash},
        "layer": "below",
    }
    if not label or not low_step <= step <= high_step:
        return [line], []
    on_the_right = step < low_step + 0.72 * (high_step - low_step)
    text = {
        "text": label,
        "xref": "x",
        "yref": "paper",
        "x": step,
        "y": 1.0 if high else 0.93,
        "xanchor": "left" if on_the_right else "right",
        "yanchor": "top",
        "xshift": 5 if on_the_right else -5,
        "showarrow": False,
        "bgcolor": translucent(palette.surface, LABEL_OPACITY),
        "font": {"size": 11, "color": palette.muted},
    }
    return [line], [text]
