"""The main chart of a run: the curve, its forecast and the learning rate, as closely as one looks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import dash
from dash import Input, Output, State, dcc, html
from dash.development.base_component import Component

from app.curves.roles import FORECAST_ROLES
from app.dashboard.clientside import in_browser
from app.dashboard.components import card, choice, graph, named
from app.dashboard.figures.empty import empty_figure
from app.dashboard.figures.loss import loss_figure
from app.dashboard.figures.loss_chart import LossChart, Scale
from app.dashboard.figures.spoken import spoken_chart
from app.dashboard.formatting import natural_order
from app.dashboard.readings.charts import read_chart
from app.dashboard.readings.run import RunReading
from app.dashboard.theme import Display
from app.storage.database import Database

GRAPH_CONFIG: Any = {
    "displaylogo": False,
    "responsive": True,
    "doubleClick": "autosize",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d", "pan2d", "resetScale2d"],
    "toImageButtonOptions": {"format": "svg", "filename": "losscast"},
}


def chart_card(reading: RunReading) -> Component:
    return card(
        "Curve and forecast",
        graph("run-chart", empty_figure(), "chart-main", spoken="Curve and forecast", config=GRAPH_CONFIG),
        html.Div(
            [
                html.Span("Drag along the steps to zoom in at full resolution.", className="needs-mouse"),
                html.Span(
                    [
                        html.Button("Latest 10 %", id="run-latest", className="button button-small", n_clicks=0),
                        html.Button("Whole run", id="run-whole", className="button button-small", n_clicks=0),
                    ],
                    className="tools",
                ),
            ],
            className="chart-help muted",
        ),
        tools=chart_tools(reading),
        class_name="card-chart",
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
    names = sorted((series.metric for series in reading.series), key=natural_order)
    return [
        {"value": name, "label": name, "title": name}
        for name in sorted(
            names, key=lambda name: (name != reading.metric, order.get(reading.roles.get(name, ""), len(order)))
        )
    ]


def register(app: dash.Dash, database: Database) -> None:
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
        Output("run-chart", "figure"),
        Output("run-chart-figure", "aria-label"),
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
    ) -> tuple[object, str]:
        steps = (float(view[0]), float(view[1])) if view else None
        return await asyncio.to_thread(
            _chart, database, run_id, metric, steps, Scale(scale), bool(smooth), Display.from_browser(display)
        )


def _chart(
    database: Database,
    run_id: str,
    metric: str | None,
    view: tuple[float, float] | None,
    scale: Scale,
    smooth: bool,
    display: Display,
) -> tuple[object, str]:
    """The chart, and what it shows in words."""
    reading = read_chart(database, run_id, metric, view)
    if reading is None:
        return empty_figure("Nothing logged yet", display.palette), "Nothing logged yet"
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
        warned_of=reading.warned_of,
    )
    return loss_figure(chart, display), spoken_chart(chart)
