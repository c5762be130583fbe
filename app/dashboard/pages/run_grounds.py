"""What a run's forecast rests on, and what the run is made of."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from app.dashboard.components import definition_list, flattened
from app.dashboard.formatting import format_step
from app.dashboard.pages.opinions import opinions
from app.dashboard.pages.run_tiles import no_forecast_text
from app.dashboard.pages.siblings import sibling_list
from app.dashboard.readings.run import RunReading


def grounds(reading: RunReading) -> list[Component | None]:
    """The notes and the finished runs that spoke: what a reader must believe to believe the forecast."""
    summary = reading.summary
    if summary is None:
        return [html.P(no_forecast_text(reading), className="muted")]
    roles = [(metric, match.get("rule", "")) for metric, match in summary.roles.items() if match.get("role") != "other"]
    notes = [*reading.doubts, *summary.notes]
    if notes:
        said: Component = html.Ul([html.Li(note) for note in notes], className="notes")
    elif reading.ended_early and reading.forecast is not None:
        said = html.P("The run ended before its horizon: on this its last forecast rested.", className="muted")
    else:
        said = html.P(no_forecast_text(reading) if reading.is_over else "No reservations.", className="muted")
    return [
        opinions(reading.forecast, with_chance=not reading.is_over) if reading.may_go_on else None,
        said,
        sibling_list(reading.siblings) if reading.may_go_on else None,
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
        return f"resumed from step {format_step(resume_step)}"
    return f"from step {format_step(first_step)}" if first_step is not None else "no number yet"
