"""All runs: what each is doing, where its loss is going, and what is wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs

import dash
from dash import Input, Output, State, dcc, html
from dash.development.base_component import Component

from app.dashboard.clientside import in_browser
from app.dashboard.components import (
    aria,
    choice,
    code_block,
    cut_in_middle,
    data,
    ending,
    hint,
    moment,
    named,
    prediction,
    project_link,
    run_href,
    severity_badge,
    sparkline_image,
    status_badge,
    value_text,
)
from app.dashboard.formatting import MISSING
from app.dashboard.glyphs import Sparkline
from app.dashboard.liveness import Liveness, liveness
from app.dashboard.pages.health import health_mark
from app.dashboard.pages.run_progress import run_progress
from app.dashboard.readings.runs import PAGE_SIZE, RunsFilter, RunsReading, SparklineCache, read_runs
from app.runs import RunRow, RunStatus
from app.storage.database import Database

ALL = "all"
STATUSES = [(ALL, "All"), *((status.value, status.value.capitalize()) for status in RunStatus)]


TROUBLE = "trouble"
HEALTHS = [(ALL, "Any health"), (TROUBLE, "In trouble")]


def filter_from_query(search: str) -> RunsFilter:
    """`?project=gpt&status=running&health=trouble&search=muon&page=2`, so that a list can be sent to somebody."""
    said = {name: values[-1] for name, values in parse_qs(search.lstrip("?")).items()}
    page = said.get("page", "1")
    return RunsFilter(
        project=said.get("project"),
        status=said["status"] if said.get("status") in {status.value for status in RunStatus} else None,
        search=said.get("search"),
        page=int(page) - 1 if page.isdecimal() and 0 < int(page) < 10**6 else 0,
        in_trouble=said.get("health") == TROUBLE,
    )


def layout(wanted: RunsFilter) -> Component:
    return html.Div(
        [
            html.Div([html.H1("Runs"), count()], className="title-row"),
            *listing(wanted),
        ],
        className="page page-runs",
        **data(tick="runs-tick"),
    )


def count() -> Component:
    return html.P(id="runs-count", className="muted")


def listing(wanted: RunsFilter, *, one_project: bool = False) -> list[Component]:
    """Filters, table and pager, and what keeps them fresh. A page that shows it also shows `count` somewhere."""
    return [
        dcc.Interval(id="runs-tick", interval=2000),
        dcc.Store(id="runs-revision"),
        dcc.Store(id="runs-page", data=wanted.page),
        html.Div(
            [
                html.Div(
                    named(
                        "Project",
                        dcc.Dropdown(
                            id="runs-project",
                            options=[wanted.project] if wanted.project else [],
                            value=wanted.project,
                            placeholder="All projects",
                            className="project-select",
                        ),
                    ),
                    hidden=one_project,
                ),
                choice("runs-status", "Status", STATUSES, wanted.status or ALL),
                choice("runs-health", "Health", HEALTHS, TROUBLE if wanted.in_trouble else ALL),
                named(
                    "Search name or id",
                    dcc.Input(
                        id="runs-search",
                        type="search",
                        value=wanted.search or "",
                        placeholder="Search name or id",
                        debounce=0.3,
                        className="search",
                    ),
                ),
            ],
            id="runs-filters",
            className="filters",
            role="search",
        ),
        html.Div(skeleton(), id="runs-list"),
        html.Nav(
            [
                html.Button("← Newer", id="runs-previous", className="button", n_clicks=0),
                html.Span(id="runs-range", className="muted number"),
                html.Button("Older →", id="runs-next", className="button", n_clicks=0),
            ],
            id="runs-pager",
            className="pager",
            hidden=True,
            **aria(label="Pages of runs"),
        ),
    ]


def register(app: dash.Dash, database: Database) -> None:
    """The page's callbacks."""
    cache = SparklineCache()

    in_browser(
        app,
        "turnPage",
        Output("runs-page", "data"),
        Input("runs-previous", "n_clicks"),
        Input("runs-next", "n_clicks"),
        Input("runs-project", "value"),
        Input("runs-status", "value"),
        Input("runs-health", "value"),
        Input("runs-search", "value"),
        State("runs-page", "data"),
        prevent_initial_call=True,
    )
    in_browser(
        app,
        "rememberFilter",
        Input("runs-page", "data"),
        Input("runs-project", "value"),
        Input("runs-status", "value"),
        Input("runs-health", "value"),
        Input("runs-search", "value"),
        prevent_initial_call=True,
    )

    @app.callback(
        Output("runs-list", "children"),
        Output("runs-count", "children"),
        Output("runs-range", "children"),
        Output("runs-previous", "disabled"),
        Output("runs-next", "disabled"),
        Output("runs-pager", "hidden"),
        Output("runs-filters", "hidden"),
        Output("runs-project", "options"),
        Output("runs-revision", "data"),
        Output("notice", "children", allow_duplicate=True),
        Input("runs-tick", "n_intervals"),
        Input("runs-page", "data"),
        Input("runs-project", "value"),
        Input("runs-status", "value"),
        Input("runs-health", "value"),
        Input("runs-search", "value"),
        State("runs-revision", "data"),
        State("origin", "data"),
        prevent_initial_call="initial_duplicate",
    )
    async def show_runs(
        _ticks: int | None,
        page: int | None,
        project: str | None,
        status: str | None,
        health: str | None,
        search: str | None,
        revision: str | None,
        origin: str | None,
    ) -> Sequence[object]:
        wanted = RunsFilter(
            project=project or None,
            status=None if status in (None, ALL) else status,
            search=(search or "").strip() or None,
            page=max(0, page or 0),
            in_trouble=health == TROUBLE,
        )
        reading = await asyncio.to_thread(read_runs, database, wanted, cache)
        if reading.revision == revision:
            return [dash.no_update] * 9 + [None]
        first = reading.page * PAGE_SIZE
        return (
            run_list(reading, origin or "http://127.0.0.1:8700", wanted),
            count_text(reading),
            f"{first + 1:,}–{first + len(reading.rows):,} of {reading.total:,}",
            reading.page == 0,
            first + len(reading.rows) >= reading.total,
            reading.total <= PAGE_SIZE,
            not reading.any_run,
            list(reading.projects),
            reading.revision,
            None,
        )


