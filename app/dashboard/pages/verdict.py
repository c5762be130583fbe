"""Whether a run is worth going on with: the badge and the sentence, what they rest on, and what a person answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dash
from dash import ALL, Input, Output, State, dcc, html
from dash.development.base_component import Component

from app.dashboard.components import aria, explained, hint, moment, project_href, run_href
from app.dashboard.formatting import format_chance, format_duration, format_percent, format_step, format_value
from app.dashboard.liveness import Liveness, liveness
from app.errors import LosscastError
from app.runs import Run, RunStatus
from app.storage.database import Database
from app.storage.stops import StopEntry, StopState, answer_as_person, count_stops, list_stops, read_stop_state
from app.storage.verdicts import StoredVerdict, read_verdict
from app.verdicts.judging import amount, ask_again
from app.verdicts.rivals import RivalKind
from app.verdicts.stopping import Author, Mode, StopEvent
from app.verdicts.verdict import Decision

STOPS_SHOWN = 20
STOPS_READ = 200
"""Of a longer log the rest is left to the API."""


@dataclass(frozen=True, slots=True)
class Look:
    """Word, shape and sentence: colour is never the only sign."""

    word: str
    shape: str
    meaning: str


LOOKS: Mapping[str, Look] = {
    Decision.CONTINUE: Look("Go on", "▶", "It may well beat what it is compared with."),
    Decision.STOP: Look("Stop", "■", "Going on is not expected to beat what it is compared with. This is advice."),
    Decision.UNDECIDED: Look("Undecided", "◇", "Not sure enough, or something forbids a stop: go on, and look again."),
}

KINDS: Mapping[str, str] = {
    RivalKind.TARGET: "target",
    RivalKind.FINISHED: "finished run",
    RivalKind.STOPPED: "run stopped early, where it stood",
    RivalKind.LIVE: "forecast of a live run",
    RivalKind.OWN_BEST: "reached already",
    RivalKind.BASELINE: "baseline",
}

EVENTS: Mapping[StopEvent, str] = {
    StopEvent.PROPOSED: "Stop proposed",
    StopEvent.ORDERED: "Job is to stop",
    StopEvent.DECLINED: "Kept going",
    StopEvent.WITHDRAWN: "Taken back",
    StopEvent.HEARD: "Job was told",
}

AUTHORS: Mapping[Author, str] = {
    Author.POLICY: "by the policy",
    Author.PERSON: "by a person",
    Author.JOB: "by the job",
}

ANSWERS: Mapping[str, tuple[str, StopEvent]] = {
    "stop": ("Stop the job", StopEvent.ORDERED),
    "continue": ("Let it go on", StopEvent.DECLINED),
    "take_back": ("Take the answer back", StopEvent.WITHDRAWN),
}

NOT_YET = "No verdict yet: it comes with a forecast of the run's loss."
CHANCE_MEANING = (
    "Probability that going on beats this one, by itself. Where the project asks that others be beaten by some margin "
    "(its delta), a smaller lead does not count."
)
ALL_MEANING = (
    "Probability that going on beats the best of all that the run is compared with, whichever that will be: less than "
    "the chance to beat any of them by itself. The decision rests on this."
)
SAVED_MEANING = "Share of all the run's steps that would not be made."
REGRET_MEANING = (
    "What stopping now is expected to cost, in the metric's own unit: by how much this run would, on average over all "
    "that may still happen, have beaten the best of what it is compared with. In brackets the central 90 %."
)
IMPROVEMENT_MEANING = (
    "By how much the run is expected to end better than the best level that it has held itself, on average over all "
    "that the forecast leaves open, in the metric's own unit; an end that is no better counts as nothing. It says "
    "nothing of other runs."
)
GOAL_MEANING = (
    "Probability of reaching the project's target, by the forecast's fan read as paths that keep their rank, and as "
    "wide as forecasts err; and the step and the time by which it is as likely as not. Not known without a forecast, "
    "and while the training data are learned by heart and validation has not turned."
)
TIME_MEANING = (
    "To the planned end, by the job's own clock: median, and in brackets 90 of 100 cases. Pauses and restarts are "
    "taken to come back as often and as long as they did."
)
NEXT_MEANING = (
    "The next twentieth of the run, or where its planned learning rate begins to fall. Each new forecast is judged, so "
    "the answer may change before."
)
SOON = timedelta(minutes=1)

OVERDUE_MEANING = (
    "The job is past the step at which to look again. A new verdict comes with the run's next forecast; until then "
    "this one holds, judged from the step that it names."
)
SILENT_MEANING = (
    "Neither metrics nor heartbeats. The verdict is the one from before, and holds if the job still runs; how long it "
    "takes, nobody can tell now."
)


@dataclass(frozen=True, slots=True)
class VerdictReading:
    """What is known of a run's worth.

    stops : the newest entries of the log, the newest first
    n_stops : how many it has
    """

    state: StopState
    verdict: StoredVerdict | None
    stops: Sequence[StopEntry]
    n_stops: int
    now: datetime

    @property
    def is_over(self) -> bool:
        return self.state.run.status is not RunStatus.RUNNING

    @property
    def overdue_since(self) -> int | None:
        """The step at which to look again, where the job is past it and the verdict still the one from before.

        A fast job is past it within a second, and the next verdict is on its way: a verdict is not overdue so soon.
        """
        last = self.state.run.last_step
        if self.verdict is None or self.is_over or self.now - self.verdict.judged_at < SOON:
            return None
        next_step = self.verdict.details.get("next_step")
        if next_step is None or last is None or last < next_step:
            return None
        return int(next_step)

    @property
    def revision(self) -> str:
        """Changes when something that is shown does."""
        judged_at = self.verdict.judged_at if self.verdict else None
        newest = self.stops[0].id if self.stops else None
        state = liveness(self.state.run, self.now)
        said = self.state.should_stop, self.state.sentence, state, self.overdue_since
        return f"{self.state.run.status} {judged_at} {newest} {self.state.policy.revision} {said}"

    @property
    def answers(self) -> list[str]:
        """What a person can say now."""
        standing, run = self.state.standing, self.state.run
        if self.is_over or standing is None or standing.event in (StopEvent.WITHDRAWN, StopEvent.HEARD):
            return []
        if standing.author is Author.PERSON:
            return ["take_back"]
        if standing.segment != run.segment or self.state.policy.mode is Mode.ADVISE:
            return []
        return ["stop", "continue"] if standing.event is StopEvent.PROPOSED else ["continue"]


def read(database: Database, run_id: str) -> VerdictReading:
    """Raises `NotFound`."""
    with database.read() as connection:
        return VerdictReading(
            state=read_stop_state(connection, run_id),
            verdict=read_verdict(connection, run_id),
            stops=list_stops(connection, run_id=run_id, limit=STOPS_READ),
            n_stops=count_stops(connection, run_id=run_id),
            now=datetime.now(UTC),
        )


def section(reading: VerdictReading) -> Component:
    """The place on a run's page; the callbacks keep it fresh."""
    return html.Div(
        [
            dcc.Store(id="verdict-revision", data=reading.revision),
            html.Div(shown(reading, datetime.now(UTC)), id="verdict"),
        ]
    )


