"""What each forecaster says of the final value, side by side, as the page of a run tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dash import html
from dash.development.base_component import Component

from app.dashboard.components import BAND_MEANING, aria, hint
from app.dashboard.formatting import format_band, format_percent, format_value
from app.runs import StoredForecast


@dataclass(frozen=True, slots=True)
class Known:
    """A forecaster, in words."""

    title: str
    meaning: str


FORECASTERS: Mapping[str, Known] = {
    "law": Known(
        "Annealing law",
        "A law of the loss under a learning rate, with every set of parameters that fits the points so far, and what "
        "finished runs say of them.",
    ),
    "pfn": Known(
        "Network",
        "A network trained on millions of invented training curves. It reads the points so far and the whole "
        "learning-rate schedule, past and planned.",
    ),
    "power": Known("Power law", "In steps alone, blind to the learning rate. For comparison: it is not counted."),
    "last": Known("Last value", "The level stays where it is. For comparison: it is not counted."),
}


WEIGHT_MEANING = (
    "The share in the forecast's median, learned from backtests: the law counts where the run follows it, and the more "
    "the more finished runs of the project it has heard; the network where the run does not. How wide the band is, the "
    "network says for the most part until such runs have been heard. Of an accuracy the network alone."
)


def opinions(forecast: StoredForecast | None, *, with_chance: bool = True) -> Component | None:
    """A table of the forecasters, the counted ones first, and the chance of a new best level."""
    if forecast is None or not forecast.forecasters:
        return None
    ordered = sorted(forecast.forecasters.items(), key=lambda each: -float(each[1]["weight"]))
    return html.Div(
        [
            html.Div(
                html.Table(
                    [
                        html.Thead(
                            html.Tr(
                                [
                                    html.Th("Forecaster", scope="col"),
                                    html.Th(hint("share", WEIGHT_MEANING), scope="col", className="number"),
                                    html.Th(
                                        "final accuracy" if forecast.rises else "final loss",
                                        scope="col",
                                        className="number",
                                    ),
                                    html.Th(hint("90 %", BAND_MEANING), scope="col", className="number"),
                                ]
                            )
                        ),
                        html.Tbody([_row(name, said) for name, said in ordered]),
                    ],
                    className="table",
                    **aria(label="What each forecaster says"),
                ),
                className="table-box",
            ),
            _chance(forecast) if with_chance else None,
        ],
        className="opinions",
    )


def _row(name: str, said: Mapping[str, Any]) -> Component:
    known = FORECASTERS.get(name, Known(name, ""))
    weight, final = float(said["weight"]), said["final"]
    return html.Tr(
        [
            html.Th(hint(known.title, known.meaning) if known.meaning else known.title, scope="row"),
            html.Td(format_percent(weight) if weight > 0 else "no", className="number"),
            html.Td(format_value(final["0.5"]), className="number"),
            html.Td(format_band(final["0.05"], final["0.95"]), className="number"),
        ],
        className="" if weight > 0 else "muted",
    )


def _chance(forecast: StoredForecast) -> Component | None:
    if forecast.improvement is None:
        return None
    where = "above its highest level so far" if forecast.rises else "below its lowest level so far"
    return html.P(
        [
            f"Chance that the {'accuracy' if forecast.rises else 'loss'} goes, at some step before the end, ",
            hint(
                where,
                "Of the smoothed level, at any step before the end, by the network. The verdict asks another question: "
                "where the run ends. Under 5 % is where the authors of LC-PFN would stop a run.",
            ),
            ": ",
            html.Span(format_percent(forecast.improvement), className="number"),
            ".",
        ]
    )
