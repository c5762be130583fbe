"""How far off the law would have been about finished siblings: what the next run's forecast is corrected by.

Runs of one project err alike, for what the law gets wrong of one recipe it gets wrong again. So each finished sibling
is cut at shares of its way and its end is forecast, by a prior that has not heard it; how far off that was, over what
was foreseen, tells whether such forecasts err to one side and whether their bands are too narrow or too wide
(`app.laws.past_errors`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from app.curves.curve import Curve
from app.curves.plan import DECLARED, Plan
from app.curves.schedule import Schedule
from app.errors import CurveTooShort
from app.forecasting.final_value import FINAL_SHARE, final_levels
from app.forecasting.law import LawForecaster, stated_deviation
from app.forecasting.observations import observe
from app.laws.past_errors import PastErrors
from app.laws.prior import Prior

SHARES = (0.2, 0.4, 0.6, 0.8)
"""Of a finished run's way, from which its end is forecast in hindsight."""

N_FINAL_STEPS = 8


class Finished(Protocol):
    """A run that has ended, and how alike it is to the one to forecast, in [0, 1]."""

    @property
    def curve(self) -> Curve: ...

    @property
    def schedule(self) -> Schedule: ...

    @property
    def similarity(self) -> float: ...


def past_errors(runs: Sequence[Finished], priors: Sequence[Prior]) -> PastErrors:
    """Every run's end forecast from each of `SHARES`, by its prior: one that has not heard it."""
    told = [
        (*error, run.similarity) for run, prior in zip(runs, priors, strict=True) for error in errors_of(run, prior)
    ]
    return PastErrors(*zip(*told, strict=True)) if told else PastErrors()


def errors_of(run: Finished, prior: Prior) -> Iterator[tuple[float, float, float]]:
    """Shares, the deviation foreseen and by how many of these the end was off; none by which too little was seen."""
    horizon, actual = run.curve.cutoff, _final_value(run.curve)
    for share in SHARES:
        seen = _until(run.curve, int(share * horizon))
        steps = _last_steps(horizon)
        try:
            scale = observe(seen, run.schedule).scale
            paths = LawForecaster(prior=prior).predict(seen, _plan(run), steps[steps > seen.cutoff])
        except CurveTooShort:
            continue
        middle = float(np.median(final_levels(paths, seen, horizon)))
        foreseen = stated_deviation(paths, seen, horizon, above=actual > middle)
        off = (actual - middle) / foreseen if foreseen > 0 else math.nan
        if math.isfinite(off):
            yield share, foreseen / scale, off


def _final_value(curve: Curve) -> float:
    """Mean of the points in the last 2 % of the steps, of the last bin where they are few."""
    last = curve.steps >= min((1 - FINAL_SHARE) * curve.cutoff, curve.steps[-1])
    return float(np.average(curve.values[last], weights=curve.counts[last]))


def _last_steps(horizon: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace((1 - FINAL_SHARE) * horizon, horizon, N_FINAL_STEPS).astype(np.int64))


def _until(curve: Curve, step: int) -> Curve:
    known = curve.steps <= step
    return Curve(
        curve.steps[known], curve.values[known], curve.counts[known], curve.spreads[known], cutoff=step, nonfinite=0
    )


def _plan(run: Finished) -> Plan:
    return Plan(
        total_steps=run.curve.cutoff,
        total_source=DECLARED,
        total_why="It has ended.",
        schedule=run.schedule,
        schedule_source=DECLARED,
        schedule_family="explicit",
        schedule_why="The run's own rate.",
    )