def register(app: dash.Dash, database: Database) -> None:
    @app.callback(
        Output("verdict", "children"),
        Output("verdict-revision", "data"),
        Input("run-tick", "n_intervals"),
        State("run-id", "data"),
        State("verdict-revision", "data"),
        prevent_initial_call=True,
    )
    async def follow(_ticks: int | None, run_id: str, revision: str | None) -> Sequence[object]:
        reading = await asyncio.to_thread(read, database, run_id)
        if reading.revision == revision:
            return dash.no_update, dash.no_update
        return shown(reading, datetime.now(UTC)), reading.revision

    @app.callback(
        Output("verdict", "children", allow_duplicate=True),
        Output("verdict-revision", "data", allow_duplicate=True),
        Input({"verdict-answer": ALL}, "n_clicks"),
        State("run-id", "data"),
        prevent_initial_call=True,
    )
    async def answer(clicks: Sequence[int | None], run_id: str) -> Sequence[object]:
        asked = dash.ctx.triggered_id
        if not any(clicks) or asked is None:  # the buttons have only come or gone
            return dash.no_update, dash.no_update
        problem = await asyncio.to_thread(_answered, database, run_id, asked["verdict-answer"])
        reading = await asyncio.to_thread(read, database, run_id)
        return shown(reading, datetime.now(UTC), problem), reading.revision


