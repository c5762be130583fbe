"""The page that asks finished runs what another schedule would come to."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode

import dash
from dash import ALL, Input, Output, State, dcc, html
from dash.development.base_component import Component
from sqlalchemy import Connection

from app.calculations import Calculations
from app.curves.schedule_text import read_schedules, write_schedule
from app.dashboard.clientside import in_browser
from app.dashboard.components import aria, card, field, hint, named
from app.dashboard.formatting import format_step, format_value
from app.dashboard.pages.fit_tables import comparison_cards
from app.dashboard.theme import Display
from app.errors import BadInput, Busy, LosscastError, NotFound
from app.forecasting.other_schedules.candidate import candidate
from app.forecasting.other_schedules.compare import compare_schedules
from app.forecasting.other_schedules.fitted_runs import MOST_RUNS
from app.runs import RunRow, RunStatus
from app.storage.database import Database
from app.storage.ends import End, read_ends
from app.storage.recorded_runs import read_recorded_runs
from app.storage.runs import get_run, list_projects, list_runs

ROWS = 4  # schedules that the form has room for
RUNS_OFFERED = 300

FAMILIES = {
    "cosine": "cosine",
    "linear": "linear decay",
    "wsd_linear": "WSD, linear decay",
    "wsd_sqrt": "WSD, 1-sqrt decay",
    "wsd_cosine": "WSD, cosine decay",
    "wsd_exponential": "WSD, exponential decay",
    "constant": "constant",
    "inverse_sqrt": "inverse square root",
    "exponential": "exponential",
    "rex": "REX",
}
FIELDS = {
    "total_steps": ("Total steps", "as the longest run"),
    "peak": ("Peak rate", "as the runs"),
    "warmup_steps": ("Warm-up steps", "as the runs"),
    "final_fraction": ("Final / peak", "0"),
    "decay_steps": ("Decay steps (WSD)", "a fifth"),
}
FIRST = ({"family": "cosine", "final_fraction": "0.1"}, {"family": "wsd_linear"})
"""What the form begins with: the two that people weigh most often."""


@dataclass(frozen=True, slots=True)
class FitForm:
    """What is chosen on the page, and what its address says."""

    runs: Sequence[str] = ()
    metric: str | None = None
    schedules: Sequence[Mapping[str, Any]] = dataclasses.field(default=FIRST)

    @staticmethod
    def from_query(search: str) -> FitForm:
        """`?run=a&run=b&schedule=cosine+final_fraction=0.1`; what cannot be read is left out."""
        said = parse_qs(search.lstrip("?"))
        try:
            schedules = tuple(read_schedules(said.get("schedule", [])))[:ROWS]
        except BadInput:
            schedules = ()
        metric = said.get("metric", [None])[-1]
        return FitForm(tuple(said.get("run", []))[:MOST_RUNS], metric, schedules or FIRST)

    def query(self) -> str:
        pairs = [("run", run_id) for run_id in self.runs]
        pairs += [("metric", self.metric)] if self.metric else []
        return urlencode(pairs + [("schedule", write_schedule(spec)) for spec in self.schedules])


def fit_href(run_id: str) -> str:
    """The page with one run chosen."""
    return f"/fit?{urlencode({'run': run_id})}"


def layout(database: Database, form: FitForm) -> Component:
    with database.read() as connection:
        projects = list_projects(connection)
    return html.Div(
        [
            dcc.Store(id="fit-query"),
            html.Div([html.H1("Other schedules")], className="title-row"),
            html.P(
                "Finished runs of one recipe (model, data, batch) say what it would come to under a schedule that "
                "nobody has trained under. Two runs under unlike schedules say much more than one.",
                className="muted lead",
            ),
            card("Finished runs", _run_choice(form, projects)),
            card(
                hint("Schedules to predict", "What is left empty is taken from the finished runs."),
                html.Div([_schedule_row(row, form) for row in range(ROWS)], id="fit-rows", className="fit-rows"),
                html.Div(
                    [
                        html.Button("Add a schedule", id="fit-add", className="button", n_clicks=0),
                        html.Button("Predict", id="fit-ask", className="button button-main", n_clicks=0),
                        html.Span("Fitting…", id="fit-busy", className="muted", hidden=True, role="status"),
                    ],
                    className="tools fit-actions",
                ),
            ),
            html.Div(id="fit-result", **aria(live="polite")),
        ],
        className="page page-fit",
    )


def _run_choice(form: FitForm, projects: Sequence[str]) -> Component:
    return html.Div(
        [
            named(
                "Project",
                dcc.Dropdown(
                    id="fit-project", options=list(projects), placeholder="All projects", className="fit-project"
                ),
            ),
            named(
                "Finished runs",
                dcc.Dropdown(
                    id="fit-runs",
                    options=list(form.runs),
                    value=list(form.runs),
                    multi=True,
                    placeholder="Choose one to six finished runs with a learning rate"
                    if projects
                    else "There are no runs yet",
                    className="fit-runs",
                ),
            ),
            named(
                "Metric",
                dcc.Input(
                    id="fit-metric",
                    type="text",
                    value=form.metric or "",
                    placeholder="Metric: the runs' own loss",
                    className="search",
                ),
            ),
        ],
        className="fit-choice",
    )


def _schedule_row(row: int, form: FitForm) -> Component:
    spec = form.schedules[row] if row < len(form.schedules) else {}
    family = {
        "family": dcc.Dropdown(
            id={"fit": "family", "row": row},
            options=[{"value": name, "label": label} for name, label in FAMILIES.items()],
            value=spec.get("family"),
            placeholder="None",
            className="fit-family",
        )
    }
    inputs = {
        name: dcc.Input(
            id={"fit": name, "row": row},
            type="text",
            value=str(spec.get(name) or ""),
            placeholder=empty,
            className="search search-short",
        )
        for name, (_, empty) in FIELDS.items()
    }
    labels = {"family": "Family", **{name: label for name, (label, _) in FIELDS.items()}}
    return html.Div(
        [
            html.Div(field(labels[name], control), className=f"field-{name}")
            for name, control in (family | inputs).items()
        ],
        id={"fit": "row", "row": row},
        className="fit-row",
        hidden=row >= max(1, len(form.schedules)),
        role="group",
        **aria(label=f"Schedule {row + 1}"),
    )


def register(app: dash.Dash, database: Database, fits: Calculations) -> None:
    in_browser(
        app,
        "showOneMore",
        Output({"fit": "row", "row": ALL}, "hidden"),
        Input("fit-add", "n_clicks"),
        State({"fit": "row", "row": ALL}, "hidden"),
        prevent_initial_call=True,
    )
    in_browser(app, "rememberQuery", Input("fit-query", "data"), prevent_initial_call=True)

    @app.callback(
        Output("fit-runs", "options"),
        Input("fit-project", "value"),
        Input("fit-runs", "value"),
    )
    async def offer_runs(project: str | None, chosen: Sequence[str] | None) -> object:
        return await asyncio.to_thread(run_options, database, project, chosen or [])

    @app.callback(
        Output("fit-result", "children"),
        Output("fit-query", "data"),
        Input("fit-ask", "n_clicks"),
        Input("display", "data"),
        State("fit-runs", "value"),
        State("fit-metric", "value"),
        *(State({"fit": name, "row": ALL}, "value") for name in ("family", *FIELDS)),
        running=[(Output("fit-ask", "disabled"), True, False), (Output("fit-busy", "hidden"), False, True)],
    )
    async def predict(
        clicks: int,
        display: Mapping[str, Any] | None,
        runs: Sequence[str] | None,
        metric: str | None,
        *columns: Sequence[str | None],
    ) -> Sequence[object]:
        form = FitForm(tuple(runs or ()), (metric or "").strip() or None, _specs(columns))
        # The browser tells its theme a moment after the page is there: fitting twice would show the same twice.
        if display is None or not (form.runs or clicks):
            return dash.no_update, dash.no_update
        try:
            shown = await fits.run(result, database, form, Display.from_browser(display))
        except Busy as error:
            shown = _refused(error)
        return shown, form.query() if clicks else dash.no_update


def _specs(columns: Sequence[Sequence[str | None]]) -> tuple[dict[str, Any], ...]:
    """The rows of the form that name a family, without what was left empty."""
    names = ("family", *FIELDS)
    rows = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
    said = ({name: str(value).strip() for name, value in row.items() if value not in (None, "")} for row in rows)
    return tuple({name: value for name, value in row.items() if value} for row in said if row.get("family"))


def run_options(database: Database, project: str | None, chosen: Sequence[str]) -> list[dict[str, Any]]:
    """Runs of a project that have ended and have a rate and a loss, newest first; those chosen stay."""
    with database.read() as connection:
        rows, _ = list_runs(connection, project=project, limit=RUNS_OFFERED)
        fitted = [row for row in rows if _can_be_fitted(row)]
        ends = read_ends(connection, [row.run.id for row in fitted])
        offered = {row.run.id: _option(row, ends.get(row.run.id), project is None) for row in fitted}
        for run_id in chosen:
            if run_id not in offered:
                offered[run_id] = {"value": run_id, "label": _name(connection, run_id)}
    return list(offered.values())


def _name(connection: Connection, run_id: str) -> str:
    try:
        return get_run(connection, run_id).name
    except NotFound:
        return f"{run_id} (no such run)"


def _can_be_fitted(row: RunRow) -> bool:
    summary = row.summary
    if row.run.status is RunStatus.RUNNING or summary is None or summary.metric is None:
        return False
    has_rate = any(match.get("role") == "lr" for match in summary.roles.values())
    return has_rate or summary.schedule_source in ("declared", "inferred")


def _option(row: RunRow, end: End | None, with_project: bool) -> dict[str, Any]:
    facts = [row.run.name, f"{format_step(row.run.last_step)} steps"]
    if row.summary is not None and end is not None:
        facts.append(f"{row.summary.metric} {format_value(end.level)}" + ("" if end.is_mean else " (last point)"))
    if with_project:
        facts.append(row.run.project)
    return {"value": row.run.id, "label": " · ".join(facts), "search": f"{' '.join(facts)} {row.run.id}"}


def result(database: Database, form: FitForm, display: Display) -> Component:
    """The figure and the tables, or why there are none."""
    try:
        with database.read() as connection:
            runs = [run for _, run in read_recorded_runs(connection, list(dict.fromkeys(form.runs)), form.metric)]
        found = compare_schedules(runs, [candidate(spec, runs) for spec in form.schedules])
    except LosscastError as error:
        return _refused(error)
    return comparison_cards(found, display)


def _refused(error: LosscastError) -> Component:
    return html.P(str(error), className="banner", role="alert")
