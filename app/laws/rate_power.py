r"""The annealing law that answers to a power of the rate, lagged in effective steps.

.. math:: L = L_0 + A\,x^{-\alpha} - D\,z_{\tau, p}, \qquad \frac{dz}{dx} = \frac{f - z}{\tau}, \quad
          f = \frac{\eta_w^p - \eta^p}{\eta_\mathrm{peak}^p}

==============  ==============================================================================  ===========
symbol          meaning                                                                         unit
==============  ==============================================================================  ===========
:math:`x`       sum of the rate so far, over the largest of all runs fitted together            1
:math:`z`       how far a power of the rate has fallen since the warm-up's top `w`, lagged      1
:math:`L_0`     what no amount of training removes                                              of the loss
:math:`A`       what training at a constant rate has still to give after the longest run        of the loss
:math:`D`       what a fall from the highest rate of all runs to zero gives                     of the loss
:math:`\alpha`  exponent                                                                        1
:math:`\tau`    memory, in units of `x`: a network that moves slowly forgets slowly             1
:math:`p`       below 1 the last of a decay gives most, above 1 its beginning                   1
==============  ==============================================================================  ===========

The response is :func:`app.laws.annealing.lagged_response`; with p = 1 and a memory in steps it would be that of Tissue
et al., arXiv:2408.11029.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.curves.schedule import Schedule
from app.laws.annealing import lagged_response
from app.laws.annealing_law import LOG_STEP
from app.laws.power import EXPONENT, PowerBasis
from app.laws.separable import Shape, Units

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RatePowerLaw:
    """L0 + A * x^-exponent - D * z, with z the lagged fall of a power of the rate."""

    name: str = "rate_power"
    coefficients: tuple[str, ...] = ("irreducible_loss", "reducible_loss", "annealing_gain")
    shapes: tuple[Shape, ...] = (
        EXPONENT,
        Shape("memory", 1e-4, 0.5, (0.003, 0.01, 0.03)),
        Shape("rate_power", 0.2, 4.0, (0.5, 1.0, 2.0)),
    )

    def on(self, schedule: Schedule, steps: npt.ArrayLike, units: Units) -> RatePowerBasis:
        steps = np.asarray(steps, dtype=np.float64)
        return RatePowerBasis(PowerBasis(units.effective(schedule, steps)), schedule, steps, units)


@dataclass(frozen=True, slots=True, eq=False)
class RatePowerBasis:
    """Features 1, x^-exponent and -z."""

    power: PowerBasis
    schedule: Schedule
    steps: Array
    units: Units

    def columns(self, shapes: Array) -> Array:
        response = self._responses(shapes[1:2], shapes[2:3])[0, 0]
        return np.concatenate([self.power.columns(shapes), -response[:, None]], axis=1)

    def slopes(self, shapes: Array) -> Array:
        slopes = np.zeros((3, len(self.steps), 3))
        slopes[0, :, :2] = self.power.slopes(shapes)[0]
        apart = np.exp([LOG_STEP, -LOG_STEP])
        by_memory = self._responses(shapes[1] * apart, shapes[2:3])[0]
        by_power = self._responses(shapes[1:2], shapes[2] * apart)[:, 0]
        slopes[1, :, 2] = -(by_memory[0] - by_memory[1]) / (2 * LOG_STEP)
        slopes[2, :, 2] = -(by_power[0] - by_power[1]) / (2 * LOG_STEP)
        return slopes

    def _responses(self, memories: Array, powers: Array) -> Array:
        """Shape (n_powers, n_memories, n_steps), over the highest rate of all runs."""
        peak = self.units.relative_peak(self.schedule)
        in_own_steps = memories * self.units.steps / peak
        return lagged_response(self.schedule, self.steps, in_own_steps, powers) * (peak**powers)[:, None, None]
