"""What finished runs say of other schedules: the chart, the predictions, what cannot be known, and the fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dash import html
from dash.development.base_component import Component

from app.dashboard.components import BAND_MEANING, ZOOM_CONFIG, aria, card, data, graph, hint
from app.dashboard.figures.fit import fit_figure, prediction_colour
from app.dashboard.formatting import format_band, format_rate, format_step, format_value
from app.dashboard.theme import Display, Palette
from app.forecasting.other_schedules.caveats import ONE_RUN_HELD
from app.forecasting.other_schedules.comparison import Comparison, Prediction
from app.forecasting.recorded_run import RecordedRun

PARAMETERS = {
    "irreducible_loss": ("never lost", "What no amount of training removes."),
    "reducible_loss": ("still to lose", "What training at the peak rate has left to give after the longest run."),
    "annealing_gain": ("gain of a decay", "What a fall of the rate from the highest peak to zero gives in the end."),
    "exponent": ("exponent", "How fast training at a constant rate pays: the power of the summed rate."),
    "memory": ("memory", "How long a fall of the rate takes to be felt, as a share of the longest run."),
    "speed": ("speed", "How fast a fall of the rate takes effect, over the longest run."),
    "drop_exponent": ("drop exponent", "How slowly the effect of a fall fades out."),
    "rate_exponent": ("rate exponent", "How much slower a fall takes effect at a lower rate."),
    "rate_power": ("power of the rate", "Below 1 the last of a decay gives most, above 1 its beginning."),
}
LAWS = {
    "annealing": ("annealing", "Tissue et al. 2024: the loss answers to the summed rate and to its lagged fall."),
    "multi_power": ("multi-power", "Luo et al. 2025: every fall of the rate brings its own power law."),
    "rate_power": ("rate power", "As the annealing law, answering to a power of the rate."),
}

ERROR_MEANING = (
    "Mean over the runs after the warm-up, relative to the loss; of bins, in which the noise of single points is "
    "averaged out. losscast fit counts each logged point, noise and all, and so says more."
)


def comparison_cards(found: Comparison, display: Display) -> Component:
    return html.Div(
        [
            card(
                "Runs and predictions",
                graph(
                    "fit-chart",
                    fit_figure(found, display),
                    "chart-main",
                    spoken="Losses of the runs, and predictions of the table below",
                    config=ZOOM_CONFIG,
                ),
                _schedule_table(found, display.palette),
                class_name="card-chart",
            ),
            html.Div(
                [card("What cannot be known", _reservations(found)), card("The fit", _law_table(found))],
                className="columns",
            ),
        ]
    )


def band_meaning(found: Comparison) -> str:
    """What the band promises, and of one run's fit how it did where it was measured."""
    if found.left_out:
        return BAND_MEANING
    fewest, most = ONE_RUN_HELD
    return f"Median, and what one run's fit calls a 90 % band: where that was measured, {fewest} to {most} of 100 held."


def _schedule_table(found: Comparison, palette: Palette) -> Component:
    if not found.predictions:
        return html.P("Name a family above to see what it would come to.", className="muted")
    best = found.best_run
    heads: list[tuple[Any, str]] = [
        ("Schedule, best first", ""),
        (hint(f"Final {found.runs[0].metric}", band_meaning(found)), "number"),
        (hint("To best run", f"{best.name}, which ended at {format_value(best.final_loss())}."), "number"),
    ]
    head = html.Thead(html.Tr([html.Th(text, scope="col", className=name) for text, name in heads]))
    rows = [_schedule_tr(one, position, found, palette) for position, one in enumerate(found.predictions)]
    return html.Div(html.Table([head, html.Tbody(rows)], className="table fit-table"), className="table-box")


def _schedule_tr(one: Prediction, position: int, found: Comparison, palette: Palette) -> Component:
    final = one.final_quantiles
    difference = one.final_mean - found.best_run.final_loss()
    swatch = html.Span(
        className="swatch", style={"background": prediction_colour(position, palette)}, **aria(hidden="true")
    )
    return html.Tr(
        [
            html.Th([swatch, f"{position + 1}. {one.candidate.words}"], scope="row"),
            html.Td(
                html.Div(
                    [
                        html.B(format_value(one.final_mean)),
                        html.Span(format_band(final[0.05], final[0.95]), className="muted"),
                    ],
                    className="pair-cell",
                ),
                className="number",
                **data(label="Final"),
            ),
            html.Td(
                f"{'+' if difference > 0 else '−'}{abs(difference):.2g}",
                className="number",
                **data(label="To best run"),
            ),
        ]
    )


def _reservations(found: Comparison) -> Component:
    """What holds for all, then in what each schedule goes beyond the runs."""
    lines: list[Component] = [html.Li(note) for note in found.notes]
    for position, one in enumerate(found.predictions):
        if one.notes:
            lines.append(html.Li([html.B(f"Schedule {position + 1}. "), " ".join(one.notes)]))
    return html.Ul(lines, className="notes")


def _law_table(found: Comparison) -> Component:
    heads: list[Component | str] = [
        "Law",
        hint("Error", ERROR_MEANING),
        hint("Final", "How far off the fit is at the runs' ends, mean of the sizes."),
        "Parameters",
    ]
    rows = []
    for law in found.fits:
        label, meaning = LAWS.get(law.law.name, (law.law.name, ""))
        overall = found.overall[law.law.name]
        rows.append(
            html.Tr(
                [
                    html.Th(hint(label, meaning), scope="row"),
                    html.Td(f"{100 * overall.mean_relative_error:.2f} %", className="number", **data(label="Error")),
                    html.Td(f"{100 * overall.final_error:.2f} %", className="number", **data(label="Final")),
                    html.Td(_parameters(law.parameters()), className="fit-parameters"),
                ]
            )
        )
    runs = [html.Li(_run_text(run)) for run in found.runs]
    doubts = [
        html.Li([html.B(f"{LAWS.get(law, (law, ''))[0]}. "), " ".join(_in_words(note) for note in notes)])
        for law, notes in found.reservations.items()
        if notes
    ]
    head = html.Thead(html.Tr([html.Th(text, scope="col") for text in heads]))
    return html.Div(
        [
            html.Ul(runs, className="notes"),
            html.Div(html.Table([head, html.Tbody(rows)], className="table law-table"), className="table-box"),
            html.Ul(doubts, className="notes") if doubts else None,
        ]
    )


def _run_text(run: RecordedRun) -> str:
    peak = format_rate(None if run.schedule is None else run.schedule.peak)
    return f"{run.name}: {format_step(run.total_steps)} steps, peak {peak}, ended at {format_value(run.final_loss())}"


def _in_words(note: str) -> str:
    """A note on a parameter by the name that the table has for it."""
    name, _, rest = note.partition(" ")
    return f"“{PARAMETERS[name][0]}” {rest}" if name in PARAMETERS else note


def _parameters(named: Mapping[str, float]) -> list[Component]:
    parts: list[Component] = []
    for name, value in named.items():
        label, meaning = PARAMETERS.get(name, (name.replace("_", " "), ""))
        parts.append(html.Span([hint(label, meaning), " ", html.Span(f"{value:.3g}", className="number")]))
    return parts