def count_text(reading: RunsReading) -> str:
    """The total, and how many of those on the page are alive."""
    if not reading.any_run:
        return "Waiting for the first run"
    running = sum(liveness(row.run, reading.now) is Liveness.RUNNING for row in reading.rows)
    total = f"{reading.total:,} {'run' if reading.total == 1 else 'runs'}"
    where = "" if reading.total <= PAGE_SIZE else " on this page"
    return f"{total}, {running} running{where}" if running else total


def run_list(reading: RunsReading, origin: str, wanted: RunsFilter) -> Component:
    if not reading.any_run:
        return first_steps(origin)
    if not reading.rows and wanted.project and wanted == RunsFilter(wanted.project, page=wanted.page):
        return html.Div(
            [html.H2("No run yet"), html.P("None has reported to this project, or all of its runs were deleted.")],
            className="empty card",
        )
    if not reading.rows:
        return html.Div(
            [html.H2("No run matches"), html.P("Clear the search box, or choose another project, status or health.")],
            className="empty card",
        )
    head = [
        ("Run", "col-name", None),
        ("Status", "col-status", None),
        ("Health", "col-health", "The worst of what the diagnostics have open to say; the run's page has the rest."),
        ("Progress", "col-progress", "Last step of the total. “assumed”: the job declared no total."),
        ("Last point", "col-loss", "The newest value of the run's main loss: one point, noise and all."),
        ("Loss", "col-spark", "The loss so far along the whole run; the bar at the right is the predicted final band."),
        (
            "Final loss",
            "col-forecast",
            "Predicted: the median, and the band that holds the final loss nine times of ten. Of an ended run: the "
            "mean of the last 2 % that it came to.",
        ),
        ("Alerts", "col-alerts", "Alerts that are open now; of an ended run, those that were open when it ended."),
    ]
    return html.Table(
        [
            html.Caption("Runs, newest first", className="only-read"),
            html.Thead(
                html.Tr(
                    [
                        html.Th(hint(text, meaning) if meaning else text, scope="col", className=column)
                        for text, column, meaning in head
                    ]
                )
            ),
            html.Tbody([run_row(row, reading.sparklines, reading) for row in reading.rows]),
        ],
        className="runs",
    )


