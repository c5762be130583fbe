"""From which step on a verdict says that a run is NaN."""

import math

import numpy as np

from app.curves.reduction import Reduction
from app.worker.judging import _broken_since


def test_a_long_run_is_broken_since_the_step_that_broke_it() -> None:
    steps = np.arange(1, 50_001)
    reduction = Reduction.empty().extend(steps, np.where(steps < 40_123, 3.0, math.nan))
    assert _broken_since(reduction, reduction.to_curve()) == 40_123


def test_a_nan_that_passed_is_not_when_it_broke_for_good() -> None:
    steps = np.arange(1, 50_001)
    is_broken = (steps == 100) | (steps > 49_000)
    reduction = Reduction.empty().extend(steps, np.where(is_broken, math.nan, 3.0))
    curve = reduction.to_curve()
    since = _broken_since(reduction, curve)
    assert since is not None
    assert curve.steps[-1] < since <= 49_001


def test_a_run_whose_last_value_is_a_number_is_not_broken() -> None:
    reduction = Reduction.empty().extend([1, 2, 3], [3.0, math.nan, 3.0])
    assert _broken_since(reduction, reduction.to_curve()) is None
