"""The pieces that pages are made of. Values in, Dash components out; texts from outside stay text, never markup."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from dash import dcc, html
from dash.development.base_component import Component

from app.dashboard.diagnosis_words import kind_word
from app.dashboard.formatting import (
    MISSING,
    format_ago,
    format_band,
    format_percent,
    format_step,
    format_value,
)
from app.dashboard.glyphs import RangeGlyph, Sparkline, range_glyph
from app.dashboard.liveness import FINISHED_BROKEN, LOOKS, Liveness
from app.runs import AlertState, ForecastPoint, StoredAlert
from app.storage.ends import End

Children = Component | str | Sequence[Component | str | None] | None

TAIL = 12  # letters at the end of a name that stay in sight

SEVERITIES = ("critical", "warning", "info")
SEVERITY_SHAPES = {"info": "i", "warning": "!", "critical": "!!"}


@dataclass(frozen=True, slots=True)
class AlertLook:
    """What an alert's state is called, and how it is drawn."""

    word: str
    meaning: str
    class_name: str


ALERT_LOOKS = {
    AlertState.OPEN: AlertLook("open", "Its cause lasts.", "alert-open"),
    AlertState.RUN_OVER: AlertLook("run is over", "Its cause had not passed when the run ended.", "alert-over"),
    AlertState.RESOLVED: AlertLook("✓ resolved", "Its cause has passed.", "alert-resolved"),
}

BAND_MEANING = "90 % band: nine times out of ten the mean of the last 2 % of the steps should fall inside it."

STILL_CONFIG: Any = {"displayModeBar": False, "responsive": True, "doubleClick": False}
ZOOM_CONFIG: Any = {"displayModeBar": False, "responsive": True, "doubleClick": "reset"}
STAYS_HERE: Mapping[str, Any] = {"plotlyServerURL": "", "showSendToCloud": False, "showEditInChartStudio": False}
"""Of every chart: Plotly's own bar of buttons has one that uploads the chart, numbers and all, to Plotly's servers."""

SOURCE_MEANINGS = {
    "declared": "The job said so.",
    "inferred": "Read off what the job logged.",
    "assumed": "Neither said nor visible in the data: a guess, and the forecast rests on it.",
    "ended": "The run is over, and that is where.",
}


def aria(**attributes: str) -> dict[str, Any]:
    """`aria(label="Runs")` -> `{"aria-label": "Runs"}`, which is no name that Python takes."""
    return {f"aria-{name}": value for name, value in attributes.items()}


def data(**attributes: str) -> dict[str, Any]:
    """Attributes for the stylesheet and the scripts in static/dashboard/."""
    return {f"data-{name}": value for name, value in attributes.items()}


def run_href(run_id: str) -> str:
    return f"/runs/{quote(run_id, safe='')}"


def project_href(project: str) -> str:
    return f"/projects/{quote(project, safe='')}"


def cut_in_middle(name: str) -> list[Component] | str:
    """A name of which the middle gives way where there is no room: its end tells it apart from its siblings.

    Stands alone in an element of the class "cut-in-middle".
    """
    shown = " ".join(name.split())
    if len(shown) <= 2 * TAIL:
        return shown
    return [html.Span(shown[:-TAIL], className="name-head"), html.Span(shown[-TAIL:], className="name-tail")]


def project_link(project: str) -> Component:
    return dcc.Link(project, href=project_href(project), className="project", title=f"Project {project}")


def explained(meaning: str, *, by_keyboard: bool = True) -> dict[str, Any]:
    """Attributes of what has a meaning: static/dashboard/meanings.js shows it to pointer, finger and keyboard.

    by_keyboard : whether the tab key stops at it; it should not at every row of a long list
    """
    if not meaning:
        return {}
    reached = {"tabIndex": "0", "role": "button"} if by_keyboard else {}
    return {**aria(description=meaning), **reached}


