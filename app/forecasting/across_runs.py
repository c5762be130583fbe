"""From runs that have ended to runs under other schedules: one set of a law's parameters for all of them.

This is the use that the annealing law and the multi-power law were made for: one to three runs of a recipe are fitted,
and predict the whole curve of any other schedule of the same recipe (model, data, batch).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from app.curves.schedule import Schedule
from app.errors import BadInput
from app.forecasting.recorded_run import RecordedRun
from app.laws.annealing_law import AnnealingLaw
from app.laws.multi_power import MultiPowerLaw
from app.laws.rate_power import RatePowerLaw
from app.laws.separable import Fit, Law, fit
from app.laws.shipped import shipped_population

GAIN = "annealing_gain"
"""The coefficient that runs at a constant rate say nothing of."""

LAWS: tuple[Law, ...] = (AnnealingLaw(), MultiPowerLaw(), RatePowerLaw())
"""Laws that know of the learning rate: the others cannot tell one schedule from another."""

SAME_PEAK = 1.02
"""Peak rates that differ by less are one."""

MOST_NAMED = 3
"""Runs that a sentence names; of more it says how many."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well a law follows a run, point by point from the end of its warm-up on.

    mean_relative_error, worst_error : of the loss                           [1]
    r2 : share of the losses' variance that is explained; below zero where the mean does better   [1]
    final_error : signed, of the final loss (the mean of the last 2 % of the points); its size, over several runs  [1]
    """

    n: int
    mean_relative_error: float
    worst_error: float
    r2: float
    final_error: float


def fit_runs(law: Law, runs: Sequence[RecordedRun]) -> Fit:
    """The law through all runs at once.

    What a fall of the rate gives is also held to the population of public runs: that decides where no run's rate falls,
    and counts for nothing where one falls by a tenth.

    Raises
    ------
    BadInput
        Where a run's learning rate is not known.
    CurveTooShort
        Where there are too few points in all.
    """
    found = fit(_counted(law, runs), [run.sample() for run in runs])
    level = float(np.mean([run.final_loss() for run in runs]))
    return _informed(found, abs(level)) if GAIN in law.coefficients and np.isfinite(level) else found


def agreement(found: Fit, run: RecordedRun) -> Agreement:
    """A fit's prediction of a run under its own schedule, against what happened.

    Raises
    ------
    BadInput
        Where the run's learning rate is not known.
    """
    schedule = _schedule_of(run)
    judged = np.isfinite(run.values) & (run.steps >= schedule.warmup_end)
    if not judged.any():
        judged = np.isfinite(run.values)
    actual, predicted = run.values[judged], found.predict(schedule, run.steps[judged])
    errors = np.abs(predicted - actual) / np.maximum(np.abs(actual), 1e-300)
    variation = float(((actual - actual.mean()) ** 2).sum())
    left = float(((actual - predicted) ** 2).sum())
    n_last = run.n_final_points
    final = run.final_loss()
    return Agreement(
        n=len(actual),
        mean_relative_error=float(errors.mean()),
        worst_error=float(errors.max()),
        r2=1 - left / variation if variation > 0 else float("nan"),
        final_error=float((found.predict(schedule, run.steps[-n_last:]).mean() - final) / abs(final)),
    )


def overall(agreements: Sequence[Agreement]) -> Agreement:
    """Means over runs, whatever their length, and the worst error of all."""
    return Agreement(
        n=sum(each.n for each in agreements),
        mean_relative_error=float(np.mean([each.mean_relative_error for each in agreements])),
        worst_error=max(each.worst_error for each in agreements),
        r2=float(np.mean([each.r2 for each in agreements])),
        final_error=float(np.mean([abs(each.final_error) for each in agreements])),
    )


def reservations(found: Fit, agreements: Mapping[str, Agreement]) -> list[str]:
    """In words, why a fit may be none; the agreements by the names of their runs."""
    notes = [
        f"{name} is at its bound, {bound:.4g}: these runs do not tell what it is."
        for name, bound in found.at_bounds().items()
    ]
    notes += [
        f"{name} is at its bound, {bound:.4g}: these runs do not tell what it is, or would have it further out "
        "than the law allows."
        for name, bound in found.shapes_at_bounds().items()
    ]
    worse = [name for name, one in agreements.items() if one.r2 < 0]
    if worse:
        others = len(worse) - MOST_NAMED
        named = ", ".join(worse[:MOST_NAMED]) + (f" and {others} others" if others > 0 else "")
        notes.append(f"R2 is below zero: the mean loss of {named} describes it better than this law does.")
    return notes


def _counted(law: Law, runs: Sequence[RecordedRun]) -> Law:
    """The law; the multi-power law counts from a rate of zero where the runs' peaks differ.

    Between peaks it then errs half as much. With one peak the rise cannot be told from the level of the loss.
    """
    peaks = [_schedule_of(run).peak for run in runs]
    if isinstance(law, MultiPowerLaw) and max(peaks, default=0.0) > SAME_PEAK * min(peaks, default=0.0):
        return replace(law, from_zero=True)
    return law


def _informed(found: Fit, level: float) -> Fit:
    """The fit with the population's word on the gain of annealing, by the update of a Gaussian.

    level : of the loss at the end of the runs, which the population's gain is a share of   [of the loss]
    """
    gain = shipped_population().prior.annealing
    mean = gain.median * np.exp(gain.log_deviation**2 / 2) * level / found.scale
    deviation = mean * np.sqrt(np.expm1(gain.log_deviation**2))
    at, n = found.law.coefficients.index(GAIN), len(found.coefficients)
    precision = np.linalg.inv(found.covariance)
    # The fit's own covariance already knows the gain to the size of the loss; this is a better word on the same.
    precision[at, at] += 1 / deviation**2 - 1
    covariance = np.linalg.inv(precision)
    change = covariance[:, at] * (mean - found.coefficients[at]) / deviation**2
    low, high = ([getattr(shape, end) for shape in found.law.shapes] for end in ("low", "high"))
    return replace(
        found,
        coefficients=np.maximum(found.coefficients + change[:n], 0.0),
        shapes=np.clip(found.shapes * np.exp(change[n:]), low, high),
        covariance=covariance,
    )


def _schedule_of(run: RecordedRun) -> Schedule:
    if run.schedule is None:
        raise BadInput(f"{run.name} has no learning rate, and without it a law cannot tell schedules apart.")
    return run.schedule
