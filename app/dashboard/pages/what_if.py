"""The card that compares futures: what the run would come to under other schedules and budgets."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dash
from dash import Input, Output, State, dcc, html
from dash.development.base_component import Component

from app.calculations import Calculations
from app.curves.config_keys import as_number
from app.curves.curve import Curve
from app.curves.measure import Measure
from app.curves.plan import LARGEST_STEP, Plan
from app.dashboard.components import BAND_MEANING, card, data, hint, named
from app.dashboard.formatting import format_band, format_step, format_value, shortened
from app.errors import BadInput, Busy, LosscastError
from app.forecasting.asked_plan import Cooldown, Question
from app.forecasting.forecast import Forecast, forecast_curve
from app.forecasting.unseen_rate import refuse_unheard_of
from app.forecasting.what_if import answer, best_cooldown
from app.laws.prior import Prior
from app.storage.curves import read_fitted_run
from app.storage.database import Database
from app.storage.priors import read_priors

COOLDOWN_SHARES = (0.1, 0.2)  # of the steps so far
LONGER = 1.2
SAME = 5e-4  # of the loss: less than seeds differ by
MEANING = (
    "The same curve and the same fit under another learning rate from now on. Nothing about the run changes; the past "
    "stays as it was logged."
)


@dataclass(frozen=True, slots=True)
class Future:
    """One row: a question and what it would come to, or why it cannot be answered.

    caveat : in what the answer goes beyond what was measured
    """

    question: str
    forecast: Forecast | None
    problem: str | None = None
    caveat: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What is asked about: a metric so far, and what its forecasts are made by."""

    curve: Curve
    plan: Plan
    prior: Prior | None
    measure: Measure


def what_if_card() -> Component:
    return card(
        hint("What if", MEANING),
        html.Div(
            html.P("Compare the plan with other ways to go on from the last step.", className="muted"),
            id="what-if-body",
        ),
        tools=[
            named(
                "Steps of a cool-down of your own",
                dcc.Input(
                    id="what-if-steps",
                    # As text: of a number that it does not like the browser sends nothing, and nobody is told.
                    type="text",
                    inputMode="numeric",
                    placeholder="Cool-down steps",
                    className="search search-short",
                ),
            ),
            html.Button("Compare", id="what-if-ask", className="button", n_clicks=0),
        ],
    )


def register(app: dash.Dash, database: Database, what_ifs: Calculations) -> None:
    @app.callback(
        Output("what-if-body", "children"),
        Input("what-if-ask", "n_clicks"),
        State("what-if-steps", "value"),
        State("run-metric", "value"),
        State("run-id", "data"),
        prevent_initial_call=True,
    )
    async def compare(_clicks: int, steps: str | None, metric: str | None, run_id: str) -> object:
        try:
            return await what_ifs.run(compared, database, run_id, metric, (steps or "").strip() or None)
        except Busy as error:
            return html.P(str(error), className="muted", role="alert")


def compared(database: Database, run_id: str, metric: str | None, own_steps: str | None) -> Component:
    """The table of futures, for the metric that is shown if it is forecast; `own_steps` as somebody wrote them."""
    with database.read() as connection:
        fitted, priors = read_fitted_run(connection, run_id), read_priors(connection, run_id)
    try:
        is_forecast = metric in fitted.curves and metric in fitted.selected.forecast
        name, curve, measure = fitted.to_forecast(metric if is_forecast else None)
        plan = fitted.plan(curve.cutoff)
        prior = priors[name].prior if name in priors else None
        refuse_unheard_of(plan, curve.cutoff)
        planned = forecast_curve(curve, plan, prior, measure=measure)
    except LosscastError as error:
        return html.P(str(error), className="muted")
    rows = [Future("As planned", planned), *futures(Subject(curve, plan, prior, measure), own_steps)]
    return _table(name, rows, planned)


