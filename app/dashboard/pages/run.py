"""One run: where it is, where it is going, how sure that is, and what went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import dash
from dash import Input, Output, State, dcc, html
from dash.development.base_component import Component

from app.curves.roles import ACCURACY_ROLES, FORECAST_ROLES
from app.dashboard.clientside import in_browser
from app.dashboard.compared_runs import compare_href
from app.dashboard.components import (
    BAND_MEANING,
    alert_item,
    aria,
    card,
    choice,
    data,
    definition_list,
    flattened,
    hint,
    moment,
    progress,
    project_link,
    range_image,
    run_href,
    severest_first,
    severity_badge,
    source_badge,
    status_badge,
    tile,
    value_text,
)
from app.dashboard.figures.empty import empty_figure
from app.dashboard.figures.history import history_figure
from app.dashboard.figures.loss import LossChart, Scale, loss_figure
from app.dashboard.figures.metric import metric_figure
from app.dashboard.formatting import (
    MISSING,
    format_band,
    format_count,
    format_duration,
    format_percent,
    format_step,
    format_value,
)
from app.dashboard.glyphs import range_glyph
from app.dashboard.liveness import Liveness
from app.dashboard.pages import what_if
from app.dashboard.pages.fit import fit_href
from app.dashboard.pages.health import health_report
from app.dashboard.pages.opinions import opinions
from app.dashboard.pages.other_forecasts import other_forecasts
from app.dashboard.pages.siblings import sibling_list
from app.dashboard.pages.what_if import what_if_card
from app.dashboard.readings import (
    HistoryReading,
    RunReading,
    read_chart,
    read_history,
    read_metrics,
    read_revision,
    read_run,
)
from app.dashboard.theme import Display
from app.forecasting.track_record import JudgedForecast
from app.runs import Points, RunStatus, Series
from app.storage.database import Database

GRAPH_CONFIG: Any = {
    "displaylogo": False,
    "responsive": True,
    "doubleClick": "autosize",
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d", "pan2d", "resetScale2d"],
    "toImageButtonOptions": {"format": "svg", "filename": "losscast"},
}
STILL_CONFIG: Any = {"displayModeBar": False, "responsive": True, "doubleClick": False}

METRICS_AT_ONCE = 12

STOP_ADVISED = "stop_advised"  # kind of the worker's alert

TOLD_AT = 0.4  # seen: early enough to have been of use, late enough for a band that says something

FAMILY_NAMES = {
    "constant": "constant",
    "cosine": "cosine",
    "linear": "linear decay",
    "wsd_linear": "warm-up, stable, linear decay",
    "wsd_exponential": "warm-up, stable, exponential decay",
    "wsd_sqrt": "warm-up, stable, 1-sqrt decay",
    "inverse_sqrt": "inverse square root",
    "step": "steps",
    "polynomial": "polynomial decay",
    "cyclic": "cyclic",
    "explicit": "given step by step",
    "hold": "held at its last value",
    "reactive": "reacts to the loss",
}


def layout(reading: RunReading, worth: Component) -> Component:
    """`worth` says whether the run is worth going on with."""
    return html.Div(
        [
            dcc.Interval(id="run-tick", interval=2000),
            dcc.Store(id="run-id", data=reading.run.id),
            dcc.Store(id="run-revision", data=reading.revision),
            dcc.Store(id="run-view"),
            html.Div(header(reading), id="run-head"),
            html.Div(banner(reading), id="run-banner"),
            worth,
            html.Div(tiles(reading), id="run-tiles", className="tiles"),
            card(
                "Curve and forecast",
                graph("run-chart", empty_figure(), "chart-main", config=GRAPH_CONFIG),
                html.Div(
                    [
                        html.Span("Drag along the steps to zoom in at full resolution.", className="needs-mouse"),
                        html.Span(
                            [
                                html.Button(
                                    "Latest 10 %", id="run-latest", className="button button-small", n_clicks=0
                                ),
                                html.Button("Whole run", id="run-whole", className="button button-small", n_clicks=0),
                            ],
                            className="tools",
                        ),
                    ],
                    className="chart-help muted",
                ),
                tools=chart_tools(reading),
                class_name="card-chart",
            ),
            what_if_card(),
            html.Div(
                [
                    card(
                        hint("Health", "What broke, what is about to, and what only looked like it."),
                        html.Div(health_report(reading), id="run-health", className="health"),
                    ),
                    card(
                        hint("How the forecast moved", "Each forecast is kept. This is what was predicted, and when."),
                        html.Div(id="run-history-note", className="muted"),
                        graph("run-history", empty_figure(), "chart-history"),
                    ),
                    card("Other forecasts", html.Div(other_forecasts(reading), id="run-others")),
                    card("Alerts", html.Div(alert_list(reading), id="run-alerts")),
                    card("What the forecast rests on", html.Div(grounds(reading), id="run-grounds")),
                    card("Restarts and settings", html.Div(details(reading), id="run-details")),
                ],
                className="columns",
            ),
            card(
                "All metrics",
                html.Div(id="run-metrics", className="metrics"),
                tools=[
                    dcc.Input(
                        id="run-metric-search",
                        type="search",
                        placeholder="Search metrics",
                        value="",
                        debounce=0.3,
                        className="search",
                    ),
                    html.Button("Show", id="run-metrics-more", className="button", n_clicks=0),
                ],
            ),
        ],
        className="page page-run",
        **data(tick="run-tick"),
    )


def graph(graph_id: str | dict[str, int], figure: object, size: str, *, config: Any = STILL_CONFIG) -> Component:
    """A chart in a box whose height the stylesheet sets: Dash sets the chart's own to all of its box."""
    return html.Div(dcc.Graph(id=graph_id, figure=figure, config=config), className=size)


