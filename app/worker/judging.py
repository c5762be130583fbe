"""Whether a run is worth going on with, judged after each refit; and what follows from that.

Stands apart from the refit, in a transaction of its own: whatever goes wrong here is logged, and no job is told to stop
on its account. Rules are in `app.verdicts`; here it is read and kept what they need.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from sqlalchemy.exc import SQLAlchemyError

from app.curves.broken import is_broken
from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.reduction import Reduction
from app.errors import BadInput
from app.forecasting.forecast import Forecast
from app.forecasting.unseen_rate import RiseToCome, rise_to_come
from app.runs import RunStatus
from app.storage.alerts import Target
from app.storage.database import Database
from app.storage.goals import Goal, ProjectPolicy, read_project_policy
from app.storage.pace import save_pace
from app.storage.runs import hold_run
from app.storage.stops import lock_stops
from app.storage.verdicts import NewVerdict, StoredVerdict, read_verdicts, save_verdicts
from app.verdicts.guards import fall_to_come, guards, missed_share
from app.verdicts.history import History
from app.verdicts.judging import judge
from app.verdicts.outlook import Outlook
from app.verdicts.policies import Policy, Refused, policy_named
from app.verdicts.situation import TOO_LITTLE, Situation, last_raise
from app.verdicts.stopping import has_held, is_confirmed
from app.verdicts.targets import reach, time_to_reach
from app.verdicts.verdict import Decision, Verdict
from app.worker import pacing
from app.worker.consequences import act, conclude
from app.worker.failures import note_failure
from app.worker.judged_run import Judged, RunToJudge
from app.worker.surroundings import Surroundings, decisive_metric, surroundings_of

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_SHARE = 0.005
"""Without a new forecast a run is judged again when it has come so much further."""


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
            return hold_run(connection, subject.key) and conclude(connection, subject, targets)
    if subject.plan is None or not subject.metrics:
        return False
    with database.read() as connection:
        policy = read_project_policy(connection, subject.run.project)
        before = {one.metric: one for one in read_verdicts(connection, subject.run.id)}
        acted_on = decisive_metric(subject, policy)
        if not _is_due(subject, subject.plan, policy, before, acted_on):
            return False
        around = surroundings_of(connection, subject, policy, before)
    metrics = list(dict.fromkeys([acted_on, subject.metrics[0]]))
    judged = [_judged(subject, subject.plan, around, metric, is_acted_on=metric == acted_on) for metric in metrics]
    with database.write() as connection:
        if not hold_run(connection, subject.key):
            return False
        lock_stops(connection, subject.key)
        save_verdicts(connection, subject.key, [one.stored for one in judged])
        save_pace(connection, subject.key, around.pace)
        return act(connection, subject, around.policy, judged[0], targets)


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


def _judged(subject: RunToJudge, plan: Plan, around: Surroundings, metric: str, *, is_acted_on: bool) -> Judged:
    policy = around.policy
    goal = policy.goals.get(metric, Goal())
    curve = subject.reductions[metric].to_curve()
    rate = None if subject.rate is None else subject.reductions[subject.rate].to_curve()
    history = History(curve.steps, curve.values)
    level = history.level()
    rise = rise_to_come(plan, curve.cutoff)
    situation = Situation(
        outlook=_outlook(subject, plan, metric, rise),
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
        why_no_forecast=TOO_LITTLE if rise is None else rise.sentence,
    )
    # Levels of 1e149 beside one of 2: how many widths lie between is beyond a float, and as good as infinite.
    with np.errstate(over="ignore"):
        verdict = judge(situation, _chosen(policy))
    since, looks = _held(around, metric, verdict, subject.run.segment, curve.cutoff)
    standing_for = {"since_step": since, "step": curve.cutoff, "looks": looks, "total_steps": plan.total_steps}
    confirmed = verdict.decision is Decision.STOP and is_confirmed(**standing_for, taken_back=around.taken_back)
    settled = verdict.decision is Decision.CONTINUE or has_held(**standing_for)
    time = _time_left(around, metric, plan.total_steps)
    details = verdict.as_json() | {
        "total_steps": plan.total_steps,
        "confirmed": confirmed,
        "rises": metric in subject.rising,
        "fall": _fall(situation),
        "is_trusted": situation.outlook is not None and not guards(situation.oriented(), None),
        "is_unforeseen": rise is not None,
        "goal": None if goal.target is None else _goal(situation, goal, goal.target, around.pace.marks),
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


def _chosen(settings: ProjectPolicy) -> Policy:
    try:
        return policy_named(settings.policy, settings.parameters)
    except BadInput as error:
        return Refused(str(error))


def _fall(situation: Situation) -> float:
    """What the run's siblings are told of its decay to come."""
    lower = situation.oriented()
    return 0.0 if lower.outlook is None else fall_to_come(lower.history, lower.outlook)


def _broken_since(reduction: Reduction, curve: Curve) -> int | None:
    """The step since which no point was finite; in a long run to within a bin."""
    if not is_broken(reduction.last_value):
        return None
    first = reduction.first_nonfinite_step
    if first is None or not len(curve):
        return first
    return max(first, int(curve.steps[-1]) + 1)  # a bin tells its mean step, which lies before its last one


def _outlook(subject: RunToJudge, plan: Plan, metric: str, rise: RiseToCome | None) -> Outlook | None:
    forecast = subject.forecasts.get(metric)
    if forecast is None or (rise is not None and rise.is_unheard_of):
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


def _goal(situation: Situation, goal: Goal, target: float, marks: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """When the target is reached, in steps and by the clock of the job."""
    found = reach(situation, target, budget_step=goal.budget_steps)
    at, when = np.array(marks, dtype=np.float64).reshape(-1, 2).T
    # The same marks give the same answer: what is drawn is seeded by where the run stands.
    rng = np.random.default_rng(marks[-1][0] if marks and marks[-1][0] > 0 else 0)
    seconds = time_to_reach(found, at, when, rng=rng)
    return {
        "target": target,
        "reached_at": found.reached_at,
        "probability": found.probability,
        "steps": _by_name(found.steps),
        "seconds": _by_name(seconds),
        "budget_steps": goal.budget_steps,
        "within_budget": found.by_budget,
    }


def _by_name(quantiles: Mapping[float, T]) -> dict[str, T]:
    return {f"p{round(100 * level):02d}": value for level, value in quantiles.items()}


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
