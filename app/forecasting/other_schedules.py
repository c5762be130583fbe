"""What finished runs say of schedules that nobody has trained under, and how sure that is.

One to six runs of a recipe (model, data, batch) are fitted by several laws of the loss under a learning rate
(:mod:`app.forecasting.across_runs`); their mean predicts a candidate schedule. Its band is a Gaussian whose variance
is the sum of

- how far the laws differ from each other there,
- what the runs leave open of each law's parameters,
- how far the level of the fitted runs lies off the fit, in tenths of a run,
- beyond the fitted runs' peak rates, all that the laws make of the difference,
- what a law that fits one schedule gets wrong under another: the population's word on that (the sizes of the misfit
  that live forecasts use, :mod:`app.laws.prior`), grown by how far the candidate's rate and length lie from those of
  the nearest fitted run, and corrected by what is seen when each run is left out and predicted from the others. With
  one run nothing can be left out, and the population's word stands.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from app.curves.families import REACTIVE, build_schedule
from app.curves.planning.declared import validate_declared_plan
from app.curves.schedule import NEAR_PEAK, Schedule
from app.curves.schedule_text import read_schedules
from app.errors import BadInput
from app.forecasting.across_runs import LAWS, SAME_PEAK, Agreement, agreement, fit_runs, overall
from app.forecasting.forecast import FINAL_SHARE, LEVELS
from app.forecasting.recorded_run import RecordedRun
from app.laws.annealing import annealed_fraction, effective_steps
from app.laws.population import FAMILIAR_RUNS
from app.laws.separable import Fit
from app.laws.shipped import shipped_population

Array = npt.NDArray[np.float64]

MOST_RUNS = 6
MOST_CANDIDATES = 12

SAME_SCALE = 2.0
"""Runs of one recipe never ended further apart than by a few per cent; a factor of two is another metric or model."""

STRETCHES = 10
"""Parts of a run over which the misfit is averaged: its noise must not widen the band of the level."""

PROGRESS_POINTS = 101
PATH_STEPS = 200
FINAL_STEPS = 20  # of the last 2 %, over which the final level is averaged

SAME_LENGTH = 1.05
SAME_FALL = 0.05
"""A fall of the rate smaller than this share of the peak, or deeper by this than any run's, is worth a note."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A schedule that somebody is thinking of, and what was asked for, in words."""

    words: str
    family: str
    schedule: Schedule
    total_steps: int


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The loss under one candidate.

    steps : int64, shape (n_path,), from where the fitted runs' logs begin to `candidate.total_steps`   [steps]
    quantiles : float64, shape (n_levels, n_path), of the smoothed level; rows are `LEVELS`               [of the loss]
    by_law : each law's own final value                                                                   [of the loss]
    notes : in what the candidate goes beyond every fitted run
    """

    candidate: Candidate
    steps: npt.NDArray[np.int64]
    quantiles: Array
    final_mean: float
    final_quantiles: dict[float, float]
    by_law: dict[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A fitted run, predicted from the others alone.

    deviation : of the prediction, as foreseen without leaving anything out   [of the loss]
    """

    name: str
    predicted: float
    actual: float
    deviation: float


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Candidates in the order of their expected final loss, lowest first.

    overall : law -> how the fit follows the runs that it was fitted to
    misfit : root mean square of the fitted runs' levels about the fit, relative to the loss   [1]
    left_out : empty with one run
    carry_over : factor on the population's variance from one schedule to another, by `left_out`; 1 with one run
    notes : what holds for all candidates
    """

    runs: tuple[RecordedRun, ...]
    fits: tuple[Fit, ...]
    overall: dict[str, Agreement]
    misfit: float
    left_out: tuple[LeftOut, ...]
    carry_over: float
    predictions: tuple[Prediction, ...]
    notes: tuple[str, ...]

    @property
    def best_run(self) -> RecordedRun:
        """The fitted run with the lowest final loss."""
        return min(self.runs, key=RecordedRun.final_loss)


def candidate(
    said: str | Mapping[str, Any], runs: Sequence[RecordedRun], *, total_steps: int | None = None
) -> Candidate:
    """The schedule that is meant by a declared one; what it leaves out is taken from the fitted runs.

    Parameters
    ----------
    said : str or mapping
        A family and its pairs (`cosine final_fraction=0.1`), or an object as in a declared plan; it may hold
        `total_steps` too.
    total_steps : int or None
        Where `said` holds none; else the longest fitted run's. [steps]

    Raises
    ------
    BadInput
        The text says what to send.
    """
    check_runs(runs)
    raw = _one(said) if isinstance(said, str) else dict(said)
    total = raw.pop("total_steps", None) or total_steps
    plan = validate_declared_plan({"total_steps": total, "schedule": raw})
    parameters = {name: value for name, value in plan["schedule"].items() if name != "family"}
    family = plan["schedule"]["family"]
    if family == REACTIVE:
        raise BadInput("A reactive schedule follows the loss: nobody can say ahead what its rate will be.")
    if family == "explicit":
        last = plan.get("total_steps") or int(parameters["steps"][-1])
        schedule = build_schedule(family, last, parameters)
        return _checked(Candidate(f"the given rates over {last:,} steps", family, schedule, last))
    last = plan.get("total_steps") or max(run.total_steps for run in runs)
    filled = _filled(parameters, runs)
    if filled["warmup_steps"] >= last:
        whose = "" if "warmup_steps" in parameters else ", the fitted runs',"
        raise BadInput(f"A warm-up of {filled['warmup_steps']:,} steps{whose} takes all of its {last:,} steps.")
    schedule = build_schedule(family, last, _with_floor(filled))
    return _checked(Candidate(_in_words(family, last, filled), family, schedule, last))


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
    return Comparison(
        runs=tuple(runs),
        fits=fits,
        overall={found.law.name: overall([agreement(found, run) for run in runs]) for found in fits},
        misfit=misfit,
        left_out=left_out,
        carry_over=carry_over,
        predictions=tuple(sorted(predictions, key=lambda one: one.final_mean)),
        notes=_notes(runs, left_out, carry_over),
    )


def check_runs(runs: Sequence[RecordedRun]) -> None:
    """Refuse, in words, runs that cannot be fitted together."""
    if not runs:
        raise BadInput("Name at least one finished run to fit.")
    if len(runs) > MOST_RUNS:
        raise BadInput(f"At most {MOST_RUNS} runs are fitted together; there are {len(runs)}.")
    for position, run in enumerate(runs):
        if run.schedule is None or run.schedule.peak <= 0:
            raise BadInput(f"{run.name} has no learning rate, and without it a law cannot tell schedules apart.")
        if not np.isfinite(run.final_loss()):
            raise BadInput(f"{run.name}: {run.metric} is NaN or infinite at its end; a law says nothing of that.")
        for earlier in runs[:position]:
            _check_pair(earlier, run)


def _check_pair(first: RecordedRun, second: RecordedRun) -> None:
    if np.array_equal(first.steps, second.steps) and np.array_equal(first.values, second.values, equal_nan=True):
        raise BadInput(f"{first.name} and {second.name} are the same run; one that is fitted twice proves nothing.")
    if first.metric != second.metric:
        raise BadInput(
            f"{first.name} is judged by {first.metric} and {second.name} by {second.metric}: name one metric for both."
        )
    ends = [abs(run.final_loss()) for run in (first, second)]
    if max(ends) > SAME_SCALE * min(ends):
        raise BadInput(
            f"{first.metric} ends at {first.final_loss():.4g} in {first.name} and at {second.final_loss():.4g} in "
            f"{second.name}: that is another model, or another scale. Fit runs of one recipe."
        )


# What a schedule leaves out.


def _one(text: str) -> dict[str, Any]:
    specs = read_schedules([text])
    if len(specs) != 1:
        raise BadInput(f"Name one schedule at a time, e.g. cosine final_fraction=0.1; got {text!r}.")
    return specs[0]


def _filled(parameters: Mapping[str, Any], runs: Sequence[RecordedRun]) -> dict[str, Any]:
    """With the peak and the warm-up of the run that reached the highest rate."""
    highest = max(runs, key=lambda run: _schedule(run).peak)
    return {"peak": _schedule(highest).peak, "warmup_steps": warmup_steps(_schedule(highest)), **parameters}


def warmup_steps(schedule: Schedule) -> int:
    """Length of the warm-up: what the last percent to the peak takes is counted in. [steps]"""
    first = schedule.rates[0]
    if first >= NEAR_PEAK * schedule.peak:
        return 0
    top = int(np.searchsorted(schedule.steps, schedule.warmup_end))
    return int(schedule.steps[min(top, len(schedule) - 1)])


def _with_floor(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The floor as a rate."""
    complete = dict(parameters)
    fraction = complete.pop("final_fraction", None)
    if fraction is not None:
        complete.setdefault("final_rate", fraction * complete["peak"])
    return complete


