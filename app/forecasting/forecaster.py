"""What every forecaster answers with: equally likely paths of the loss level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.forecasting.typicality import Typicality

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Paths:
    """Equally likely futures of the smoothed loss level.

    steps : int64, shape (n_steps,), strictly increasing     [steps]
    values : float64, shape (n_paths, n_steps), finite       [of the loss]
    notes : plain sentences for the user: what was assumed
    improvement : probability of a new lowest level before the end, where the forecaster was asked that jointly
    typicality : how well the forecaster would have forecast what is already known, where it was asked
    lawful : probability that the run is of the kind that the forecaster is made for, where it can tell
    """

    steps: npt.NDArray[np.int64]
    values: Array
    notes: tuple[str, ...] = ()
    improvement: float | None = None
    typicality: Typicality | None = None
    lawful: float | None = None


class Forecaster(Protocol):
    """Anything that can draw paths. Mixed by weight, so a new one needs no change elsewhere."""

    @property
    def name(self) -> str: ...

    def predict(self, curve: Curve, plan: Plan, steps: npt.NDArray[np.int64]) -> Paths:
        """Paths at `steps`, all after the curve's cutoff; `CurveTooShort` where there is too little to go by."""
        ...
