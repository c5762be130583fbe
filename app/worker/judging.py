"""Whether a run is worth going on with, judged after each refit; and what follows from that.

Stands apart from the refit, in a transaction of its own: whatever goes wrong here is logged, and no job is told to stop
on its account. Rules are in `app.verdicts`; here it is read and kept what they need.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.alerts.rules import AlertKey, AllClear, Finding, Severity
from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.reduction import Reduction
from app.forecasting.forecast import FINAL_SHARE, Forecast
from app.forecasting.scores import QuantileForecast
from app.runs import Run, RunStatus, StoredForecast
from app.storage import alerts
from app.storage.alerts import Target
from app.storage.curves import read_curves_of_runs
from app.storage.database import Database
from app.storage.goals import Goal, ProjectPolicy, read_project_policy
from app.storage.pace import PaceMarks, save_pace
from app.storage.runs import hold_run
from app.storage.stops import lock_stops, log_stop, read_standing
from app.storage.verdicts import (
    FinalLevel,
    NewVerdict,
    RivalRow,
    StoredVerdict,
    read_diagnosed_states,
    read_earlier_outlooks,
    read_rivals,
    read_verdicts,
    save_final_levels,
    save_verdicts,
)
from app.verdicts.guards import fall_to_come, guards, missed_share
from app.verdicts.history import History
from app.verdicts.judging import judge
from app.verdicts.outlook import Outlook
from app.verdicts.policies import policy_named
from app.verdicts.rivals import Rival, RivalKind
from app.verdicts.situation import Situation, last_raise
from app.verdicts.stopping import Author, Mode, StopEvent, has_held, is_confirmed, next_event
from app.verdicts.targets import reach
from app.verdicts.verdict import Decision, Verdict
from app.worker import pacing
from app.worker.failures import note_failure

log = logging.getLogger(__name__)

STOP_ADVISED = "stop_advised"
"""Kind of the alert. It fires once a run at most: the second time it would be no news."""

MOST_FINISHED = 3
MOST_LIVE = 13
"""Of the ended runs those that came furthest are compared with, of those that run the ones expected to; baselines all
are. The others cannot change a verdict by much, and each running one costs some milliseconds."""

EARLIER_FORECASTS = 10
EARLIER_SHARE = 0.05
"""So many of a run's past forecasts are held to where it stands now, none younger than this share of the run: as they
were when the guard was measured (docs/verdicts.md)."""

LOOK_SHARE = 0.005
"""Without a new forecast a run is judged again when it has come so much further."""

COMPARES_CURVES = frozenset({"median", "asha"})
"""Policies that look at how siblings stood at the same step; they are shown as many as there are, up to 32."""

MOST_CURVES = 32


@dataclass(frozen=True, slots=True, eq=False)
class RunToJudge:
    """The run that is judged, as its refit saw it.

    arrivals : batches of it that the refit knew of
    metrics : those that are forecast, the one that lists show first
    rising : those of them that are better when higher
    reductions : by metric, of these and the learning rate
    forecasts : by metric, fresh or stored; without the metrics that are not finite now
    """

    key: int
    arrivals: int
    run: Run
    plan: Plan | None
    metrics: Sequence[str]
    rising: frozenset[str]
    rate: str | None
    reductions: Mapping[str, Reduction]
    forecasts: Mapping[str, Forecast | StoredForecast]


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What else counts."""

    policy: ProjectPolicy
    states: Mapping[str, str]
    rivals: Mapping[str, tuple[Rival, ...]]  # by metric
    before: Mapping[str, StoredVerdict]  # by metric
    pace: PaceMarks
    earlier: Mapping[str, Sequence[Outlook]]  # by metric: forecasts of before


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A verdict on one metric, with what it was made of and how long it has held.

    confirmed : a stop that has held for long enough to count
    settled : whatever it is, it will not be another again with the next forecast
    """

    metric: str
    verdict: Verdict
    stored: NewVerdict
    goal: Goal
    confirmed: bool
    settled: bool

    @property
    def is_stop(self) -> bool:
        return self.verdict.decision is Decision.STOP


def judge_run(database: Database, subject: RunToJudge, targets: Sequence[Target]) -> bool:
    """Bring a run's verdicts up to date; True where messages now wait to be sent. Never raises."""
    try:
        return _judge_run(database, subject, targets)
    except SQLAlchemyError:
        log.exception("the verdict on run %s could not be stored; its next refit judges again", subject.run.id)
        note_failure(database, subject.run.id)
    except Exception:
        log.exception("run %s could not be judged", subject.run.id)
        note_failure(database, subject.run.id)
    return False