def _answered(database: Database, run_id: str, answer: str) -> str | None:
    """Keep a person's word; what spoke against it, where something did."""
    try:
        with database.write() as connection:
            answer_as_person(connection, run_id, ANSWERS[answer][1])
    except LosscastError as error:
        return str(error)
    return None


def shown(reading: VerdictReading, now: datetime, problem: str | None = None) -> Component | None:
    """Nothing of a run that is over and was never to be stopped."""
    log = stop_list(reading.stops, reading.n_stops, now, run_id=reading.state.run.id)
    if reading.verdict is None:
        if log is None:
            return None if reading.is_over else html.P(NOT_YET, className="muted verdict-none")
        return html.Section([html.P(reading.state.sentence), log], className="card verdict-card")
    verdict = reading.verdict
    said = verdict.details
    return html.Section(
        [
            html.Div(
                [
                    verdict_badge(verdict.decision, f"By the policy “{said.get('policy', '')}”.", by_keyboard=True),
                    html.P(_sentence(reading, verdict), className="verdict-sentence"),
                ],
                className="verdict-head",
            ),
            html.Div(
                [fact for fact in _facts(reading, verdict, now) if fact is not None], className="facts verdict-facts"
            ),
            _stopping(reading, problem),
            html.Div(
                [one for one in (_comparisons(said), _guards(said), log) if one is not None], className="verdict-folds"
            ),
        ],
        className=f"card verdict-card verdict-{verdict.decision}",
        **aria(label="Is it worth going on?"),
    )


def verdict_badge(decision: str, meaning: str = "", *, by_keyboard: bool = False) -> Component:
    look = LOOKS[decision]
    return html.Span(
        [html.Span(look.shape, className="shape", **aria(hidden="true")), look.word],
        className=f"badge verdict-badge verdict-badge-{decision}",
        **explained(f"{look.meaning} {meaning}".strip(), by_keyboard=by_keyboard),
    )


def _facts(reading: VerdictReading, verdict: StoredVerdict, now: datetime) -> list[Component | None]:
    said = verdict.details
    run = reading.state.run
    is_heard = liveness(run, now) is Liveness.RUNNING
    probability, saved, regret = said.get("probability"), said.get("saved"), said.get("regret")
    held = verdict.step - verdict.since_step
    return [
        _fact(_all_of_them(said), ALL_MEANING, format_chance(1 - probability)) if probability is not None else None,
        _chance_against_one(said),
        _fact("stopping saves", SAVED_MEANING, f"{format_percent(saved)} ({format_step(said['saved_steps'])} steps)")
        if saved
        else None,
        _fact("expected regret", REGRET_MEANING, regret_text(said)) if regret is not None else None,
        _improvement_fact(said),
        _goal_fact(said.get("goal"), said.get("total_steps"), is_heard=is_heard),
        _time_fact(said.get("time")) if is_heard else None,
        _next_fact(reading, said.get("next_step")) if is_heard else None,
        None if is_heard else _fact("nothing heard", SILENT_MEANING, f"for {_silence(run, now)}"),
        html.Span(f"held for {format_step(held)} steps") if held > 0 else None,
        html.Span(["judged ", moment(verdict.judged_at, now), f", from step {format_step(verdict.step)}"]),
    ]


