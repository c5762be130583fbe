"""What a project wants of its runs: a goal, a policy, and what a stop verdict may do."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import dash
from dash import Input, Output, State, dcc, html
from dash.development.base_component import Component
from sqlalchemy import Connection

from app.curves.roles import FORECAST_ROLES
from app.dashboard.components import aria, card, choice, field, hint, run_href
from app.dashboard.formatting import MISSING, format_step, format_value
from app.dashboard.pages.verdict import STOPS_READ, stop_list
from app.errors import BadInput, LosscastError
from app.storage.database import Database
from app.storage.goals import Goal, ProjectPolicy, read_project_policy, save_project_policy
from app.storage.runs import list_runs
from app.storage.stops import StopEntry, count_stops, list_stops, read_waiting
from app.verdicts.policies import POLICIES, parameters_of, policy_named
from app.verdicts.stopping import Mode

RUNS_LOOKED_AT = 100  # for the names of metrics

POLICY_NAMES: Mapping[str, str] = {
    "predictive": "predictive: the forecast against all that it must beat",
    "lcpfn": "LC-PFN: unlikely to pass the best so far at any step",
    "gl": "Prechelt GL: risen above its lowest",
    "pq": "Prechelt PQ: risen, and no progress",
    "up": "Prechelt UP: rising strip after strip",
    "patience": "patience: no improvement for a while",
    "median": "median rule: worse than the median of siblings",
    "asha": "ASHA: successive halving at rungs",
}
DELTA_MEANING = (
    "The delta of verdicts, in the metric's own unit: a run that would beat the others by less counts as not beating "
    "them. Empty: any lead counts."
)
MODE_WORDS = {
    Mode.ADVISE: "Verdicts are shown. No job is told anything.",
    Mode.ASK: "A stop verdict that holds is proposed on the run's page. The job is told once a person says yes.",
    Mode.STOP: "A job that asks is told to stop once a stop verdict has held. Each stop is logged with its evidence.",
}


@dataclass(frozen=True, slots=True)
class GoalsReading:
    """What the card shows; `metrics` are those that are forecast and that the project's newest runs log."""

    project: str
    policy: ProjectPolicy
    metrics: Sequence[str]
    stops: Sequence[StopEntry]  # the newest of them
    n_stops: int
    waiting: Mapping[str, str]  # id -> name of runs whose stop is proposed

    @property
    def first_metric(self) -> str | None:
        return next(iter(self.policy.goals), None) or (self.metrics[0] if self.metrics else None)


def read_goals(database: Database, project: str) -> GoalsReading:
    """Raises `NotFound`."""
    with database.read() as connection:
        policy = read_project_policy(connection, project)
        rows, _ = list_runs(connection, project=project, limit=RUNS_LOOKED_AT)
        stops = list_stops(connection, project=project, limit=STOPS_READ)
        n_stops, waiting = count_stops(connection, project=project), read_waiting(connection, project)
    summaries = [row.summary for row in rows if row.summary is not None]
    main = [one.metric for one in summaries if one.metric]
    roles = [item for one in summaries for item in one.roles.items()]
    others = sorted({metric for metric, match in roles if match.get("role") in FORECAST_ROLES})
    metrics = list(dict.fromkeys([*policy.goals, *main, *others]))
    return GoalsReading(project, policy, metrics, stops, n_stops, waiting)