def _judge_run(database: Database, subject: RunToJudge, targets: Sequence[Target]) -> bool:
    if subject.run.status is not RunStatus.RUNNING:
        with database.write() as connection:
            return hold_run(connection, subject.key) and _conclude(connection, subject, targets)
    if subject.plan is None or not subject.metrics:
        return False
    with database.read() as connection:
        policy = read_project_policy(connection, subject.run.project)
        before = {one.metric: one for one in read_verdicts(connection, subject.run.id)}
        acted_on = _acted_on(subject, policy)
        if not _is_due(subject, subject.plan, policy, before, acted_on):
            return False
        around = _surroundings(connection, subject, policy, before)
    metrics = list(dict.fromkeys([acted_on, subject.metrics[0]]))
    judged = [_judged(subject, subject.plan, around, metric, is_acted_on=metric == acted_on) for metric in metrics]
    with database.write() as connection:
        if not hold_run(connection, subject.key):
            return False
        lock_stops(connection, subject.key)
        save_verdicts(connection, subject.key, [one.stored for one in judged])
        save_pace(connection, subject.key, around.pace)
        return _act(connection, subject, around.policy, judged[0], targets)


def _is_due(
    subject: RunToJudge, plan: Plan, policy: ProjectPolicy, before: Mapping[str, StoredVerdict], acted_on: str
) -> bool:
    """Whether a verdict may come out differently: it costs as much as a forecast, and a refit may come each second."""
    known = before.get(acted_on)
    if known is None or known.segment != subject.run.segment or known.policy_revision != policy.revision:
        return True
    if not known.is_acted_on or isinstance(subject.forecasts.get(acted_on), Forecast):
        return True
    last_step = subject.reductions[acted_on].last_step or 0
    return last_step < known.step or last_step - known.step >= LOOK_SHARE * plan.total_steps


def _surroundings(
    connection: Connection, subject: RunToJudge, policy: ProjectPolicy, before: Mapping[str, StoredVerdict]
) -> Surroundings:
    metrics = {_acted_on(subject, policy), subject.metrics[0]}
    return Surroundings(
        policy=policy,
        states=read_diagnosed_states(connection, subject.key),
        rivals={metric: tuple(_rivals(connection, subject, policy, metric)) for metric in metrics},
        before=before,
        pace=pacing.follow(connection, subject.key, subject.arrivals),
        earlier={metric: _earlier(connection, subject, metric) for metric in metrics},
    )


def _acted_on(subject: RunToJudge, policy: ProjectPolicy) -> str:
    """The metric that decides for the run: the first with a goal, else the one that lists show."""
    return next((metric for metric in subject.metrics if metric in policy.goals), subject.metrics[0])


def _rivals(connection: Connection, subject: RunToJudge, policy: ProjectPolicy, metric: str) -> Iterator[Rival]:
    rows = read_rivals(connection, subject.run.project, subject.run.id, metric)
    if policy.policy not in COMPARES_CURVES:
        yield from map(_rival, _hardest(rows, rises=metric in subject.rising))
        return
    rows = rows[:MOST_CURVES]
    curves = read_curves_of_runs(connection, [row.run_id for row in rows], metric)
    for row in rows:
        curve = curves.get(row.run_id)
        yield _rival(row, History.empty() if curve is None else History(curve.steps, curve.values))