def chart_tools(reading: RunReading) -> list[Component]:
    return [
        dcc.Dropdown(
            id="run-metric",
            options=metric_options(reading),
            value=reading.metric,
            clearable=False,
            className="metric-select",
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
    names = [series.metric for series in reading.series]
    return [
        {"value": name, "label": name, "title": name}
        for name in sorted(
            names, key=lambda name: (name != reading.metric, order.get(reading.roles.get(name, ""), len(order)))
        )
    ]


def register(app: dash.Dash, database: Database) -> None:
    """The page's callbacks. The revision decides what is read again; most ticks read three rows and stop."""
    what_if.register(app, database)
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
        Output("run-revision", "data"),
        Output("notice", "children", allow_duplicate=True),
        Input("run-tick", "n_intervals"),
        State("run-id", "data"),
        State("run-revision", "data"),
        prevent_initial_call=True,
    )
    async def look_for_news(_ticks: int | None, run_id: str, revision: str | None) -> Sequence[object]:
        newest = await asyncio.to_thread(read_revision, database, run_id)
        return dash.no_update if newest == revision else newest, None

    @app.callback(
        Output("run-head", "children"),
        Output("run-banner", "children"),
        Output("run-tiles", "children"),
        Output("run-health", "children"),
        Output("run-alerts", "children"),
        Output("run-grounds", "children"),
        Output("run-others", "children"),
        Output("run-details", "children"),
        Output("run-metric", "options"),
        Input("run-revision", "data"),
        State("run-id", "data"),
        prevent_initial_call=True,
    )
    async def show_run(_revision: str, run_id: str) -> Sequence[object]:
        reading = await asyncio.to_thread(read_run, database, run_id)
        return (
            header(reading),
            banner(reading),
            tiles(reading),
            health_report(reading),
            alert_list(reading),
            grounds(reading),
            other_forecasts(reading),
            details(reading),
            metric_options(reading),
        )

    @app.callback(
        Output("run-chart", "figure"),
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
    ) -> object:
        steps = (float(view[0]), float(view[1])) if view else None
        return await asyncio.to_thread(
            _chart, database, run_id, metric, steps, Scale(scale), bool(smooth), Display.from_browser(display)
        )

    @app.callback(
        Output("run-history", "figure"),
        Output("run-history-note", "children"),
        Input("run-revision", "data"),
        Input("run-metric", "value"),
        Input("display", "data"),
        State("run-id", "data"),
    )
    async def draw_history(
        _revision: str, metric: str | None, display: Mapping[str, Any] | None, run_id: str
    ) -> Sequence[object]:
        return await asyncio.to_thread(_history, database, run_id, metric, Display.from_browser(display))

    @app.callback(
        Output("run-metrics", "children"),
        Output("run-metrics-more", "children"),
        Output("run-metrics-more", "hidden"),
        Input("run-metrics-more", "n_clicks"),
        Input("run-metric-search", "value"),
        Input("display", "data"),
        Input("run-revision", "data"),
        State("run-id", "data"),
        prevent_initial_call=True,
    )
    async def draw_metrics(
        clicks: int, search: str | None, display: Mapping[str, Any] | None, _revision: str, run_id: str
    ) -> Sequence[object]:
        if not clicks and not search:
            return dash.no_update, dash.no_update, dash.no_update
        shown = METRICS_AT_ONCE * max(1, clicks)
        return await asyncio.to_thread(
            _metrics, database, run_id, (search or "").strip(), shown, Display.from_browser(display)
        )


def _chart(
    database: Database,
    run_id: str,
    metric: str | None,
    view: tuple[float, float] | None,
    scale: Scale,
    smooth: bool,
    display: Display,
) -> object:
    reading = read_chart(database, run_id, metric, view)
    if reading is None:
        return empty_figure("Nothing logged yet", display.palette)
    chart = LossChart(
        metric=reading.metric,
        points=reading.points,
        others=reading.others,
        forecast=reading.forecast,
        rate=reading.rate,
        restarts=reading.restarts,
        last_step=reading.last_step,
        view=view,
        scale=scale,
        smooth=smooth,
        rises=reading.rises,
    )
    return loss_figure(chart, display)


def _history(database: Database, run_id: str, metric: str | None, display: Display) -> tuple[object, Component | str]:
    reading = read_history(database, run_id, metric)
    if not reading.history:
        return empty_figure("No forecast of this metric yet", display.palette), ""
    return history_figure(reading.history, display, actual=reading.actual), history_text(reading)


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
        f"At {format_percent(told.seen)} of the run the forecast was {format_band(told.p05, told.p95)} (90 % band); "
        f"it ended at {format_value(told.actual)} ({where})."
    )


