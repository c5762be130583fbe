"""The best level of a metric so far: what a forecast's chance of a new best speaks of."""

from __future__ import annotations

import numpy as np

from app.curves.curve import Curve
from app.curves.measure import Measure
from app.forecasting.pfn import lowest_level


def best_level(curve: Curve, measure: Measure) -> float:
    """The lowest level of a loss, the highest of an accuracy; each level is a mean over some bins."""
    return float(measure.restored(np.array([lowest_level(measure.as_loss(curve))]))[0])
