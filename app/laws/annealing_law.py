r"""The annealing law as a law to fit: one point, no band of its own.

.. math:: L = L_0 + A\,x^{-\alpha} - D\,z_\tau

Features, symbols, units and source are those of :mod:`app.laws.annealing`; here rate and length are in the units of all
runs that are fitted together, so :math:`A` is what is left after the longest of them, :math:`D` what a fall from their
highest rate to zero gives, and the memory :math:`\tau` a fraction of the longest one's effective steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.curves.schedule import Schedule
from app.laws.annealing import annealing_response
from app.laws.power import EXPONENT, PowerBasis
from app.laws.separable import Shape, Units

Array = npt.NDArray[np.float64]

LOG_STEP = 1e-3
"""Half-width of the central difference by log(memory): its error is this squared, far below the Huber width."""


@dataclass(frozen=True, slots=True)
class AnnealingLaw:
    """L0 + A * x^-exponent - D * z."""

    name: str = "annealing"
    coefficients: tuple[str, ...] = ("irreducible_loss", "reducible_loss", "annealing_gain")
    shapes: tuple[Shape, ...] = (EXPONENT, Shape("memory", 1e-4, 0.5, (0.003, 0.01, 0.03, 0.1)))

    def on(self, schedule: Schedule, steps: npt.ArrayLike, units: Units) -> AnnealingBasis:
        steps = np.asarray(steps, dtype=np.float64)
        return AnnealingBasis(PowerBasis(units.effective(schedule, steps)), schedule, steps, units)


@dataclass(frozen=True, slots=True, eq=False)
class AnnealingBasis:
    """Features 1, x^-exponent and -z."""

    power: PowerBasis
    schedule: Schedule
    steps: Array
    units: Units

    def columns(self, shapes: Array) -> Array:
        response = self._responses(np.array([shapes[1]]))[0]
        return np.concatenate([self.power.columns(shapes), -response[:, None]], axis=1)

    def slopes(self, shapes: Array) -> Array:
        slopes = np.zeros((2, len(self.steps), 3))
        slopes[0, :, :2] = self.power.slopes(shapes)[0]
        later, sooner = self._responses(shapes[1] * np.exp([LOG_STEP, -LOG_STEP]))
        slopes[1, :, 2] = -(later - sooner) / (2 * LOG_STEP)
        return slopes

    def _responses(self, memories: Array) -> Array:
        in_steps = np.maximum(memories * self.units.steps, 1.0)
        return annealing_response(self.schedule, self.steps, in_steps) * self.units.relative_peak(self.schedule)
