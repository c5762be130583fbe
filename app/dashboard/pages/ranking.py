"""A project's runs by where they will end: which is likely the best, which can be stopped, and what that frees."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dash
from dash import ALL, Input, Output, State, dcc, html
from dash.development.base_component import Component

from app.curves.broken import is_broken
from app.dashboard.components import (
    BAND_MEANING,
    aria,
    card,
    cut_in_middle,
    data,
    hint,
    range_image,
    run_href,
    status_badge,
)
from app.dashboard.figures.compare import MOST_RUNS
from app.dashboard.formatting import (
    MISSING,
    format_band,
    format_chance,
    format_percent,
    format_step,
    format_value,
    shortened,
)
from app.dashboard.glyphs import RangeGlyph
from app.dashboard.liveness import Liveness, liveness
from app.dashboard.pages.goals import save_wants
from app.dashboard.pages.verdict import verdict_badge
from app.dashboard.readings.compared_runs import compare_href
from app.errors import LosscastError
from app.runs import RunRow, RunStatus
from app.storage.database import Database
from app.storage.ends import End, read_ends
from app.storage.goals import ProjectPolicy, read_project_policy
from app.storage.runs import list_runs
from app.storage.verdicts import (
    StoredVerdict,
    Unranked,
    metric_rises,
    read_competitors,
    read_project_verdicts,
    read_unforeseen,
    read_unranked,
    shared_metric,
)
from app.verdicts.judging import amount
from app.verdicts.sweep import CONFIDENCE, TOLERANCE, Competitor, Placing, Proposal, Ranking, at_threshold, rank

SHOWN_AT_ONCE = 12
RUNS_LOOKED_AT = 200  # for whether they are late
NAMED = 4  # runs in a sentence

RANKING_MEANING = (
    "Runs by the median of where they will end, the best first; ended runs by where they ended. Forecasts of siblings "
    "are taken to share most of their error; ended runs are as sure as the mean of their last 2 % is, given how their "
    "points scatter. Not ranked are runs that failed, were stopped or fell silent, and those whose learning rate is "
    "still to rise to where nobody has seen one."
)
BEST_MEANING = "Probability of ending best of all the runs in this list: lowest of a loss, highest of an accuracy."
SAVED_MEANING = "Steps that the run would still make: what stopping it now would free."
STOP_MEANING = (
    f"Together these runs hold the best one with at most {100 * (1 - CONFIDENCE):.0f} % probability, and the best of "
    f"the project is expected to end at most {100 * TOLERANCE:.1f} % worse without them."
)
REGRET_MEANING = (
    "What stopping these runs is expected to cost, in the metric's own unit: by how much worse the best of the project "
    "would end, on average over all that may still happen."
)
UNRANKED = {"stopped": "Stopped before the end", "failed": "Failed", "silent": "Silent for half an hour"}
"""Why a run is not ranked -> the beginning of the sentence that names it."""

IMPORT_REMEDY = "Files of runs that came to their end are imported with --finished; again, where they are here already."
PIN_MEANING = "A baseline: every verdict of this project compares with it."
LIVE_HEADS = (
    ("Verdict", "col-verdict", "Of live runs, by the project's policy."),
    ("Stopping frees", "number col-saved", SAVED_MEANING),
)
SCALE_MEANING = "All runs on one scale. Bar: 90 % band. Tick: median, or where an ended run came to."


@dataclass(frozen=True, slots=True, eq=False)
class RankingReading:
    """What the card shows.

    ranking : None where nothing can be ranked yet
    verdicts : of live runs, by run id
    states : of the project's newest runs, by run id
    broken : names of those that are not ranked since what they came to, or stand at, is no finite number
    unforeseen : names of those that are not ranked since their rate is still to go where nobody has seen one
    unranked : the others that are not ranked
    """

    project: str
    metric: str | None
    rises: bool  # whether more of it is better
    competitors: Sequence[Competitor]
    left_out: int
    ranking: Ranking | None
    verdicts: Mapping[str, StoredVerdict]
    states: Mapping[str, Liveness]
    policy: ProjectPolicy
    broken: Sequence[str] = ()
    unforeseen: Sequence[str] = ()
    unranked: Sequence[Unranked] = ()

    @property
    def pinned(self) -> set[str]:
        return {one.run_id for one in self.policy.baselines}


def read_ranking(database: Database, project: str, *, unless: str | None = None) -> tuple[RankingReading | None, str]:
    """The ranking and its revision; None where the revision still is `unless`. Raises `NotFound`."""
    with database.read() as connection:
        policy = read_project_policy(connection, project)
        verdicts = read_project_verdicts(connection, project)
        metric = next(iter(policy.goals), None) or shared_metric(connection, project)
        competitors, left_out = read_competitors(connection, project, metric) if metric else ([], 0)
        rows, _ = list_runs(connection, project=project, limit=RUNS_LOOKED_AT)
        rises = metric is not None and metric_rises(connection, project, metric)
        doubtful = read_unforeseen(connection, project, metric) if metric else {}
        gone = read_unranked(connection, project, metric) if metric else []
        ends = read_ends(connection, [row.run.id for row in rows], metric)
    ranked = {one.run_id for one in competitors}
    broken = {
        row.run.id: row.run.name
        for row in rows
        if row.run.id not in ranked and _is_broken(row, ends.get(row.run.id), metric)
    }
    unforeseen = [name for run_id, name in doubtful.items() if run_id not in broken]
    unranked = [one for one in gone if one.run_id not in broken and one.run_id not in doubtful]
    states = {row.run.id: liveness(row.run, datetime.now(UTC)) for row in rows}
    revision = repr(
        [policy.revision, bool(states), sorted(one.run_id for one in policy.baselines)]
        + [
            (one.run_id, one.name, one.cutoff, one.median, one.quantile(0.95), str(states.get(one.run_id)))
            for one in competitors
        ]
        + [*broken.values(), "", *unforeseen, "", *unranked]
        + [(run_id, str(one.judged_at)) for run_id, one in sorted(verdicts.items())]
    )
    if revision == unless:
        return None, revision
    ranking = rank(competitors, lower_is_better=not rises) if len(competitors) > 1 else None
    return RankingReading(
        project,
        metric,
        rises,
        competitors,
        left_out,
        ranking,
        verdicts,
        states,
        policy,
        [*broken.values()],
        unforeseen,
        unranked,
    ), revision


def _is_broken(row: RunRow, end: End | None, metric: str | None) -> bool:
    """Whether a run came to no finite number, or stands at none."""
    if end is not None:
        return not end.is_finite
    summary = row.summary
    is_same = summary is not None and (metric is None or summary.metric == metric)
    return is_same and row.run.status is RunStatus.RUNNING and is_broken(summary.last_value if summary else None)


def ranking_card() -> Component:
    return card(
        hint("Which run is the best", RANKING_MEANING),
        dcc.Store(id="ranking-revision"),
        html.Div(id="ranking", className="ranking"),
        html.Div(
            [
                html.Label(
                    "What if all live runs stopped that are less likely to be the best than",
                    htmlFor="ranking-threshold",
                ),
                html.Span(
                    [
                        dcc.Input(
                            id="ranking-threshold",
                            type="number",
                            min=0,
                            max=100,
                            step=0.1,
                            value=5,
                            debounce=0.4,
                            className="search search-short",
                        ),
                        " %",
                    ],
                    className="ranking-percent",
                ),
                html.Span(id="ranking-what-if", className="muted", **aria(live="polite")),
            ],
            id="ranking-question",
            className="ranking-question",
            hidden=True,
        ),
    )


def register(app: dash.Dash, database: Database) -> None:
    @app.callback(
        Output("ranking", "children"),
        Output("ranking-question", "hidden"),
        Output("ranking-revision", "data"),
        Input("runs-tick", "n_intervals"),
        Input("project-wants", "data"),
        State("ranking-revision", "data"),
        State("project-name", "data"),
    )
    async def show_ranking(
        _ticks: int | None, _wants: int | None, revision: str | None, project: str
    ) -> Sequence[object]:
        reading, newest = await asyncio.to_thread(read_ranking, database, project, unless=revision)
        if reading is None:
            return [dash.no_update] * 3
        has_question = reading.ranking is not None and any(one.is_live for one in reading.competitors)
        return await asyncio.to_thread(shown, reading, datetime.now(UTC)), not has_question, newest

    @app.callback(
        Output("ranking-what-if", "children"),
        Input("ranking-threshold", "value"),
        Input("ranking-revision", "data"),
        State("project-name", "data"),
    )
    async def ask(percent: float | None, _revision: str | None, project: str) -> object:
        if percent is None or not 0 <= percent <= 100:
            return "Give a probability between 0 and 100 %."
        reading, _ = await asyncio.to_thread(read_ranking, database, project)
        if reading is None or reading.ranking is None:
            return ""
        found = await asyncio.to_thread(
            at_threshold, reading.competitors, percent / 100, lower_is_better=not reading.rises
        )
        return proposal_text(found, reading.ranking, _names(reading))

    @app.callback(
        Output("project-wants", "data", allow_duplicate=True),
        Output("notice", "children", allow_duplicate=True),
        Input({"pin": ALL}, "n_clicks"),
        State("project-name", "data"),
        prevent_initial_call=True,
    )
    async def pin(clicks: Sequence[int | None], project: str) -> Sequence[object]:
        asked = dash.ctx.triggered_id
        if not any(clicks) or asked is None:  # the buttons have only come or gone
            return dash.no_update, dash.no_update
        try:
            return await asyncio.to_thread(turn_pin, database, project, asked["pin"]), None
        except LosscastError as error:
            return dash.no_update, str(error)


def turn_pin(database: Database, project: str, run_id: str) -> int:
    """Make a run a baseline of its project, or none any more; the new revision of what the project wants."""
    with database.write() as connection:
        policy = read_project_policy(connection, project)
        pinned = [one.run_id for one in policy.baselines]
        turned = [one for one in pinned if one != run_id] if run_id in pinned else [*pinned, run_id]
        return save_wants(connection, project, policy, baselines=turned)


def shown(reading: RankingReading, now: datetime) -> list[Component | None]:
    if reading.ranking is None:
        return [html.P(why_none(reading), className="muted"), not_ranked(reading)]
    placings = reading.ranking.placings
    scale = _scale(placings, rises=reading.rises)
    first, rest = placings[:SHOWN_AT_ONCE], placings[SHOWN_AT_ONCE:]
    return [
        html.P(summary(reading)),
        _table(first, reading, scale),
        html.Details([html.Summary(f"{len(rest)} more"), _table(rest, reading, scale)], className="fold")
        if rest
        else None,
        html.P(f"{reading.left_out} more runs, expected to end worse than these, are not ranked.", className="muted")
        if reading.left_out
        else None,
        not_ranked(reading),
        html.Div(
            dcc.Link(
                f"Compare the first {min(len(placings), MOST_RUNS)}",
                href=compare_href(
                    run_ids=[one.run_id for one in placings[:MOST_RUNS]], project=reading.project, metric=reading.metric
                ),
                className="button button-small",
            ),
        ),
    ]


def not_ranked(reading: RankingReading) -> Component | None:
    """The runs that are missing because they broke, or because nobody can tell where they will end; and those that may
    soon be: nobody has heard of them for a while."""
    lines = []
    if reading.broken:
        lines.append(f"NaN or infinite, and so not ranked: {_first_of(reading.broken)}.")
    if reading.unforeseen:
        lines.append(
            "Not ranked, since the learning rate is still to rise to where nobody has seen one: "
            f"{_first_of(reading.unforeseen)}."
        )
    for why, said in UNRANKED.items():
        names = [one.name for one in reading.unranked if one.why == why]
        if names:
            remedy = f" {IMPORT_REMEDY}" if why == "stopped" else ""
            lines.append(f"{said}, and so not ranked: {_first_of(names)}.{remedy}")
    late = [one.name for one in reading.competitors if reading.states.get(one.run_id) is Liveness.LATE]
    if late:
        lines.append(
            f"Silent for some minutes: {_first_of(late)}. Ranked as if still going, for as long as half an hour."
        )
    return html.Div([html.P(line, className="muted") for line in lines]) if lines else None


def _first_of(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(map(shortened, names[:NAMED])) + (f" and {more} more" if more > 0 else "")


def why_none(reading: RankingReading) -> str:
    if not reading.states:
        return "No ranking yet: this project has no run."
    if not reading.competitors:
        return "No ranking yet: no run of this project has a forecast or has finished."
    only = shortened(reading.competitors[0].name)
    return f"A ranking needs two runs with a forecast or an end; so far only “{only}” has one."


def summary(reading: RankingReading) -> list[Component | str]:
    """The favourite, and whom to stop, in words."""
    assert reading.ranking is not None
    placings = reading.ranking.placings
    likeliest = max(placings, key=lambda one: one.chance_best)
    metric = f" by {reading.metric}" if reading.metric else ""
    name, chance = shortened(likeliest.name), format_chance(likeliest.chance_best)
    if not any(one.is_live for one in placings):
        doubt = f"given the noise of their last 2 %, with a probability of {chance}"
        return [f"All ranked runs have ended; {name} ended best{metric}: {doubt}."]
    favourite = f"{name} is the likeliest to be the best{metric} ({chance})."
    if not reading.ranking.proposal.run_ids:
        return [favourite]
    return [f"{favourite} ", *proposal_text(reading.ranking.proposal, reading.ranking, _names(reading))]


def proposal_text(proposal: Proposal, ranking: Ranking, names: Mapping[str, str]) -> list[Component | str]:
    """Whom to stop, what that frees and what it risks."""
    if not proposal.run_ids:
        return ["That stops nobody."]
    more = len(proposal.run_ids) - NAMED
    named = [shortened(names[run_id]) for run_id in proposal.run_ids[:NAMED]]
    *others, last = named + ([f"{more} more"] if more > 0 else [])
    who = f"{', '.join(others)} and {last}" if others else last
    share, risk = format_percent(proposal.freed_share), format_chance(proposal.chance_best_lost)
    return [
        f"Stopping {who} would free {format_step(proposal.freed_steps)} steps, {share} of what is still to come; the "
        f"best run is among them with {risk}, ",
        hint("expected regret", REGRET_MEANING),
        f" {amount(proposal.regret, ranking.placings[0].median)}.",
    ]


def _names(reading: RankingReading) -> dict[str, str]:
    return {one.run_id: one.name for one in reading.competitors}


def _scale(placings: Sequence[Placing], *, rises: bool) -> tuple[float, float]:
    """Where the range of all bands begins and how long it is. Runs so bad that they would flatten others are cut."""
    best = placings[0]
    reach = 4 * max(best.high - best.low, 0.02 * abs(best.median))
    if rises:
        low = min(max(one.low, best.low - reach) for one in placings)
        return low, (max(one.high for one in placings) - low) or 1.0
    low = min(one.low for one in placings)
    return low, (max(min(one.high, best.high + reach) for one in placings) - low) or 1.0


def _table(placings: Sequence[Placing], reading: RankingReading, scale: tuple[float, float]) -> Component:
    has_live = any(one.is_live for one in reading.competitors)
    heads: list[tuple[str, str, str | None]] = [
        ("", "col-rank", None),
        ("Run", "", None),
        ("Final", "number col-final", "Median and 90 % band of the final level. " + BAND_MEANING),
        ("", "col-range", None),
        ("Chance to be best", "number col-best", BEST_MEANING),
        *(LIVE_HEADS if has_live else ()),
        ("Baseline", "col-pin", PIN_MEANING),
    ]
    head = html.Tr(
        [
            html.Th(hint(text, meaning) if meaning else text, scope="col", className=name)
            for text, name, meaning in heads
        ]
    )
    body = html.Tbody([_row(one, reading, scale) for one in placings])
    return html.Div(html.Table([html.Thead(head), body], className="table ranking-table"), className="table-box")


def _row(one: Placing, reading: RankingReading, scale: tuple[float, float]) -> Component:
    verdict = reading.verdicts.get(one.run_id)
    state = reading.states.get(one.run_id, Liveness.RUNNING if one.is_live else Liveness.FINISHED)
    has_live = any(other.is_live for other in reading.competitors)
    return html.Tr(
        [
            html.Td(str(one.rank), className="col-rank number"),
            html.Th(
                html.Div(
                    [
                        dcc.Link(
                            cut_in_middle(one.name),
                            href=run_href(one.run_id),
                            className="cut-in-middle",
                            title=one.name,
                        ),
                        status_badge(state),
                    ],
                    className="compare-name",
                ),
                scope="row",
            ),
            html.Td(_final(one), className="number col-final", **data(label="Final")),
            html.Td(range_image(_glyph(one, scale), SCALE_MEANING), className="col-range"),
            html.Td(_chance(one.chance_best), className="number col-best", **data(label="Chance to be best")),
            *(_live_cells(one, verdict) if has_live else ()),
            html.Td(_pin(one, one.run_id in reading.pinned), className="col-pin"),
        ],
        className="to-stop" if one.is_to_stop else "",
    )


def _live_cells(one: Placing, verdict: StoredVerdict | None) -> list[Component]:
    """What there is to say of runs that go on; left out where all have ended."""
    unasked = "" if one.is_live else " col-empty"  # left out on a phone
    return [
        html.Td(_verdict(one, verdict), className=f"col-verdict{unasked}", **data(label="Verdict")),
        html.Td(_saved(one), className=f"number col-saved{unasked}", **data(label="Stopping frees")),
    ]


def _final(one: Placing) -> Component:
    beside = format_band(one.low, one.high) if one.is_live else "ended"
    return html.Div([html.B(format_value(one.median)), html.Span(beside, className="muted")], className="pair-cell")


def _glyph(one: Placing, scale: tuple[float, float]) -> RangeGlyph:
    low, middle, high = (
        round(4 + 92 * min(max((value - scale[0]) / scale[1], 0.0), 1.0), 2)
        for value in (one.low, one.median, one.high)
    )
    return RangeGlyph(low, middle, high, None)


def _chance(probability: float) -> Component:
    return html.Div(
        [
            html.Div(
                html.Div(className="chance-fill", style={"width": f"{100 * probability:.1f}%"}),
                className="chance-track",
                **aria(hidden="true"),
            ),
            html.Span(format_chance(probability), className="number"),
        ],
        className="chance",
    )


def _verdict(one: Placing, verdict: StoredVerdict | None) -> Component:
    if not one.is_live:
        return html.Span(MISSING, className="muted", title="The run has ended.")
    if verdict is None:
        return html.Span(MISSING, className="muted", title="Not judged yet.")
    badge = verdict_badge(verdict.decision, meaning=str(verdict.details.get("sentence", "")))
    if not one.is_to_stop:
        return badge
    proposed = html.Span("can be stopped", className="source", title=STOP_MEANING)
    return html.Div([badge, proposed], className="verdict-cell")


def _saved(one: Placing) -> str:
    return format_step(one.steps_left) if one.is_live else MISSING


def _pin(one: Placing, is_pinned: bool) -> Component:
    return html.Button(
        "Pinned" if is_pinned else "Pin",
        id={"pin": one.run_id},
        className="button button-small" + (" button-on" if is_pinned else ""),
        n_clicks=0,
        title=PIN_MEANING,
        **aria(pressed="true" if is_pinned else "false"),
    )
