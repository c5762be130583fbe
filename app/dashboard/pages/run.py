"""One run: where it is, where it is going, how sure that is, and what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import dash
from dash import Input, Output, State, dcc, html
from dash.development.base_component import Component

from app.calculations import Calculations
from app.dashboard.components import alert_item, card, data, hint
from app.dashboard.pages import first_points, run_chart, run_deletion, run_history, run_metrics, what_if
from app.dashboard.pages.health import health_report
from app.dashboard.pages.other_forecasts import other_forecasts
from app.dashboard.pages.run_chart import chart_card, metric_options
from app.dashboard.pages.run_grounds import details, grounds
from app.dashboard.pages.run_head import banner, header
from app.dashboard.pages.run_history import history_card
from app.dashboard.pages.run_metrics import metrics_card
from app.dashboard.pages.run_tiles import tiles
from app.dashboard.pages.what_if import what_if_card
from app.dashboard.readings.run import RunReading, read_revision, read_run
from app.storage.database import Database


def layout(reading: RunReading, worth: Component) -> Component:
    """`worth` says whether the run is worth going on with."""
    return html.Div(
        [
            dcc.Interval(id="run-tick", interval=2000),
            dcc.Store(id="run-id", data=reading.run.id),
            dcc.Store(id="run-project", data=reading.run.project),
            dcc.Store(id="run-revision", data=reading.revision),
            dcc.Store(id="run-view"),
            html.Div(header(reading), id="run-head"),
            html.Div(banner(reading), id="run-banner"),
            first_points.first_points(reading),
            worth,
            html.Div(tiles(reading), id="run-tiles", className="tiles"),
            chart_card(reading),
            html.Div(what_if_card(), id="run-what-if", hidden=not reading.may_go_on),
            html.Div(
                [
                    card(
                        hint("Health", "What broke, what is about to, and what only looked like it."),
                        html.Div(health_report(reading), id="run-health", className="health"),
                    ),
                    history_card(),
                    card("Other forecasts", html.Div(other_forecasts(reading), id="run-others")),
                    card("Alerts", html.Div(alert_list(reading), id="run-alerts")),
                    card("What the forecast rests on", html.Div(grounds(reading), id="run-grounds")),
                    card(
                        "Restarts and settings",
                        html.Div(details(reading), id="run-details"),
                        run_deletion.deletion(reading.run),
                        class_name="card-settings",
                    ),
                ],
                className="columns",
            ),
            metrics_card(reading),
        ],
        id="run-page",
        className=first_points.page_class(reading),
        **data(tick="run-tick"),
    )


def register(
    app: dash.Dash, database: Database, ask_for_refit: Callable[[set[str]], None], what_ifs: Calculations
) -> None:
    """The page's callbacks. The revision decides what is read again: most ticks ask for it, and stop."""
    what_if.register(app, database, what_ifs)
    run_deletion.register(app, database, ask_for_refit)
    run_chart.register(app, database)
    first_points.register(app)
    run_history.register(app, database)
    run_metrics.register(app, database)

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
        Output("run-start", "hidden"),
        Output("run-page", "className"),
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
            not first_points.waits(reading),
            first_points.page_class(reading),
        )


def alert_list(reading: RunReading) -> Component:
    if not reading.alerts:
        return html.P("None so far.", className="muted")
    ordered = sorted(reading.alerts, key=lambda alert: alert.resolved_at is not None)  # stable: newest first in each
    return html.Ul([alert_item(alert, reading.now, with_run=False) for alert in ordered], className="alerts")