def _metrics(
    database: Database, run_id: str, search: str, limit: int, display: Display
) -> tuple[list[Component], str, bool]:
    shown, total = read_metrics(database, run_id, search, limit)
    if not shown:
        return [html.P("No metric of that name.", className="muted")], "Show", True
    rest = total - len(shown)
    return [metric_card(series, points, display) for series, points in shown], f"Show {rest} more", rest == 0


def metric_card(series: Series, points: Points, display: Display) -> Component:
    return html.Figure(
        [
            html.Figcaption(
                [html.Span(series.metric, className="metric-name", title=series.metric), value_text(series.last_value)]
            ),
            graph({"metric": series.id}, metric_figure(points, display), "chart-small"),
        ],
        className="metric",
    )


def header(reading: RunReading) -> list[Component | None]:
    run, summary = reading.run, reading.summary
    return [
        html.Nav(
            [
                dcc.Link("Runs", href="/"),
                html.Span("/", **aria(hidden="true")),
                project_link(run.project),
            ],
            className="crumbs",
            **aria(label="Breadcrumb"),
        ),
        html.Div([html.H1(run.name, title=run.name), status_badge(reading.state)], className="title-row"),
        html.Div(
            [
                html.Code(run.id, title="The run's id"),
                html.Span(["started ", moment(run.created_at, reading.now)]),
                html.Span(["last heard ", moment(run.last_seen_at, reading.now)])
                if run.finished_at is None
                else html.Span(["ended ", moment(run.finished_at, reading.now)]),
                *(html.Span(tag, className="tag", title=tag) for tag in run.tags),
                dcc.Link("Predict another schedule from this run", href=fit_href(run.id))
                if run.status is not RunStatus.RUNNING
                else None,
                dcc.Link("Compare with others", href=compare_href(run_ids=[run.id], project=run.project)),
                export_links(run.id),
            ],
            className="facts",
        ),
        html.Div(
            [
                progress(
                    run.last_step,
                    summary.total_steps if summary else None,
                    summary.total_source if summary else None,
                    running=reading.state is Liveness.RUNNING,
                ),
                html.Span(remaining_text(reading), className="muted remaining"),
            ],
            className="head-progress",
        ),
    ]