def _hardest(rows: Sequence[RivalRow], *, rises: bool) -> list[RivalRow]:
    """Those that are hardest to beat."""
    baselines = [row for row in rows if row.is_baseline]
    others = sorted((row for row in rows if not row.is_baseline), key=lambda row: row.expected, reverse=rises)
    finished = [row for row in others if row.final_level is not None][:MOST_FINISHED]
    live = [row for row in others if row.final_level is None][:MOST_LIVE]
    return [*baselines, *finished, *live]


def _rival(row: RivalRow, history: History | None = None) -> Rival:
    kind = RivalKind.FINISHED if row.final_level is not None else RivalKind.LIVE
    return Rival(
        run_id=row.run_id,
        name=row.name,
        kind=RivalKind.BASELINE if row.is_baseline else kind,
        final=row.final_level if row.final_level is not None else QuantileForecast.from_levels(row.final_quantiles),
        history=history or History.empty(),
        fall=row.fall,
        is_trusted=row.is_trusted,
    )


def _earlier(connection: Connection, subject: RunToJudge, metric: str) -> list[Outlook]:
    step = subject.reductions[metric].last_step or 0
    total_steps = step if subject.plan is None else subject.plan.total_steps
    return read_earlier_outlooks(
        connection,
        subject.key,
        metric,
        up_to=step - math.ceil(EARLIER_SHARE * total_steps),
        step=step,
        rises=metric in subject.rising,
        most=EARLIER_FORECASTS,
    )


def _judged(subject: RunToJudge, plan: Plan, around: Surroundings, metric: str, *, is_acted_on: bool) -> Judged:
    policy = around.policy
    goal = policy.goals.get(metric, Goal())
    curve = subject.reductions[metric].to_curve()
    rate = None if subject.rate is None else subject.reductions[subject.rate].to_curve()
    history = History(curve.steps, curve.values)
    level = history.level()
    situation = Situation(
        outlook=_outlook(subject, plan, metric),
        history=history,
        total_steps=plan.total_steps,
        rivals=around.rivals[metric],
        target=goal.target,
        delta=goal.delta,
        states=around.states,
        raised_at=last_raise(rate),
        broken_since=_broken_since(subject.reductions[metric], curve),
        missed=None if level is None else missed_share(around.earlier[metric], curve.cutoff, level),
        now=curve.cutoff,
        lower_is_better=metric not in subject.rising,
    )
    # Levels of 1e149 beside one of 2: how many widths lie between is beyond a float, and as good as infinite.
    with np.errstate(over="ignore"):
        verdict = judge(situation, policy_named(policy.policy, policy.parameters))
    since, looks = _held(around, metric, verdict, subject.run.segment, curve.cutoff)
    standing_for = {"since_step": since, "step": curve.cutoff, "looks": looks, "total_steps": plan.total_steps}
    confirmed = verdict.decision is Decision.STOP and is_confirmed(**standing_for)
    settled = verdict.decision is Decision.CONTINUE or has_held(**standing_for)
    time = _time_left(around, metric, plan.total_steps)
    details = verdict.as_json() | {
        "total_steps": plan.total_steps,
        "confirmed": confirmed,
        "rises": metric in subject.rising,
        "fall": _fall(situation),
        "is_trusted": situation.outlook is not None and not guards(situation.oriented(), None),
        "goal": None if goal.target is None else _goal(situation, goal, goal.target, time),
        "time": time,
    }
    stored = NewVerdict(
        metric=metric,
        segment=subject.run.segment,
        step=curve.cutoff,
        is_acted_on=is_acted_on,
        decision=str(verdict.decision),
        since_step=since,
        looks=looks,
        policy_revision=policy.revision,
        details=details,
    )
    return Judged(metric, verdict, stored, goal, confirmed, settled)


def _fall(situation: Situation) -> float:
    """What the run's siblings are told of its decay to come."""
    lower = situation.oriented()
    return 0.0 if lower.outlook is None else fall_to_come(lower.history, lower.outlook)


def _broken_since(reduction: Reduction, curve: Curve) -> int | None:
    """The step since which no point was finite; in a long run to within a bin."""
    if reduction.last_value is None or math.isfinite(reduction.last_value):
        return None
    return reduction.first_nonfinite_step if not len(curve) else math.floor(curve.steps[-1]) + 1


