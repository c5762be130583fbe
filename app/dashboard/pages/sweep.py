"""The card of a project that says how much the learning rate matters, where its runs have swept it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

import dash
from dash import Input, Output, State, html
from dash.development.base_component import Component

from app.dashboard.components import card, graph, hint, plain_value
from app.dashboard.figures.empty import empty_figure
from app.dashboard.figures.sweep import SHOWN, sweep_figure
from app.dashboard.formatting import format_rate, format_value, shortened
from app.dashboard.theme import Display
from app.diagnostics.dynamics.best_rate import BestRate, RateMean
from app.errors import NotFound
from app.storage.database import Database
from app.storage.sweeps import LeftOut, Sweep, read_sweeps

MEANING = (
    "Runs that have ended, and whose settings differ in the learning rate alone. LR sensitivity is how much worse than "
    "the best one a run ends, on average over the logarithm of the swept rates; a run that diverged counts as if it "
    "had ended where it began. Small is forgiving; two sweeps compare where they cover the same rates. Runs at one "
    "rate are averaged; the ranking above is by single runs."
)

ALIKE_SHOWN = 3
LEFT_OUT_SHOWN = 3
FEW_REPEATS = 3
"""Repeats by which a deviation is known to no better than a factor of two."""


def sweep_card() -> Component:
    return html.Div(
        card(
            hint("How much the learning rate matters", MEANING),
            html.Div(id="project-sweep-text"),
            graph("project-sweep-figure", empty_figure(), "chart-record", spoken="Final loss by peak learning rate"),
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
    said = [
        f"{name}: LR sensitivity {found.value:.2g} over peak rates from {format_rate(found.rates[0])} to "
        f"{format_rate(found.rates[-1])} ({runs} runs).",
        best_rate_text(sweep.best_rate),
    ]
    if found.is_edge_best:
        said.append("The lowest is at the edge of the sweep: a better rate may lie beyond it.")
    if found.diverged:
        said.append(f"{found.diverged} ended where {'it' if found.diverged == 1 else 'they'} began, or worse.")
    broken = [run for run in sweep.runs if run.has_diverged and run.final < found.first]
    if broken:
        which = ", ".join(format_rate(rate) for rate in sorted({run.peak_rate for run in broken}))
        said.append(f"{len(broken)} diverged and did not come back (at {which}), which is not counted as noise.")
    if sweep.left_out:
        said.append(f"Not compared: {left_out_text(sweep.left_out)}.")
    return " ".join(said)


def left_out_text(runs: Sequence[LeftOut]) -> str:
    named = [f"{shortened(run.name)} (rate {format_rate(run.peak_rate)}, {run.why})" for run in runs[:LEFT_OUT_SHOWN]]
    more = len(runs) - len(named)
    return ", ".join([*named, *([f"{more} more"] if more else [])])


def best_rate_text(found: BestRate) -> str:
    """The lowest mean, its lead, and the noise that the lead is held to."""
    lead = _deviation(found.runner_up.behind)
    if found.is_clear:
        return (
            f"Best {_rate_mean(found.best)}, ahead of {_rate_mean(found.runner_up)} by {lead}, more than chance makes "
            f"({_deviation(found.runner_up.reach)}). {noise_text(found)}"
        )
    named = [_rate_mean(one) for one in found.alike[:ALIKE_SHOWN]]
    more = len(found.alike) - len(named)
    alike = ", ".join([*named, *([f"{more} more"] if more else [])])
    return (
        f"No best rate can be named: lowest is {_rate_mean(found.best)}, ahead by {lead}, and within the noise of it "
        f"{'is' if len(found.alike) == 1 else 'are'} {alike}. {noise_text(found)}"
    )


def noise_text(found: BestRate) -> str:
    """What the noise is taken from."""
    if found.seed_deviation is not None:
        few = f" as far as {found.repeats + 1} runs can tell" if found.repeats < FEW_REPEATS else ""
        return f"Runs at one rate differ by {_deviation(found.seed_deviation)}{few} (standard deviation)."
    if not math.isfinite(found.runner_up.reach):
        return "No rate was run twice, and the runs are too short to say how noisy their ends are."
    return "No rate was run twice, so the noise is that of the ends alone; seeds differ by more."


def _rate_mean(one: RateMean) -> str:
    averaged = f" (mean of {one.n_runs} runs)" if one.n_runs > 1 else ""
    return f"{format_value(one.final)} at {format_rate(one.rate)}{averaged}"


def _deviation(value: float) -> str:
    """A small difference, to two digits."""
    return "an unknown amount" if not math.isfinite(value) else f"{value:.2g}"
