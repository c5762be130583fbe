"""Fit every law to finished runs and predict candidates, and each of the runs from the others."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from app.errors import BadInput
from app.forecasting.across_runs import LAWS, agreement, fit_runs, overall, reservations
from app.forecasting.final_value import FINAL_SHARE
from app.forecasting.forecast import LEVELS
from app.forecasting.other_schedules.candidate import Candidate
from app.forecasting.other_schedules.caveats import beyond_the_runs, is_doubtful, of_all_candidates
from app.forecasting.other_schedules.comparison import Comparison, LeftOut, Prediction
from app.forecasting.other_schedules.fitted_runs import check_runs, schedule_of, summed_rate
from app.forecasting.other_schedules.level import carry_over_deviation, level_under, nearest_peak
from app.forecasting.recorded_run import RecordedRun
from app.laws.population import FAMILIAR_RUNS
from app.laws.separable import Fit

MOST_CANDIDATES = 12

STRETCHES = 10
"""Parts of a run over which the misfit is averaged: its noise must not widen the band of the level."""

BELOW_ZERO = (
    "Part of its band lay below zero, where no such loss goes, and is cut off there: the laws do not reach so far."
)

PATH_STEPS = 200
FINAL_STEPS = 20  # of the last 2 %, over which the final level is averaged


def compare_schedules(runs: Sequence[RecordedRun], candidates: Sequence[Candidate]) -> Comparison:
    """Fit every law to the runs and predict the candidates.

    Raises
    ------
    BadInput
        No run or too many, one named twice, without a rate, of another metric or scale, or not finite at its end.
    CurveTooShort
        Where there are too few points in all.
    """
    check_runs(runs)
    if len(candidates) > MOST_CANDIDATES:
        raise BadInput(f"At most {MOST_CANDIDATES} schedules are compared at once; there are {len(candidates)}.")
    fits, misfit = _fitted(runs)
    left_out = tuple(_left_out(runs, one) for one in runs) if len(runs) > 1 else ()
    surprises = [((one.predicted - one.actual) / one.deviation) ** 2 for one in left_out]
    carry_over = (FAMILIAR_RUNS + sum(surprises)) / (FAMILIAR_RUNS + len(surprises))
    predictions = [_predicted(fits, misfit, carry_over, one, runs) for one in candidates]
    agreements = {found.law.name: {run.name: agreement(found, run) for run in runs} for found in fits}
    return Comparison(
        runs=tuple(runs),
        fits=fits,
        overall={law: overall(list(each.values())) for law, each in agreements.items()},
        reservations={found.law.name: tuple(reservations(found, agreements[found.law.name])) for found in fits},
        misfit=misfit,
        left_out=left_out,
        carry_over=carry_over,
        predictions=tuple(sorted(predictions, key=lambda one: (is_doubtful(one.candidate, runs), one.final_mean))),
        notes=of_all_candidates(runs, left_out, carry_over),
    )


def _fitted(runs: Sequence[RecordedRun]) -> tuple[tuple[Fit, ...], float]:
    """Every law through all runs, and the misfit of their mean."""
    fits = tuple(fit_runs(law, runs) for law in LAWS)
    return fits, _root_mean_square([off for run in runs for off in _level_errors(fits, run)])


def _level_errors(fits: Sequence[Fit], run: RecordedRun) -> list[float]:
    """How far a run's level lies off the laws' mean, relative to the loss, in tenths of the run."""
    sample = run.sample()
    predicted = np.mean([found.predict(sample.schedule, sample.steps) for found in fits], axis=0)
    errors = (sample.values - predicted) / np.maximum(np.abs(predicted), 1e-300)
    return [float(part.mean()) for part in np.array_split(errors, STRETCHES) if len(part)]


def _left_out(runs: Sequence[RecordedRun], one: RecordedRun) -> LeftOut:
    others = [run for run in runs if run is not one]
    fits, misfit = _fitted(others)
    steps = one.steps[-one.n_final_points :].astype(np.float64)
    level = level_under(fits, schedule_of(one), steps)
    finals = level.by_law.mean(axis=1)
    off = np.hypot(misfit, carry_over_deviation(schedule_of(one), float(one.steps[-1]), others))
    return LeftOut(one.name, float(finals.mean()), one.final_loss(), float(level.averaged(off)))


def _predicted(
    fits: Sequence[Fit], misfit: float, carry_over: float, asked: Candidate, runs: Sequence[RecordedRun]
) -> Prediction:
    first = _first_step(asked, runs)
    # Even in steps for the decay, and even in their logarithm for the first drop.
    spaced = [space(first, float(asked.total_steps), PATH_STEPS // 2) for space in (np.linspace, np.geomspace)]
    steps = np.unique(np.rint(np.concatenate(spaced)).astype(np.int64))
    last = np.linspace(max((1 - FINAL_SHARE) * asked.total_steps, first), asked.total_steps, FINAL_STEPS)
    off = float(np.hypot(misfit, np.sqrt(carry_over) * carry_over_deviation(asked.schedule, asked.total_steps, runs)))
    at = steps.astype(np.float64)
    path, end = level_under(fits, asked.schedule, at), level_under(fits, asked.schedule, last)
    as_known = asked.schedule.scaled(nearest_peak(asked.schedule, runs) / asked.schedule.peak)
    path_untested = path.mean - level_under(fits, as_known, at).mean
    end_untested = float((end.mean - level_under(fits, as_known, last).mean).mean())
    finals = end.by_law.mean(axis=1)
    final, deviation = float(finals.mean()), float(np.hypot(end.averaged(off), end_untested))
    places = np.array([NormalDist().inv_cdf(level) for level in LEVELS])
    ends = final + places * deviation
    lowest = _lowest(runs)
    notes = beyond_the_runs(asked, runs)
    return Prediction(
        candidate=asked,
        steps=steps,
        quantiles=np.maximum(path.mean + np.outer(places, np.hypot(path.deviations(off), path_untested)), lowest),
        final_mean=max(final, lowest),
        final_quantiles=dict(zip(LEVELS, np.maximum(ends, lowest).tolist(), strict=True)),
        by_law={found.law.name: max(float(value), lowest) for found, value in zip(fits, finals, strict=True)},
        notes=(*notes, BELOW_ZERO) if ends[0] < lowest else notes,
    )


def _lowest(runs: Sequence[RecordedRun]) -> float:
    """Zero for a metric that was above it throughout: no loss of the kind goes below. Else no bound."""
    return 0.0 if all(bool((run.values[np.isfinite(run.values)] > 0).all()) for run in runs) else -np.inf


def _first_step(asked: Candidate, runs: Sequence[RecordedRun]) -> float:
    """Where the rate has added up to what it had when the first fitted log begins: before, no law has been tested."""
    samples = [run.sample() for run in runs]
    begin = min(float(summed_rate(sample.schedule, sample.steps[:1])[0]) for sample in samples)
    grid = np.linspace(max(asked.schedule.warmup_end, 1.0), asked.total_steps, 20 * PATH_STEPS)
    reached = summed_rate(asked.schedule, grid) >= begin
    if not reached[:-1].any():
        raise BadInput(
            f"{asked.words} would end before the logs of the fitted runs begin, by the sum of its rate: no law can "
            "be tested there. Ask for more steps."
        )
    return float(grid[np.argmax(reached)])


def _root_mean_square(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values else 0.0