def _sentence(reading: VerdictReading, verdict: StoredVerdict) -> str:
    """The verdict's own, without what it says of when to ask again once that is past."""
    sentence = str(verdict.details.get("sentence", ""))
    overdue = reading.overdue_since
    return sentence if overdue is None else sentence.removesuffix(ask_again(overdue))


def _next_fact(reading: VerdictReading, next_step: int | None) -> Component | None:
    if reading.overdue_since is not None:
        return _fact("overdue since step", OVERDUE_MEANING, format_step(reading.overdue_since))
    return None if next_step is None else _fact("look again at step", NEXT_MEANING, format_step(next_step))


def _silence(run: Run, now: datetime) -> str:
    return format_duration((now - run.last_seen_at).total_seconds())


def _all_of_them(said: Mapping[str, Any]) -> str:
    compared = len(said.get("comparisons") or [])
    return f"chance to beat all {compared}" if compared > 1 else f"chance to beat {said.get('reference') or 'it'}"


def _chance_against_one(said: Mapping[str, Any]) -> Component | None:
    """Of the hardest to beat, where there are others; a verdict of an earlier version does not tell."""
    probability = said.get("reference_probability")
    if probability is None or len(said.get("comparisons") or []) < 2:
        return None
    return _fact(f"to beat {said['reference']}", CHANCE_MEANING, format_chance(1 - probability))


def _improvement_fact(said: Mapping[str, Any]) -> Component | None:
    """Nothing without a forecast, and of a run that had no level to better."""
    expected, best = said.get("expected_improvement"), said.get("evidence", {}).get("best_so_far")
    if expected is None or best is None:
        return None
    return _fact("expected improvement", IMPROVEMENT_MEANING, amount(expected, best))


def _goal_fact(goal: Mapping[str, Any] | None, total_steps: int | None, *, is_heard: bool) -> Component | None:
    """When the target is reached: already, by its budget, or by the end; and in how long, if the job still runs."""
    if goal is None:
        return None
    target = format_value(goal["target"])
    if goal["reached_at"] is not None:
        return html.Span([f"target {target} reached at step ", html.B(format_step(goal["reached_at"]))])
    if goal["probability"] is None:
        return _fact(f"reaches {target}", GOAL_MEANING, "not known yet")
    within, budget = goal["within_budget"], goal["budget_steps"]
    sure, until = (goal["probability"], "") if within is None else (within, f" by step {format_step(budget)}")
    beyond = ""
    if budget is not None and total_steps is not None and budget > total_steps:
        # What comes after the end nobody forecasts: the chance is that of the end.
        until = f" by its end at step {format_step(total_steps)}"
        beyond = f"; the budget, step {format_step(budget)}, lies beyond it"
    expected = goal["steps"].get("p50")
    around = "" if expected is None else f", about at step {format_step(expected)}"
    seconds = goal["seconds"].get("p50")
    if seconds is not None and is_heard:
        around += f", in about {format_duration(seconds)}"
    return _fact(f"reaches {target}{until}", GOAL_MEANING, f"{format_chance(sure)}{around}{beyond}")


def _time_fact(time: Mapping[str, Any] | None) -> Component | None:
    if time is None:
        return None
    left = time["seconds_left"]
    low, middle, high = (format_duration(left[name]) for name in ("p05", "p50", "p95"))
    band = "" if low == high else f" ({low} – {high})"
    slower = (
        f". Slower: {time['seconds_per_step'] / time['seconds_per_step_before']:.1f} times as long a step as before"
    )
    return _fact("time left", TIME_MEANING, f"{middle}{band}{slower if time['has_slowed'] else ''}")


def _fact(name: str, meaning: str, value: str) -> Component:
    return html.Span([hint(name, meaning), " ", html.B(value, className="number")])


def regret_text(said: Mapping[str, Any]) -> str:
    """In the words of the verdict's sentence, and with its interval where that says more."""
    level = said.get("evidence", {}).get("reference_level", 0.0)  # none to compare with: the run is broken
    expected, interval = amount(said["regret"], level), said.get("regret_interval")
    low, high = (amount(end, level) for end in interval) if interval else (expected, expected)
    return expected if low == high else f"{expected} ({low} to {high})"


