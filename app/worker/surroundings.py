"""What else counts for the verdict on a run: whom it is compared with, and how its past forecasts did."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from app.forecasting.scores import QuantileForecast
from app.storage.curves import read_curves_of_runs
from app.storage.goals import ProjectPolicy
from app.storage.pace import PaceMarks
from app.storage.stops import count_taken_back
from app.storage.verdicts import RivalRow, StoredVerdict, read_diagnosed_states, read_earlier_outlooks, read_rivals
from app.verdicts.history import History
from app.verdicts.outlook import Outlook
from app.verdicts.rivals import Rival, RivalKind
from app.worker import pacing
from app.worker.judged_run import RunToJudge

MOST_FINISHED = 3
MOST_LIVE = 13
"""Of the ended runs those that came furthest are compared with, of those that run the ones expected to; baselines all
are. The others cannot change a verdict by much, and each running one costs some milliseconds."""

EARLIER_FORECASTS = 10
EARLIER_SHARE = 0.05
"""So many of a run's past forecasts are held to where it stands now, none younger than this share of the run: as they
were when the guard was measured (docs/verdicts.md)."""

COMPARES_CURVES = frozenset({"median", "asha"})
"""Policies that look at how siblings stood at the same step; they are shown as many as there are, up to 32."""

MOST_CURVES = 32


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """What else counts."""

    policy: ProjectPolicy
    states: Mapping[str, str]
    rivals: Mapping[str, tuple[Rival, ...]]  # by metric
    before: Mapping[str, StoredVerdict]  # by metric
    pace: PaceMarks
    earlier: Mapping[str, Sequence[Outlook]]  # by metric: forecasts of before
    taken_back: int  # stops of this start of the run


def surroundings_of(
    connection: Connection, subject: RunToJudge, policy: ProjectPolicy, before: Mapping[str, StoredVerdict]
) -> Surroundings:
    metrics = {decisive_metric(subject, policy), subject.metrics[0]}
    return Surroundings(
        policy=policy,
        states=read_diagnosed_states(connection, subject.key),
        rivals={metric: tuple(_rivals(connection, subject, policy, metric)) for metric in metrics},
        before=before,
        pace=pacing.follow(connection, subject.key, subject.arrivals),
        earlier={metric: _earlier(connection, subject, metric) for metric in metrics},
        taken_back=count_taken_back(connection, subject.key, subject.run.segment),
    )


def decisive_metric(subject: RunToJudge, policy: ProjectPolicy) -> str:
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
    ended = RivalKind.STOPPED if row.is_stopped else RivalKind.FINISHED
    kind = ended if row.final_level is not None else RivalKind.LIVE
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
