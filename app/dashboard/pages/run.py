"""One run: where it is, where it is going, how sure that is, and what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dash
from dash import Input, Output, State, dcc, html
from dash.development.base_component import Component

from app.calculations import Calculations
from app.curves.roles import FORECAST_ROLES
from app.dashboard.clientside import in_browser
from app.dashboard.components import (
    alert_item,
    card,
    choice,
    data,
    graph,
    hint,
    named,
    value_text,
)
from app.dashboard.figures.empty import empty_figure
from app.dashboard.figures.loss import loss_figure
from app.dashboard.figures.loss_chart import LossChart, Scale
from app.dashboard.figures.metric import metric_figure
from app.dashboard.pages import run_deletion, what_if
from app.dashboard.pages.health import health_report
from app.dashboard.pages.other_forecasts import other_forecasts
from app.dashboard.pages.run_grounds import details, grounds
from app.dashboard.pages.run_head import banner, header
from app.dashboard.pages.run_history import history
from app.dashboard.pages.run_tiles import tiles
from app.dashboard.pages.what_if import what_if_card
from app.dashboard.readings.charts import read_chart, read_metrics
from app.dashboard.readings.run import RunReading, read_revision, read_run
from app.dashboard.theme import Display
from app.runs import Points, Series
from app.storage.database import Database

GRAPH_CONFIG: Any = {
    "displaylogo": False,
    "responsive": True,
    "doubleClick": "autosize",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d", "pan2d", "resetScale2d"],
    "toImageButtonOptions": {"format": "svg", "filename": "losscast"},
}


METRICS_AT_ONCE = 12


def layout(reading: RunReading, worth: Component) -> Component:
    """`worth` says whether the run is worth going on with."""
    return html.Div(
        [
            dcc.Interval(id="run-tick", interval=2000),
            dcc.Store(id="run-id", data=reading.run.id),
            dcc.Store(id="run-revision", data=reading.revision),
            dcc.Store(id="run-view"),
            html.Div(header(reading), id="run-head"),
            html.Div(banner(reading), id="run-banner"),
            worth,
            html.Div(tiles(reading), id="run-tiles", className="tiles"),
            card(
                "Curve and forecast",
                graph("run-chart", empty_figure(), "chart-main", config=GRAPH_CONFIG),
                html.Div(
                    [
                        html.Span("Drag along the steps to zoom in at full resolution.", className="needs-mouse"),
                        html.Span(
                            [
                                html.Button(
                                    "Latest 10 %", id="run-latest", className="button button-small", n_clicks=0
                                ),
                                html.Button("Whole run", id="run-whole", className="button button-small", n_clicks=0),
                            ],
                            className="tools",
                        ),
                    ],
                    className="chart-help muted",
                ),
                tools=chart_tools(reading),
                class_name="card-chart",
            ),
            html.Div(what_if_card(), id="run-what-if", hidden=not reading.may_go_on),
            html.Div(
                [
                    card(
                        hint("Health", "What broke, what is about to, and what only looked like it."),
                        html.Div(health_report(reading), id="run-health", className="health"),
                    ),
                    card(
                        hint("How the forecast moved", "Each forecast is kept. This is what was predicted, and when."),
                        html.Div(id="run-history-note", className="muted"),
                        html.Div(graph("run-history", empty_figure(), "chart-history"), id="run-history-box"),
                    ),
                    card("Other forecasts", html.Div(other_forecasts(reading), id="run-others")),
                    card("Alerts", html.Div(alert_list(reading), id="run-alerts")),
                    card("What the forecast rests on", html.Div(grounds(reading), id="run-grounds")),
                    card(
                        "Restarts and settings",
                        html.Div(details(reading), id="run-details"),
                        run_deletion.deletion(reading.run),
                    ),
                ],
                className="columns",
            ),
            card(
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
                ],
            ),
        ],
        className="page page-run",
        **data(tick="run-tick"),
    )


def chart_tools(reading: RunReading) -> list[Component]:
    return [
        named(
            "Metric",
            dcc.Dropdown(
                id="run-metric",
                options=metric_options(reading),
                value=reading.metric,
                placeholder="No metric yet",
                clearable=False,
                className="metric-select",
            ),
        ),
        choice(
            "run-scale",
            "Scale of the upper axis",
            [(Scale.FOCUS, "Focus"), (Scale.FULL, "Full"), (Scale.LOG, "Log")],
            Scale.FOCUS,
        ),
        dcc.Checklist(
            id="run-smooth", options=[{"value": "smooth", "label": "Smooth"}], value=[], className="choice choice-one"
        ),
    ]


def metric_options(reading: RunReading) -> list[dict[str, str]]:
    """What is forecast first: it is what people come for."""
    order = {role: place for place, role in enumerate(FORECAST_ROLES)}
    names = [series.metric for series in reading.series]
    return [
        {"value": name, "label": name, "title": name}
        for name in sorted(
            names, key=lambda name: (name != reading.metric, order.get(reading.roles.get(name, ""), len(order)))
        )
    ]


def register(
    app: dash.Dash, database: Database, ask_for_refit: Callable[[set[str]], None], what_ifs: Calculations
) -> None:
    """The page's callbacks. The revision decides what is read again; most ticks read three rows and stop."""
    what_if.register(app, database, what_ifs)
    run_deletion.register(app, database, ask_for_refit)
    in_browser(
        app,
        "zoomed",
        Output("run-view", "data"),
        Input("run-chart", "relayoutData"),
        Input("run-whole", "n_clicks"),
        Input("run-latest", "n_clicks"),
        State("run-chart", "figure"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output("run-revision", "data"),
        Output("notice", "children", allow_duplicate=True),
        Input("run-tick", "n_intervals"),
        State("run-id", "data"),
        State("run-revision", "data"),
        prevent_initial_call=True,
    )
    async def look_for_news(_ticks: int | None, run_id: str, revision: str | None) -> Sequence[object]:
        newest = await asyncio.to_thread(read_revision, database, run_id)
        return dash.no_update if newest == revision else newest, None

    @app.callback(
        Output("run-head", "children"),
        Output("run-banner", "children"),
        Output("run-tiles", "children"),
        Output("run-health", "children"),
        Output("run-alerts", "children"),
        Output("run-grounds", "children"),
        Output("run-others", "children"),
        Output("run-details", "children"),
        Output("run-metric", "options"),
        Output("run-what-if", "hidden"),
        Input("run-revision", "data"),
        State("run-id", "data"),
        prevent_initial_call=True,
    )
    async def show_run(_revision: str, run_id: str) -> Sequence[object]:
        reading = await asyncio.to_thread(read_run, database, run_id)
        return (
            header(reading),
            banner(reading),
            tiles(reading),
            health_report(reading),
            alert_list(reading),
            grounds(reading),
            other_forecasts(reading),
            details(reading),
            metric_options(reading),
            not reading.may_go_on,
        )

    @app.callback(
        Output("run-chart", "figure"),
        Input("run-revision", "data"),
        Input("run-metric", "value"),
        Input("run-scale", "value"),
        Input("run-smooth", "value"),
        Input("run-view", "data"),
        Input("display", "data"),
        State("run-id", "data"),
    )
    async def draw_chart(
        _revision: str,
        metric: str | None,
        scale: str,
        smooth: Sequence[str],
        view: Sequence[float] | None,
        display: Mapping[str, Any] | None,
        run_id: str,
    ) -> object:
        steps = (float(view[0]), float(view[1])) if view else None
        return await asyncio.to_thread(
            _chart, database, run_id, metric, steps, Scale(scale), bool(smooth), Display.from_browser(display)
        )

    @app.callback(
        Output("run-history", "figure"),
        Output("run-history-note", "children"),
        Output("run-history-box", "hidden"),
        Input("run-revision", "data"),
        Input("run-metric", "value"),
        Input("display", "data"),
        State("run-id", "data"),
    )
    async def draw_history(
        _revision: str, metric: str | None, display: Mapping[str, Any] | None, run_id: str
    ) -> Sequence[object]:
        return await asyncio.to_thread(history, database, run_id, metric, Display.from_browser(display))

    @app.callback(
        Output("run-metrics", "children"),
        Output("run-metrics-more", "children"),
        Output("run-metrics-more", "hidden"),
        Input("run-metrics-more", "n_clicks"),
        Input("run-metric-search", "value"),
        Input("display", "data"),
        Input("run-revision", "data"),
        State("run-id", "data"),
        prevent_initial_call=True,
    )
    async def draw_metrics(
        clicks: int, search: str | None, display: Mapping[str, Any] | None, _revision: str, run_id: str
    ) -> Sequence[object]:
        shown = METRICS_AT_ONCE * (clicks + bool(search))
        return await asyncio.to_thread(
            _metrics, database, run_id, (search or "").strip(), shown, Display.from_browser(display)
        )


def _chart(
    database: Database,
    run_id: str,
    metric: str | None,
    view: tuple[float, float] | None,
    scale: Scale,
    smooth: bool,
    display: Display,
) -> object:
    reading = read_chart(database, run_id, metric, view)
    if reading is None:
        return empty_figure("Nothing logged yet", display.palette)
    chart = LossChart(
        metric=reading.metric,
        points=reading.points,
        others=reading.others,
        forecast=reading.forecast,
        rate=reading.rate,
        unlogged_rate=reading.unlogged_rate,
        restarts=reading.restarts,
        last_step=reading.last_step,
        view=view,
        scale=scale,
        smooth=smooth,
        rises=reading.rises,
    )
    return loss_figure(chart, display)


def _metrics(
    database: Database, run_id: str, search: str, limit: int, display: Display
) -> tuple[list[Component], str, bool]:
    shown, total = read_metrics(database, run_id, search, limit)
    if search and not total:
        return [html.P("No metric of that name.", className="muted")], "", True
    cards = [metric_card(series, points, display) for series, points in shown]
    return cards, more_text(len(shown), total), len(shown) == total


def more_text(shown: int, total: int) -> str:
    """What the button under which metrics wait would show."""
    following = min(total - shown, METRICS_AT_ONCE)
    if shown:
        return f"Show {following} more"
    return f"Show all {total}" if following == total else f"Show {following} of {total}"


def metric_card(series: Series, points: Points, display: Display) -> Component:
    return html.Figure(
        [
            html.Figcaption(
                [html.Span(series.metric, className="metric-name", title=series.metric), value_text(series.last_value)]
            ),
            graph({"metric": series.id}, metric_figure(points, display), "chart-small"),
        ],
        className="metric",
    )


def alert_list(reading: RunReading) -> Component:
    if not reading.alerts:
        return html.P("None so far.", className="muted")
    ordered = sorted(reading.alerts, key=lambda alert: alert.resolved_at is not None)  # stable: newest first in each
    return html.Ul([alert_item(alert, reading.now, with_run=False) for alert in ordered], className="alerts")
