"""One refit of one run: load what is new, think, save. Its cost does not grow with the length of the run."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy import Connection

from app.alerts.diagnosed import without_repeats
from app.alerts.rules import AlertKey, Decisions, MetricFacts, RunFacts, before_trouble, decide, judge
from app.curves.broken import is_broken
from app.curves.curve import Curve
from app.curves.measure import LOSS, measure_of
from app.curves.plan import ASSUMED, DECLARED, ENDED, Plan
from app.curves.planning.resolve import resolve_plan
from app.curves.planning.total import LENGTH_ROLES
from app.curves.reduction import Reduction
from app.curves.selection import Selection, select_metrics
from app.errors import CurveTooShort, NotAnAccuracy, NotFinite, RateNeverSeen, StepsBelowZero
from app.forecasting.forecast import Forecast, forecast_curve
from app.forecasting.unseen_rate import unheard_of
from app.runs import Run, RunStatus, Series, SiblingRun, StoredForecast
from app.storage import alerts, forecasts, runs
from app.storage.alerts import Target
from app.storage.curves import (
    FitMark,
    fit_mark,
    logged_of,
    read_curve_states,
    read_news,
    record_fitted,
    save_curve_states,
    save_summary,
    take_back_strays,
)
from app.storage.database import Database
from app.storage.points import LOWEST_STEP, read_series, segment_starts
from app.storage.priors import Standing, StoredPrior, read_standing
from app.worker.catch_up import CaughtUp, caught_up
from app.worker.diagnosing import diagnose_run
from app.worker.judged_run import RunToJudge
from app.worker.judging import judge_run
from app.worker.priors import Subject, current_priors, offer_or_withdraw, save_priors

log = logging.getLogger(__name__)

# A forecast is stored again when the run has gone on by this share of its length: less cannot change it visibly, and
# without it a run of weeks would store one every second.
LEAST_PROGRESS = 0.002

# Twice as far ahead must still be a step that the database and float arithmetic can hold.
FURTHEST_STEP = 2**60


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """Everything that a refit thinks about."""

    mark: FitMark
    run: Run
    series: Mapping[str, Series]
    selected: Selection
    curves: Mapping[str, CaughtUp]
    segment_start: int | None
    previous: Mapping[str, StoredForecast]
    standing: Standing

    def reduction(self, metric: str) -> Reduction:
        return self.curves[metric].state.reduction

    @property
    def reductions(self) -> dict[str, Reduction]:
        return {metric: self.reduction(metric) for metric in self.curves}

    @property
    def strays_from(self) -> int | None:
        """The first step that lies far beyond all curves; None where there is none, or another metric goes so far."""
        strays = [int(each.strays.steps[0]) for each in self.curves.values() if len(each.strays)]
        return min(strays) if strays and min(strays) > (self.last_step or 0) else None

    @property
    def last_step(self) -> int | None:
        """The last step of all curves."""
        return max((each.last_step for each in self.reductions.values() if each.last_step is not None), default=None)

    @property
    def cutoff(self) -> int | None:
        """The last step of the curves that are forecast."""
        reductions = [self.reduction(metric) for metric in self.selected.forecast]
        return max((each.last_step for each in reductions if each.last_step is not None), default=None)


@dataclass(frozen=True, slots=True, eq=False)
class Conclusions:
    """What it came to."""

    subject: Subject
    forecasts: Mapping[str, Forecast]
    priors: Mapping[str, StoredPrior]
    decisions: Decisions
    notes: Sequence[str]

    @property
    def plan(self) -> Plan | None:
        return self.subject.plan


@dataclass(frozen=True, slots=True)
class RefitResult:
    """What is left for others to do."""

    has_messages: bool
    is_finished: bool
    is_behind: bool  # with its diagnoses: a long run is read in slices


def refit_run(database: Database, run_id: str, targets: Sequence[Target]) -> RefitResult | None:
    """Bring a run's curves, plan, forecasts, alerts and diagnoses up to date; None where the run is gone."""
    with database.read() as connection:
        mark = fit_mark(connection, run_id)
        if mark is None:
            return None
        loaded = load(connection, mark, run_id)
        open_alerts = alerts.open_keys(connection, mark.run_key)
    plan = _plan(loaded)
    subject = _subject(loaded, plan)
    is_over = loaded.run.status is RunStatus.FINISHED
    priors = {} if is_over else current_priors(database, subject, loaded.standing)
    made, notes = _forecasts(loaded, plan, priors)
    decisions = _decisions(database, loaded, open_alerts)
    with database.write() as connection:
        if not runs.hold_run(connection, mark.run_key):
            return None
        has_messages = save(connection, loaded, Conclusions(subject, made, priors, decisions, notes), targets)
    is_news = mark.revision > mark.fitted_revision
    diagnosed = diagnose_run(database, run_id, targets, is_news=is_news, strays_from=loaded.strays_from)
    has_verdict_messages = judge_run(database, _judged_subject(loaded, plan, made), targets)
    return RefitResult(
        has_messages=has_messages or diagnosed.has_messages or has_verdict_messages,
        is_finished=loaded.run.status is not RunStatus.RUNNING,
        is_behind=diagnosed.is_behind,
    )


