"""How often a future whose learning rate decays is forecast to end above one whose rate stays, on real runs cut short.

Run ``python -m benchmarks.decay_pays DIRECTORY...``; each holds CSV or JSONL files of one family of runs whose rate was
logged. Validation losses, cut at seven shares of the steps where the rate is above 30 % of its peak. From there the
rate is held, or falls in a straight line to zero: over all that is left, or over its last fifth. Medians of the final
level are compared. An excess is how much higher the decayed future ends, over the width of the 90 % band.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from benchmarks.usage import tell_if_asked

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.errors import CurveTooShort, LosscastError
from app.forecasting.forecast import NETWORK, Forecast, forecast_curve, mix
from app.forecasting.law import LawForecaster
from app.forecasting.recorded_run import RecordedRun
from app.importers.recorded_run_file import read_recorded_run
from app.importers.run_files import find_run_files

METRIC = "val_loss"
CUTS = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
STILL_HIGH = 0.3
DECAYS = {"over all that is left": 1.0, "over its last fifth": 0.2}

FORECASTS: dict[str, Callable[[Curve, Plan], Forecast]] = {
    "the forecast": forecast_curve,
    "law": lambda curve, plan: mix(curve, plan, ((LawForecaster(), 1.0),)),
    "network": lambda curve, plan: mix(curve, plan, ((NETWORK, 1.0),)),
}


@dataclass(frozen=True, slots=True)
class Compared:
    """One decayed future beside the constant one."""

    forecast: str
    decay: str
    run: str
    excess: float  # of the decayed future's end, in bands of the constant one; below zero where the decay pays


def main() -> None:
    tell_if_asked(__doc__)
    print("| family | decay | forecast | futures | decayed ends above | largest excess [bands] |")
    print("|---|---|---|---|---|---|")
    for directory in map(Path, sys.argv[1:]):
        compared = [one for run in _runs(directory) for one in _compared(run)]
        for decay in DECAYS:
            for forecast in FORECASTS:
                excesses = [one.excess for one in compared if (one.forecast, one.decay) == (forecast, decay)]
                above = sum(excess >= 0 for excess in excesses)
                worst = f"{max(excesses):.3f}" if above else ""
                print(f"| {directory.name} | {decay} | {forecast} | {len(excesses)} | {above} | {worst} |")


def _runs(directory: Path) -> Iterator[RecordedRun]:
    for path in find_run_files(directory):
        try:
            run = read_recorded_run(path, METRIC)
        except LosscastError:
            continue
        if run.schedule is not None:
            yield run


def _compared(run: RecordedRun) -> Iterator[Compared]:
    assert run.schedule is not None  # `_runs` leaves the others out
    for share in CUTS:
        curve = run.seen(share)
        cutoff, end = float(curve.cutoff), float(run.total_steps)
        rate = float(run.schedule.rate_at([cutoff])[0])
        if rate <= STILL_HIGH * run.schedule.peak:
            continue
        past = run.schedule.until(cutoff)
        held = replace(run.plan(), schedule=past.then(Schedule.constant(rate, first=cutoff, last=end)))
        for name, forecast in FORECASTS.items():
            try:
                constant = forecast(curve, held).final_quantiles
            except CurveTooShort:
                continue
            for decay, length in DECAYS.items():
                knots = np.unique([cutoff, end - length * (end - cutoff), end])
                fall = Schedule(knots, np.append(np.full(len(knots) - 1, rate), 0.0))
                decayed = forecast(curve, replace(held, schedule=past.then(fall))).final_quantiles
                excess = (decayed[0.5] - constant[0.5]) / (constant[0.95] - constant[0.05])
                yield Compared(name, decay, run.name, excess)


if __name__ == "__main__":
    main()