def _in_words(family: str, total_steps: int, parameters: Mapping[str, Any]) -> str:
    said = [f"{family.replace('_', ' ')} over {total_steps:,} steps", f"peak {parameters['peak']:.3g}"]
    names = {"warmup_steps": "warm-up", "decay_steps": "decay", "final_fraction": "floor (of the peak)"}
    for name, value in parameters.items():
        if name == "peak" or (name == "warmup_steps" and not value):
            continue
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.3g}" if isinstance(value, float) else str(value)
        said.append(f"{names.get(name, name.replace('_', ' '))} {shown}")
    return ", ".join(said)


def _checked(asked: Candidate) -> Candidate:
    if asked.schedule.peak <= 0:
        raise BadInput("A schedule whose rate is zero throughout trains nothing.")
    if asked.total_steps < 2 or asked.schedule.warmup_end >= asked.total_steps:
        raise BadInput("A schedule must reach its peak before its last step.")
    return asked


# The prediction.


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
    level = _level(fits, _schedule(one), steps)
    finals = level.by_law.mean(axis=1)
    off = np.hypot(misfit, _unlike(_schedule(one), float(one.steps[-1]), others))
    return LeftOut(one.name, float(finals.mean()), one.final_loss(), float(level.averaged(off)))


def _predicted(
    fits: Sequence[Fit], misfit: float, carry_over: float, asked: Candidate, runs: Sequence[RecordedRun]
) -> Prediction:
    first = _first_step(asked, runs)
    # Even in steps for the decay, and even in their logarithm for the first drop.
    spaced = [space(first, float(asked.total_steps), PATH_STEPS // 2) for space in (np.linspace, np.geomspace)]
    steps = np.unique(np.rint(np.concatenate(spaced)).astype(np.int64))
    last = np.linspace(max((1 - FINAL_SHARE) * asked.total_steps, first), asked.total_steps, FINAL_STEPS)
    off = float(np.hypot(misfit, np.sqrt(carry_over) * _unlike(asked.schedule, asked.total_steps, runs)))
    at = steps.astype(np.float64)
    path, end = _level(fits, asked.schedule, at), _level(fits, asked.schedule, last)
    as_known = asked.schedule.scaled(_nearest_peak(asked.schedule, runs) / asked.schedule.peak)
    path_untested = path.mean - _level(fits, as_known, at).mean
    end_untested = float((end.mean - _level(fits, as_known, last).mean).mean())
    finals = end.by_law.mean(axis=1)
    final, deviation = float(finals.mean()), float(np.hypot(end.averaged(off), end_untested))
    places = {level: NormalDist().inv_cdf(level) for level in LEVELS}
    return Prediction(
        candidate=asked,
        steps=steps,
        quantiles=path.mean + np.outer(list(places.values()), np.hypot(path.deviations(off), path_untested)),
        final_mean=final,
        final_quantiles={level: final + place * deviation for level, place in places.items()},
        by_law={found.law.name: float(value) for found, value in zip(fits, finals, strict=True)},
        notes=_beyond(asked, runs),
    )


def _first_step(asked: Candidate, runs: Sequence[RecordedRun]) -> float:
    """Where the rate has added up to what it had when the first fitted log begins: before, no law has been tested."""
    samples = [run.sample() for run in runs]
    begin = min(float(_summed_rate(sample.schedule, sample.steps[:1])[0]) for sample in samples)
    grid = np.linspace(max(asked.schedule.warmup_end, 1.0), asked.total_steps, 20 * PATH_STEPS)
    reached = _summed_rate(asked.schedule, grid) >= begin
    if not reached[:-1].any():
        raise BadInput(
            f"{asked.words} would end before the logs of the fitted runs begin, by the sum of its rate: no law can "
            "be tested there. Ask for more steps."
        )
    return float(grid[np.argmax(reached)])


def _summed_rate(schedule: Schedule, steps: npt.ArrayLike) -> Array:
    """Sum of the rate up to each step, shape (n_steps,). [rate, steps]"""
    return effective_steps(schedule, steps) * schedule.peak


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """What the laws say of some steps.

    by_law : float64, shape (n_laws, n_steps)                                 [of the loss]
    slopes : a law's (n_steps, n_parameters), by law                          [of the loss]
    covariances : of the parameters, by law
    """

    by_law: Array
    slopes: tuple[Array, ...]
    covariances: tuple[Array, ...]

    @property
    def mean(self) -> Array:
        average: Array = self.by_law.mean(axis=0)
        return average

    def deviations(self, off: float) -> Array:
        """At each step; `off` is what else is uncertain, relative to the loss."""
        left_open = [
            np.einsum("np,pq,nq->n", slopes, covariance, slopes)
            for slopes, covariance in zip(self.slopes, self.covariances, strict=True)
        ]
        variances = self.by_law.var(axis=0, ddof=1) + np.mean(left_open, axis=0) + (off * self.mean) ** 2
        deviations: Array = np.sqrt(variances)
        return deviations

    def averaged(self, off: float) -> float:
        """Of the mean over the steps."""
        one = _Level(
            self.by_law.mean(axis=1, keepdims=True),
            tuple(slopes.mean(axis=0, keepdims=True) for slopes in self.slopes),
            self.covariances,
        )
        return float(one.deviations(off)[0])


def _level(fits: Sequence[Fit], schedule: Schedule, steps: Array) -> _Level:
    return _Level(
        by_law=np.array([found.predict(schedule, steps) for found in fits]),
        slopes=tuple(found.sensitivities(schedule, steps) for found in fits),
        covariances=tuple(found.covariance for found in fits),
    )


def _unlike(schedule: Schedule, total_steps: float, runs: Sequence[RecordedRun]) -> float:
    """Deviation of a law from one schedule to another, by the population, from the nearest fitted run. [of the loss]"""
    prior = shipped_population().prior
    shape, total = _falls(schedule, total_steps), effective_steps(schedule, [total_steps])[0]
    sizes = []
    for run in runs:
        last = float(run.steps[-1])
        differences = np.abs(shape - _falls(_schedule(run), last))
        rate = max(float(differences.mean()), float(differences[-1]))
        length = abs(float(np.log(total / effective_steps(_schedule(run), [last])[0])))
        # The misfit of the power law has its size times sqrt(1/3) one e-fold of effective steps away.
        sizes.append(np.hypot(prior.misfit_of_response.median * rate, prior.misfit_of_power.median * length / 3**0.5))
    return float(min(sizes))


def _nearest_peak(schedule: Schedule, runs: Sequence[RecordedRun]) -> float:
    """The peak rate itself where it lies among the fitted runs', else the nearest of theirs.

    That a higher rate makes the same way in fewer steps is the laws' claim; beyond the fitted peaks nothing has tested
    it. What it is worth there (against a rate that does not matter) counts as a deviation.
    """
    peaks = [_schedule(run).peak for run in runs]
    return float(np.clip(schedule.peak, min(peaks), max(peaks)))


def _falls(schedule: Schedule, total_steps: float) -> Array:
    """How much of the peak is given up, at even shares of what follows the warm-up."""
    at = np.linspace(min(schedule.warmup_end, total_steps), total_steps, PROGRESS_POINTS)
    return annealed_fraction(schedule, at)


# What cannot be known, in words.


def _notes(runs: Sequence[RecordedRun], left_out: Sequence[LeftOut], carry_over: float) -> tuple[str, ...]:
    notes = []
    if not left_out:
        notes.append(
            "One run was fitted: how well it speaks for other schedules cannot be judged, and the band may be too "
            "narrow. A second finished run under another schedule shows it."
        )
    else:
        worst = max(left_out, key=lambda one: abs(one.predicted / one.actual - 1))
        share = 100 * (worst.predicted / worst.actual - 1)
        notes.append(
            f"Left out and predicted from the others, {worst.name} would have been {abs(share):.2g} % too "
            f"{'high' if share > 0 else 'low'} at its end; that is the worst of {len(left_out)}."
        )
        if carry_over > 1:
            notes.append("Runs that were left out were missed by more than was foreseen, so every band is wider.")
    if max(_fall(_schedule(run), run.steps) for run in runs) < SAME_FALL:
        gain = population_gain(runs)
        notes.append(
            "No fitted run lets its rate fall, so what a decay gives is not known here. It is taken from other "
            f"projects' runs (about {gain[0]:.2g}, perhaps {gain[1]:.2g} to {gain[2]:.2g}), and the band is wide."
        )
    return tuple(notes)


def population_gain(runs: Sequence[RecordedRun]) -> tuple[float, float, float]:
    """What a decay to zero gives in public runs: median, and the ends of a 90 % interval. [of the loss]"""
    gain = shipped_population().prior.annealing
    median = gain.median * abs(float(np.mean([run.final_loss() for run in runs])))
    factor = float(np.exp(NormalDist().inv_cdf(0.95) * gain.log_deviation))
    return median, median / factor, median * factor


def _beyond(asked: Candidate, runs: Sequence[RecordedRun]) -> tuple[str, ...]:
    """In what a candidate goes further than any fitted run: there the laws are on their own."""
    schedules = [_schedule(run) for run in runs]
    notes = []
    peaks = [schedule.peak for schedule in schedules]
    if not min(peaks) / SAME_PEAK <= asked.schedule.peak <= max(peaks) * SAME_PEAK:
        span = f"{peaks[0]:.3g}" if len(set(peaks)) == 1 else f"{min(peaks):.3g} to {max(peaks):.3g}"
        notes.append(
            f"No fitted run had a peak rate of {asked.schedule.peak:.3g} (theirs: {span}). The laws carry over as if "
            "the rate only set the pace; the optimum of the rate itself they do not know."
        )
    last = np.array([float(asked.total_steps)])
    length = float(_summed_rate(asked.schedule, last)[0])
    longest = max(
        float(_summed_rate(schedule, run.steps[-1:])[0]) for schedule, run in zip(schedules, runs, strict=True)
    )
    total = max(run.total_steps for run in runs)
    if asked.total_steps > SAME_LENGTH * total:
        notes.append(f"It is {asked.total_steps / total:.2g} times as long as the longest fitted run.")
    elif length > SAME_LENGTH * longest:
        notes.append(f"Its rates add up to {length / longest:.2g} times as much as any fitted run's.")
    fall = _fall(asked.schedule, last)
    deepest = max(_fall(schedule, run.steps) for schedule, run in zip(schedules, runs, strict=True))
    if fall > deepest + SAME_FALL and deepest >= SAME_FALL:
        notes.append(
            f"Its rate falls by {100 * fall:.0f} % of the peak, further than in any fitted run ({100 * deepest:.0f} %)."
        )
    if _rises(asked.schedule) and not any(_rises(schedule) for schedule in schedules):
        notes.append("Its rate rises again after a fall; no fitted run's did.")
    return tuple(notes)


def _fall(schedule: Schedule, steps: npt.ArrayLike) -> float:
    """How much of its peak the rate gives up at most by the last of the steps. [1]"""
    last = float(np.max(np.asarray(steps, dtype=np.float64)))
    knots = np.append(schedule.steps[schedule.steps <= last], last)
    return float(annealed_fraction(schedule, knots).max())


def _rises(schedule: Schedule) -> bool:
    """Whether the rate comes back up by a twentieth of its peak after the warm-up."""
    after = schedule.rates[schedule.steps >= schedule.warmup_end]
    return bool(len(after)) and bool((after - np.minimum.accumulate(after)).max() > SAME_FALL * schedule.peak)


def _schedule(run: RecordedRun) -> Schedule:
    assert run.schedule is not None  # `check_runs` has seen to it
    return run.schedule


def _root_mean_square(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values)))) if values else 0.0
