"""Small charts of all that a run logs, found by a part of their name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import dash
from dash import Input, Output, State, dcc, html
from dash.development.base_component import Component

from app.dashboard.components import card, graph, named, value_text
from app.dashboard.figures.metric import metric_figure
from app.dashboard.figures.spoken import spoken_curve
from app.dashboard.readings.charts import read_metrics
from app.dashboard.readings.run import RunReading
from app.dashboard.theme import Display
from app.runs import Points, Series
from app.storage.database import Database

METRICS_AT_ONCE = 12
MOST_METRICS = 300  # charts that a browser still draws; beyond them the search finds the others


def metrics_card(reading: RunReading) -> Component:
    return card(
        "All metrics",
        html.Div(id="run-metrics", className="metrics"),
        tools=[
            named(
                "Search metrics",
                dcc.Input(
                    id="run-metric-search",
                    type="search",
                    placeholder="Search metrics",
                    value="",
                    debounce=0.3,
                    className="search",
                ),
            ),
            html.Button(
                more_text(0, len(reading.series)),
                id="run-metrics-more",
                className="button",
                n_clicks=0,
                hidden=not reading.series,
            ),
            html.Button(
                all_text(0, len(reading.series)),
                id="run-metrics-all",
                className="button",
                n_clicks=0,
                hidden=not all_text(0, len(reading.series)),
            ),
        ],
    )


def register(app: dash.Dash, database: Database) -> None:
    @app.callback(
        Output("run-metrics", "children"),
        Output("run-metrics-more", "children"),
        Output("run-metrics-more", "hidden"),
        Output("run-metrics-all", "children"),
        Output("run-metrics-all", "hidden"),
        Input("run-metrics-more", "n_clicks"),
        Input("run-metrics-all", "n_clicks"),
        Input("run-metric-search", "value"),
        Input("display", "data"),
        Input("run-revision", "data"),
        State("run-id", "data"),
        prevent_initial_call=True,
    )
    async def draw_metrics(
        clicks: int,
        clicks_on_all: int,
        search: str | None,
        display: Mapping[str, Any] | None,
        _revision: str,
        run_id: str,
    ) -> Sequence[object]:
        shown = MOST_METRICS if clicks_on_all else min(METRICS_AT_ONCE * (clicks + bool(search)), MOST_METRICS)
        return await asyncio.to_thread(
            _metrics, database, run_id, (search or "").strip(), shown, Display.from_browser(display)
        )


def _metrics(
    database: Database, run_id: str, search: str, limit: int, display: Display
) -> tuple[list[Component], str, bool, str, bool]:
    shown, total = read_metrics(database, run_id, search, limit)
    if search and not total:
        return [html.P("No metric of that name.", className="muted")], "", True, "", True
    cards = [metric_card(series, points, display) for series, points in shown]
    if len(shown) == MOST_METRICS < total:
        rest = html.P(f"{total - MOST_METRICS:,} more: search for a part of their names.", className="muted")
        return [*cards, rest], "", True, "", True
    in_one = all_text(len(shown), total)
    return cards, more_text(len(shown), total), len(shown) == total, in_one, not in_one


def more_text(shown: int, total: int) -> str:
    """What the button under which metrics wait would show."""
    following = min(total - shown, METRICS_AT_ONCE)
    if shown:
        return f"Show {following} more"
    return f"Show all {total}" if following == total else f"Show {following} of {total}"


def all_text(shown: int, total: int) -> str:
    """What the button beside it would show at once; nothing where that is the same."""
    if total - shown <= METRICS_AT_ONCE:
        return ""
    return f"Show all {total}" if total <= MOST_METRICS else f"Show the first {MOST_METRICS}"


def metric_card(series: Series, points: Points, display: Display) -> Component:
    return html.Figure(
        [
            html.Figcaption(
                [html.Span(series.metric, className="metric-name", title=series.metric), value_text(series.last_value)]
            ),
            graph(
                {"metric": series.id},
                metric_figure(points, display),
                "chart-small",
                spoken=spoken_curve(series.metric, points),
            ),
        ],
        className="metric",
    )