def _outlook(subject: RunToJudge, plan: Plan, metric: str) -> Outlook | None:
    forecast = subject.forecasts.get(metric)
    if forecast is None:
        return None
    lower_is_better = metric not in subject.rising
    if isinstance(forecast, Forecast):
        return Outlook.from_forecast(forecast, plan, metric, lower_is_better=lower_is_better)
    return Outlook.from_parts(
        metric=metric,
        cutoff=forecast.cutoff,
        horizon=forecast.horizon,
        final_quantiles=forecast.final_quantiles,
        path_steps=forecast.path_steps,
        quantiles=forecast.quantiles,
        rates=forecast.schedule["rates"],
        schedule_source=forecast.schedule["source"],
        total_source=plan.total_source,
        notes=forecast.notes,
        lower_is_better=lower_is_better,
    )


def _time_left(around: Surroundings, metric: str, total_steps: int) -> dict[str, Any] | None:
    """As it was, until the run has come further: it costs some milliseconds."""
    before = around.before.get(metric)
    known: dict[str, Any] | None = None if before is None else before.details.get("time")
    marks = around.pace.marks
    if known is not None and marks and known["total_steps"] == total_steps:
        if 0 <= marks[-1][0] - known["at_step"] < pacing.LOOK_SHARE * total_steps:
            return known
    return pacing.time_left(marks, total_steps)


def _goal(situation: Situation, goal: Goal, target: float, time: Mapping[str, Any] | None) -> dict[str, Any]:
    """When the target is reached, in steps and by the pace that is expected of the rest of the run."""
    found = reach(situation.outlook, situation.history, target, budget_step=goal.budget_steps)
    steps = {f"p{round(100 * level):02d}": step for level, step in found.steps.items()}
    per_step = None
    if time is not None and time["total_steps"] > time["at_step"]:
        per_step = time["seconds_left"]["p50"] / (time["total_steps"] - time["at_step"])
    return {
        "target": target,
        "reached_at": found.reached_at,
        "probability": found.probability,
        "steps": steps,
        "seconds": {
            name: None if step is None or per_step is None else max(step - situation.cutoff, 0) * per_step
            for name, step in steps.items()
        },
        "budget_steps": goal.budget_steps,
        "within_budget": found.by_budget,
    }


def _held(around: Surroundings, metric: str, verdict: Verdict, segment: int, step: int) -> tuple[int, int]:
    """From which step on, and in how many judgements, the decision has been what it is now.

    It begins anew with a restart, with another policy, and where points were taken back.
    """
    before = around.before.get(metric)
    is_same = (
        before is not None
        and before.decision == verdict.decision
        and before.segment == segment
        and before.policy_revision == around.policy.revision
        and before.step <= step
    )
    if before is None or not is_same:
        return step, 1
    return before.since_step, before.looks + (step > before.step)


# What follows ---------------------------------------------------------------------------------------------------------


def _act(
    connection: Connection, subject: RunToJudge, policy: ProjectPolicy, judged: Judged, targets: Sequence[Target]
) -> bool:
    """Log what the verdict asks for, tell people of it once; True where messages now wait to be sent."""
    segment = subject.run.segment
    standing = read_standing(connection, subject.key)
    event = next_event(
        standing,
        segment,
        policy.mode,
        is_stop=judged.is_stop,
        confirmed=judged.confirmed,
        settled=judged.settled,
    )
    if event is not None:
        log_stop(
            connection,
            subject.key,
            event=event,
            author=Author.POLICY,
            segment=segment,
            step=judged.stored.step,
            why=_why(event, policy.mode, judged),
            evidence=_evidence(subject, policy, judged),
        )
    if judged.confirmed:
        return _tell(connection, subject, judged, targets)
    return not judged.is_stop and judged.settled and _clear(connection, subject, judged.verdict.sentence, targets)


def _why(event: StopEvent, mode: Mode, judged: Judged) -> str:
    if event is not StopEvent.WITHDRAWN:
        return judged.verdict.sentence
    if mode is Mode.ADVISE:
        return "The project only asks for advice now."
    return f"The verdict is another now. {judged.verdict.sentence}"