def hint(text: Children, meaning: str, class_name: str = "") -> Component:
    """Text with an explanation, for the pointer, a finger, the keyboard and screen readers alike."""
    return html.Span(text, className=f"hint {class_name}".strip(), **explained(meaning))


def moment(when: datetime, now: datetime, class_name: str = "") -> Component:
    """A point in time as a distance from now; static/dashboard/losscast.js keeps it fresh."""
    return html.Time(
        format_ago(when, now),
        dateTime=when.isoformat(timespec="seconds"),
        title=when.strftime("%Y-%m-%d %H:%M:%S UTC"),
        className=f"moment {class_name}".strip(),
        **data(moment=f"{when.timestamp():.0f}"),
    )


def status_badge(state: Liveness, end: float | None = None, *, by_keyboard: bool = False) -> Component:
    """`end`: what an ended run came to, NaN where that was no finite number; None: it goes on, or nobody knows."""
    is_broken = state is Liveness.FINISHED and end is not None and not math.isfinite(end)
    look = FINISHED_BROKEN if is_broken else LOOKS[state]
    return html.Span(
        [html.Span(look.shape, className="shape", **aria(hidden="true")), look.word],
        className=f"badge badge-{Liveness.FAILED.value if is_broken else state.value}",
        **explained(look.meaning, by_keyboard=by_keyboard),
    )


def severity_badge(severity: str, text: str | None = None) -> Component:
    return html.Span(
        [
            html.Span(SEVERITY_SHAPES.get(severity, "!"), className="shape", **aria(hidden="true")),
            text or severity.capitalize(),
        ],
        className=f"badge severity-{severity}",
    )


def source_badge(source: str | None) -> Component | None:
    """Where a number came from: declared, inferred or assumed."""
    if source is None:
        return None
    return html.Span(source, className=f"source source-{source}", **explained(SOURCE_MEANINGS.get(source, "")))


def progress(last_step: int | None, total_steps: int | None, source: str | None, *, running: bool) -> Component:
    """Steps done of steps to do. Without a total there is no bar: a made-up one would lie."""
    if last_step is None:
        return html.Div(html.Span("no step yet", className="muted"), className="progress")
    if not total_steps:
        return html.Div(
            [html.Span(["step ", html.B(format_step(last_step))]), html.Span("total not known", className="muted")],
            className="progress-text",
        )
    share = min(1.0, max(0.0, last_step / total_steps))
    label = f"{format_step(last_step)} of {format_step(total_steps)} steps"
    return html.Div(
        [
            html.Div(
                html.Div(className="progress-fill", style={"width": f"{100 * share:.2f}%"}),
                className="progress-track" + (" progress-live" if running else ""),
                role="progressbar",
                **aria(
                    valuemin="0",
                    valuemax=str(total_steps),
                    valuenow=str(min(max(last_step, 0), total_steps)),
                    label=label,
                ),
            ),
            html.Div(
                [
                    html.Span([html.B(format_step(last_step)), f" / {format_step(total_steps)}"], className="number"),
                    source_badge("assumed") if source == "assumed" else html.Span(format_percent(share)),
                ],
                className="progress-text",
            ),
        ],
        className="progress",
    )


def value_text(value: float | None) -> Component:
    """A number; one that is not finite stands out."""
    broken = value is not None and format_value(value) in {"NaN", "+Inf", "-Inf"}
    return html.Span(format_value(value), className="number broken" if broken else "number")


def sparkline_image(drawing: Sparkline | None) -> Component:
    if drawing is None:
        return html.Span("", className="sparkline sparkline-empty")
    layers = [html.Span(className="sparkline-layer", style=_mask(drawing.curve))]
    if drawing.whisker:
        layers.append(html.Span(className="sparkline-layer sparkline-whisker", style=_mask(drawing.whisker)))
    # To be seen alone: the row has the last value and the forecast in words, which say more than its name could.
    return html.Span(layers, className="sparkline", **aria(hidden="true"))


def _mask(image: str) -> dict[str, str]:
    return {"maskImage": image, "WebkitMaskImage": image}


