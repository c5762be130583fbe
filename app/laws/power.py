r"""The power law: the loss at a constant learning rate, and the baseline of every comparison.

.. math:: L(s) = L_0 + A \left(\frac{s}{s_\mathrm{ref}}\right)^{-\alpha}

==============  =============================================  ===========
symbol          meaning                                        unit
==============  =============================================  ===========
:math:`s`       step, counted from 1                           steps
:math:`L_0`     what no amount of training removes             of the loss
:math:`A`       what training has still to give at the last    of the loss
                step fitted, :math:`s_\mathrm{ref}`
:math:`\alpha`  exponent                                       1
==============  =============================================  ===========

Blind to the learning rate; for schedules that decay see :mod:`app.laws.annealing_law` and :mod:`app.laws.multi_power`.
The form is that of J. Hestness et al., "Deep Learning Scaling is Predictable, Empirically," arXiv:1712.00409, 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.curves.schedule import Schedule
from app.laws.separable import Shape, Units

Array = npt.NDArray[np.float64]

EXPONENT = Shape("exponent", 0.02, 4.0, (0.1, 0.2, 0.4, 0.7, 1.2))


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """L0 + A * step^-exponent."""

    name: str = "power"
    coefficients: tuple[str, ...] = ("irreducible_loss", "reducible_loss")
    shapes: tuple[Shape, ...] = (EXPONENT,)

    def on(self, schedule: Schedule, steps: npt.ArrayLike, units: Units) -> PowerBasis:
        """A schedule enters through the unit of length alone."""
        return PowerBasis(np.maximum(np.asarray(steps, dtype=np.float64), 1.0) / units.steps)


@dataclass(frozen=True, slots=True, eq=False)
class PowerBasis:
    """Features 1 and distance^-exponent; `distance` is positive, in any unit."""

    distance: Array

    def columns(self, shapes: Array) -> Array:
        return np.stack([np.ones_like(self.distance), self.distance ** -shapes[0]], axis=1)

    def slopes(self, shapes: Array) -> Array:
        slope = -shapes[0] * np.log(self.distance) * self.distance ** -shapes[0]
        return np.stack([np.zeros_like(slope), slope], axis=1)[None]
