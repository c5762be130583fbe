"""The other runs of its project that a forecast was judged from, as the page of a run tells of them."""

from __future__ import annotations

from dash import dcc, html
from dash.development.base_component import Component

from app.dashboard.components import hint, run_href
from app.dashboard.formatting import format_percent
from app.dashboard.readings.run import SiblingsReading
from app.runs import SiblingRun

SHOWN_AT_ONCE = 5
ALIKE = (
    "100 %: nothing differs that both configs name (peak rate, size, width, depth, batch, optimizer, data, model), and "
    "the loss stood at the same height at the same share of the way. Where the configs name nothing to compare but the "
    "peak rate, a run is taken as 10 % alike at most. These are no shares: they need not sum to 100 %."
)

MADE = "As far as it had come when it was heard, at least. It is heard anew when this run has made another tenth."


def sibling_list(reading: SiblingsReading | None) -> Component | None:
    """Who spoke, with links and how alike each is, or why nobody did. None before the first forecast."""
    if reading is None:
        return None
    if not reading.heard:
        return html.P(_why_nobody(reading), className="siblings-none")
    first, rest = reading.heard[:SHOWN_AT_ONCE], reading.heard[SHOWN_AT_ONCE:]
    going = sum(each.was_going for each in reading.heard)
    who = _runs(len(reading.heard) - going, going)
    return html.Div(
        [
            html.P(
                [
                    f"Beside public runs, {who} of this project spoke, each by how ",
                    hint("alike", ALIKE),
                    " it is:",
                ]
            ),
            _pairs(first),
            html.Details([html.Summary(f"{len(rest)} more"), _pairs(rest)], className="fold") if rest else None,
        ],
        className="siblings",
    )


def _why_nobody(reading: SiblingsReading) -> str:
    public = "Judged from public runs of other projects:"
    if not reading.finished and not reading.going:
        return f"{public} this project has no other finished run yet, and none that has made a fifth of its way."
    if not reading.may_speak and not reading.going:
        why = "too short, diverged, NaN at the end, or no learning rate logged"
        return f"{public} {_runs(reading.finished)} of this project can say nothing ({why})."
    others = _runs(reading.finished, reading.going)
    if reading.finished + reading.going == 1:
        return f"{public} this project has {others}, which is not alike enough."
    return f"{public} this project has {others}, none of them alike enough."


def _runs(finished: int, going: int = 0) -> str:
    ended = "one finished run" if finished == 1 else f"{finished} finished runs"
    if not going:
        return ended
    if not finished:
        return "one run still going" if going == 1 else f"{going} runs still going"
    return f"{ended} and {'one' if going == 1 else going} still going"


def _pairs(siblings: tuple[SiblingRun, ...]) -> Component:
    rows = [
        html.Div([html.Dt(_told(each)), html.Dd(f"{format_percent(each.similarity)} alike")], className="pair")
        for each in siblings
    ]
    return html.Dl(rows, className="pairs")


def _told(sibling: SiblingRun) -> list[Component | str]:
    if not sibling.was_going:
        return [_named(sibling)]
    return [_named(sibling), " (still going, ", hint(f"{format_percent(sibling.made)} made", MADE), ")"]


def _named(sibling: SiblingRun) -> Component:
    if sibling.name is None:
        return html.Span("a run that was deleted since", className="muted")
    return dcc.Link(sibling.name, href=run_href(sibling.run_id), title=sibling.run_id)
