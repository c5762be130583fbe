"""What one forecast of the network costs on real runs, features included.

Run ``python -m benchmarks.pfn_cost [DIRECTORY]``, with folders as for `benchmarks.forecast_accuracy`. Runs of each
family are cut at 20, 40, 60 and 80 %, and each cut is forecast a few times: the median in CPU of one thread and in the
clock's time, which is more where others use the machine. Printed are the median over cuts, the level that 95 % of them
stay under, and the largest.

``pass``: 100 steps and the lowest level to come, from bins to quantiles. ``forecast``: what the product asks, the
second pass that judges how typical the curve is and the paths included.
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the worker sets it, before numpy is loaded

import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.errors import CurveTooShort
from app.forecasting.pfn import PfnForecaster
from app.pfn.reading import read_run
from app.pfn.runtime import shipped_predictor
from benchmarks.forecast_accuracy import FAMILIES, SEEN, read_family
from benchmarks.usage import tell_if_asked

MOST_RUNS = 10
"""Of each family and metric."""

REPEATS = 7
N_STEPS = 100
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def main() -> None:
    tell_if_asked(__doc__)
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LOSSCAST_RUNS", "../shared/data"))
    if not directory.is_dir():
        sys.exit(f"No directory {directory}: give one with folders of CSV runs.")
    shipped_predictor()
    found = np.array([[_milliseconds(work) for work in _works(*cut)] for cut in _cuts(directory)])
    if not len(found):
        sys.exit(
            f"No run in {directory} can be forecast. It takes folders named after families: {', '.join(FAMILIES)}."
        )
    print(f"{len(found)} cuts of real runs [ms]\n")
    print("           CPU: median   95 %    most | clock: median   95 %    most")
    for name, spent in zip(("pass", "forecast"), found.transpose(1, 2, 0), strict=True):
        cells = [" ".join(f"{value:7.2f}" for value in np.quantile(each, [0.5, 0.95, 1.0])) for each in spent]
        print(f"{name:10} {cells[0]}     | {cells[1]}")


def _cuts(directory: Path) -> Iterator[tuple[Curve, Plan]]:
    for family in FAMILIES:
        for run in islice(read_family(directory / family, "train_loss"), MOST_RUNS):
            for fraction in SEEN:
                curve, plan = run.seen(fraction), run.plan()
                try:
                    _forecast(curve, plan)
                except CurveTooShort:
                    continue
                yield curve, plan


def _works(curve: Curve, plan: Plan) -> tuple[Callable[[], object], Callable[[], object]]:
    return lambda: _pass(curve, plan), lambda: _forecast(curve, plan)


def _steps(curve: Curve, plan: Plan) -> np.ndarray:
    return np.unique(np.linspace(curve.cutoff + 1, plan.total_steps, N_STEPS).astype(np.int64))


def _pass(curve: Curve, plan: Plan) -> object:
    steps = _steps(curve, plan)
    reading = read_run(curve, plan, np.append(steps, steps[-1]), minimum=np.arange(len(steps) + 1) == len(steps))
    return shipped_predictor().answer([reading])[0].quantiles(LEVELS)


def _forecast(curve: Curve, plan: Plan) -> object:
    return PfnForecaster().predict(curve, plan, _steps(curve, plan))


def _milliseconds(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and the clock's time."""
    work()
    spent = []
    for _ in range(REPEATS):
        cpu, clock = time.process_time(), time.perf_counter()
        work()
        spent.append((time.process_time() - cpu, time.perf_counter() - clock))
    medians = 1e3 * np.median(spent, axis=0)
    return float(medians[0]), float(medians[1])


if __name__ == "__main__":
    main()