def export_links(run_id: str) -> Component:
    """All points of the run as a file, in each form that there is."""
    address = f"/api/v1{run_href(run_id)}/export?format="
    forms = {"csv": "CSV", "jsonl": "JSONL", "parquet": "Parquet"}
    links = [html.A(label, href=address + form, download="", className="export") for form, label in forms.items()]
    return html.Span([hint("Export", "Every point of every metric, as a file."), *links], className="exports")


def remaining_text(reading: RunReading) -> str:
    """Time to the end, where the run's speed is steady and its end was not guessed."""
    speed, summary, last = reading.steps_per_second, reading.summary, reading.run.last_step
    if speed is None or last is None or reading.state is not Liveness.RUNNING:
        return ""
    pace = f"{format_count(speed)} steps/s" if speed >= 1 else f"{format_count(1 / speed)} s a step"
    if summary is None or not summary.total_steps or summary.total_source == "assumed" or last >= summary.total_steps:
        return pace
    return f"about {format_duration((summary.total_steps - last) / speed)} left at {pace}"


def banner(reading: RunReading) -> Component | None:
    """What must not be overlooked: open alerts, silence, the job's last words.

    That a stop is advised stands below in the verdict, with all that it rests on.
    """
    urgent = [alert for alert in reading.open_alerts if alert.kind != STOP_ADVISED]
    lines: list[Component] = [
        html.Div(
            [severity_badge(alert.severity), html.Span(alert.message)], className=f"banner banner-{alert.severity}"
        )
        for alert in severest_first(urgent)[:3]
    ]
    if len(urgent) > 3:
        lines.append(html.Div(f"{len(urgent) - 3} more open alerts below.", className="banner"))
    if reading.state is Liveness.LOST:
        silence = format_duration((reading.now - reading.run.last_seen_at).total_seconds())
        lines.append(
            html.Div(
                f"Nothing heard for {silence}. The job may have died without a word.", className="banner banner-lost"
            )
        )
    if reading.run.exit_message:
        lines.append(html.Div(["The job said: ", html.Q(reading.run.exit_message)], className="banner"))
    return html.Div(lines, className="banners", role="status") if lines else None


def tiles(reading: RunReading) -> list[Component]:
    summary = reading.summary
    main = reading.series_of(reading.metric)
    last_value = main.last_value if main else None
    return [
        tile(
            ["Last ", html.Code(reading.metric or "loss", className="metric-name", title=reading.metric or "")],
            value_text(last_value),
            below=f"at step {format_step(main.last_step)}" if main else "no number yet",
        ),
        forecast_tile(reading, last_value),
        tile(
            hint("Horizon", "The last step of training: how far the forecast reaches."),
            [html.Span(format_step(summary.total_steps), className="number"), html.Span(" steps", className="unit")]
            if summary and summary.total_steps
            else MISSING,
            below=source_badge(summary.total_source) if summary else None,
            why=summary.total_why if summary else None,
        ),
        tile(
            hint("Learning-rate schedule", "How the learning rate goes on from here: it decides where the loss ends."),
            FAMILY_NAMES.get(summary.schedule_family, summary.schedule_family)
            if summary and summary.schedule_family
            else MISSING,
            below=source_badge(summary.schedule_source) if summary else None,
            why=summary.schedule_why if summary else None,
            class_name="tile-words",
        ),
    ]


