"""The card of a project that says how much the learning rate matters, where its runs have swept it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import dash
from dash import Input, Output, State, html
from dash.development.base_component import Component

from app.dashboard.components import card, graph, hint, plain_value
from app.dashboard.figures.empty import empty_figure
from app.dashboard.figures.sweep import SHOWN, sweep_figure
from app.dashboard.formatting import format_rate, format_value
from app.dashboard.theme import Display
from app.errors import NotFound
from app.storage.database import Database
from app.storage.sweeps import Sweep, read_sweeps

MEANING = (
    "Runs that have ended, and whose settings differ in the learning rate alone. LR sensitivity is how much worse than "
    "the best one a run ends, on average over the logarithm of the swept rates; a run that diverged counts as if it "
    "had ended where it began. Small is forgiving; two sweeps compare where they cover the same rates."
)


def sweep_card() -> Component:
    return html.Div(
        card(
            hint("How much the learning rate matters", MEANING),
            html.Div(id="project-sweep-text"),
            graph("project-sweep-figure", empty_figure(), "chart-record"),
        ),
        id="project-sweeps",
        hidden=True,
    )


def register(app: dash.Dash, database: Database) -> None:
    """Drawn when the project's record has changed: then a run has ended."""

    @app.callback(
        Output("project-sweeps", "hidden"),
        Output("project-sweep-text", "children"),
        Output("project-sweep-figure", "figure"),
        Input("project-revision", "data"),
        Input("display", "data"),
        State("project-name", "data"),
    )
    async def show_sweeps(_revision: str | None, display: Mapping[str, Any] | None, project: str) -> Sequence[object]:
        sweeps = await asyncio.to_thread(_read, database, project)
        if not sweeps:
            return True, None, empty_figure()
        names = [sweep_name(sweep) for sweep in sweeps]
        lines = [html.P(sweep_text(sweep, name)) for sweep, name in zip(sweeps[:SHOWN], names, strict=False)]
        if len(sweeps) > SHOWN:
            lines.append(html.P(f"{len(sweeps) - SHOWN} more; the API has them.", className="muted"))
        return False, lines, sweep_figure(sweeps, names, Display.from_browser(display))


def _read(database: Database, project: str) -> list[Sweep]:
    try:
        with database.read() as connection:
            return read_sweeps(connection, project)
    except NotFound:
        return []


def sweep_name(sweep: Sweep) -> str:
    """In what it differs from the others."""
    return ", ".join(f"{name} {plain_value(value)}" for name, value in sweep.settings.items()) or sweep.metric


def sweep_text(sweep: Sweep, name: str) -> str:
    found, runs = sweep.found, len(sweep.runs)
    text = (
        f"{name}: LR sensitivity {found.value:.2g} over peak rates from {format_rate(found.rates[0])} to "
        f"{format_rate(found.rates[-1])} ({runs} runs). Best {format_value(found.best)} at "
        f"{format_rate(found.best_rate)}"
    )
    if found.is_edge_best:
        text += ", at the edge: a better rate may lie beyond it"
    if found.diverged:
        text += f". {found.diverged} ended no better than {'it' if found.diverged == 1 else 'they'} began"
    return f"{text}."