def goals_card(reading: GoalsReading) -> Component:
    policy, metric = reading.policy, reading.first_metric
    goal = policy.goals.get(metric or "", Goal())
    return card(
        hint("What this project wants", "What verdicts compare with, how they decide, and what a stop verdict does."),
        dcc.Store(id="project-wants", data=policy.revision),
        html.Div(wants_text(policy), id="goals-now"),
        html.Details(
            [
                html.Summary("Change"),
                html.Div(
                    [
                        field(
                            "What a stop verdict does",
                            choice(
                                "goals-mode",
                                "What a stop verdict does",
                                [(mode, mode.capitalize()) for mode in Mode],
                                policy.mode,
                            ),
                            html.P(MODE_WORDS[policy.mode], id="goals-mode-words", className="muted"),
                            wide=True,
                        ),
                        field(
                            "Policy",
                            dcc.Dropdown(
                                id="goals-policy",
                                options=[{"value": name, "label": POLICY_NAMES.get(name, name)} for name in POLICIES],
                                value=policy.policy,
                                clearable=False,
                            ),
                            wide=True,
                        ),
                        field(
                            "Its parameters",
                            _text("goals-parameters", write_parameters(policy.parameters), defaults(policy.policy)),
                            wide=True,
                        ),
                        field(
                            "Goal for",
                            dcc.Dropdown(
                                id="goals-metric", options=list(reading.metrics), value=metric, placeholder="A metric"
                            ),
                        ),
                        field("Reach", _text("goals-target", number_text(goal.target), "no target")),
                        field("Within steps", _text("goals-budget", number_text(goal.budget_steps), "the whole run")),
                        field(
                            hint("Beat others by", DELTA_MEANING),
                            _text("goals-delta", number_text(goal.delta or None), "0"),
                        ),
                    ],
                    className="goals-form",
                ),
                html.Div(
                    [
                        html.Button("Save", id="goals-save", className="button button-main", n_clicks=0),
                        html.Span(id="goals-said", role="status", **aria(live="polite")),
                    ],
                    className="tools fit-actions",
                ),
            ],
            className="fold",
        ),
        html.Div(stops_text(reading), id="goals-stops"),
    )


def _text(component_id: str, value: str, empty: str) -> Component:
    return dcc.Input(id=component_id, type="text", value=value, placeholder=empty, className="search")


def register(app: dash.Dash, database: Database) -> None:
    @app.callback(Output("goals-mode-words", "children"), Input("goals-mode", "value"), prevent_initial_call=True)
    async def explain(mode: str) -> str:
        return MODE_WORDS[Mode(mode)]

    @app.callback(
        Output("goals-parameters", "value"),
        Output("goals-parameters", "placeholder"),
        Input("goals-policy", "value"),
        prevent_initial_call=True,
    )
    async def clear_parameters(policy: str) -> Sequence[str]:
        return "", defaults(policy)

    @app.callback(
        Output("goals-target", "value"),
        Output("goals-budget", "value"),
        Output("goals-delta", "value"),
        Input("goals-metric", "value"),
        State("project-name", "data"),
        prevent_initial_call=True,
    )
    async def show_goal(metric: str | None, project: str) -> Sequence[str]:
        reading = await asyncio.to_thread(read_goals, database, project)
        goal = reading.policy.goals.get(metric or "", Goal())
        return number_text(goal.target), number_text(goal.budget_steps), number_text(goal.delta or None)

    @app.callback(
        Output("goals-now", "children"),
        Output("goals-stops", "children"),
        Input("project-wants", "data"),
        Input("ranking-revision", "data"),
        State("project-name", "data"),
        prevent_initial_call=True,
    )
    async def show_wants(_wants: int, _ranking: str | None, project: str) -> Sequence[object]:
        reading = await asyncio.to_thread(read_goals, database, project)
        return wants_text(reading.policy), stops_text(reading)

    @app.callback(
        Output("project-wants", "data"),
        Output("goals-said", "children"),
        Input("goals-save", "n_clicks"),
        State("goals-mode", "value"),
        State("goals-policy", "value"),
        State("goals-parameters", "value"),
        State("goals-metric", "value"),
        State("goals-target", "value"),
        State("goals-budget", "value"),
        State("goals-delta", "value"),
        State("project-name", "data"),
        prevent_initial_call=True,
    )
    async def save(
        _clicks: int,
        mode: str,
        policy: str,
        parameters: str | None,
        metric: str | None,
        target: str | None,
        budget: str | None,
        delta: str | None,
        project: str,
    ) -> Sequence[object]:
        try:
            goal = read_goal(target, budget, delta)
            chosen = read_parameters(parameters)
            policy_named(policy, chosen)
            revision = await asyncio.to_thread(_saved, database, project, Mode(mode), policy, chosen, metric, goal)
        except LosscastError as error:
            return dash.no_update, html.Span(str(error), className="broken")
        return revision, "Saved. Running runs are judged anew within seconds."


def _saved(
    database: Database,
    project: str,
    mode: Mode,
    policy: str,
    parameters: Mapping[str, float],
    metric: str | None,
    goal: Goal,
) -> int:
    with database.write() as connection:
        before = read_project_policy(connection, project)
        goals = {name: one for name, one in before.goals.items() if name != metric}
        if metric and goal != Goal():
            goals = {metric: goal, **goals}
        return save_wants(
            connection, project, before, mode=mode, policy=policy, parameters=dict(parameters), goals=goals
        )