def load(connection: Connection, mark: FitMark, run_id: str) -> Loaded:
    run = runs.get_run(connection, run_id)
    series = {one.metric: one for one in runs.list_series(connection, run_id) if one.points}
    known = read_curve_states(connection, [one.id for one in series.values()])
    selected = select_metrics(logged_of(series, known), run.declared_roles)
    starts = segment_starts(connection, mark.run_key)
    chosen = {series[metric].id for metric in selected.metrics}
    states = {series_id: state for series_id, state in known.items() if series_id in chosen}
    after = min((state.arrivals for state in states.values()), default=mark.arrivals)
    news = read_news(connection, mark.run_key, states, after, mark.arrivals)
    current = {
        metric: caught_up(connection, mark, series[metric], states.get(series[metric].id), news, after, starts)
        for metric in selected.metrics
    }
    previous = {metric: forecasts.latest_forecast(connection, run_id, metric) for metric in selected.forecast}
    return Loaded(
        mark=mark,
        run=run,
        series=series,
        selected=selected,
        curves=current,
        segment_start=starts.get(run.segment) if run.segment > 1 else None,
        previous={metric: found for metric, found in previous.items() if found is not None},
        standing=read_standing(connection, mark.run_key),
    )


def _curve_of_role(loaded: Loaded, role: str) -> Curve | None:
    metric = loaded.selected.supporting[role]
    return None if metric is None else loaded.reduction(metric).to_curve()


def _plan(loaded: Loaded) -> Plan | None:
    cutoff = loaded.cutoff
    return None if cutoff is None or not 0 <= cutoff <= FURTHEST_STEP else _plan_from(loaded, cutoff)


def _plan_without_forecast(loaded: Loaded) -> Plan | None:
    """What the run declares of itself, where nothing of it is forecast: to be told, not to be acted on."""
    run = loaded.run
    last = max(run.last_step or 0, 0)
    if not run.declared_plan or last > FURTHEST_STEP:
        return None
    if run.status is RunStatus.FINISHED and (run.last_step is None or run.last_step < 0):
        return None  # it ended before it came to a step that counts
    plan = _plan_from(loaded, last)
    return plan if plan is not None and plan.total_source in (DECLARED, ENDED) else None


def _plan_from(loaded: Loaded, cutoff: int) -> Plan | None:
    plan = resolve_plan(
        declared=loaded.run.declared_plan,
        config=loaded.run.config,
        rate=_curve_of_role(loaded, "lr"),
        cutoff=cutoff,
        lengths={role: curve for role in LENGTH_ROLES if (curve := _curve_of_role(loaded, role)) is not None},
    )
    if loaded.run.status is RunStatus.FINISHED:
        plan = _ended(plan, cutoff)
    return plan if plan.total_steps <= FURTHEST_STEP else None


def _ended(plan: Plan, end: int) -> Plan:
    """The plan of a run that has finished: it is as long as it is, whatever was said before."""
    why = f"The run has finished, at step {end:,}."
    if plan.total_steps != end and plan.total_source != ASSUMED:
        why = f"{why} Before, the total was {plan.total_steps:,}: {plan.total_why}"
    return replace(plan, total_steps=end, total_source=ENDED, total_why=why)


