"""The papers' way as forecasters to compare with: one fit of a law to what was seen, and the textbook's band."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.errors import CurveTooShort
from app.forecasting.forecaster import Array, Paths
from app.forecasting.observations import MIN_BINS
from app.forecasting.recorded_run import sample_of
from app.laws.annealing_law import AnnealingLaw
from app.laws.exponential import ExponentialLaw, without_outliers
from app.laws.multi_power import MultiPowerLaw
from app.laws.separable import Law, Sample, fit

MAX_POINTS = 160
"""Bins handed to a fit. Its cost grows with them, its result hardly changes."""


@dataclass(frozen=True, slots=True)
class PointFitForecaster:
    """A law through the bins after the warm-up, with the band of its parameters' covariance around it.

    The band knows the noise of this run and nothing of what the law gets wrong: it is too narrow, which is what one
    wants to see beside forecasts that claim to know.
    """

    law: Law
    splined: bool = False  # AutoLRS smooths before it fits
    n_paths: int = 128
    seed: int = 0

    @property
    def name(self) -> str:
        return self.law.name

    def predict(self, curve: Curve, plan: Plan, steps: npt.NDArray[np.int64]) -> Paths:
        if len(curve) < MIN_BINS:
            raise CurveTooShort(needed=MIN_BINS, got=len(curve))
        sample = thinned(sample_of(curve, plan.schedule), MAX_POINTS)
        found = fit(self.law, [smoothed(sample) if self.splined else sample])
        # A covariance is symmetric but for rounding, and may lose a digit of its definiteness to it.
        weights, directions = np.linalg.eigh((found.covariance + found.covariance.T) / 2)
        spread = directions * np.sqrt(np.maximum(weights, 0.0))
        shifts = _mirrored_normals(self.n_paths, spread.shape[1], self.seed) @ spread.T
        values = found.predict(plan.schedule, steps) + shifts @ found.sensitivities(plan.schedule, steps).T
        return Paths(steps, values)


def point_fits() -> tuple[PointFitForecaster, ...]:
    """Every law that has been proposed for forecasting a loss, each fitted as its authors do."""
    return (
        PointFitForecaster(ExponentialLaw(), splined=True),
        PointFitForecaster(AnnealingLaw()),
        PointFitForecaster(MultiPowerLaw()),
    )


def thinned(sample: Sample, at_most: int) -> Sample:
    """Neighbours averaged until few enough are left."""
    n = len(sample.steps)
    if n <= at_most:
        return sample
    starts = np.linspace(0, n, at_most + 1).astype(int)[:-1]
    counts = np.diff(np.append(starts, n))
    steps, values = (np.add.reduceat(each, starts) / counts for each in (sample.steps, sample.values))
    return replace(sample, steps=steps, values=values)


def smoothed(sample: Sample) -> Sample:
    """The sample as AutoLRS's spline sees it."""
    steps, values = without_outliers(sample.steps, sample.values)
    return replace(sample, steps=steps, values=values)


def _mirrored_normals(n: int, dimensions: int, seed: int) -> Array:
    """Normals, each with its mirror image, so that their mean is exactly zero; shape (n, dimensions)."""
    half = np.random.default_rng([seed, n, dimensions]).standard_normal(((n + 1) // 2, dimensions))
    return np.concatenate([half, -half])[:n]
