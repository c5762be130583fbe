"""What fitted runs say of candidates: the records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.forecasting.across_runs import Agreement
from app.forecasting.other_schedules.candidate import Candidate
from app.forecasting.recorded_run import RecordedRun
from app.laws.separable import Fit

Array = npt.NDArray[np.float64]


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
    """Candidates in the order of their expected final loss, lowest first, after them those of a doubtful peak rate.

    overall : law -> how the fit follows the runs that it was fitted to
    reservations : law -> in words, why its fit may be none: parameters at their bounds, an R2 below zero
    misfit : root mean square of the fitted runs' levels about the fit, relative to the loss   [1]
    left_out : empty with one run
    carry_over : factor on the population's variance from one schedule to another, by `left_out`; 1 with one run
    notes : what holds for all candidates
    """

    runs: tuple[RecordedRun, ...]
    fits: tuple[Fit, ...]
    overall: dict[str, Agreement]
    reservations: dict[str, tuple[str, ...]]
    misfit: float
    left_out: tuple[LeftOut, ...]
    carry_over: float
    predictions: tuple[Prediction, ...]
    notes: tuple[str, ...]

    @property
    def best_run(self) -> RecordedRun:
        """The fitted run with the lowest final loss."""
        return min(self.runs, key=RecordedRun.final_loss)
