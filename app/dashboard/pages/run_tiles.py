"""The four numbers of a run's page: the last value, where it will end, the horizon, the schedule."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from app.curves.roles import ACCURACY_ROLES, FORECAST_ROLES
from app.dashboard.components import BAND_MEANING, hint, moment, range_image, source_badge, tile, value_text
from app.dashboard.formatting import MISSING, format_band, format_step, format_value
from app.dashboard.glyphs import range_glyph
from app.dashboard.pages.record_words import counted
from app.dashboard.readings.run import RunReading
from app.errors import NotFinite

MEAN_MEANING = "Where the run ended: the mean of the last 2 %, which its forecasts are held to."

FINAL_MEANING = (
    "Median of the forecast at the horizon, the noise of the last points included; the fan, which is of the level "
    "without noise, may be narrower. "
)

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
    last_step, last_value = reading.newest
    return [
        tile(
            ["Last ", html.Code(reading.metric or "loss", className="metric-name", title=reading.metric or "")],
            value_text(last_value),
            below="no number yet" if last_step is None else f"one point, at step {format_step(last_step)}",
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
            # How the rate was to go on says nothing any more once the run has come to its end.
            why=summary.schedule_why if summary and (not reading.is_over or reading.ended_early) else None,
            class_name="tile-words",
        ),
    ]


def forecast_tile(reading: RunReading, last_value: float | None) -> Component:
    kind = "accuracy" if reading.roles.get(reading.metric or "") in ACCURACY_ROLES else "loss"
    label = hint(f"Predicted final {kind}", FINAL_MEANING + BAND_MEANING)
    summary = reading.summary
    if reading.is_over:
        return end_tile(reading, kind if reading.roles.get(reading.metric or "") in FORECAST_ROLES else "value")
    if reading.is_broken or summary is None or summary.forecast is None:
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
            html.Span(["made ", moment(forecast.made_at, reading.now), f", {made_from(reading, forecast.cutoff)}"]),
        ],
        class_name="tile-forecast",
    )


def made_from(reading: RunReading, cutoff: int) -> str:
    """Where the forecast stood, and how far the run has gone since: it is made anew some seconds after new points."""
    last = reading.run.last_step
    since = 0 if last is None else last - cutoff
    return f"from step {format_step(cutoff)}" + (f", {counted(since, 'step')} ago" if since > 0 else "")


def end_tile(reading: RunReading, kind: str) -> Component:
    """Of a run that is over: where it came to. Nothing is left to predict."""
    end, why = reading.end, unreached_text(reading)
    if end is None:
        return tile(
            f"{kind.capitalize()} at the end",
            MISSING,
            why="The run ended without a number.",
            class_name="tile-forecast",
        )
    if not end.is_finite:
        why = f"The {kind} is not finite, so nothing can be forecast."
    label = f"{kind.capitalize()} at the end" if reading.ended_early or not end.is_mean else f"Final {kind}"
    return tile(
        hint(label, MEAN_MEANING) if end.is_mean else label,
        value_text(end.level),
        below="mean of the last 2 %" if end.is_mean else "the last value, one point",
        why=why,
        class_name="tile-forecast",
    )


def unreached_text(reading: RunReading) -> str | None:
    """A run that ended early has no final loss at its horizon: say so, and where it was heading."""
    run, summary = reading.run, reading.summary
    if not reading.ended_early or summary is None:
        return None
    text = f"The run ended at step {format_step(run.last_step)}, before its horizon."
    forecast = summary.forecast
    if forecast is None or forecast.horizon <= forecast.cutoff:
        return text
    heading = f"{format_value(forecast.p50)}, 90 % {format_band(forecast.p05, forecast.p95)}"
    return f"{text} It was heading for {heading}, at step {format_step(forecast.horizon)}."


def no_forecast_text(reading: RunReading) -> str:
    """Why there is no forecast, in the forecaster's own words where it gave any."""
    if reading.is_over:
        if reading.end is not None and not reading.end.is_finite:
            return "The loss is not finite, so nothing can be forecast."
        return "The run is over: nothing is left to forecast."
    if reading.is_broken and reading.metric is not None:
        return str(NotFinite(reading.metric))
    if reading.summary is not None and reading.summary.notes:
        own = (f"{reading.metric} ", f"{reading.metric}: ")
        of_this_metric = [note for note in reading.summary.notes if note.startswith(own)]
        return " ".join(of_this_metric or reading.summary.notes)
    if reading.metric is None:
        return "Waiting for the first number."
    return "No forecast has been made yet: it comes with the worker's next fit."
