"""Some runs side by side: their curves and fans in one chart, their ends on one scale."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import dash
from dash import Input, Output, State, dcc, html
from dash.development.base_component import Component

from app.dashboard.clientside import in_browser
from app.dashboard.components import (
    ZOOM_CONFIG,
    aria,
    card,
    choice,
    data,
    graph,
    named,
)
from app.dashboard.figures.compare import MOST_RUNS, Along, CompareChart, compare_figure
from app.dashboard.figures.loss_chart import Scale
from app.dashboard.liveness import Liveness
from app.dashboard.pages.compare_table import compare_table
from app.dashboard.readings.compared_runs import (
    ComparedRun,
    CompareForm,
    CompareReading,
    comparison_revision,
    read_comparison,
    run_options,
    runs_at_first,
    runs_beside,
)
from app.dashboard.theme import Display
from app.storage.database import Database
from app.storage.runs import list_projects


def layout(database: Database, form: CompareForm) -> Component:
    if form.beside and not form.runs:
        form = replace(form, runs=tuple(runs_beside(database, form.beside)))
    elif form.project and not form.runs:
        form = replace(form, runs=tuple(runs_at_first(database, form.project)))
    with database.read() as connection:
        projects = list_projects(connection)
    return html.Div(
        [
            dcc.Interval(id="compare-tick", interval=2000),
            dcc.Store(id="compare-revision"),
            dcc.Store(id="compare-query"),
            html.Div([html.H1("Compare runs")], className="title-row"),
            html.Div(
                [
                    named(
                        "Project",
                        dcc.Dropdown(
                            id="compare-project",
                            options=list(dict.fromkeys([*projects, *([form.project] if form.project else [])])),
                            value=form.project,
                            placeholder="All projects",
                            className="fit-project",
                        ),
                    ),
                    named(
                        "Runs to compare",
                        dcc.Dropdown(
                            id="compare-runs",
                            options=list(form.runs),
                            value=list(form.runs),
                            multi=True,
                            placeholder="Choose two to six runs" if projects else "There are no runs yet",
                            className="fit-runs",
                        ),
                    ),
                    named(
                        "Metric",
                        dcc.Dropdown(
                            id="compare-metric",
                            options=[form.metric] if form.metric else [],
                            value=form.metric,
                            placeholder="Each run's main loss",
                            className="compare-metric",
                        ),
                    ),
                ],
                className="fit-choice",
                role="search",
            ),
            html.Div(id="compare-note", className="compare-note", **aria(live="polite")),
            html.Div(
                [
                    card(
                        html.Span("Loss and forecasts", id="compare-title"),
                        graph(
                            "compare-chart",
                            compare_figure(CompareChart(""), Display()),
                            "chart-main",
                            spoken="Losses and forecasts of the runs of the table below",
                            config=ZOOM_CONFIG,
                        ),
                        html.Div(
                            html.Span(
                                "Solid: logged, smoothed over the raw points. Dashed: predicted median, in its 90 % "
                                "band. Numbers are those of the table. Focus may cut off how runs began."
                            ),
                            className="chart-help muted",
                        ),
                        tools=[
                            choice(
                                "compare-along",
                                "What runs are laid out along",
                                [(Along.STEPS, "Steps"), (Along.SHARE, "Share of run")],
                                form.along,
                            ),
                            choice(
                                "compare-scale",
                                "Scale of the loss axis",
                                [(Scale.FOCUS, "Focus"), (Scale.FULL, "Full"), (Scale.LOG, "Log")],
                                form.scale,
                            ),
                        ],
                        class_name="card-chart",
                    ),
                    card("Where they end", html.Div(id="compare-table", className="table-box")),
                ],
                id="compare-shown",
                className="compare-shown",
                hidden=True,
            ),
        ],
        className="page page-compare",
        **data(tick="compare-tick"),
    )


def register(app: dash.Dash, database: Database) -> None:
    in_browser(app, "rememberQuery", Input("compare-query", "data"), prevent_initial_call=True)

    @app.callback(
        Output("compare-runs", "options"),
        Input("compare-project", "value"),
        Input("compare-runs", "value"),
    )
    async def offer_runs(project: str | None, chosen: Sequence[str] | None) -> object:
        return await asyncio.to_thread(run_options, database, project, chosen or [])

    @app.callback(
        Output("compare-revision", "data"),
        Output("notice", "children", allow_duplicate=True),
        Input("compare-tick", "n_intervals"),
        State("compare-runs", "value"),
        State("compare-revision", "data"),
        prevent_initial_call=True,
    )
    async def look_for_news(_ticks: int | None, chosen: Sequence[str] | None, revision: str | None) -> Sequence[object]:
        newest = await asyncio.to_thread(comparison_revision, database, chosen or [])
        return dash.no_update if newest == revision else newest, None

    @app.callback(
        Output("compare-chart", "figure"),
        Output("compare-table", "children"),
        Output("compare-title", "children"),
        Output("compare-note", "children"),
        Output("compare-shown", "hidden"),
        Output("compare-metric", "options"),
        Output("compare-query", "data"),
        Input("compare-revision", "data"),
        Input("compare-runs", "value"),
        Input("compare-metric", "value"),
        Input("compare-along", "value"),
        Input("compare-scale", "value"),
        Input("display", "data"),
        State("compare-project", "value"),
    )
    async def show_comparison(
        _revision: str | None,
        chosen: Sequence[str] | None,
        metric: str | None,
        along: str,
        scale: str,
        display: Mapping[str, Any] | None,
        project: str | None,
    ) -> Sequence[object]:
        if display is None:  # a moment after the page is there the browser tells its theme, and asks again
            return [dash.no_update] * 7
        form = CompareForm(tuple(chosen or ()), project, metric=metric or None, along=Along(along), scale=Scale(scale))
        reading = await asyncio.to_thread(read_comparison, database, form.runs, form.metric)
        shown = await asyncio.to_thread(_shown, reading, form, Display.from_browser(display))
        return [*shown, form.query()]


def _shown(reading: CompareReading, form: CompareForm, display: Display) -> Sequence[object]:
    """Figure, table, title, notes, whether to hide them, and the metrics to choose from."""
    chart = CompareChart(
        metric=form.metric or "",
        lines=[one.line(number) for number, one in enumerate(reading.runs, start=1)],
        along=form.along,
        scale=form.scale,
        rises=any(one.rises for one in reading.runs),
        why_empty=nothing_drawn(reading, form),
    )
    options = [{"value": name, "label": name, "title": name} for name in reading.metrics]
    if form.metric and form.metric not in reading.metrics:
        options.append({"value": form.metric, "label": form.metric, "title": form.metric})
    return [
        compare_figure(chart, display),
        compare_table(reading.runs, display.palette),
        title_of(reading),
        [html.P(line) for line in notes(reading, form, chart)] if reading.runs else nothing_chosen(reading),
        not reading.runs,
        options,
    ]


def title_of(reading: CompareReading) -> str:
    """The metric where all go by the same name."""
    names = {one.metric for one in reading.runs if one.metric}
    what = next(iter(names)) if len(names) == 1 else "Loss"
    forecasts = any(one.forecast for one in reading.runs)
    return f"{what} and forecasts" if forecasts else what


def nothing_chosen(reading: CompareReading) -> Component:
    gone = [html.P(_gone(reading.missing))] if reading.missing else []
    return html.Div(
        [
            html.H2("No runs chosen yet"),
            html.P("Choose two to six runs above. Their losses and forecasts are drawn on top of each other."),
            *gone,
        ],
        className="empty card",
    )


def nothing_drawn(reading: CompareReading, form: CompareForm) -> str:
    """Why there is no chart, where there is none."""
    if all(one.metric is None for one in reading.runs):
        return f"No run here has logged {form.metric}" if form.metric else "Nothing logged yet"
    if all(one.curve is None for one in reading.runs):
        return "No finite number logged yet"
    return "No run here has a length that is known"


def notes(reading: CompareReading, form: CompareForm, chart: CompareChart) -> list[str]:
    """What the chart cannot show, and why."""
    found = []
    if len(reading.runs) == 1:
        found.append("One run alone is no comparison: choose at least one more above.")
    if reading.left_out:
        shown = len(reading.runs) + len(reading.left_out)
        found.append(
            f"The first {MOST_RUNS} of {shown} runs are shown, as more fans hide each other. "
            f"Left out: {', '.join(reading.left_out)}."
        )
    hidden = chart.out_of_focus
    if hidden:
        which = ", ".join(f"{line.number} ({line.name})" for line in hidden)
        ends = ("ends" if len(hidden) == 1 else "end") + (" below" if chart.rises else " above")
        found.append(f"Focus leaves out {which}, which {ends} the rest: choose Full or Log to see all.")
    if broken := [line for line in chart.drawn if line.is_broken]:
        which = ", ".join(f"{line.number} ({line.name})" for line in broken)
        found.append(f"The last value of {which} is NaN or infinite (✕): its line ends at the last finite one.")
    if chart.not_on_log:
        which = ", ".join(line.name for line in chart.not_on_log)
        found.append(f"A log scale has no place for zero or less: such values of {which} are left out.")
    if reading.missing:
        found.append(_gone(reading.missing))
    names = sorted({one.metric for one in reading.runs if one.metric})
    if len(names) > 1:
        found.append(f"The runs' main losses go by different names ({', '.join(names)}).")
    silent = [one for one in reading.runs if one.metric is None]
    if silent:
        logged = f"logged no {form.metric}" if form.metric else "logged nothing yet"
        found.append(f"{_named(silent)} {'has' if len(silent) == 1 else 'have'} {logged}.")
    unscored = [one for one in reading.runs if one.ended_at is not None and one.is_forecast and not one.is_level]
    if unscored:
        ends = "has ended, but its end has" if len(unscored) == 1 else "have ended, but their ends have"
        found.append(
            f"{_named(unscored)} {ends} not been concluded: the last value stands in, one point, noise and all."
        )
    waiting = [one for one in reading.runs if one.metric and one.state in GOING_ON and one.forecast is None]
    if waiting:
        found.append(f"No forecast yet: {'; '.join(f'{one.run.name} ({_why_none(one)})' for one in waiting)}.")
    if form.along is Along.SHARE:
        endless = [one for one in reading.runs if one.curve and not one.total_steps]
        if endless:
            found.append(f"Left out, because nobody said or showed how long it will be: {_named(endless)}.")
    return found


GOING_ON = (Liveness.RUNNING, Liveness.LATE, Liveness.LOST)


def _gone(missing: Sequence[str]) -> str:
    return f"No run has the id {', '.join(missing)}."


def _named(runs: Sequence[ComparedRun]) -> str:
    return ", ".join(one.run.name for one in runs)


def _why_none(one: ComparedRun) -> str:
    if not one.is_forecast:
        return "only losses and accuracies are forecast"
    if one.summary is None:
        return "the worker has not fitted it yet"
    if one.metric != one.summary.metric:
        return "this metric has not been fitted"
    return " ".join(one.summary.notes).rstrip(".") or "it comes with the worker's next fit"