def prediction(forecast: ForecastPoint | None, last_value: float | None) -> Component:
    """The predicted final value, its 90 % band in numbers, and where the last value stands to it."""
    if forecast is None:
        return html.Span(MISSING, className="muted", title="No forecast yet")
    return html.Div(
        [
            html.Div(
                [
                    html.B(format_value(forecast.p50), className="number"),
                    html.Span(
                        format_band(forecast.p05, forecast.p95), className="number band-numbers", title=BAND_MEANING
                    ),
                ],
                className="prediction-numbers",
            ),
            range_image(range_glyph(forecast, last_value)),
        ],
        className="prediction",
    )


def ending(end: End) -> Component:
    """Where an ended run came to, and whether that is its level or one point."""
    kind = html.Span("ended" if end.is_mean else "last value", className="muted")
    return html.Div([value_text(end.level), " ", kind], className="pair-cell")


def range_image(
    glyph: RangeGlyph,
    meaning: str = "Bar: 90 % band of the predicted final value. Tick: its median. Dot: the last value.",
) -> Component:
    marks = [
        html.Span(className="range-band", style={"left": f"{glyph.low}%", "width": f"{glyph.high - glyph.low:.2f}%"}),
        html.Span(className="range-middle", style={"left": f"{glyph.middle}%"}),
    ]
    if glyph.last is not None:
        marks.append(html.Span(className="range-last", style={"left": f"{glyph.last}%"}))
    return html.Span(
        marks,
        className="range",
        title=meaning,
        **aria(hidden="true"),
    )


def tile(
    label: Children, value: Children, *, below: Children = None, why: str | None = None, class_name: str = ""
) -> Component:
    return html.Div(
        [
            html.Div(label, className="tile-label"),
            html.Div(value, className="tile-value"),
            html.Div(below, className="tile-below") if below is not None else None,
            html.P(why, className="tile-why") if why else None,
        ],
        className=f"tile {class_name}".strip(),
    )


def card(title: Children, *body: Component | None, tools: Children = None, class_name: str = "") -> Component:
    return html.Section(
        [
            html.Div(
                [html.H2(title), html.Div(tools, className="tools") if tools is not None else None],
                className="card-head",
            ),
            *body,
        ],
        className=f"card {class_name}".strip(),
    )


def graph(
    graph_id: str | dict[str, int], figure: object, size: str, *, spoken: str, config: Any = STILL_CONFIG
) -> Component:
    """A chart in a box whose height the stylesheet sets: Dash sets the chart's own to all of its box.

    spoken : what is to be seen, for those who do not see it; the box, "<id>-figure", says it
    """
    kept: Any = {**config, **STAYS_HERE}
    known_as: dict[str, Any] = {"id": f"{graph_id}-figure"} if isinstance(graph_id, str) else {}
    chart = dcc.Graph(id=graph_id, figure=figure, config=kept)
    return html.Div(chart, className=size, role="figure", **known_as, **aria(label=spoken))


def alert_item(alert: StoredAlert, now: datetime, *, with_run: bool) -> Component:
    look, word = ALERT_LOOKS[alert.state], kind_word(alert.kind)
    said_at = alert.evidence.get("raised_at")
    facts: list[Component | str | None] = [
        html.Span(["step ", html.Span(format_step(alert.step), className="number")]),
        html.Span(["said at step ", html.Span(format_step(said_at), className="number")])
        if said_at is not None and said_at != alert.step
        else None,
        html.Code(alert.metric, className="metric-name", title=alert.metric) if alert.metric else None,
        html.Span(["fired ", moment(alert.fired_at, now)]),
        html.Span(["resolved ", moment(alert.resolved_at, now)]) if alert.resolved_at else None,
    ]
    return html.Li(
        [
            html.Div(
                [
                    severity_badge(alert.severity),
                    html.Span(look.word, className="alert-state", **explained(look.meaning, by_keyboard=False)),
                    html.Span(word.text, className="alert-kind", **explained(word.meaning, by_keyboard=False)),
                    dcc.Link(alert.run_name, href=run_href(alert.run_id), className="alert-run", title=alert.run_name)
                    if with_run
                    else None,
                    html.Span(["in ", project_link(alert.project)], className="muted") if with_run else None,
                ],
                className="alert-head",
            ),
            html.P(alert.message, className="alert-message"),
            html.Div([fact for fact in facts if fact is not None], className="facts"),
            evidence(alert.evidence),
        ],
        className=f"alert alert-{alert.severity} {look.class_name}",
    )


