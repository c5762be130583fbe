"""The card that compares futures: what the run would come to under other schedules and budgets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import dash
from dash import Input, Output, State, html
from dash.development.base_component import Component

from app.calculations import Calculations
from app.curves.curve import Curve
from app.curves.measure import Measure
from app.curves.plan import Plan
from app.dashboard.components import BAND_MEANING, card, data, hint
from app.dashboard.formatting import format_band, format_step, format_value
from app.dashboard.pages import what_if_form
from app.dashboard.pages.what_if_form import FAMILIES, STATES, Search, WhatIfForm, read_form
from app.errors import Busy, LosscastError
from app.forecasting.asked_plan import Cooldown, Question
from app.forecasting.forecast import Forecast, forecast_curve
from app.forecasting.unseen_rate import refuse_unheard_of
from app.forecasting.what_if import answer, best_cooldown, in_a_tie
from app.laws.prior import Prior
from app.storage.curves import read_fitted_run
from app.storage.database import Database
from app.storage.priors import read_priors

COOLDOWN_SHARE = 0.2  # of the steps so far
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
        what_if_form.form(),
        html.Div(
            [
                html.Button("Compare", id="what-if-ask", className="button button-main", n_clicks=0),
                html.Span("Comparing…", id="what-if-busy", className="muted", hidden=True, role="status"),
            ],
            className="tools what-if-actions",
        ),
        html.Div(
            html.P("Compare the plan with your question, and with other ways to go on.", className="muted"),
            id="what-if-body",
        ),
    )


def register(app: dash.Dash, database: Database, what_ifs: Calculations) -> None:
    what_if_form.register(app)

    @app.callback(
        Output("what-if-body", "children"),
        Input("what-if-ask", "n_clicks"),
        State("run-metric", "value"),
        State("run-id", "data"),
        *STATES,
        prevent_initial_call=True,
        running=[(Output("what-if-ask", "disabled"), True, False), (Output("what-if-busy", "hidden"), False, True)],
    )
    async def compare(_clicks: int, metric: str | None, run_id: str, *entered: object) -> object:
        try:
            return await what_ifs.run(compared, database, run_id, metric, WhatIfForm.from_browser(entered))
        except Busy as error:
            return html.P(str(error), className="muted", role="alert")


def compared(database: Database, run_id: str, metric: str | None, said: WhatIfForm) -> Component:
    """The table of futures, for the metric that is shown if it is forecast."""
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
    rows = [Future("As planned", planned), *futures(Subject(curve, plan, prior, measure), said)]
    return _table(name, rows, planned)


def futures(about: Subject, said: WhatIfForm) -> Iterator[Future]:
    """What was entered, and the questions that people ask."""
    yield _entered(about, said)
    cutoff, total = about.curve.cutoff, about.plan.total_steps
    steps = max(1, round(COOLDOWN_SHARE * cutoff))
    now = Question(cooldown=Cooldown(steps))
    yield _future(about, f"Linear cool-down now, over {steps:,} steps", now)
    # As now until then: where the plan decays by itself, later cool-downs would all end where it does.
    yield _best(about, Search(("linear",), None, 0.0, hold=True))
    yield _future(about, "Cosine to zero from here", Question(schedule={"family": "cosine"}))
    longer = round(LONGER * total)
    yield _future(about, f"{100 * (LONGER - 1):.0f} % longer, stretched", Question(total_steps=longer))


def _entered(about: Subject, said: WhatIfForm) -> Future:
    try:
        asked = read_form(said, about.plan, about.curve.cutoff)
    except LosscastError as error:
        return Future(_titled(said.family), None, str(error))
    if isinstance(asked, Search):
        return _best(about, asked)
    return _future(about, _in_words(asked, about.curve.cutoff), asked)


def _titled(family: str) -> str:
    label = FAMILIES.get(family, family)
    return label[:1].upper() + label[1:]


def _in_words(asked: Question, cutoff: int) -> str:
    """A question as the heading of its row; where it ends, the row says."""
    if asked.cooldown is not None:
        start = cutoff if asked.cooldown.start is None else asked.cooldown.start
        words = f"{_titled(asked.cooldown.shape)} from step {start:,} to {start + asked.cooldown.steps:,}"
    elif asked.schedule is not None:
        start = cutoff if asked.start is None else asked.start
        words = f"{_titled(asked.schedule['family'])} from step {start:,} on"
    else:
        return _titled(what_if_form.STRETCHED)
    return words + (", rate as now until then" if asked.hold and start > cutoff else "")


def _future(about: Subject, words: str, question: Question) -> Future:
    try:
        found = answer(about.curve, about.plan, question, about.prior, measure=about.measure)
    except LosscastError as error:
        return Future(words, None, str(error))
    return Future(words, found.forecast, caveat=found.caveat)


def _best(about: Subject, asked: Search) -> Future:
    words = f"Best {FAMILIES[asked.shapes[0]]}" if len(asked.shapes) == 1 else "Best cool-down of any shape"
    try:
        tried = best_cooldown(
            about.curve,
            about.plan,
            asked.shapes,
            about.prior,
            measure=about.measure,
            total_steps=asked.total_steps,
            final_fraction=asked.final_fraction,
            hold=asked.hold,
        )
    except LosscastError as error:
        return Future(words, None, str(error))
    best = tried[0].question.cooldown
    assert best is not None  # cool-downs are all it tries
    shape = "" if len(asked.shapes) == 1 else f" {FAMILIES[best.shape].removesuffix(' cool-down')},"
    held = ", rate as now until then" if asked.hold else ""
    caveat = " ".join(filter(None, [in_a_tie(tried), tried[0].caveat]))
    return Future(f"{words}:{shape} from step {best.start:,}{held}", tried[0].forecast, caveat=caveat or None)


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
