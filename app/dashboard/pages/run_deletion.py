"""Deleting a run from its page: asked for in one place, said by name, done by a second click."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import dash
from dash import Input, Output, State, html
from dash.development.base_component import Component

from app.errors import NotFound
from app.runs import Run
from app.storage.database import Database
from app.storage.deletion import delete_run
from app.storage.runs import get_run


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
            html.Button(f"Delete “{run.name}” for good", id="run-delete", className="button button-danger", n_clicks=0),
        ],
        className="fold run-deletion",
    )


def register(app: dash.Dash, database: Database, ask_for_refit: Callable[[set[str]], None]) -> None:
    @app.callback(
        Output("url", "pathname"),
        Output("farewell", "data", allow_duplicate=True),
        Input("run-delete", "n_clicks"),
        State("run-id", "data"),
        prevent_initial_call=True,
        running=[(Output("run-delete", "disabled"), True, False)],
    )
    async def delete(clicks: int, run_id: str) -> Sequence[object]:
        if not clicks:  # the button has only come
            return dash.no_update, dash.no_update
        try:
            run, listeners = await asyncio.to_thread(_deleted, database, run_id)
        except NotFound:
            return "/", f"Run {run_id} had already been deleted."
        # Their forecasts have heard the run: they are made again without it.
        ask_for_refit(set(listeners))
        return "/", f"Deleted run {_said(run)}."


def _deleted(database: Database, run_id: str) -> tuple[Run, list[str]]:
    """The run as it was, and the running runs that have listened to it. Raises `NotFound`."""
    with database.write() as connection:
        return get_run(connection, run_id), delete_run(connection, run_id)


def _said(run: Run) -> str:
    return run.id if run.name == run.id else f"“{run.name}” ({run.id})"
