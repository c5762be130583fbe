"""How often a future whose learning rate decays is forecast to end above one whose rate stays, on real runs cut short.

Run ``python -m benchmarks.decay_pays DIRECTORY...``; each holds CSV or JSONL files of one family of runs whose rate was
logged. Validation losses, cut at seven shares of the steps where the rate is above 30 % of its peak. From there the
rate is held, or decays: in a straight line to zero, over all that is left or over its last fifth; exponentially over
all that is left, to 1/55 (e^-4) or 1/1097 (e^-7); at once, to a half or a tenth. Those that leave the peak at once give
up progress, and whether what they win makes up for it nobody can know of every run: no order is the right one there.
Medians of the final level are compared. An excess is how much higher the decayed future ends, over the width of the
90 % band.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.errors import CurveTooShort, LosscastError
from app.forecasting.forecast import NETWORK, Forecast, forecast_curve, mix
from app.forecasting.law import LawForecaster
from app.forecasting.recorded_run import RecordedRun
from app.importers.recorded_run_file import read_recorded_run
from app.importers.run_files import find_run_files
from benchmarks.usage import tell_if_asked

METRIC = "val_loss"
CUTS = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
STILL_HIGH = 0.3

Decay = Callable[[float, float, float], Schedule]
"""A schedule that begins at a step with a rate and ends at another step."""


def linear(share: float) -> Decay:
    """In a straight line to zero over the last share of what is left."""

    def fall(rate: float, begin: float, end: float) -> Schedule:
        knots = np.unique([begin, end - share * (end - begin), end])
        return Schedule(knots, np.append(np.full(len(knots) - 1, rate), 0.0))

    return fall


def exponential(folds: float) -> Decay:
    """By so many factors of e over all that is left."""

    def fall(rate: float, begin: float, end: float) -> Schedule:
        shares = np.linspace(0.0, 1.0, 129)
        return Schedule(begin + shares * (end - begin), rate * np.exp(-folds * shares))

    return fall


def at_once(share: float) -> Decay:
    """To a share of the rate, and then held."""

    def fall(rate: float, begin: float, end: float) -> Schedule:
        return Schedule.constant(share * rate, first=begin, last=end)

    return fall


DECAYS: dict[str, Decay] = {
    "straight, over all that is left": linear(1.0),
    "straight, over its last fifth": linear(0.2),
    "exponential, to e^-4": exponential(4.0),
    "exponential, to e^-7": exponential(7.0),
    "at once, to a half": at_once(0.5),
    "at once, to a tenth": at_once(0.1),
}

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
    print(f"| family | futures | decay | {' | '.join(FORECASTS)} |")
    print("|---" * (3 + len(FORECASTS)) + "|")
    for directory in map(Path, sys.argv[1:]):
        compared = [one for run in _runs(directory) for one in _compared(run)]
        for decay in DECAYS:
            excesses = [
                [one.excess for one in compared if (one.forecast, one.decay) == (forecast, decay)]
                for forecast in FORECASTS
            ]
            cells = " | ".join(map(_cell, excesses))
            print(f"| {directory.name} | {len(excesses[0])} | {decay} | {cells} |")


def _cell(excesses: Sequence[float]) -> str:
    """How many decayed futures end above, and in brackets the largest excess."""
    above = [excess for excess in excesses if excess >= 0]
    return f"{len(above)} ({max(above):.2f})" if above else "0"


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
            for decay, fall in DECAYS.items():
                future = past.then(fall(rate, cutoff, end))
                decayed = forecast(curve, replace(held, schedule=future)).final_quantiles
                excess = (decayed[0.5] - constant[0.5]) / (constant[0.95] - constant[0.05])
                yield Compared(name, decay, run.name, excess)


if __name__ == "__main__":
    main()
