"""The card that says how a run is doing: what the diagnostics found, and what they had to go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dash import html
from dash.development.base_component import Component

from app.dashboard.components import SEVERITIES, aria, definition_list, hint, severity_badge
from app.dashboard.diagnosis_words import kind_word, looked_for, outcome_words, state_words
from app.dashboard.formatting import MISSING, format_percent, format_step, format_value
from app.dashboard.liveness import Liveness
from app.dashboard.readings.event_plots import EventPlot, PlottedPanel
from app.dashboard.readings.run import RunReading
from app.diagnostics.advice import worth_logging
from app.diagnostics.dynamics.dynamic import Dynamic
from app.diagnostics.event import Event, Severity
from app.diagnostics.registry import DIAGNOSES
from app.storage.diagnoses import GRAVEST, Health, HealthGlance

EVENTS_AT_ONCE = 12
DYNAMICS_MEANING = "Laws, trends and phases read off what a probe logs. They inform; none of them is a fault."
TROUBLES_IN_TOOLTIP = 4
KINDS_IN_MARK = 1  # the first is the gravest, or the likeliest cause of the others

# Signals in the words of people; the others are shown by their own names.
SIGNAL_WORDS = {
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "lr": "learning rate",
    "grad_norm": "gradient norm",
    "max_attn_logit": "largest attention logit",
    "update_norm": "update norm",
}
SILENT = frozenset({Liveness.LATE, Liveness.LOST})
ENDED = frozenset({Liveness.FINISHED, Liveness.FAILED, Liveness.STOPPED})

UNTOLD = frozenset({"epoch", "tokens", "batch_size", "data_phase", "sequence_length", "task"})
"""Signals that are read to understand the others: no trouble shows in them."""


def health_report(reading: RunReading) -> list[Component | None]:
    health, plots = reading.health, reading.event_plots
    if health is None:
        return [html.P("Not diagnosed yet: that comes with the worker's next fit.", className="muted")]
    if health.has_failed:
        text = "The newest points could not be diagnosed: a fault of ours, which the worker's log describes."
        return [html.P(text, className="muted"), event_list(health.events, plots, is_over=reading.is_over)]
    return [
        html.P(verdict(health, reading.state), className="health-verdict"),
        html.P(watched_text(health), className="muted"),
        html.P(sharpening_text(health), className="muted") if worth_logging(health.watched) else None,
        event_list(health.events, plots, is_over=reading.is_over),
        dynamics_list(reading.dynamics),
        grounds(health),
    ]


def verdict(health: Health, state: Liveness) -> list[Component | str]:
    """The state in one line. Events that only inform do not make a run sick."""
    troubles = [event for event in health.events if event.severity is not Severity.INFO]
    still = worst_first([event for event in troubles if event.is_open])
    if still:
        kinds = list(dict.fromkeys(kind_word(event.kind).text for event in still))
        return [severity_badge(still[0].severity, still[0].severity.capitalize()), html.B(", ".join(kinds))]
    if not health.is_complete:
        return [html.Span("Reading", className="badge"), html.B(f"up to step {format_step(health.read_to)} so far")]
    if not health.has_loss:
        return [html.Span("Not known", className="badge"), html.B("no loss to watch")]
    if health.is_early and not troubles:
        early = "too short a run to tell" if state in ENDED else "too early to tell: too few points of a loss"
        return [html.Span("Not known", className="badge"), html.B(early)]
    if state in SILENT:
        return [html.Span("Not known", className="badge"), html.B("nothing was wrong when the run fell silent")]
    word = "Healthy again" if troubles else "Healthy throughout" if state in ENDED else "Healthy so far"
    passed = f"{len(troubles)} {'event has' if len(troubles) == 1 else 'events have'} passed" if troubles else ""
    mark = html.Span("✓", className="shape", **aria(hidden="true"))
    return [html.Span([mark, word], className="badge badge-finished"), html.Span(passed)]


def health_mark(glance: HealthGlance | None, state: Liveness) -> Component:
    """The state in a word or two, for lists: loud where something is wrong, quiet where nothing is."""
    if glance is None:
        return html.Span(MISSING, className="muted", title="Not diagnosed yet")
    if glance.troubles:
        kinds = list(dict.fromkeys(kind_word(trouble.kind).text for trouble in glance.troubles))
        shown = ", ".join(kinds[:KINDS_IN_MARK]) + (
            f" +{len(kinds) - KINDS_IN_MARK}" if len(kinds) > KINDS_IN_MARK else ""
        )
        lines = [
            f"{trouble.severity.capitalize()}, {kind_word(trouble.kind).text} at step {trouble.step:,}: "
            f"{trouble.message}"
            for trouble in glance.troubles[:TROUBLES_IN_TOOLTIP]
        ]
        if len(glance.troubles) > TROUBLES_IN_TOOLTIP:
            lines.append(f"and {len(glance.troubles) - TROUBLES_IN_TOOLTIP} more")
        return html.Span(severity_badge(glance.troubles[0].severity, shown), title="\n".join(lines))
    if glance.has_failed:
        return html.Span("not known", className="muted", title="The newest points could not be diagnosed.")
    if not glance.is_complete:
        return html.Span("reading", className="muted", title="A long run, which is still read.")
    unsure = _unsure(glance, state)
    if unsure is not None:
        return html.Span(unsure[0], className="muted", title=unsure[1])
    return html.Span(
        [html.Span("✓", className="shape", **aria(hidden="true")), "ok"],
        className="health-ok",
        title="The diagnostics have nothing open to say.",
    )


def _unsure(glance: HealthGlance, state: Liveness) -> tuple[str, str] | None:
    """Why a run of which nothing bad is known is not called well: a word, and a sentence."""
    if not glance.has_loss:
        return "no loss", "Nothing that is logged is known as a loss, so there is little to watch."
    if glance.is_early:
        word = "too short" if state in ENDED else "too early"
        return word, "There are too few points of a loss to say that nothing is wrong."
    if state in SILENT:
        return "silent", "Nothing was wrong in what was heard, but nothing more is heard."
    return None


def watched_text(health: Health) -> list[Component | str]:
    told = [signal for signal in health.watched if signal not in UNTOLD]
    if not told:
        return ["Nothing that is logged could be recognised, so nothing is watched."]
    order = {signal: at for at, signal in enumerate(SIGNAL_WORDS)}
    words = [SIGNAL_WORDS.get(one, one.replace("_", " ")) for one in sorted(told, key=lambda s: order.get(s, 99))]
    return [f"Watched up to step {format_step(health.read_to)}: {_listed(words)}."]


def sharpening_text(health: Health) -> list[Component | str]:
    words = [SIGNAL_WORDS.get(signal, signal) for signal in worth_logging(health.watched)]
    return [f"More could be said with the {_listed(words)}."]


def event_list(events: Sequence[Event], plots: Mapping[str, EventPlot], *, is_over: bool) -> Component | None:
    if not events:
        return None
    ordered = [
        *worst_first([event for event in events if event.is_open]),
        *reversed([event for event in events if not event.is_open]),
    ]
    rest = len(ordered) - EVENTS_AT_ONCE
    return html.Div(
        [
            *(event_item(event, plots.get(event.id), is_over=is_over) for event in ordered[:EVENTS_AT_ONCE]),
            html.P(f"{rest} more, all over. The API has them.", className="muted") if rest > 0 else None,
        ],
        className="health-events",
    )


def event_item(event: Event, plot: EventPlot | None, *, is_over: bool) -> Component:
    """One line; what it rests on when opened. What is wrong now is drawn without that."""
    lasting = "at the end of the run" if is_over else "now"
    word, state = kind_word(event.kind), outcome_words(event.outcome) or (lasting if event.is_open else "over")
    is_plain = plot is not None and event.is_open and event.severity is not Severity.INFO
    folded = html.Details(
        [
            html.Summary(
                [
                    severity_badge(event.severity),
                    html.Span(word.text, className="health-kind", title=word.meaning),
                    html.Span(f"step {format_step(event.step)}", className="number"),
                    html.Span(state, className="health-state"),
                ]
            ),
            html.P(event.message, className="alert-message"),
            event_plot(plot) if plot is not None and not is_plain else None,
            definition_list(_facts(event)),
        ]
    )
    return html.Div(
        [folded, event_plot(plot) if plot is not None and is_plain else None],
        className=f"health-event alert-{event.severity.value} " + ("alert-open" if event.is_open else "alert-resolved"),
    )


def event_plot(plot: EventPlot) -> Component:
    """Drawings one below the other, and the steps below the last."""
    return html.Figure(
        [
            *(_panel(panel, plot) for panel in plot.panels),
            html.Div(
                [html.Span(f"step {plot.first_step:,}"), html.Span(f"{plot.last_step:,}")],
                className="event-plot-steps number",
            ),
        ],
        className="event-plot",
    )


def _panel(panel: PlottedPanel, plot: EventPlot) -> Component:
    names = " and ".join(line.name for line in panel.lines)
    scale = ", on a logarithmic scale" if panel.is_logarithmic else ""
    spoken = (
        f"{names} from {format_value(panel.low)} to {format_value(panel.high)}{scale}, "
        f"steps {plot.first_step:,} to {plot.last_step:,}"
    )
    return html.Div(
        [
            html.Div(
                [
                    *(
                        html.Span(line.name, className=f"event-plot-name line-{at}")
                        for at, line in enumerate(panel.lines)
                    ),
                    html.Span("log scale", className="muted") if panel.is_logarithmic else None,
                ],
                className="event-plot-names",
            ),
            html.Div(
                [html.Span(format_value(panel.high)), html.Span(format_value(panel.low))],
                className="event-plot-values number",
            ),
            html.Div(
                [
                    html.Span(
                        className="event-plot-event",
                        style={"left": f"{plot.begin}%", "width": f"{max(plot.end - plot.begin, 0.0):.2f}%"},
                    ),
                    *(
                        html.Span(
                            className=f"event-plot-line line-{at}",
                            style={"maskImage": line.mask, "WebkitMaskImage": line.mask},
                        )
                        for at, line in enumerate(panel.lines)
                    ),
                ],
                className="event-plot-area",
                role="img",
                **aria(label=spoken),
            ),
        ],
        className="event-plot-panel",
    )


def _facts(event: Event) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [("said at step", f"{event.raised_at:,}")]
    if event.resolved_at is not None:
        facts.append(("over at step", f"{event.resolved_at:,}"))
    if event.probability is not None:
        facts.append(("probability", format_percent(event.probability)))
    facts.append(("decided by", ", ".join(name for name in event.inputs if name)))
    facts.extend((name.replace("_", " "), value) for name, value in event.evidence.items())
    if event.sharpen:
        words = (SIGNAL_WORDS.get(signal, signal.replace("_", " ")) for signal in event.sharpen)
        facts.append(("would say more", ", ".join(words)))
    return facts


def dynamics_list(dynamics: Sequence[Dynamic]) -> Component | None:
    """How the run moves, as the probe shows it: folded away, and the layers of a network once more."""
    if not dynamics:
        return None
    layers = [one for one in dynamics if one.kind == "massive_activations"]
    others = [one for one in dynamics if one.kind != "massive_activations"]
    count = f"{len(layers)} {'layer' if len(layers) == 1 else 'layers'}"
    return html.Details(
        [
            html.Summary("How it moves"),
            html.P(DYNAMICS_MEANING, className="muted"),
            html.Ul([html.Li(one.text) for one in others], className="dynamics") if others else None,
            html.Details(
                [
                    html.Summary(f"Massive activations in {count}"),
                    html.Ul([html.Li(one.text) for one in layers], className="dynamics"),
                ],
                className="fold",
            )
            if layers
            else None,
        ],
        className="fold",
    )


def grounds(health: Health) -> Component:
    """Where each diagnosis stands, how likely a fault is held, and what further scalars would add."""
    risks = [
        (f"new fault within {horizon:,} steps", _chance(chance)) for horizon, chance in sorted(health.risk.items())
    ]
    names = [diagnosis.name for diagnosis in DIAGNOSES if diagnosis.name in health.states]
    states = [(looked_for(name), state_words(name, health.states[name])) for name in names]
    advice = [(SIGNAL_WORDS.get(signal, signal), why) for signal, why in worth_logging(health.watched).items()]
    return html.Details(
        [
            html.Summary("What was looked for"),
            html.Dl(
                [
                    html.Div([html.Dt(hint(word.text, word.meaning)), html.Dd(state)], className="pair")
                    for word, state in states
                ],
                className="pairs",
            ),
            definition_list(risks),
            html.P("What further scalars would add", className="health-subhead") if advice else None,
            definition_list(advice) if advice else None,
        ],
        className="fold",
    )


def worst_first(events: Sequence[Event]) -> list[Event]:
    """Of equals the gravest; then the one that came first: it is the likeliest cause of the others."""

    def rank(event: Event) -> tuple[int, int, int]:
        gravity = GRAVEST.index(event.kind) if event.kind in GRAVEST else len(GRAVEST)
        return SEVERITIES.index(event.severity.value), gravity, event.raised_at

    return sorted(events, key=rank)


def _chance(probability: float) -> str:
    return "below 0.1 %" if probability < 0.001 else f"{100 * probability:.2g} %"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
