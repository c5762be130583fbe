"""What a run learns from the other runs of its project, and what it tells them: from its first mark on, and at its end.

Learning takes up to a second, so a refit does it only where something it depends on has changed, or the run has passed
a mark of its own; else it keeps the stored prior. Nothing here may keep a forecast from being made: without a prior the
population's is used.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from hashlib import blake2b

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app import __version__
from app.curves.broken import is_broken
from app.curves.curve import Curve
from app.curves.plan import ASSUMED, DECLARED, Plan
from app.curves.reduction import Reduction
from app.errors import Unavailable
from app.forecasting.observations import MIN_BINS
from app.forecasting.siblings import (
    LEAST_BINS,
    MARKS,
    Candidate,
    Sibling,
    Traits,
    closest,
    has_diverged,
    learn_prior,
    level_now,
    levels_of,
    mark_passed,
    share_told,
    traits_of,
)
from app.laws.prior import prior_to_dict
from app.laws.shipped import shipped_population
from app.runs import Run, RunStatus, SiblingRun
from app.storage.curves import FittedRun, read_fitted_run
from app.storage.database import Database
from app.storage.priors import (
    Heard,
    Offer,
    OfferedLoss,
    Standing,
    StoredPrior,
    read_candidates,
    save_offer,
    save_prior,
    withdraw_offer,
)

log = logging.getLogger(__name__)

RULES = 1
"""Version of how runs are judged and compared: another number has the finished ones judged again. What is learned from
them is learned again with every release."""

COMPARED_AGAIN = 2.0
"""When a run has come so many times as far, it is compared again: early losses are all alike."""

OWN_MARKS = 10
"""So often in its life a run looks at how far those still going have come: an offer of theirs disturbs nobody, or in a
sweep of n runs each of them would learn 4 n times."""

RATE_KNOWN = 0.9
"""A run speaks if its learning rate was logged for this share of the steps it has made, or else declared."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """The run that a refit is about."""

    key: int
    arrivals: int
    run: Run
    plan: Plan | None  # None where nothing of it can be forecast
    roles: Mapping[str, str]  # of its losses
    reductions: Mapping[str, Reduction]  # of its losses, and of the others that a refit looks at
    rate: str | None  # the metric that is its learning rate


def current_priors(database: Database, subject: Subject, standing: Standing) -> dict[str, StoredPrior]:
    """What each loss is forecast by: as stored, or learned again where that is outdated."""
    kept = {metric: standing.priors[metric] for metric in subject.roles if _still_holds(subject, standing, metric)}
    outdated = {metric: subject.reductions[metric].to_curve() for metric in subject.roles if metric not in kept}
    long_enough = {metric: curve for metric, curve in outdated.items() if len(curve) >= MIN_BINS}
    if subject.plan is None or not long_enough:
        return kept
    with database.read() as connection:
        around = Surroundings(connection, subject, standing, subject.plan.total_steps)
        return kept | {metric: _compared_or_none(around, metric, curve) for metric, curve in long_enough.items()}


def save_priors(
    connection: Connection, subject: Subject, standing: Standing, current: Mapping[str, StoredPrior]
) -> None:
    """Keep those that are not as they were."""
    for metric, prior in current.items():
        before = standing.priors.get(metric)
        if prior is not before:
            is_learned = before is None or prior.prior is not before.prior
            save_prior(connection, subject.key, metric, prior, learned=is_learned)


def offer_or_withdraw(connection: Connection, subject: Subject, standing: Standing) -> None:
    """Let a run speak that has finished or passed a mark, and be silent where it has nothing to say any more."""
    offer = _offer(subject, standing.offer)
    if offer is not None and offer != standing.offer:
        save_offer(connection, subject.key, standing, offer)
    elif offer is None and standing.offer is not None:
        withdraw_offer(connection, subject.key, standing)


@dataclass(frozen=True, slots=True, eq=False)
class Surroundings:
    """The other runs around a run, in one snapshot; each is read once, however many losses listen to it."""

    connection: Connection
    subject: Subject
    standing: Standing
    total_steps: int
    read: dict[str, tuple[FittedRun, Plan]] = field(default_factory=dict)

    def chosen(self, metric: str, curve: Curve) -> list[tuple[Candidate, float]]:
        candidates = read_candidates(
            self.connection, self.standing.project_id, self.subject.key, metric, self.subject.roles[metric], RULES
        )
        return closest(_traits(self.subject), curve, self.total_steps, candidates)

    def sibling(self, candidate: Candidate, similarity: float) -> Sibling | None:
        """None where its curve cannot be read: another version wrote it, and its next refit makes it anew."""
        if candidate.run_id not in self.read:
            fitted = read_fitted_run(self.connection, candidate.run_id)
            end = max((curve.cutoff for curve in fitted.curves.values()), default=0)
            self.read[candidate.run_id] = fitted, fitted.plan(end)
        fitted, plan = self.read[candidate.run_id]
        if candidate.metric not in fitted.curves:
            return None
        total_steps = None if candidate.made == 1 else plan.total_steps
        return Sibling(fitted.curves[candidate.metric], plan.schedule, similarity, total_steps)


def _still_holds(subject: Subject, standing: Standing, metric: str) -> bool:
    stored = standing.priors.get(metric)
    if stored is None or metric in standing.outdated:
        return False
    cutoff = subject.reductions[metric].last_step or 0
    return (
        stored.siblings_revision == standing.siblings_revision
        and _is_whole(stored)
        and cutoff < COMPARED_AGAIN * max(stored.cutoff, 1)
        and _own_mark(subject.plan, cutoff) == _own_mark(subject.plan, stored.cutoff)
        and stored.inputs == _inputs(subject, metric)
    )


def _own_mark(plan: Plan | None, cutoff: int) -> int:
    """How many tenths of its way a run has made; with a length that is only assumed it is always halfway."""
    if plan is None or plan.total_source == ASSUMED:
        return 0
    return min(OWN_MARKS * cutoff // max(plan.total_steps, 1), OWN_MARKS)


def _compared_or_none(around: Surroundings, metric: str, curve: Curve) -> StoredPrior:
    """The population's prior where the project's cannot be learned: until the others are compared again."""
    subject, revision = around.subject, around.standing.siblings_revision
    try:
        return _compared(around, metric, curve)
    except (SQLAlchemyError, Unavailable):
        raise
    except Exception:
        log.exception("nothing was learned from other runs for %s of run %s", metric, subject.run.id)
        return StoredPrior(None, (), revision, _inputs(subject, metric), curve.cutoff)


def _compared(around: Surroundings, metric: str, curve: Curve) -> StoredPrior:
    """The runs that are most alike now, and what they say; learned only where they are not those of before."""
    chosen = around.chosen(metric, curve)
    current = StoredPrior(
        prior=None,
        heard=tuple(_heard(each, similarity) for each, similarity in chosen),
        siblings_revision=around.standing.siblings_revision,
        inputs=_inputs(around.subject, metric),
        cutoff=curve.cutoff,
    )
    before = around.standing.priors.get(metric)
    if before is not None and (before.heard, before.inputs) == (current.heard, current.inputs) and _is_whole(before):
        return replace(current, prior=before.prior)
    spoke = {
        _heard(each, similarity): sibling
        for each, similarity in chosen
        if (sibling := around.sibling(each, similarity)) is not None
    }
    prior = learn_prior(list(spoke.values()), shipped_population())
    json.dumps(prior_to_dict(prior), allow_nan=False)  # a prior with a NaN in it is none: raise
    return replace(current, prior=prior, heard=tuple(spoke)) if prior.is_of_a_project else current.silenced()


def _heard(candidate: Candidate, similarity: float) -> Heard:
    return Heard(SiblingRun(candidate.run_id, similarity, made=candidate.made), candidate.key, candidate.revision)


def _is_whole(stored: StoredPrior) -> bool:
    """Whether the prior that was learned from those that were heard could be read."""
    return stored.prior is not None or not stored.heard


def _inputs(subject: Subject, metric: str) -> str:
    """Digest of what a prior depends on besides the other runs."""
    said = [RULES, __version__, _population_digest(), subject.roles[metric], dict(subject.run.config)]
    return blake2b(json.dumps(said).encode(), digest_size=12).hexdigest()


@lru_cache(maxsize=1)
def _population_digest() -> str:
    population = shipped_population()
    said = [prior_to_dict(population.prior), dict(population.within)]
    return blake2b(json.dumps(said).encode(), digest_size=12).hexdigest()


def _offer(subject: Subject, before: Offer | None) -> Offer | None:
    """What the run has to say now; None where it is not asked: it has failed, was stopped, or has hardly begun."""
    if subject.run.status is RunStatus.FINISHED:
        return _offer_of(subject, 1.0)
    mark = _mark(subject)
    if subject.run.status is not RunStatus.RUNNING or (mark is None and (before is None or before.is_final)):
        return None
    if mark is None:  # it was set back, or nobody knows its length any more
        return None if before is None else replace(before, losses={})
    offer = _offer_of(subject, mark)
    return before if _gist(offer) == _gist(before) else offer


def _offer_of(subject: Subject, made: float) -> Offer:
    losses = {metric: _offered(subject, metric, made) for metric in subject.roles}
    return Offer(
        RULES,
        subject.arrivals,
        _traits(subject),
        {metric: loss for metric, loss in losses.items() if loss is not None},
        made,
    )


def _gist(offer: Offer | None) -> object:
    """What makes an offer of a run still going another: levels that it passed long ago move a little with the bins."""
    if offer is None:
        return None
    losses = {metric: (loss.role, len(loss.levels)) for metric, loss in offer.losses.items()}
    return offer.rules, offer.traits, offer.made, losses


def _offered(subject: Subject, metric: str, made: float) -> OfferedLoss | None:
    """None for a loss that is too short, is NaN by now, has diverged, or whose learning rate nobody knows."""
    reduction = subject.reductions[metric]
    curve = reduction.to_curve()
    if len(curve) < LEAST_BINS or is_broken(reduction.last_value) or not _has_rate(subject, curve.cutoff):
        return None
    total_steps = None if made == 1 or subject.plan is None else subject.plan.total_steps
    levels = levels_of(curve, total_steps, made)
    if not levels or share_told(levels) < MARKS[0] or has_diverged((*levels, level_now(curve))):
        return None
    return OfferedLoss(subject.roles[metric], levels)


def _mark(subject: Subject) -> float | None:
    """The last mark that a run still going has passed; None where nobody knows how long it will be."""
    plan = subject.plan
    if plan is None or plan.total_source == ASSUMED:
        return None
    cutoffs = [subject.reductions[metric].last_step or 0 for metric in subject.roles]
    return mark_passed(max(cutoffs, default=0), plan.total_steps)


def _traits(subject: Subject) -> Traits:
    is_logged = subject.rate is not None and subject.reductions[subject.rate].n_points > 0
    return traits_of(subject.run.config, subject.plan.schedule.peak if is_logged and subject.plan else None)


def _has_rate(subject: Subject, cutoff: int) -> bool:
    if subject.plan is not None and subject.plan.schedule_source == DECLARED:
        return True
    last = subject.reductions[subject.rate].last_step if subject.rate is not None else None
    return last is not None and last >= RATE_KNOWN * cutoff
