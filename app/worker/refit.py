"""One refit of one run: load what is new, think, save. Its cost does not grow with the length of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from app.alerts.rules import Decisions
from app.curves.plan import Plan
from app.forecasting.forecast import Forecast
from app.forecasting.unseen_rate import unheard_of
from app.runs import Run, RunStatus, SiblingRun, StoredForecast
from app.storage import alerts, forecasts, runs
from app.storage.alerts import Target
from app.storage.curves import fit_mark, record_fitted, save_curve_states, save_summary, take_back_strays
from app.storage.database import Database
from app.storage.priors import StoredPrior
from app.worker.alerting import decisions_of
from app.worker.diagnosing import diagnose_run
from app.worker.forecasting import new_forecasts
from app.worker.judged_run import RunToJudge
from app.worker.judging import judge_run
from app.worker.loading import Loaded, load
from app.worker.priors import Subject, current_priors, offer_or_withdraw, save_priors
from app.worker.run_plan import plan_of, plan_without_forecast


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
    plan = plan_of(loaded)
    subject = _subject(loaded, plan)
    is_over = loaded.run.status is RunStatus.FINISHED
    priors = {} if is_over else current_priors(database, subject, loaded.standing)
    made, notes = new_forecasts(loaded, plan, priors)
    decisions = decisions_of(database, loaded, open_alerts)
    with database.write() as connection:
        if not runs.hold_run(connection, mark.run_key):
            return None
        has_messages = save(connection, loaded, Conclusions(subject, made, priors, decisions, notes), targets)
    is_news = mark.revision > mark.fitted_revision
    diagnosed = diagnose_run(database, run_id, targets, is_news=is_news, strays_from=loaded.strays_from)
    has_verdict_messages = judge_run(database, run_to_judge(loaded, plan, made), targets)
    return RefitResult(
        has_messages=has_messages or diagnosed.has_messages or has_verdict_messages,
        is_finished=loaded.run.status is not RunStatus.RUNNING,
        is_behind=diagnosed.is_behind,
    )


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


def run_to_judge(loaded: Loaded, plan: Plan | None, made: Mapping[str, Forecast]) -> RunToJudge:
    """The run as verdicts see it: with the forecasts that hold now, fresh or as they were."""
    holding = {metric: found for metric, found in loaded.previous.items() if not loaded.is_broken(metric)}
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
    plan = concluded.plan or plan_without_forecast(loaded)
    is_withheld = plan is not None and unheard_of(plan, loaded.cutoff or 0) is not None
    previous = loaded.previous.get(shown) if shown and not (is_withheld or loaded.is_broken(shown)) else None
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