def _evidence(subject: RunToJudge, policy: ProjectPolicy, judged: Judged) -> dict[str, Any]:
    """Everything that a person needs to check the decision later, when verdict and settings have long been others."""
    forecast = subject.forecasts.get(judged.metric)
    return {
        "metric": judged.metric,
        "verdict": judged.verdict.as_json(),
        "held": {"since_step": judged.stored.since_step, "step": judged.stored.step, "looks": judged.stored.looks},
        "forecast": None
        if forecast is None
        else {
            "cutoff": forecast.cutoff,
            "horizon": forecast.horizon,
            "final": {f"{level:g}": value for level, value in forecast.final_quantiles.items()},
        },
        "settings": {
            "mode": policy.mode.value,
            "policy": policy.policy,
            "parameters": dict(policy.parameters),
            "goal": asdict(judged.goal),
            "baselines": [one.run_id for one in policy.baselines],
            "revision": policy.revision,
        },
    }


def _tell(connection: Connection, subject: RunToJudge, judged: Judged, targets: Sequence[Target]) -> bool:
    fired = alerts.list_alerts(connection, run_id=subject.run.id, limit=1000)
    if any(alert.kind == STOP_ADVISED for alert in fired):
        return False
    # One call for one cause: who was told that the run is broken need not be told to think of stopping it.
    if any(alert.severity == Severity.CRITICAL and alert.resolved_at is None for alert in fired):
        return False
    finding = Finding(
        STOP_ADVISED,
        Severity.INFO,
        judged.metric,
        judged.stored.since_step,
        judged.verdict.sentence,
        {
            "probability": judged.verdict.probability,
            "saved_steps": judged.verdict.saved_steps,
            **judged.verdict.evidence,
        },
    )
    return alerts.fire(connection, subject.key, finding, targets) is not None and bool(targets)


def _clear(connection: Connection, subject: RunToJudge, message: str, targets: Sequence[Target]) -> bool:
    still_open = [key for key in alerts.open_keys(connection, subject.key) if key.kind == STOP_ADVISED]
    resolved = [alerts.resolve(connection, subject.key, _all_clear(key, message), targets) for key in still_open]
    return bool(targets) and any(one is not None for one in resolved)


def _all_clear(key: AlertKey, message: str) -> AllClear:
    return AllClear(key.kind, key.metric, None, message)


def _conclude(connection: Connection, subject: RunToJudge, targets: Sequence[Target]) -> bool:
    """The run is over: no verdict stands, nobody is asked any more, and where it came to is kept for its siblings."""
    run = subject.run
    lock_stops(connection, subject.key)
    save_final_levels(
        connection, subject.key, run.segment, [_final_level(subject, metric) for metric in subject.metrics]
    )
    standing = read_standing(connection, subject.key)
    if standing is not None and standing.event is StopEvent.PROPOSED:
        log_stop(
            connection,
            subject.key,
            event=StopEvent.WITHDRAWN,
            author=Author.POLICY,
            segment=run.segment,
            step=run.last_step,
            why=f"The run is over: {run.status.value}.",
            evidence={},
        )
    return _clear(connection, subject, "The run is over.", targets)


def _final_level(subject: RunToJudge, metric: str) -> FinalLevel:
    """Where a metric came to; None where the run failed, or the metric ended in no finite number."""
    reduction = subject.reductions[metric]
    curve = reduction.to_curve()
    is_known = reduction.last_value is not None and math.isfinite(reduction.last_value) and len(curve) > 0
    return FinalLevel(
        metric=metric,
        step=curve.cutoff,
        level=_late_mean(curve) if is_known and subject.run.status is not RunStatus.FAILED else None,
        rises=metric in subject.rising,
    )


def _late_mean(curve: Curve) -> float:
    """Mean over the last 2 % of the steps."""
    late = curve.steps >= min((1 - FINAL_SHARE) * curve.cutoff, curve.steps[-1])
    return float(np.average(curve.values[late], weights=curve.counts[late]))
