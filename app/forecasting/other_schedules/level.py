"""What several laws say of the level under a schedule, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.curves.schedule import Schedule
from app.forecasting.other_schedules.fitted_runs import schedule_of
from app.forecasting.recorded_run import RecordedRun
from app.laws.annealing import annealed_fraction, effective_steps
from app.laws.separable import Fit
from app.laws.shipped import shipped_population

Array = npt.NDArray[np.float64]

PROGRESS_POINTS = 101


@dataclass(frozen=True, slots=True, eq=False)
class Level:
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
        one = Level(
            self.by_law.mean(axis=1, keepdims=True),
            tuple(slopes.mean(axis=0, keepdims=True) for slopes in self.slopes),
            self.covariances,
        )
        return float(one.deviations(off)[0])


def level_under(fits: Sequence[Fit], schedule: Schedule, steps: Array) -> Level:
    """Every fit's level at `steps`, float64, shape (n_steps,), and how it depends on what was fitted. [steps]"""
    return Level(
        by_law=np.array([found.predict(schedule, steps) for found in fits]),
        slopes=tuple(found.sensitivities(schedule, steps) for found in fits),
        covariances=tuple(found.covariance for found in fits),
    )


def carry_over_deviation(schedule: Schedule, total_steps: float, runs: Sequence[RecordedRun]) -> float:
    """Deviation of a law from one schedule to another, by the population, from the nearest fitted run. [of the loss]"""
    prior = shipped_population().prior
    shape, total = _falls(schedule, total_steps), effective_steps(schedule, [total_steps])[0]
    sizes = []
    for run in runs:
        last = float(run.steps[-1])
        differences = np.abs(shape - _falls(schedule_of(run), last))
        rate = max(float(differences.mean()), float(differences[-1]))
        length = abs(float(np.log(total / effective_steps(schedule_of(run), [last])[0])))
        # The misfit of the power law has its size times sqrt(1/3) one e-fold of effective steps away.
        sizes.append(np.hypot(prior.misfit_of_response.median * rate, prior.misfit_of_power.median * length / 3**0.5))
    return float(min(sizes))


def nearest_peak(schedule: Schedule, runs: Sequence[RecordedRun]) -> float:
    """The peak rate itself where it lies among the fitted runs', else the nearest of theirs.

    That a higher rate makes the same way in fewer steps is the laws' claim; beyond the fitted peaks nothing has tested
    it. What it is worth there (against a rate that does not matter) counts as a deviation.
    """
    peaks = [schedule_of(run).peak for run in runs]
    return float(np.clip(schedule.peak, min(peaks), max(peaks)))


def _falls(schedule: Schedule, total_steps: float) -> Array:
    """How much of the peak is given up, at even shares of what follows the warm-up."""
    at = np.linspace(min(schedule.warmup_end, total_steps), total_steps, PROGRESS_POINTS)
    return annealed_fraction(schedule, at)