def save_wants(
    connection: Connection,
    project: str,
    before: ProjectPolicy,
    *,
    mode: Mode | None = None,
    policy: str | None = None,
    parameters: Mapping[str, float] | None = None,
    goals: Mapping[str, Goal] | None = None,
    baselines: Sequence[str] | None = None,
) -> int:
    """Change a part of what a project wants; the new revision of all of it. The worker's sweep judges anew."""
    save_project_policy(
        connection,
        project,
        mode=mode or before.mode,
        policy=policy or before.policy,
        parameters=before.parameters if parameters is None else parameters,
        goals=before.goals if goals is None else goals,
        baselines=[one.run_id for one in before.baselines] if baselines is None else baselines,
    )
    return read_project_policy(connection, project).revision


def wants_text(policy: ProjectPolicy) -> Component:
    goals = [goal_text(metric, goal) for metric, goal in policy.goals.items()]
    parameters = f" ({write_parameters(policy.parameters)})" if policy.parameters else ""
    pairs = [
        ("Mode", f"{policy.mode.capitalize()}. {MODE_WORDS[policy.mode]}"),
        ("Policy", POLICY_NAMES.get(policy.policy, policy.policy) + parameters),
        ("Goals", "; ".join(goals) or "None: runs are compared with each other and with what they have reached."),
        ("Baselines", ", ".join(one.name for one in policy.baselines) or "None pinned"),
    ]
    rows = [html.Div([html.Dt(name), html.Dd(value)], className="pair") for name, value in pairs]
    return html.Dl(rows, className="pairs goals-pairs")


def stops_text(reading: GoalsReading) -> list[Component | None]:
    """Who waits for an answer, and the log."""
    links: list[Component | str] = []
    for run_id, name in reading.waiting.items():
        links += [", " if links else "", dcc.Link(name, href=run_href(run_id))]
    asked = html.P(["A stop is proposed and waits for an answer: ", *links, "."], className="goals-asked")
    log = stop_list(reading.stops, reading.n_stops, datetime.now(UTC), project=reading.project)
    return [asked if links else None, log]


def goal_text(metric: str, goal: Goal) -> str:
    wanted = MISSING if goal.target is None else format_value(goal.target)
    parts = [f"{metric} at {wanted}" if goal.target is not None else metric]
    if goal.budget_steps is not None:
        parts.append(f"within {format_step(goal.budget_steps)} steps")
    if goal.delta:
        parts.append(f"others to be beaten by {goal.delta:g}")
    return ", ".join(parts)


def defaults(policy: str) -> str:
    return write_parameters(parameters_of(policy)) or "it has none"


def write_parameters(parameters: Mapping[str, float]) -> str:
    """{"confidence": 0.97} -> "confidence=0.97"."""
    return ", ".join(f"{name}={value:g}" for name, value in parameters.items())


def read_parameters(text: str | None) -> dict[str, float]:
    """The reverse; raises `BadInput`."""
    found = {}
    for part in filter(str.strip, (text or "").split(",")):
        name, equals, value = part.partition("=")
        if not equals:
            raise BadInput(f"Write parameters as name=value, name=value; got {part.strip()!r}.")
        found[name.strip()] = _number(value, name.strip())
    return found


def read_goal(target: str | None, budget: str | None, delta: str | None) -> Goal:
    """A goal as it was typed; raises `BadInput`."""
    least = _number(delta, "Beat others by") if _is_said(delta) else 0.0
    if least < 0:
        raise BadInput("Beat others by: a number of at least 0.")
    steps = _number(budget, "Within steps") if _is_said(budget) else None
    if steps is not None and not (1 <= steps < 2**62 and steps == int(steps)):
        raise BadInput("Within steps: a whole number of at least 1.")
    return Goal(
        target=_number(target, "Reach") if _is_said(target) else None,
        delta=least,
        budget_steps=None if steps is None else int(steps),
    )


def _is_said(text: str | None) -> bool:
    return bool(text and text.strip())


def _number(text: str | None, name: str) -> float:
    try:
        value = float((text or "").replace(" ", "").replace("_", ""))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise BadInput(f"{name}: a number is needed; got {(text or '').strip()!r}.")
    return value


def number_text(value: float | None) -> str:
    return "" if value is None else f"{value:.10g}"
