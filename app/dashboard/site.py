"""The site: one Dash app on the service's own FastAPI app, its frame, and the way from an address to a page."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import logging
import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any
from urllib.parse import unquote

import dash
from dash import Input, Output, State, dcc, html
from dash.development.base_component import Component
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.calculations import Calculations
from app.dashboard.clientside import in_browser
from app.dashboard.components import aria, message_page
from app.dashboard.pages import alerts, compare, fit, goals, project, ranking, run, runs, verdict
from app.dashboard.readings.compared_runs import CompareForm
from app.dashboard.readings.run import read_run
from app.dashboard.readings.runs import RunsFilter, read_projects
from app.errors import NotFound, RunDeleted, Unavailable
from app.paths import bundled
from app.storage.database import Database
from app.storage.health import lateness, read_work_health, work_problems
from app.storage.json import storable_text
from app.storage.runs import get_run, gone

log = logging.getLogger(__name__)

RUN_PATH = re.compile(r"/runs/(?P<run_id>[^/]+)/?")
PROJECT_PATH = re.compile(r"/projects/(?P<project>[^/]+)/?")
PAGES = frozenset({"/", "/alerts", "/compare", "/fit"})

LOOK_AT_WORK_SECONDS = 15
"""An open page asks so often whether the workers keep up."""

# Dash fills in the braces. theme.js runs before anything is painted, so that a dark page never flashes white;
# prototypes.js before any script of others.
INDEX = """<!DOCTYPE html>
<html lang="en">
    <head>
        {%metas%}
        <title>{%title%}</title>
        <link rel="icon" type="image/svg+xml" href="/assets/favicon.svg">
        <meta http-equiv="Content-Security-Policy" content="{policy}">
        <meta name="color-scheme" content="light dark">
        <script src="/assets/prototypes.js"></script>
        <script src="/assets/theme.js"></script>
        {%css%}
    </head>
    <body>
        {%app_entry%}
        <noscript>Losscast draws its pages in the browser and needs JavaScript.</noscript>
        <footer>
            {%config%}
            {%scripts%}
            {%renderer%}
        </footer>
    </body>