def futures(about: Subject, own_steps: str | None) -> Iterator[Future]:
    """The questions people ask, and their own."""
    if own_steps is not None:
        yield _own(about, own_steps)
    for share in COOLDOWN_SHARES:
        steps = max(1, round(share * about.curve.cutoff))
        yield _future(about, f"Cool down now over {steps:,} steps", Question(cooldown=Cooldown(steps)))
    yield _best(about)
    yield _future(about, "Cosine to zero from here", Question(schedule={"family": "cosine"}))
    longer = round(LONGER * about.plan.total_steps)
    yield _future(about, f"{100 * (LONGER - 1):.0f} % longer, stretched", Question(total_steps=longer))


def _own(about: Subject, said: str) -> Future:
    try:
        steps = cooldown_steps(said)
    except BadInput as error:
        return Future(f"Cool down now over {shortened(said, longest=20)} steps", None, str(error))
    return _future(about, f"Cool down now over {steps:,} steps", Question(cooldown=Cooldown(steps)))


def cooldown_steps(said: str) -> int:
    """How many steps somebody means: 2000, 2,000, 2 000 or 2e3. Raises `BadInput`."""
    number = as_number(re.sub(r"(?<=\d)[,\s](?=\d{3}(?!\d))", "", said))
    if number is None or number != math.floor(number) or not 1 <= number < LARGEST_STEP:
        raise BadInput("A cool-down takes a whole number of steps, at least 1: write 2000 or 2e3.")
    return int(number)


def _future(about: Subject, words: str, question: Question) -> Future:
    try:
        found = answer(about.curve, about.plan, question, about.prior, measure=about.measure)
    except LosscastError as error:
        return Future(words, None, str(error))
    return Future(words, found.forecast, caveat=found.caveat)


def _best(about: Subject) -> Future:
    try:
        best = best_cooldown(about.curve, about.plan, prior=about.prior, measure=about.measure)[0]
    except LosscastError as error:
        return Future("Best linear cool-down", None, str(error))
    asked = best.question.cooldown
    assert asked is not None  # cool-downs are all it tries
    return Future(f"Best linear cool-down: from step {asked.start:,} to the planned end", best.forecast)


def _table(metric: str, rows: Sequence[Future], planned: Forecast) -> Component:
    head = html.Thead(
        html.Tr(
            [
                html.Th("Future", scope="col"),
                html.Th("Ends at", scope="col", className="number"),
                html.Th(hint(f"Final {metric}", BAND_MEANING), scope="col", className="number"),
                html.Th("Against the plan", scope="col", className="number"),
            ]
        )
    )
    return html.Div(
        html.Table([head, html.Tbody([_row(row, planned) for row in rows])], className="table what-if-table"),
        className="table-box",
    )


def _row(row: Future, planned: Forecast) -> Component:
    if row.forecast is None:
        return html.Tr([html.Th(row.question, scope="row"), html.Td(row.problem, colSpan=3, className="muted")])
    final = row.forecast.final_quantiles
    words: list[Component | str] = [row.question]
    if row.caveat:
        words.append(html.P(row.caveat, className="what-if-caveat"))
    return html.Tr(
        [
            html.Th(words, scope="row"),
            html.Td(format_step(row.forecast.horizon), className="number", **data(label="Ends at")),
            html.Td(
                html.Div(
                    [
                        html.B(format_value(final[0.50])),
                        html.Span(format_band(final[0.05], final[0.95]), className="muted"),
                    ],
                    className="pair-cell",
                ),
                className="number",
                **data(label="Final"),
            ),
            html.Td(_against(row.forecast, planned), className="number", **data(label="Against the plan")),
        ]
    )


def _against(forecast: Forecast, planned: Forecast) -> str:
    """The difference of the medians; what no band could tell apart is called the same."""
    if forecast is planned:
        return "–"
    ours, theirs = forecast.final_quantiles[0.50], planned.final_quantiles[0.50]
    difference = ours - theirs
    if abs(difference) < SAME * abs(theirs):
        return "the same"
    return f"{'+' if difference > 0 else '−'}{abs(difference):.2g}"