def run_row(row: RunRow, drawings: Mapping[str, Sparkline | None], reading: RunsReading) -> Component:
    run, summary = row.run, row.summary
    state, end = liveness(run, reading.now), reading.ends.get(run.id)
    glance = reading.health.get(run.id)
    return html.Tr(
        [
            html.Th(
                [
                    dcc.Link(
                        cut_in_middle(run.name),
                        href=run_href(run.id),
                        className="run-link cut-in-middle",
                        title=run.name,
                    ),
                    html.Div(
                        [
                            project_link(run.project),
                            moment(run.last_seen_at, reading.now),
                        ],
                        className="facts",
                    ),
                ],
                scope="row",
                className="col-name",
            ),
            html.Td(status_badge(state, end.level if end else None), className="col-status"),
            html.Td(
                health_mark(glance, state),
                className="col-health" + ("" if glance and glance.troubles else " col-empty"),
            ),
            html.Td(
                run_progress(run, summary, state),
                className="col-progress",
            ),
            html.Td(
                value_text(summary.last_value if summary else None),
                # On a phone where it came to says more than its last point, and stands in its place.
                className="col-loss" + (" col-empty" if run.id in reading.ends else ""),
                **data(label="Last point"),
            ),
            html.Td(sparkline_image(drawings.get(run.id)), className="col-spark"),
            html.Td(
                _end_or_prediction(row, reading),
                className="col-forecast"
                + ("" if run.id in reading.ends or (summary and summary.forecast) else " col-empty"),
                **data(label="Predicted final loss" if run.status is RunStatus.RUNNING else "Ended at"),
            ),
            html.Td(
                _alerts_mark(row),
                className="col-alerts" + ("" if row.worst_severity else " col-empty"),
                **data(label="Alerts") if run.status is not RunStatus.RUNNING else {},
            ),
        ],
        className="run-over" if run.id in reading.ends else "",
    )


def _alerts_mark(row: RunRow) -> Component:
    if row.worst_severity is None:
        return html.Span(MISSING, className="muted", title="No open alerts")
    counted = alerts_in_words(row)
    if row.run.status is RunStatus.RUNNING:
        return severity_badge(row.worst_severity, counted)
    return html.Span([counted, html.Br(), "at the end"], className="muted", title="Open when the run ended")


def alerts_in_words(row: RunRow) -> str:
    """How many of the worst severity, and how many others there are."""
    others = row.unresolved_alerts - row.worst_alerts
    return f"{row.worst_alerts} {row.worst_severity}" + (f" +{others}" if others else "")


def _end_or_prediction(row: RunRow, reading: RunsReading) -> Component:
    if row.run.status is not RunStatus.RUNNING:
        end = reading.ends.get(row.run.id)
        return html.Span(MISSING, className="muted", title="It ended without a number") if end is None else ending(end)
    summary = row.summary
    return prediction(summary.forecast if summary else None, summary.last_value if summary else None)


def skeleton() -> Component:
    return html.Div([html.Div(className="skeleton-row") for _ in range(6)], className="skeleton", **aria(hidden="true"))


def first_steps(origin: str) -> Component:
    """What to do when there is nothing to see: two ways to send a first run, ready to paste."""
    python = (
        "import losscast, math\n\n"
        f'losscast.init(url="{origin}", name="first run", total_steps=2000)\n'
        "for step in range(1, 2001):\n"
        '    losscast.log({"loss": 2 + 3 / math.sqrt(step)}, step=step)  # your training step goes here\n'
        "losscast.finish()"
    )
    curl = f"curl '{origin}/api/v1/log/first-run?total_steps=2000' -d step=1 -d loss=4.2"
    return html.Section(
        [
            html.H2("No runs yet. Send the first one"),
            html.P(
                "A run appears here with its first number. A few points later it shows where its loss is going, "
                "and how sure that is."
            ),
            code_block("snippet-python", "From Python, with the client in client/ of the checkout", python),
            code_block("snippet-curl", "From anything else: one number, one request", curl),
            html.P(["Earlier runs come in with ", html.Code("losscast import"), "."], className="muted"),
        ],
        className="card first-steps",
    )
