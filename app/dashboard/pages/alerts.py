"""All alerts: open ones first."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import dash
from dash import Input, Output, State, dcc, html
from dash.development.base_component import Component

from app.dashboard.components import alert_item, data, severest_first
from app.dashboard.readings.alerts import ALERTS_SHOWN, read_alerts
from app.runs import AlertState, StoredAlert
from app.storage.database import Database

OVER_MEANING = "What was wrong when these runs ended. A run that is taken up again has its alerts open again."


def layout() -> Component:
    return html.Div(
        [
            dcc.Interval(id="alerts-tick", interval=2000),
            dcc.Store(id="alerts-revision"),
            html.Div([html.H1("Alerts"), html.P(id="alerts-count", className="muted")], className="title-row"),
            html.Div(id="alerts-list"),
        ],
        className="page page-alerts",
        **data(tick="alerts-tick"),
    )


def register(app: dash.Dash, database: Database) -> None:
    """The page's callbacks."""

    @app.callback(
        Output("alerts-list", "children"),
        Output("alerts-count", "children"),
        Output("alerts-revision", "data"),
        Output("notice", "children", allow_duplicate=True),
        Input("alerts-tick", "n_intervals"),
        State("alerts-revision", "data"),
        prevent_initial_call="initial_duplicate",
    )
    async def show_alerts(_ticks: int | None, revision: str | None) -> Sequence[object]:
        open_ones, others = await asyncio.to_thread(read_alerts, database)
        newest = str(
            [
                (alert.id, alert.state.value, alert.resolved_at and alert.resolved_at.isoformat())
                for alert in open_ones + others
            ]
        )
        if newest == revision:
            return dash.no_update, dash.no_update, dash.no_update, None
        return alert_lists(open_ones, others, datetime.now(UTC)), count_text(open_ones), newest, None


def count_text(open_ones: Sequence[StoredAlert]) -> str:
    return f"{len(open_ones)}{'+' if len(open_ones) >= ALERTS_SHOWN else ''} open" if open_ones else "None open"


def alert_lists(open_ones: Sequence[StoredAlert], others: Sequence[StoredAlert], now: datetime) -> list[Component]:
    if not open_ones and not others:
        return [
            html.Div(
                [
                    html.H2("Nothing has gone wrong yet"),
                    html.P(
                        "An alert opens when a loss is no longer a number, or a run diverges, is likely to, does not "
                        "learn, overfits or collapses. It resolves by itself once that has passed, and shows on its "
                        "run too."
                    ),
                ],
                className="empty card",
            )
        ]
    return [
        html.Section(
            [
                html.H2(title),
                html.P(meaning, className="muted") if meaning else None,
                html.Ul([alert_item(alert, now, with_run=True) for alert in alerts], className="alerts"),
            ]
        )
        for title, meaning, alerts in (
            ("Open", None, severest_first(open_ones)),
            ("Of runs that are over", OVER_MEANING, [alert for alert in others if alert.state is AlertState.RUN_OVER]),
            ("Resolved", None, [alert for alert in others if alert.state is AlertState.RESOLVED]),
        )
        if alerts
    ]
