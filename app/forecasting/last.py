r"""The last value: the forecaster to beat, by which the loss stays where it is.

.. math:: L(s) = L_\mathrm{now} + \sigma(s)\, \varepsilon, \qquad
          \sigma(s)^2 = \max_{s' \le s} \left(L(s_\mathrm{now}^2 / s') - L_\mathrm{now}\right)^2 + u^2

=========================  ====================================================  ===========
symbol                     meaning                                               unit
=========================  ====================================================  ===========
:math:`s`                  step, after the cutoff :math:`s_\mathrm{now}`         steps
:math:`L_\mathrm{now}`     median of the last bins before the cutoff             of the loss
:math:`L(s_\mathrm{now}^2  the loss as far before the cutoff in :math:`\log s`   of the loss
/ s')`                     as :math:`s'` lies behind it
:math:`u`                  how well the last bins tell the level                 of the loss
:math:`\varepsilon`        a standard normal, one for a whole path               1
=========================  ====================================================  ===========

Persistence, the reference of forecast verification: I. T. Jolliffe, D. B. Stephenson (eds.), "Forecast Verification,"
2nd ed., Wiley, 2012. It has no parameters to fit and knows no learning rate. The width is our own choice: as much as
the loss moved over an equally long stretch of :math:`\log s` before.
"""

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
