"""How far off a forecast of the final loss is, on real runs cut short: a table per family of runs.

Run ``python -m benchmarks.forecast_accuracy [DIRECTORY]``; the directory holds one folder of CSV files a family
(columns step, lr, train_loss, val_loss) and is read from ``LOSSCAST_RUNS`` or ``../shared/data`` where not given.

Each run is hidden from 20, 40, 60 and 80 % of its steps on, forecast with its own schedule (logged, past and planned),
and scored on the mean of its last 2 % of points. The shipped prior was learned from these very families, by their
validation losses: `benchmarks.leave_one_out` makes the tables that count. A run counts where its rate is known to the
end, its final loss is finite and there are enough points before the cutoff; the table says how many did.
"""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.curves.curve import Curve
from app.curves.plan import Plan
from app.curves.schedule import Schedule
from app.errors import CurveTooShort
from app.forecasting.forecast import forecasters, mix
from app.forecasting.forecaster import Forecaster
from benchmarks.usage import tell_if_asked

Array = npt.NDArray[np.float64]

FAMILIES = ("multipowerlaw", "lr_scheduling", "modded_nanogpt", "algoperf", "small_runs")
SEEN = (0.2, 0.4, 0.6, 0.8)
METRICS = ("val_loss", "train_loss")
MPL_WARMUP_STEPS = 2160
"""The multi-power-law runs log from the end of the warm-up on."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedRun:
    """One metric of a run that ended, with the schedule it followed."""

    name: str
    schedule: Schedule
    steps: npt.NDArray[np.int64]
    values: Array
    total_steps: int

    def seen(self, fraction: float) -> Curve:
        known = self.steps <= fraction * self.total_steps
        return Curve.from_points(self.steps[known], self.values[known])

    def final_loss(self) -> float:
        """Mean of the last 2 % of the points, of the last one where they are few."""
        return float(np.mean(self.values[-max(1, round(0.02 * len(self.values))) :]))

    def plan(self) -> Plan:
        return Plan(
            total_steps=self.total_steps,
            total_source="declared",
            total_why="The run's last step.",
            schedule=self.schedule,
            schedule_source="declared",
            schedule_family="explicit",
            schedule_why="The run's own rate.",
        )


@dataclass(frozen=True, slots=True)
class Score:
    """One forecast against what happened. Errors are over the final loss [%]."""

    error: float
    covered: bool
    band: float
    milliseconds: float


def main() -> None:
    tell_if_asked(__doc__)
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LOSSCAST_RUNS", "../shared/data")
    directory = Path(given)
    if not directory.is_dir():
        sys.exit(f"No directory {directory}: give one with folders of CSV runs.")
    print("|error| of the final loss [%], share of runs inside the 90 % band, median width of that band [%]\n")
    print(f"{'family':32} seen   n forecaster  median    mean cover90   band   ms")
    for family in FAMILIES:
        for metric in METRICS:
            for label, runs in _groups(family, list(read_family(directory / family, metric))):
                for fraction in SEEN:
                    _print_rows(f"{label} {metric}", runs, fraction)


def read_family(folder: Path, metric: str) -> Iterator[RecordedRun]:
    """Every run of a folder whose rate and final loss are known."""
    for path in sorted([*folder.glob("*.csv"), *folder.glob("*.jsonl")]):
        steps, columns = _read_table(path)
        rates, values = columns.get("lr"), columns.get(metric, columns.get("loss"))
        if rates is None or values is None or (metric == "val_loss" and metric not in columns):
            continue
        rated, logged = np.isfinite(rates), ~np.isnan(values)
        if not rated.any() or logged.sum() < 10 or steps[rated][-1] < 0.9 * steps[-1]:
            continue
        rate_steps, rate_values = steps[rated].astype(np.float64), rates[rated]
        if folder.name == "multipowerlaw":
            start = min(MPL_WARMUP_STEPS, rate_steps[0] - 1)
            rate_steps = np.concatenate([[0.0, start], rate_steps])
            rate_values = np.concatenate([[0.0, rate_values[0]], rate_values])
        schedule = Schedule.through(rate_steps, rate_values)
        run = RecordedRun(path.stem, schedule, steps[logged], values[logged], int(steps[-1]))
        if np.isfinite(run.final_loss()):
            yield run


def score(run: RecordedRun, fraction: float, forecaster: Forecaster) -> Score | None:
    """None where too little was seen."""
    curve, plan, actual = run.seen(fraction), run.plan(), run.final_loss()
    started = time.perf_counter()
    try:
        forecast = mix(curve, plan, ((forecaster, 1.0),))
    except CurveTooShort:
        return None
    elapsed = time.perf_counter() - started
    low, median, high = (forecast.final_quantiles[level] for level in (0.05, 0.5, 0.95))
    return Score(
        error=100 * abs(median / actual - 1),
        covered=low <= actual <= high,
        band=100 * (high - low) / abs(actual),
        milliseconds=1e3 * elapsed,
    )


def _groups(family: str, runs: list[RecordedRun]) -> list[tuple[str, list[RecordedRun]]]:
    """Families apart where their schedules are: a cosine tells about its decay from the start, a WSD does not."""
    if family != "lr_scheduling":
        return [(family, runs)]
    cosine = [run for run in runs if "cos-" in run.name]
    return [(f"{family} WSD", [run for run in runs if run not in cosine]), (f"{family} cosine", cosine)]


def _print_rows(label: str, runs: Sequence[RecordedRun], fraction: float) -> None:
    for forecaster, _ in forecasters():
        scores = [found for run in runs if (found := score(run, fraction, forecaster))]
        if not scores:
            continue
        errors = [each.error for each in scores]
        print(
            f"{label:32} {fraction:4.0%} {len(scores):3} {forecaster.name:>10} {np.median(errors):7.2f} "
            f"{np.mean(errors):7.2f} {np.mean([each.covered for each in scores]):7.0%} "
            f"{np.median([each.band for each in scores]):6.2f} {np.median([each.milliseconds for each in scores]):4.1f}"
        )


def _read_table(path: Path) -> tuple[npt.NDArray[np.int64], dict[str, Array]]:
    """Steps and columns; a blank cell is NaN, and so is a NaN that was logged (the reader of CSVs cannot tell)."""
    with path.open(newline="") as file:
        if path.suffix == ".csv":
            rows = [dict(row) for row in csv.DictReader(file)]
        else:
            rows = [row for line in file if "step" in (row := json.loads(line))]
    steps = np.array([int(float(row["step"])) for row in rows], dtype=np.int64)
    names = [name for name in dict.fromkeys(key for row in rows for key in row) if name != "step"]
    wanted = [name for name in names if name in {"lr", "loss", *METRICS}]
    columns = {name: np.array([_number(row.get(name)) for row in rows]) for name in wanted}
    _, first = np.unique(steps, return_index=True)
    return steps[first], {name: column[first] for name, column in columns.items()}


def _number(cell: str | float | None) -> float:
    return float("nan") if cell is None or cell == "" else float(cell)


if __name__ == "__main__":
    main()
