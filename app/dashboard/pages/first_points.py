"""What the page of a run shows before anything was logged: how to log, under this run's own id."""

from __future__ import annotations

import json
from urllib.parse import quote

import dash
from dash import Input, Output, State, html
from dash.development.base_component import Component

from app.dashboard.components import code_block
from app.dashboard.readings.run import RunReading

DEFAULT_ORIGIN = "http://127.0.0.1:8700"


def page_class(reading: RunReading) -> str:
    """The stylesheet leaves out the parts of the page that have nothing to show yet."""
    return "page page-run" if reading.series else "page page-run nothing-yet"


def waits(reading: RunReading) -> bool:
    return not reading.series and not reading.is_over


def first_points(reading: RunReading) -> Component:
    return html.Div(id="run-start", hidden=not waits(reading))


def register(app: dash.Dash) -> None:
    @app.callback(
        Output("run-start", "children"),
        Input("origin", "data"),
        State("run-id", "data"),
        State("run-project", "data"),
    )
    async def show_how(origin: str | None, run_id: str, project: str) -> Component:
        return how_to_log(origin or DEFAULT_ORIGIN, run_id, project)


def how_to_log(origin: str, run_id: str, project: str) -> Component:
    curl = f"curl '{origin}/api/v1/log/{quote(run_id, safe='')}' -d step=1 -d loss=4.2"
    said = ", ".join(f"{name}={json.dumps(value)}" for name, value in (("url", origin), ("project", project)))
    python = (
        "import losscast\n\n"
        f"losscast.init({said}, id={json.dumps(run_id)})\n"
        'losscast.log({"loss": 4.2, "lr": 3e-4}, step=1)  # in your training loop'
    )
    return html.Section(
        [
            html.H2("Nothing logged yet"),
            html.P("The curve, the forecast and the health of this run appear here with its first numbers."),
            code_block("snippet-curl", "One number, one request", curl),
            code_block("snippet-python", "From Python", python),
        ],
        className="card first-steps",
    )
