"""The four numbers of a run's page: the last value, where it will end, the horizon, the schedule."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from app.curves.roles import ACCURACY_ROLES
from app.dashboard.components import BAND_MEANING, hint, moment, range_image, source_badge, tile, value_text
from app.dashboard.formatting import MISSING, format_band, format_step, format_value
from app.dashboard.glyphs import range_glyph
from app.dashboard.readings import RunReading
from app.runs import RunStatus

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