def severest_first(alerts: Sequence[StoredAlert]) -> list[StoredAlert]:
    """Critical before warning before info; each in the order given."""
    return sorted(alerts, key=lambda alert: SEVERITIES.index(alert.severity) if alert.severity in SEVERITIES else 3)


def evidence(numbers: Mapping[str, Any]) -> Component | None:
    if not numbers:
        return None
    named = ((name.replace("_", " "), value) for name, value in numbers.items())
    return html.Details([html.Summary("Evidence"), definition_list(named)], className="fold evidence")


def definition_list(pairs: Iterable[tuple[str, Any]]) -> Component:
    rows = [
        html.Div([html.Dt(str(name), title=str(name)), html.Dd(plain_value(value))], className="pair")
        for name, value in pairs
    ]
    return html.Dl(rows, className="pairs")


def plain_value(value: Any) -> str:
    """Anything that came as JSON, on one line."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {plain_value(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(plain_value(item) for item in value) + "]"
    return str(value)


def flattened(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """{"optimizer": {"lr": 1e-3}} -> [("optimizer.lr", 1e-3)]"""
    pairs: list[tuple[str, Any]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            pairs += flattened(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", value))
    return pairs


def message_page(title: str, *body: Component) -> Component:
    """A page that says one thing: nothing here, not found, out of order."""
    return html.Div([html.H1(title), *body], className="message-page")


def code_block(block_id: str, title: str, code: str) -> Component:
    """A block of code with a button that copies it."""
    return html.Div(
        [
            html.Div(
                [
                    html.Span(title, className="code-title"),
                    dcc.Clipboard(
                        ["Copy"],
                        copied_children=["Copied"],
                        target_id=block_id,
                        title=f"Copy: {title}",
                        className="button button-small",
                    ),
                ],
                className="code-head",
            ),
            html.Pre(html.Code(code, id=block_id), tabIndex="0"),
        ],
        className="code-block",
    )


def named(label: str, control: Component) -> Component:
    """A control whose purpose its place or its placeholder shows, and a label says to screen readers."""
    if isinstance(control, dcc.Dropdown):  # its button is labelled by its value
        return html.Div(control, role="group", className="named", **aria(label=label))
    return html.Div([html.Label(label, htmlFor=dom_id(control), className="only-read"), control], className="named")


def field(label: Children, *control: Component, wide: bool = False) -> Component:
    """A control of a form below its name."""
    class_name = "field field-wide" if wide else "field"
    if isinstance(control[0], dcc.Input):
        name: Component = html.Label(label, htmlFor=dom_id(control[0]), className="field-name")
        return html.Div([name, *control], className=class_name)
    name = html.Span(label, className="field-name")
    said = {"role": "group", **aria(label=label)} if isinstance(label, str) else {}
    return html.Div([name, *control], className=class_name, **said)


def dom_id(control: Any) -> str:
    """The id that the browser knows a control by: Dash writes ids that are dictionaries as JSON."""
    known = control.id
    return known if isinstance(known, str) else json.dumps(known, sort_keys=True, separators=(",", ":"))


def choice(component_id: str, label: str, options: Sequence[tuple[str, str]], value: str) -> Component:
    """One of a few: looks like a row of buttons, is a group of radio buttons."""
    return html.Div(
        dcc.RadioItems(
            id=component_id,
            options=[{"value": key, "label": text} for key, text in options],
            value=value,
            className="choice",
        ),
        role="radiogroup",
        **aria(label=label),
    )
