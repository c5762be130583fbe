"""What fires in a refit and what resolves, by the facts of its curves."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sqlalchemy import Connection

from app.alerts.diagnosed import without_repeats
from app.alerts.rules import AlertKey, Decisions, MetricFacts, RunFacts, before_trouble, decide, judge
from app.storage.database import Database
from app.storage.points import LOWEST_STEP, read_series
from app.worker.loading import Loaded


def decisions_of(database: Database, loaded: Loaded, open_alerts: Collection[AlertKey]) -> Decisions:
    """What fires and what resolves; what fires names points as they were logged, which costs a query."""
    facts = _facts(loaded)
    decided = decide(open_alerts, without_repeats(judge(facts), open_alerts))
    fired = {finding.metric for finding in decided.fire if finding.metric is not None}
    if not fired:
        return decided
    with database.read() as connection:
        exact = {metric: _with_points(connection, loaded, facts.metrics[metric]) for metric in sorted(fired)}
    facts = replace(facts, metrics={**facts.metrics, **exact})
    return decide(open_alerts, without_repeats(judge(facts), open_alerts))


def _with_points(connection: Connection, loaded: Loaded, facts: MetricFacts) -> MetricFacts:
    span = before_trouble(facts, loaded.reduction(facts.metric), loaded.segment_start)
    if span is None:
        return facts
    lowest = LOWEST_STEP if span[0] is None else span[0]
    points = read_series(connection, loaded.mark.run_key, loaded.series[facts.metric].id, lowest, span[1])
    return facts.with_points(points.steps, points.values)


def _facts(loaded: Loaded) -> RunFacts:
    facts = {
        metric: MetricFacts.from_reduction(metric, loaded.selected.roles[metric].role, curve.everything)
        for metric, curve in loaded.curves.items()
    }
    return RunFacts(facts, loaded.segment_start)