def forecast_tile(reading: RunReading, last_value: float | None) -> Component:
    kind = "accuracy" if reading.roles.get(reading.metric or "") in ACCURACY_ROLES else "loss"
    label = hint(f"Predicted final {kind}", "Median of the forecast at the horizon. " + BAND_MEANING)
    summary = reading.summary
    if summary is None or summary.forecast is None:
        return tile(label, MISSING, why=no_forecast_text(reading), class_name="tile-forecast")
    forecast = summary.forecast
    return tile(
        label,
        [
            html.Span(format_value(forecast.p50), className="number"),
            html.Span(
                [
                    hint("90 %", BAND_MEANING),
                    " ",
                    html.Span(format_band(forecast.p05, forecast.p95), className="number"),
                ],
                className="tile-band",
            ),
        ],
        below=[
            range_image(range_glyph(forecast, last_value)),
            html.Span(["made ", moment(forecast.made_at, reading.now), f", from step {format_step(forecast.cutoff)}"]),
        ],
        why=unreached_text(reading),
        class_name="tile-forecast",
    )


def unreached_text(reading: RunReading) -> str | None:
    """A run that ended early has no final loss at its horizon: say so where one is predicted."""
    run, summary = reading.run, reading.summary
    if run.status is RunStatus.RUNNING or summary is None or not summary.total_steps or run.last_step is None:
        return None
    if run.last_step >= summary.total_steps:
        return None
    return f"The run ended at step {format_step(run.last_step)}, before its horizon: this is where it was heading."


def no_forecast_text(reading: RunReading) -> str:
    """Why there is no forecast, in the forecaster's own words where it gave any."""
    if reading.summary is not None and reading.summary.notes:
        return " ".join(reading.summary.notes)
    if reading.metric is None:
        return "Waiting for the first number."
    return "No forecast has been made yet: it comes with the worker's next fit."


def alert_list(reading: RunReading) -> Component:
    if not reading.alerts:
        return html.P("None so far.", className="muted")
    ordered = sorted(reading.alerts, key=lambda alert: alert.resolved_at is not None)  # stable: newest first in each
    return html.Ul([alert_item(alert, reading.now, with_run=False) for alert in ordered], className="alerts")


def grounds(reading: RunReading) -> list[Component | None]:
    """The notes and the finished runs that spoke: what a reader must believe to believe the forecast."""
    summary = reading.summary
    if summary is None:
        return [html.P(no_forecast_text(reading), className="muted")]
    roles = [(metric, match.get("rule", "")) for metric, match in summary.roles.items() if match.get("role") != "other"]
    notes = [html.Li(note) for note in summary.notes]
    return [
        opinions(reading.forecast),
        html.Ul(notes, className="notes") if notes else html.P("No reservations.", className="muted"),
        sibling_list(reading.siblings),
        html.Details(
            [
                html.Summary("How metrics were recognised"),
                html.Dl(
                    [
                        html.Div(
                            [
                                html.Dt(metric, title=metric),
                                html.Dd([html.B(str(reading.roles.get(metric, ""))), html.Br(), str(rule)]),
                            ],
                            className="pair",
                        )
                        for metric, rule in roles
                    ],
                    className="pairs",
                ),
            ],
            className="fold",
        )
        if roles
        else html.Span(),
    ]


def details(reading: RunReading) -> list[Component]:
    run = reading.run
    starts = [
        (
            f"Start {segment.number}" if segment.number == 1 else f"Restart {segment.number - 1}",
            _segment_text(segment.resume_step, segment.first_step),
        )
        for segment in reading.segments
    ]
    config = flattened(run.config)
    return [
        definition_list(starts),
        html.Details(
            [
                html.Summary(f"Config ({len(config)})"),
                definition_list(config) if config else html.P("The job sent none.", className="muted"),
            ],
            className="fold",
        ),
    ]


def _segment_text(resume_step: int | None, first_step: int | None) -> str:
    if resume_step is not None:
        return f"resumed at step {format_step(resume_step)}"
    return f"from step {format_step(first_step)}" if first_step is not None else "no number yet"