</html>"""


def build_site(
    app: FastAPI,
    database: Database,
    *,
    ask_for_refit: Callable[[set[str]], None],
    fits: Calculations,
    what_ifs: Calculations,
) -> dash.Dash:
    """Mount the pages on `app` at "/"."""
    site = dash.Dash(
        "losscast",
        server=app,  # type: ignore[arg-type]  # Dash takes FastAPI apps, its annotation does not say so
        assets_folder=str((bundled("static") / "dashboard").resolve()),
        assets_ignore=r"^(theme|prototypes)\.js$",  # loaded by INDEX, earlier than Dash would
        title="Losscast",
        update_title="",
        serve_locally=True,
        suppress_callback_exceptions=True,  # pages come and go, and their callbacks with them
        add_log_handler=False,
        on_error=_tell,
    )
    site.index_string = INDEX.replace("{policy}", content_security_policy(site.renderer))
    site.layout = frame()
    _register_frame(site)
    _register_router(site, database)
    _register_work(site, database)
    runs.register(site, database)
    run.register(site, database, ask_for_refit, what_ifs)
    project.register(site, database)
    alerts.register(site, database)
    fit.register(site, database, fits)
    compare.register(site, database)
    verdict.register(site, database)
    ranking.register(site, database)
    goals.register(site, database)
    app.add_middleware(UnknownPages, database=database)
    # Dash collects scripts, styles and callbacks at the first request, but only at one to "/" or its own addresses:
    # a reader whose reload of /runs/... came first after a restart would get a page without any of them.
    site._setup_server()  # type: ignore[no-untyped-call]
    return site


class UnknownPages:
    """Answers pages that are not there with 404: the page says so in words, the status to programs."""

    def __init__(self, app: ASGIApp, database: Database) -> None:
        self._app, self._database = app, database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_status(message: Message) -> None:
            # Asked only where a page would be shown: not of readers who are sent to sign in, not of other routes.
            if message["type"] == "http.response.start" and message["status"] == 200 and _is_page(scope):
                path = scope.get("raw_path", b"").decode("latin-1") or scope["path"]
                known = await asyncio.to_thread(self._knows, path)
                message = message if known else {**message, "status": 404}
            await send(message)

        await self._app(scope, receive, send_with_status if scope["type"] == "http" else send)

    def _knows(self, path: str) -> bool:
        """Whether there is such a page; a database that is away cannot tell, and the page says that."""
        if (path.rstrip("/") or "/") in PAGES:
            return True
        run, project = RUN_PATH.fullmatch(path), PROJECT_PATH.fullmatch(path)
        try:
            if run is not None:
                with self._database.read() as connection:
                    get_run(connection, _named(run["run_id"]))
                return True
            return project is not None and _named(project["project"]) in read_projects(self._database)
        except NotFound:
            return False
        except Unavailable:
            return True


def _is_page(scope: Scope) -> bool:
    """Whether Dash answered: its one route takes every address that no other does."""
    return getattr(scope.get("route"), "path", "") in ("{path:path}", "/{path:path}")


def content_security_policy(*inline_scripts: str) -> str:
    """What a page may load and run: our own files, and the one line with which Dash starts itself.

    Plotly and Dash write style elements, so inline styles stay allowed.
    """
    digests = [base64.b64encode(sha256(script.encode()).digest()).decode() for script in inline_scripts]
    scripts = " ".join(["'self'", *(f"'sha256-{digest}'" for digest in digests)])
    return (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "font-src 'self'; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; form-action 'self'"
    )


def frame() -> Component:
    """What stays on every page."""
    return html.Div(
        [
            dcc.Location(id="url", refresh="callback-nav"),
            dcc.Store(id="display"),  # {"theme": "light" | "dark", "narrow": bool}, from the browser
            dcc.Store(id="origin"),  # scheme and host as the reader's browser knows them
            dcc.Store(id="title"),
            dcc.Store(id="farewell"),  # what the page that is left has to say on the next one
            dcc.Interval(id="retry", interval=3000, disabled=True),
            dcc.Interval(id="look-at-work", interval=LOOK_AT_WORK_SECONDS * 1000),
            html.A("Skip to content", href="#main", className="skip"),
            html.Header(
                [
                    dcc.Link(
                        [html.Img(src="/assets/favicon.svg", alt="", width=22, height=22), html.Span("Losscast")],
                        href="/",
                        className="brand",
                    ),
                    html.Nav(
                        [
                            dcc.Link("Runs", href="/", id="nav-runs", className="nav-link"),
                            dcc.Link("Compare", href="/compare", id="nav-compare", className="nav-link"),
                            dcc.Link("Schedules", href="/fit", id="nav-fit", className="nav-link"),
                            dcc.Link("Alerts", href="/alerts", id="nav-alerts", className="nav-link"),
                        ],
                        **aria(label="Main"),
                    ),
                    html.Button(
                        [
                            html.Span("", id="theme-sign", **aria(hidden="true")),
                            html.Span("Theme", id="theme-word"),
                        ],
                        id="theme-toggle",
                        className="button button-small",
                        n_clicks=0,
                        title="Light, dark, or as the system has it",
                    ),
                ],
                className="site-head",
            ),
            html.Div(id="silence", className="notice", role="status", **aria(live="polite")),  # silence.js writes it
            html.Div(id="behind", className="notice", role="status", **aria(live="polite")),
            html.Div(id="notice", className="notice", role="status", **aria(live="polite")),
            html.Div(id="done", className="notice notice-done", role="status", **aria(live="polite")),
            html.Main(runs.skeleton(), id="main", tabIndex="-1"),
        ],
        className="site",
    )


def _register_frame(site: dash.Dash) -> None:
    in_browser(
        site,
        "display",
        Output("display", "data"),
        Output("theme-sign", "children"),
        Output("theme-word", "children"),
        Output("origin", "data"),
        Input("theme-toggle", "n_clicks"),
    )
    in_browser(
        site,
        "arrived",
        Output("nav-runs", "className"),
        Output("nav-compare", "className"),
        Output("nav-fit", "className"),
        Output("nav-alerts", "className"),
        Input("url", "pathname"),
        Input("title", "data"),
    )


def _register_router(site: dash.Dash, database: Database) -> None:
    @site.callback(
        Output("main", "children"),
        Output("title", "data"),
        Output("retry", "disabled"),
        Output("notice", "children"),
        Output("done", "children"),
        Output("farewell", "data"),
        Input("url", "pathname"),
        Input("retry", "n_intervals"),
        State("url", "search"),
        State("farewell", "data"),
    )
    async def show_page(
        pathname: str | None, _retries: int | None, search: str | None, farewell: str | None
    ) -> tuple[Any, str, bool, None, str | None, None]:
        try:
            page, title = await asyncio.to_thread(page_at, database, pathname or "/", search or "")
        except Unavailable as error:
            return unavailable_page(error), "Out of reach", False, None, farewell, None
        except Exception:
            log.exception("The page at %s could not be made.", pathname)
            return broken_page(), "Out of order", False, None, farewell, None
        return page, title, True, None, farewell, None


def _register_work(site: dash.Dash, database: Database) -> None:
    @site.callback(Output("behind", "children"), Input("look-at-work", "n_intervals"))
    async def look_at_work(_looks: int | None) -> str | None:
        try:
            return await asyncio.to_thread(behind, database)
        except Unavailable:
            return None  # the page itself says so


def behind(database: Database) -> str | None:
    """Why forecasts are not of now, on whatever page: no worker runs, or too much waits for it."""
    with database.read() as connection:
        work = read_work_health(connection)
    problem = next(work_problems(work), None)
    return f"Forecasts and diagnoses stand still. {problem}" if problem else lateness(work)


def page_at(database: Database, pathname: str, search: str = "") -> tuple[Component, str]:
    """The page at an address, and its title."""
    search = search.replace("%00", "")  # Postgres keeps no NUL, so nothing is called so
    if pathname == "/":
        database.ping()
        return runs.layout(runs.filter_from_query(search)), "Runs"
    if pathname.rstrip("/") == "/alerts":
        database.ping()
        return alerts.layout(), "Alerts"
    if pathname.rstrip("/") == "/fit":
        return fit.layout(database, fit.FitForm.from_query(search)), "Other schedules"
    if pathname.rstrip("/") == "/compare":
        return compare.layout(database, CompareForm.from_query(search)), "Compare runs"
    match = PROJECT_PATH.fullmatch(pathname)
    if match is not None:
        return project_at(database, _named(match["project"]), search)
    match = RUN_PATH.fullmatch(pathname)
    if match is None:
        return unknown_page(pathname), "Not found"
    run_id = _named(match["run_id"])
    try:
        reading = read_run(database, run_id)
        worth = verdict.section(verdict.read(database, run_id))
    except NotFound:
        return missing_run_page(database, run_id), "No such run"
    return run.layout(reading, worth), reading.run.name


def _named(part: str) -> str:
    """The name in a part of an address, as storage would have kept it."""
    return storable_text(unquote(part))


def project_at(database: Database, name: str, search: str) -> tuple[Component, str]:
    if name not in read_projects(database):
        return unknown_project_page(name), "No such project"
    wanted: RunsFilter = dataclasses.replace(runs.filter_from_query(search), project=name)
    return project.layout(name, wanted, goals.read_goals(database, name)), name


def unknown_page(pathname: str) -> Component:
    return message_page("Nothing here", html.P(["There is no page at ", html.Code(pathname), "."]), _home())


def missing_run_page(database: Database, run_id: str) -> Component:
    with database.read() as connection:
        why = gone(connection, [run_id])[run_id]
    if isinstance(why, RunDeleted):
        deleted = f" was deleted at {why.deleted_at:%Y-%m-%d %H:%M} UTC, with all that belonged to it."
        return message_page("This run was deleted", html.P(["The run ", html.Code(run_id), deleted]), _home())
    return message_page(
        "No such run",
        html.P(["No run has the id ", html.Code(run_id), ". It may have been mistyped, or sent to another server."]),
        _home(),
    )


def unknown_project_page(name: str) -> Component:
    return message_page(
        "No such project",
        html.P(
            [
                "No run belongs to a project of the name ",
                html.Code(name),
                ". A project begins with its first run, or with what is wanted of its runs.",
            ]
        ),
        _home(),
    )


def unavailable_page(error: Unavailable) -> Component:
    return message_page(
        "The database is out of reach",
        html.P(str(error)),
        html.P(
            "This page tries again every three seconds. What the server has acknowledged is safe; clients keep the "
            "rest and send it again."
        ),
    )


def broken_page() -> Component:
    return message_page(
        "This page cannot be shown",
        html.P("That is a fault of ours; the server's log describes it. What is stored is safe."),
        html.P("This page tries again every three seconds."),
        _home(),
    )


def _home() -> Component:
    return html.P(dcc.Link("All runs", href="/", className="button"))


def _tell(error: Exception) -> None:
    """The page keeps what it shows and says that it is old; the next tick tries again."""
    if isinstance(error, Unavailable):
        text = f"{error} What you see may be old. Trying again."
    elif isinstance(error, NotFound):
        text = "This run is no longer there."
    else:
        log.error("A page could not be updated.", exc_info=error)
        text = "Something went wrong while updating this page; the server's log says what. Trying again."
    dash.set_props("notice", {"children": text})