def _subject(loaded: Loaded, plan: Plan | None) -> Subject:
    """The run as its project's other runs see it, and it them."""
    return Subject(
        key=loaded.mark.run_key,
        arrivals=loaded.mark.arrivals,
        run=loaded.run,
        plan=plan,
        roles={metric: loaded.selected.roles[metric].role for metric in loaded.selected.losses},
        reductions=loaded.reductions,
        rate=loaded.selected.supporting["lr"],
    )


def _judged_subject(loaded: Loaded, plan: Plan | None, made: Mapping[str, Forecast]) -> RunToJudge:
    """The run as verdicts see it: with the forecasts that hold now, fresh or as they were."""
    holding = {metric: found for metric, found in loaded.previous.items() if not _is_broken(loaded, metric)}
    return RunToJudge(
        key=loaded.mark.run_key,
        arrivals=loaded.mark.arrivals,
        run=loaded.run,
        plan=plan,
        metrics=loaded.selected.forecast,
        rising=frozenset(loaded.selected.accuracies),
        rate=loaded.selected.supporting["lr"],
        reductions=loaded.reductions,
        forecasts={**holding, **made},
    )


def _forecasts(
    loaded: Loaded, plan: Plan | None, priors: dict[str, StoredPrior]
) -> tuple[dict[str, Forecast], list[str]]:
    """The forecasts worth storing, and what to tell where there is none."""
    if plan is None and loaded.cutoff is not None and loaded.cutoff < 0:
        return {}, [str(StepsBelowZero())]
    if plan is None and loaded.selected.forecast:
        return {}, [f"Steps beyond {FURTHEST_STEP:,} cannot be forecast; is the step that was logged really one?"]
    if plan is None:
        return {}, ["No loss or accuracy has been logged yet. Metrics are known by name; a role can be set by hand."]
    if loaded.run.status is RunStatus.FINISHED:
        first = "first forecast since its restart" if loaded.run.segment > 1 else "first forecast"
        return {}, [] if loaded.previous else [f"The run finished before its {first}; nothing is left to forecast."]
    made: dict[str, Forecast] = {}
    notes: list[str] = []
    for metric in loaded.selected.forecast:
        if _is_broken(loaded, metric):
            notes.append(str(NotFinite(metric)))
            continue
        curve = loaded.reduction(metric).to_curve()
        if (rise := unheard_of(plan, curve.cutoff)) is not None:
            notes.append(f"{metric}: {RateNeverSeen(rise.sentence)}")
            continue
        if not (_has_moved(loaded, metric, plan, curve.cutoff) or _hears_others(loaded, metric, priors.get(metric))):
            continue
        try:
            forecast = _forecast(loaded, curve, plan, metric, priors)
        except (CurveTooShort, NotAnAccuracy) as error:
            notes.append(f"{metric}: {error}")
        except Exception:
            # A curve that the numerics cannot take must not keep the run's alerts from firing.
            log.exception("no forecast of %s in run %s", metric, loaded.run.id)
            notes.append(f"{metric} could not be forecast: a fault of ours, which the worker's log describes.")
        else:
            if np.isfinite(forecast.quantiles).all() and math.isfinite(forecast.final_mean):
                made[metric] = forecast
            else:
                notes.append(f"{metric} could not be forecast: the fit came to no finite number.")
    return made, notes


def _forecast(loaded: Loaded, curve: Curve, plan: Plan, metric: str, priors: dict[str, StoredPrior]) -> Forecast:
    """By the project's prior; where that comes to nothing, by the population's, until the others are compared again."""
    measure = measure_of(loaded.selected.roles[metric].role, curve)
    if measure != LOSS:
        return forecast_curve(curve, plan, measure=measure)
    heard = priors.get(metric)
    if heard is not None and heard.prior is not None:
        try:
            forecast = forecast_curve(curve, plan, heard.prior)
            if np.isfinite(forecast.quantiles).all():
                return forecast
            log.error("the prior of the project leads %s to no finite number and is left out", metric)
        except CurveTooShort:
            raise
        except Exception:
            log.exception("the prior of the project does not serve %s and is left out", metric)
        priors[metric] = heard.silenced()
    return forecast_curve(curve, plan)


def _is_broken(loaded: Loaded, metric: str) -> bool:
    return is_broken(loaded.reduction(metric).last_value)


def _hears_others(loaded: Loaded, metric: str, heard: StoredPrior | None) -> bool:
    """Whether others speak than when the last forecast was made, or have more to say."""
    previous = loaded.previous.get(metric)
    return previous is not None and heard is not None and previous.siblings != heard.siblings


