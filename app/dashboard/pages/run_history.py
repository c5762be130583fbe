"""How a run's forecast moved, and how good it turned out to be."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import dash
from dash import Input, Output, State, html
from dash.development.base_component import Component

from app.dashboard.components import card, graph, hint
from app.dashboard.figures.empty import empty_figure
from app.dashboard.figures.history import history_figure
from app.dashboard.formatting import format_band, format_percent, format_value
from app.dashboard.readings.history import HistoryReading, read_history
from app.dashboard.theme import Display
from app.forecasting.track_record import JudgedForecast
from app.storage.database import Database

TOLD_AT = 0.5
"""Seen: the one forecast that the project's page counts of each run, so that both speak of the same."""


def history_card() -> Component:
    return card(
        hint("How the forecast moved", "Each forecast is kept. This is what was predicted, and when."),
        html.Div(id="run-history-note", className="muted"),
        html.Div(
            graph("run-history", empty_figure(), "chart-history", spoken="Predicted final values, by step"),
            id="run-history-box",
        ),
    )


def register(app: dash.Dash, database: Database) -> None:
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


def history(
    database: Database, run_id: str, metric: str | None, display: Display
) -> tuple[object, Component | str, bool]:
    """The chart, what is said above it, and whether there is nothing to draw."""
    reading = read_history(database, run_id, metric)
    if not reading.history:
        text = "None was made of this metric." if reading.is_over else "No forecast of this metric yet."
        return empty_figure(), text, True
    return history_figure(reading.history, display, actual=reading.actual), history_text(reading), False


def history_text(reading: HistoryReading) -> str:
    """How good the forecasts were, or when that will be known."""
    count = reading.n_forecasts
    forecasts = f"{count:,} {'forecast' if count == 1 else 'forecasts'}"
    if not reading.is_over:
        return f"{forecasts} so far. The truth is known when the run has finished."
    if reading.end_step is None:
        return f"{forecasts}. They are being held to how the run ended; this takes some seconds."
    if reading.actual is None:
        return f"{forecasts}. The run did not end in a finite number, so there is nothing to hold them to."
    if not reading.counted:
        return f"{forecasts}, none of which spoke of the step at which the run ended."
    told = min(reading.counted, key=lambda one: abs(one.seen - TOLD_AT))
    held, judged = reading.held
    sentences = [
        verdict(told),
        f"The band held in {held:,} of {judged:,} forecasts made before the end.",
    ]
    if told.horizon_off:
        sentences.append("The run ended before its horizon; this is what was said of the step it ended at.")
    return " ".join(sentences)


def verdict(told: JudgedForecast) -> str:
    """One forecast and what became of it, in words."""
    where = "inside" if told.score.cover90 else "above the band" if told.actual > told.p95 else "below the band"
    return (
        f"At {format_percent(told.seen)} of the run, nearest to half-way, the forecast was "
        f"{format_band(told.p05, told.p95)} (90 % band); it ended at {format_value(told.actual)} ({where})."
    )
