"""What follows from a verdict, and from the end of a run: entries in the log of stops, and one alert."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy import Connection

from app.alerts.rules import AlertKey, AllClear, Finding, Severity
from app.curves.broken import is_broken
from app.curves.curve import Curve
from app.forecasting.final_value import FINAL_SHARE
from app.runs import RunStatus
from app.storage import alerts
from app.storage.alerts import Target
from app.storage.goals import ProjectPolicy
from app.storage.stops import lock_stops, log_stop, read_standing
from app.storage.verdicts import FinalLevel, save_final_levels
from app.verdicts.measured_end import final_error
from app.verdicts.stopping import Author, Mode, StopEvent, next_event
from app.worker.judged_run import Judged, RunToJudge

STOP_ADVISED = "stop_advised"
"""Kind of the alert. It fires once a run at most: the second time it would be no news."""


def act(
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


def conclude(connection: Connection, subject: RunToJudge, targets: Sequence[Target]) -> bool:
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
    is_known = len(curve) > 0 and not is_broken(reduction.last_value)
    return FinalLevel(
        metric=metric,
        step=curve.cutoff,
        level=_late_mean(curve) if is_known and subject.run.status is not RunStatus.FAILED else None,
        rises=metric in subject.rising,
        error=final_error(curve) if is_known else None,
    )


def _late_mean(curve: Curve) -> float:
    """Mean over the last 2 % of the steps."""
    late = curve.steps >= min((1 - FINAL_SHARE) * curve.cutoff, curve.steps[-1])
    return float(np.average(curve.values[late], weights=curve.counts[late]))