def _has_moved(loaded: Loaded, metric: str, plan: Plan, cutoff: int) -> bool:
    previous = loaded.previous.get(metric)
    if previous is None or previous.horizon != plan.total_steps or cutoff < previous.cutoff:
        return True
    if (previous.schedule["source"], previous.schedule["family"]) != (plan.schedule_source, plan.schedule_family):
        return True
    first = loaded.reduction(metric).origin or 0
    return cutoff - previous.cutoff > LEAST_PROGRESS * (previous.cutoff - first)


def _decisions(database: Database, loaded: Loaded, open_alerts: Collection[AlertKey]) -> Decisions:
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


def save(connection: Connection, loaded: Loaded, concluded: Conclusions, targets: Sequence[Target]) -> bool:
    """Store it all in this transaction; True where messages now wait to be sent."""
    key, run = loaded.mark.run_key, loaded.run
    save_curve_states(connection, [curve.state for curve in loaded.curves.values()])
    forecast_ids = {
        metric: forecasts.save_forecast(
            connection, key, metric, run.segment, forecast, concluded.plan, _siblings(concluded, metric)
        )
        for metric, forecast in concluded.forecasts.items()
        if concluded.plan is not None
    }
    shown = next(iter(loaded.selected.forecast), None)
    reduction = loaded.reduction(shown) if shown else None
    plan = concluded.plan or _plan_without_forecast(loaded)
    is_withheld = plan is not None and unheard_of(plan, loaded.cutoff or 0) is not None
    previous = loaded.previous.get(shown) if shown and not (is_withheld or _is_broken(loaded, shown)) else None
    save_summary(
        connection,
        key,
        metric=shown,
        last_step=reduction.last_step if reduction else None,
        last_value=reduction.last_value if reduction else None,
        total_steps=plan.total_steps if plan else None,
        forecast_id=forecast_ids.get(shown or "", previous.id if previous else None),
        conclusions={
            "plan": _told(plan),
            "roles": {
                metric: {"role": match.role, "rule": match.rule} for metric, match in loaded.selected.roles.items()
            },
            "notes": [*_stray_notes(loaded), *concluded.notes, *_forecast_notes(run, concluded, previous, shown)],
        },
    )
    fired = [alerts.fire(connection, key, finding, targets) for finding in concluded.decisions.fire]
    resolved = [alerts.resolve(connection, key, cleared, targets) for cleared in concluded.decisions.resolve]
    if loaded.strays_from is not None and loaded.last_step is not None:
        take_back_strays(connection, loaded.mark, strays_from=loaded.strays_from, last_step=loaded.last_step)
    save_priors(connection, concluded.subject, loaded.standing, concluded.priors)
    offer_or_withdraw(connection, concluded.subject, loaded.standing)
    record_fitted(connection, loaded.mark)
    return bool(targets) and any(one is not None for one in [*fired, *resolved])


def _siblings(concluded: Conclusions, metric: str) -> tuple[SiblingRun, ...]:
    heard = concluded.priors.get(metric)
    return heard.siblings if heard else ()


def _stray_notes(loaded: Loaded) -> list[str]:
    return [
        f"{metric}: {_counted(len(each.strays))} far beyond all others, up to step {int(each.strays.steps[-1]):,}; "
        "kept, but left out of curve and forecast until more follow. Is what was logged as the step really one?"
        for metric, each in loaded.curves.items()
        if len(each.strays)
    ]


def _counted(points: int) -> str:
    return "1 point lies" if points == 1 else f"{points} points lie"


def _told(plan: Plan | None) -> dict[str, str]:
    if plan is None:
        return {}
    return {
        "total_source": plan.total_source,
        "total_why": plan.total_why,
        "schedule_source": plan.schedule_source,
        "schedule_family": plan.schedule_family,
        "schedule_why": plan.schedule_why,
    }


def _forecast_notes(
    run: Run, concluded: Conclusions, previous: StoredForecast | None, shown: str | None
) -> Sequence[str]:
    """What the forecast assumes of the steps to come, and what to declare: nothing once they are over."""
    if run.status is not RunStatus.RUNNING:
        return ()
    newest = concluded.forecasts.get(shown or "")
    if newest is not None:
        return newest.notes
    return previous.notes if previous is not None else ()
