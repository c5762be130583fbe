"""How often the future of a learning rate is read off its past: real runs, the rest hidden, total known or not.

`python -m benchmarks.schedule_inference [DATA]`: DATA, or LOSSCAST_DATA, or ../shared/data, is a folder of folders of
runs, CSV with columns `step` and `lr` or JSONL with such keys. For every run everything after 20, 40, 60 and 80 % of
its steps is hidden. The error is the mean distance between the inferred rate and the logged one over the hidden steps,
as a fraction of the peak.

right    the error is below 5 %
held     no family was inferred, the last rate is kept (right where the rate was indeed constant)
misled   a family was inferred, and the error is above 10 %: what must not happen
error    median; beside it that of always holding the last rate
"""

from __future__ import annotations

import csv
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.curves.curve import Curve
from app.curves.inference.infer import infer_schedule
from benchmarks.usage import tell_if_asked

SEEN = (0.2, 0.4, 0.6, 0.8)
RIGHT, MISLED = 0.05, 0.10
FEWEST_RATES = 10

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    error: float
    error_of_holding: float
    is_known: bool
    milliseconds: float


def main() -> None:
    tell_if_asked(__doc__)
    data = _data_folder()
    if data is None:
        print("No runs: give a folder, e.g. python -m benchmarks.schedule_inference ../shared/data")
        return
    scores = _scores(data)
    print(f"{'runs':18s} {'seen':>5s} {'total':>8s} {'n':>4s} {'right':>6s} {'held':>6s} {'misled':>6s}"
          f" {'error':>7s} {'hold':>7s} {'ms':>5s}")  # fmt: skip
    for (folder, seen, knows_total), group in sorted(scores.items()):
        errors = np.array([score.error for score in group])
        known = np.array([score.is_known for score in group])
        print(
            f"{folder:18s} {seen:5.0%} {'known' if knows_total else 'unknown':>8s} {len(group):4d}"
            f" {np.mean(errors < RIGHT):6.0%} {np.mean(~known):6.0%} {np.mean(known & (errors > MISLED)):6.0%}"
            f" {np.median(errors):7.2%} {np.median([score.error_of_holding for score in group]):7.2%}"
            f" {np.median([score.milliseconds for score in group]):5.0f}"
        )


def _scores(data: Path) -> dict[tuple[str, float, bool], list[Score]]:
    scores: dict[tuple[str, float, bool], list[Score]] = defaultdict(list)
    for path in sorted((*data.glob("*/*.csv"), *data.glob("*/*.jsonl"))):
        steps, rates = _logged_rates(path)
        if len(steps) < FEWEST_RATES or rates.max() <= 0:
            continue
        for seen in SEEN:
            for knows_total in (False, True):
                score = _score(steps, rates, seen, knows_total)
                for name in (path.parent.name, "all"):
                    scores[name, seen, knows_total].append(score)
    return scores


def _score(steps: npt.NDArray[np.int64], rates: Floats, seen: float, knows_total: bool) -> Score:
    past = steps <= steps[0] + seen * (steps[-1] - steps[0])
    curve = Curve.from_points(steps[past], rates[past])
    began = time.perf_counter()
    inferred = infer_schedule(curve, total_steps=int(steps[-1]) if knows_total else None)
    took = 1e3 * (time.perf_counter() - began)
    peak = rates.max()
    error = np.abs(inferred.schedule.rate_at(steps[~past]) - rates[~past]).mean() / peak
    error_of_holding = np.abs(rates[past][-1] - rates[~past]).mean() / peak
    return Score(float(error), float(error_of_holding), inferred.is_known, took)


def _logged_rates(path: Path) -> tuple[npt.NDArray[np.int64], Floats]:
    pairs = dict(_rows(path))
    steps = np.array(sorted(pairs), dtype=np.int64)
    return steps, np.array([pairs[step] for step in steps.tolist()])


def _rows(path: Path) -> Iterator[tuple[int, float]]:
    with path.open() as file:
        rows = csv.DictReader(file) if path.suffix == ".csv" else map(json.loads, file)
        for row in rows:
            if row.get("lr") not in (None, "") and row.get("step") not in (None, ""):
                yield int(float(row["step"])), float(row["lr"])


def _data_folder() -> Path | None:
    said = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LOSSCAST_DATA")
    folder = Path(said) if said else Path(__file__).parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


if __name__ == "__main__":
    main()
