"""What cannot be known of a candidate, in words."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from app.curves.schedule import Schedule
from app.forecasting.across_runs import SAME_PEAK
from app.forecasting.other_schedules.candidate import Candidate
from app.forecasting.other_schedules.comparison import LeftOut
from app.forecasting.other_schedules.fitted_runs import schedule_of, summed_rate
from app.forecasting.recorded_run import RecordedRun
from app.forecasting.unseen_rate import DOUBTFUL
from app.laws.annealing import annealed_fraction
from app.laws.shipped import shipped_population

SAME_LENGTH = 1.05  # times as long, or its rates adding up to so many times as much: not worth a note
SAME_FALL = 0.05
"""A fall of the rate smaller than this share of the peak, or deeper by this than any run's, is worth a note."""

ONE_RUN_HELD = (67, 94)
"""Of 100 other runs' ends, how many 90 % bands of one run's fit held: the fewest and the most of seven rows of public
language models (docs/forecasting.md, "From finished runs to other schedules")."""


def of_all_candidates(runs: Sequence[RecordedRun], left_out: Sequence[LeftOut], carry_over: float) -> tuple[str, ...]:
    """Whatever schedule is asked about."""
    notes = []
    if not left_out:
        notes.append(
            "One run was fitted: how well it speaks for other schedules cannot be judged. On public language models "
            f"what one run's fit calls a 90 % band held {ONE_RUN_HELD[0]} to {ONE_RUN_HELD[1]} of 100 ends, by recipe "
            "and schedule. A second finished run under another schedule shows how far to trust it."
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
    if max(_fall(schedule_of(run), run.steps) for run in runs) < SAME_FALL:
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


def is_doubtful(asked: Candidate, runs: Sequence[RecordedRun]) -> bool:
    """Whether its peak is so far above every fitted run's that no rank can be given to it.

    To the laws more rate is better without end. Where it was measured, one of two schedules being this far above the
    fitted peaks, they named the lower end 73 times of 100 (docs/forecasting.md); further up it is anybody's guess.
    """
    return asked.schedule.peak > DOUBTFUL * max(schedule_of(run).peak for run in runs)


def beyond_the_runs(asked: Candidate, runs: Sequence[RecordedRun]) -> tuple[str, ...]:
    """In what a candidate goes further than any fitted run: there the laws are on their own."""
    schedules = [schedule_of(run) for run in runs]
    notes = []
    peaks = [schedule.peak for schedule in schedules]
    if not min(peaks) / SAME_PEAK <= asked.schedule.peak <= max(peaks) * SAME_PEAK:
        span = f"{peaks[0]:.3g}" if len(set(peaks)) == 1 else f"{min(peaks):.3g} to {max(peaks):.3g}"
        notes.append(
            f"No fitted run had a peak rate of {asked.schedule.peak:.3g} (theirs: {span}). The laws carry over as if "
            "the rate only set the pace; the optimum of the rate itself they do not know."
        )
    if is_doubtful(asked, runs):
        notes.append(
            f"A rate {asked.schedule.peak / max(peaks):.2g} times as high as any of theirs may diverge, so it stands "
            "after the schedules that the runs do speak for, whatever its number."
        )
    last = np.array([float(asked.total_steps)])
    length = float(summed_rate(asked.schedule, last)[0])
    longest = max(
        float(summed_rate(schedule, run.steps[-1:])[0]) for schedule, run in zip(schedules, runs, strict=True)
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