def _stopping(reading: VerdictReading, problem: str | None) -> Component | None:
    """Where the run stands on its way to a stop, and what can be answered; nothing where there is only advice."""
    state = reading.state
    if state.policy.mode is Mode.ADVISE and not reading.answers and problem is None:
        return None
    buttons = [
        html.Button(ANSWERS[name][0], id={"verdict-answer": name}, className="button button-small", n_clicks=0)
        for name in reading.answers
    ]
    return html.Div(
        [
            html.Span(state.sentence),
            html.Span(buttons, className="tools") if buttons else None,
            html.Span(problem, className="broken", role="alert") if problem else None,
        ],
        className="verdict-stopping",
    )


def _comparisons(said: Mapping[str, Any]) -> Component | None:
    rows = said.get("comparisons") or []
    if not rows:
        return None
    head = html.Tr(
        [
            html.Th("Compared with", scope="col"),
            html.Th(hint("Ends at", "Where it ended, or the median of its forecast."), scope="col", className="number"),
            html.Th(hint("Chance", CHANCE_MEANING), scope="col", className="number"),
        ]
    )
    body = [
        html.Tr(
            [
                html.Th(_rival(one), scope="row"),
                html.Td(format_value(one["value"]), className="number"),
                html.Td(format_chance(1 - one["probability"]), className="number"),
            ]
        )
        for one in rows
    ]
    table = html.Div(html.Table([html.Thead(head), html.Tbody(body)], className="table"), className="table-box")
    return html.Details([html.Summary(f"What it is compared with ({len(rows)})"), table], className="fold")


def _rival(one: Mapping[str, Any]) -> Component:
    name = str(one["name"])
    linked = dcc.Link(name, href=run_href(one["run_id"])) if one["run_id"] else html.Span(name)
    return html.Div([linked, html.Span(KINDS.get(one["kind"], one["kind"]), className="muted")], className="rival")


def _guards(said: Mapping[str, Any]) -> Component | None:
    guards = said.get("guards") or []
    if not guards:
        return None
    return html.Details(
        [
            html.Summary(f"What forbids a stop ({len(guards)})"),
            html.Ul([html.Li(guard["sentence"]) for guard in guards], className="notes"),
        ],
        className="fold",
    )


def stop_list(
    stops: Sequence[StopEntry], n_stops: int, now: datetime, *, run_id: str | None = None, project: str | None = None
) -> Component | None:
    """The log of stops of a run or a project: who said what when, and why. Of long ones, the newest first."""
    if not stops:
        return None
    entries = [_stop_entry(stop, now, with_run=project is not None) for stop in stops]
    first, rest = entries[:STOPS_SHOWN], entries[STOPS_SHOWN:]
    parts: list[Component] = [html.Ul(first, className="notes")]
    if rest:
        parts.append(html.Details([html.Summary(f"{len(rest)} before"), html.Ul(rest, className="notes")]))
    if n_stops > len(stops):
        whose = run_href(run_id) if run_id is not None else project_href(project or "")
        whole = html.A("the API has the whole log", href=f"/api/v1{whose}/stops?limit=1000")
        parts.append(html.P([f"These are the newest {len(stops)} of {n_stops}: ", whole, "."], className="muted"))
    return html.Details([html.Summary(f"Log of stops ({n_stops:,})"), *parts], className="fold")


def _stop_entry(stop: StopEntry, now: datetime, *, with_run: bool) -> Component:
    return html.Li(
        [
            html.Div(
                [
                    html.B(EVENTS[stop.event]),
                    html.Span(AUTHORS[stop.author]),
                    dcc.Link(stop.run_name, href=run_href(stop.run_id)) if with_run else None,
                    html.Span(f"at step {format_step(stop.step)}") if stop.step is not None else None,
                    moment(stop.at, now),
                ],
                className="facts",
            ),
            html.P(stop.why),
        ]
    )
