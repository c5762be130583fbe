"""Deleting a run from its page: asked for in one place, said by name, done by a second click."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import dash
from dash import Input, Output, State, html
from dash.development.base_component import Component

from app.dashboard.components import aria
from app.errors import NotFound
from app.runs import Run
from app.storage.database import Database
from app.storage.deletion import delete_run
from app.storage.jobs import JobQueue


def deletion(run: Run) -> Component:
    return html.Details(
        [
            html.Summary("Delete run…"),
            html.P(
                [
                    "This deletes ",
                    html.B(run.name),
                    " (",
                    html.Code(run.id),
                    ") and all that belongs to it for good: its points, forecasts, verdicts and alerts. A job that "
                    "still writes to it trains on; what it sends is refused.",
                ]
            ),
            html.Div(
                [
                    html.Button(
                        f"Delete “{run.name}” for good", id="run-delete", className="button button-danger", n_clicks=0
                    ),
                    html.Span(id="run-delete-said", role="status", **aria(live="polite")),
                ],
                className="tools",
            ),
        ],
        className="fold run-deletion",
    )


def register(app: dash.Dash, database: Database) -> None:
    @app.callback(
        Output("url", "pathname"),
        Output("run-delete-said", "children"),
        Input("run-delete", "n_clicks"),
        State("run-id", "data"),
        prevent_initial_call=True,
        running=[(Output("run-delete", "disabled"), True, False)],
    )
    async def delete(clicks: int, run_id: str) -> Sequence[object]:
        if not clicks:  # the button has only come
            return dash.no_update, dash.no_update
        try:
            await asyncio.to_thread(delete_with_all, database, run_id)
        except NotFound:
            return "/", dash.no_update  # somebody else was quicker
        return "/", "Deleted."


def delete_with_all(database: Database, run_id: str) -> None:
    """Delete a run, and have running runs that had listened to it forecast without it. Raises `NotFound`."""
    with database.write() as connection:
        listeners = delete_run(connection, run_id)
    if not listeners:
        return
    jobs = JobQueue(database.url)
    jobs.open()
    try:
        jobs.ask_for_refits(listeners)
    finally:
        jobs.close()
