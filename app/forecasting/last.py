"""The forecaster to beat: the loss stays where it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.forecasting.forecaster import Paths
from app.forecasting.observations import observe


@dataclass(frozen=True, slots=True)
class LastValueForecaster:
    """The recent level, plus or minus what the loss moved by over an equally long stretch of log(step) before."""

    name: str = "last"
    n_paths: int = 128

    def predict(self, curve: Curve, plan: Plan, steps: npt.NDArray[np.int64]) -> Paths:
        observations = observe(curve, plan.schedule)
        cutoff = float(max(curve.cutoff, 1))
        mirrored = cutoff * cutoff / np.maximum(steps.astype(np.float64), 1.0)
        moved = np.abs(np.interp(mirrored, observations.steps, observations.values))
        # The level itself is known only as well as the last bins tell.
        unsure = np.sqrt(np.median(observations.variances[-3:]) / 3)
        deviations = np.maximum.accumulate(np.hypot(moved, unsure))
        normals = ndtri((np.arange(self.n_paths) + 0.5) / self.n_paths)
        return Paths(steps, observations.level + observations.scale * normals[:, None] * deviations)
