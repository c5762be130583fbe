"""The forecasts of a run beside that of its main loss: other losses, and accuracies."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from app.curves.broken import is_broken
from app.dashboard.components import BAND_MEANING, Children, aria, ending, hint, value_text
from app.dashboard.formatting import MISSING, format_band, format_percent, format_value
from app.dashboard.readings.run import OtherForecast, RunReading

BEST_MEANING = (
    "The lowest level of a loss, the highest of an accuracy. Each is a mean over some points: one point, as the last, "
    "may lie beyond it."
)
CHANCE_MEANING = "Chance of a level better than the best so far, at any step before the end, by the network."

HEAD: tuple[tuple[Children, str], ...] = (
    ("Metric", ""),
    ("last point", "number col-now"),
    (hint("best level", BEST_MEANING), "number"),
    (["at the end, ", hint("90 %", BAND_MEANING)], "number"),
    (hint("new best", CHANCE_MEANING), "number"),
)


def other_forecasts(reading: RunReading) -> Component:
    """A table, or in words why there is none."""
    if not reading.others:
        return html.P("No other loss and no accuracy of this run is forecast.", className="muted")
    return html.Div(
        html.Table(
            [
                html.Thead(html.Tr([html.Th(words, scope="col", className=look) for words, look in HEAD])),
                html.Tbody([_row(reading, other) for other in reading.others]),
            ],
            className="table",
            **aria(label="Other forecasts"),
        ),
        className="table-box other-forecasts",
    )


def _row(reading: RunReading, other: OtherForecast) -> Component:
    forecast, series = other.forecast, reading.series_of(other.forecast.metric)
    has_future = not (reading.is_over or reading.is_broken or is_broken(series.last_value if series else None))
    better = "higher is better" if forecast.rises else "lower is better"
    return html.Tr(
        [
            html.Th(
                [
                    html.Code(forecast.metric, className="metric-name", title=forecast.metric),
                    html.Span("↑" if forecast.rises else "↓", className="direction", title=better),
                ],
                scope="row",
            ),
            html.Td(value_text(series.last_value if series else None), className="number col-now"),
            html.Td(MISSING if other.best is None else format_value(other.best), className="number"),
            html.Td(
                _at_the_end(other, has_future=has_future),
                className="number",
            ),
            html.Td(
                format_percent(forecast.improvement) if has_future and forecast.improvement is not None else MISSING,
                className="number",
            ),
        ]
    )


def _at_the_end(other: OtherForecast, *, has_future: bool) -> Component | str:
    """Where it came to, or is heading: nowhere that could be told once it, or the run's main metric, is NaN."""
    if other.end is not None:
        return ending(other.end)
    if not has_future:
        return MISSING
    final = other.forecast.final_quantiles
    return html.Div(
        [html.B(format_value(final[0.5])), html.Span(format_band(final[0.05], final[0.95]), className="muted")],
        className="pair-cell",
    )
