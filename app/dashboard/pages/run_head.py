"""The head of a run's page: what it is, how far it has come, and what must not be overlooked."""

from __future__ import annotations

from datetime import datetime

from dash import dcc, html
from dash.development.base_component import Component

from app.dashboard.components import (
    aria,
    hint,
    moment,
    project_link,
    run_href,
    severest_first,
    severity_badge,
    status_badge,
)
from app.dashboard.formatting import format_count, format_duration, format_percent, format_step, format_value
from app.dashboard.liveness import Liveness
from app.dashboard.pages.fit import fit_href
from app.dashboard.pages.run_progress import run_progress
from app.dashboard.readings.compared_runs import compare_href
from app.dashboard.readings.metrics import newest_value
from app.dashboard.readings.run import RunReading
from app.runs import Run, RunStatus, StoredAlert
from app.storage.stops import StopEntry
from app.verdicts.stopping import Author

STOP_ADVISED = "stop_advised"  # kind of the worker's alert
IMPORTED, IMPORTER_SAYS = "imported", "imported from "  # tag and words of `losscast import`
TOLD_TO_STOP = "Told to stop: "  # how the client begins the last words of a job that was


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
        html.Div(
            [
                html.H1(run.name, title=run.name),
                status_badge(reading.state, reading.end.level if reading.end else None, by_keyboard=True),
            ],
            className="title-row",
        ),
        html.Div(
            [
                html.Code(run.id, title="The run's id"),
                *_times(run, reading.now),
                *(html.Span(tag, className="tag", title=tag) for tag in run.tags),
                dcc.Link("Predict another schedule from this run", href=fit_href(run.id))
                if run.status is not RunStatus.RUNNING and not reading.is_broken
                else None,
                dcc.Link("Compare with others", href=compare_href(beside=run.id, project=run.project)),
                export_links(run.id),
            ],
            className="facts",
        ),
        html.Div(
            [
                run_progress(run, summary, reading.state),
                html.Span(remaining_text(reading), className="muted remaining"),
            ],
            className="head-progress",
        ),
    ]


def _times(run: Run, now: datetime) -> list[Component]:
    """When it began and ended; of an import only when that was, for the job's own times are not known."""
    if _is_imported(run):
        return [html.Span(["imported ", moment(run.finished_at or run.created_at, now)])]
    began = html.Span(["started ", moment(run.created_at, now)])
    if run.finished_at is None:
        return [began, html.Span(["last heard ", moment(run.last_seen_at, now)])]
    return [began, html.Span(["ended ", moment(run.finished_at, now)])]


def _is_imported(run: Run) -> bool:
    return IMPORTED in run.tags and run.status is not RunStatus.RUNNING


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
    """What must not be overlooked: what is wrong, or was when the run ended, silence, the job's last words.

    That a stop is advised stands below in the verdict, with all that it rests on.
    """
    urgent = [alert for alert in reading.unresolved_alerts if alert.kind != STOP_ADVISED]
    lines: list[Component] = [
        html.Div(
            [severity_badge(alert.severity), html.Span(_alert_text(reading, alert))],
            className=f"banner banner-{alert.severity}",
        )
        for alert in severest_first(urgent)[:3]
    ]
    if len(urgent) > 3:
        lines.append(html.Div(f"{len(urgent) - 3} more alerts below.", className="banner"))
    if reading.state is Liveness.LOST:
        silence = format_duration((reading.now - reading.run.last_seen_at).total_seconds())
        lines.append(
            html.Div(
                f"Nothing heard for {silence}. The job may have died without a word.", className="banner banner-lost"
            )
        )
    if reading.order is not None:
        lines.append(html.Div(followed_text(reading, reading.order), className="banner"))
    own_words = reading.run.exit_message or ""
    if own_words and (reading.order is None or not _is_verdict(own_words)):
        is_importers = _is_imported(reading.run) and own_words.startswith(IMPORTER_SAYS)
        said: list[Component | str] = [f"I{own_words[1:]}."] if is_importers else ["The job said: ", html.Q(own_words)]
        lines.append(html.Div(said, className="banner"))
    return html.Div(lines, className="banners", role="status") if lines else None


def _alert_text(reading: RunReading, alert: StoredAlert) -> list[Component | str]:
    """An alert's own words tell what was known when it fired: of a run that is over, where it came to as well."""
    if not reading.is_over:
        return [alert.message]
    said_at = alert.evidence.get("raised_at")
    is_dated = said_at is None or f"step {format_step(said_at)}" in alert.message
    said = "" if is_dated else f" Said at step {format_step(said_at)}."
    series = reading.series_of(alert.metric)
    step, value = newest_value(reading.run, reading.summary, series)
    end = f" The last point of {alert.metric}, at step {format_step(step)}: {format_value(value)}." if series else ""
    return [html.B("Still so when the run ended: "), f"{alert.message}{said}{end}"]


def followed_text(reading: RunReading, order: StopEntry) -> list[Component | str]:
    """Who told the job to stop, how far it had come, and why."""
    run, total = reading.run, reading.summary.total_steps if reading.summary else None
    who = "A person" if order.author is Author.PERSON else "Losscast, by the project's policy,"
    done = f" at step {format_step(run.last_step)}" if run.last_step is not None else ""
    saved = ""
    if run.last_step is not None and total and run.last_step < total:
        saved = f" of {format_step(total)}: {format_percent(1 - run.last_step / total)} of it was saved"
    sentence = order.evidence.get("verdict", {}).get("sentence") or order.why
    ordered = f" When it was ordered, at step {format_step(order.step)}: " if order.step is not None else " "
    return [f"{who} told the job to stop, and it ended{done}{saved}.{ordered}", html.Q(sentence)]


def _is_verdict(message: str) -> bool:
    """Whether a job's last words are the verdict that stopped it: the client sends those where it has no others."""
    return message.startswith(TOLD_TO_STOP) or "; stopping now saves " in message
