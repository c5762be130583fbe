"""What a run's forecast rests on, and what the run is made of."""

from __future__ import annotations

from collections.abc import Sequence

from dash import html
from dash.development.base_component import Component

from app.dashboard.components import definition_list, flattened, plain_value, run_href
from app.dashboard.formatting import format_step, shortened
from app.dashboard.pages.opinions import opinions
from app.dashboard.pages.run_tiles import no_forecast_text
from app.dashboard.pages.siblings import sibling_list
from app.dashboard.readings.run import RunReading

SETTINGS_SHOWN = 200
LONGEST_NAME = 80
LONGEST_SETTING = 300
"""Jobs send what they have: tens of thousands of settings, or a data set in one, would stand in the way."""


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
    shown = [(name, plain_value(value)) for name, value in config[:SETTINGS_SHOWN]]
    return [
        definition_list(starts),
        html.Details(
            [
                html.Summary(f"Config ({len(config):,})"),
                _left_out(run.id, shown, len(config) - len(shown)),
                definition_list((shortened(name, longest=LONGEST_NAME), _setting(value)) for name, value in shown)
                if config
                else html.P("The job sent none.", className="muted"),
            ],
            className="fold",
        ),
    ]


def _setting(value: str) -> str:
    if len(value) <= LONGEST_SETTING:
        return value
    return f"{value[:LONGEST_SETTING]}… ({len(value) - LONGEST_SETTING:,} more characters)"


def _left_out(run_id: str, shown: Sequence[tuple[str, str]], n_more: int) -> Component | None:
    """What of a config is not on the page, and where all of it is."""
    n_cut = sum(len(name) > LONGEST_NAME or len(value) > LONGEST_SETTING for name, value in shown)
    said = [f"{n_more:,} more settings are not shown" if n_more else "", f"{n_cut:,} are shortened" if n_cut else ""]
    if not any(said):
        return None
    whole = html.A("the whole config", href=f"/api/v1{run_href(run_id)}")
    return html.P([f"{' and '.join(filter(None, said))}: the API has ", whole, "."], className="muted")


def _segment_text(resume_step: int | None, first_step: int | None) -> str:
    if resume_step is not None:
        return f"resumed from step {format_step(resume_step)}"
    return f"from step {format_step(first_step)}" if first_step is not None else "no number yet"
