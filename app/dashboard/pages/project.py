"""One project: its runs, and how good the forecasts of those that have finished were."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dash
from dash import Input, Output, State, dcc, html
from dash.development.base_component import Component

from app.dashboard.components import aria, card, data, graph, hint
from app.dashboard.figures.empty import empty_figure
from app.dashboard.figures.track_record import errors_figure, reliability_figure
from app.dashboard.formatting import MISSING, format_percent
from app.dashboard.pages import runs as runs_page
from app.dashboard.pages import sweep
from app.dashboard.pages.goals import GoalsReading, goals_card
from app.dashboard.pages.ranking import ranking_card
from app.dashboard.pages.record_words import empty_text, format_error, in_words
from app.dashboard.readings.compared_runs import compare_href
from app.dashboard.readings.runs import RunsFilter
from app.dashboard.theme import Display
from app.forecasting.track_record import Bucket, Coverage, buckets, reliability
from app.storage.database import Database
from app.storage.project_record import ProjectTrackRecord, project_revision, project_track_record

RECORD_MEANING = (
    "Each forecast is kept as it was made. When a run has finished, all of its forecasts are compared with the loss "
    "that it ended at."
)
SEEN_MEANING = "How much of the run was over when the forecast was made."
ERROR_MEANING = (
    "How far the median of the forecast was from the final loss, in percent of that loss. Averaged inside each run; "
    "the median over runs."
)
HELD_MEANING = (
    "Share of runs whose final loss lay inside the 90 % band, forecasts of one run averaged first; in brackets how far "
    "chance alone can move it (95 % interval)."
)


@dataclass(frozen=True, slots=True, eq=False)
class RecordReading:
    """A project's track record as the page shows it."""

    record: ProjectTrackRecord
    reliability: Sequence[Coverage]
    revision: str  # changes when something in the record does

    @property
    def names(self) -> Mapping[str, str]:
        return {run.id: run.name for run in self.record.runs}


def read_record(database: Database, project: str, *, unless: str | None = None) -> RecordReading | None:
    """None where the revision still is `unless`: most ticks of an open page stop there. Raises `NotFound`."""
    with database.read() as connection:
        revision = project_revision(connection, project)
        if revision == unless:
            return None
        record = project_track_record(connection, project)
    half_way = [run.half_way.score for run in record.runs if run.half_way is not None]
    return RecordReading(record, reliability(half_way), revision)


def layout(project: str, wanted: RunsFilter, goals: GoalsReading) -> Component:
    return html.Div(
        [
            html.Div(
                [
                    html.Nav(
                        [dcc.Link("Runs", href="/"), html.Span("/", **aria(hidden="true")), "Project"],
                        className="crumbs",
                        **aria(label="Breadcrumb"),
                    ),
                    html.Div(
                        [
                            html.H1(project, title=project),
                            runs_page.count(),
                            dcc.Link("Compare runs", href=compare_href(project=project), className="button"),
                        ],
                        className="title-row",
                    ),
                ]
            ),
            dcc.Store(id="project-name", data=project),
            dcc.Store(id="project-revision"),
            ranking_card(),
            goals_card(goals),
            card(
                hint("How good the forecasts were", RECORD_MEANING),
                html.Div(id="project-verdict", className="verdict"),
                html.Div(
                    [
                        record_figure("Error as the run went on", "project-errors"),
                        record_figure("Whether the bands held, half-way through a run", "project-reliability"),
                    ],
                    id="project-figures",
                    className="figures",
                    hidden=True,
                ),
                html.Div(id="project-buckets", className="table-box"),
            ),
            sweep.sweep_card(),
            html.Section(
                [html.H2("Its runs", className="section-title"), *runs_page.listing(wanted, one_project=True)]
            ),
        ],
        className="page page-project",
        **data(tick="runs-tick"),
    )


def record_figure(title: str, graph_id: str) -> Component:
    return html.Figure(
        [html.Figcaption(title), graph(graph_id, empty_figure(), "chart-record", spoken=title)],
        className="record-figure",
    )


def register(app: dash.Dash, database: Database) -> None:
    """The page's callback; its list of runs has those of the runs page."""
    sweep.register(app, database)

    @app.callback(
        Output("project-verdict", "children"),
        Output("project-figures", "hidden"),
        Output("project-errors", "figure"),
        Output("project-reliability", "figure"),
        Output("project-buckets", "children"),
        Output("project-revision", "data"),
        Input("runs-tick", "n_intervals"),
        Input("display", "data"),
        State("project-revision", "data"),
        State("project-name", "data"),
    )
    async def show_record(
        _ticks: int | None, display: Mapping[str, Any] | None, revision: str | None, project: str
    ) -> Sequence[object]:
        known = revision if dash.ctx.triggered_id == "runs-tick" else None
        reading = await asyncio.to_thread(read_record, database, project, unless=known)
        if reading is None:
            return [dash.no_update] * 6
        return await asyncio.to_thread(_shown, reading, Display.from_browser(display))


def _shown(reading: RecordReading, display: Display) -> Sequence[object]:
    record = reading.record
    if not record.runs:
        return [html.P(empty_text(record)), True, empty_figure(), empty_figure(), None, reading.revision]
    shares = buckets(record.bins)
    bands: object = empty_figure("No forecast was made near half-way", display.palette)
    if reading.reliability:
        bands = reliability_figure(reading.reliability, display)
    return [
        [html.P(line) for line in in_words(record, reading.reliability, shares)],
        False,
        errors_figure(record.bins, reading.names, display),
        bands,
        bucket_table(shares),
        reading.revision,
    ]


def bucket_table(found: Sequence[Bucket]) -> Component:
    head: list[Component | str] = [
        hint("Seen of the run", SEEN_MEANING),
        "Runs",
        hint("Median error", ERROR_MEANING),
        hint("90 % band held", HELD_MEANING),
    ]
    rows = [
        html.Tr(
            [
                html.Th(f"{100 * one.low:.0f} to {100 * one.high:.0f} %", scope="row"),
                html.Td(str(one.n_runs), className="number"),
                html.Td(MISSING if one.median_error is None else format_error(one.median_error), className="number"),
                html.Td(held_cell(one.coverage[-1]) if one.coverage else MISSING, className="number"),
            ]
        )
        for one in found
    ]
    columns = [html.Th(text, scope="col", className="number" if at else "") for at, text in enumerate(head)]
    return html.Table([html.Thead(html.Tr(columns)), html.Tbody(rows)], className="table")


def held_cell(held: Coverage) -> list[Component | str]:
    interval = f"({100 * held.low:.0f} to {100 * held.high:.0f} %)"
    return [format_percent(held.share), " ", html.Span(interval, className="interval")]
