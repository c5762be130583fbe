"""How well one to three finished runs foresee the end of others under their schedules, and whether the bands hold.

Run ``python -m benchmarks.across_runs [DIRECTORY]``, with folders as for `benchmarks.forecast_accuracy`. Sets of one,
two and three runs of a recipe are drawn by chance (always the same), fitted by `app.forecasting.other_schedules`, and
asked for the final validation loss of every other run of the recipe. The model and data are one recipe; peak rate,
length and schedule differ. Printed apart: where the other run has a peak rate, or a length, beyond all fitted ones;
and, of two others of one length with peak rates within the fitted ones and above them, how often the one that was
predicted to end lower did.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.errors import BadInput
from app.forecasting.across_runs import SAME_PEAK
from app.forecasting.other_schedules.candidate import Candidate
from app.forecasting.other_schedules.compare import MOST_CANDIDATES, compare_schedules
from app.forecasting.other_schedules.comparison import Prediction
from app.forecasting.recorded_run import RecordedRun
from app.importers.recorded_run_file import NotARecordedRun, read_recorded_run
from benchmarks.usage import tell_if_asked

METRIC = "val_loss"
SETS = 16  # drawn of each size
RATIOS = (2.1, 5.1, np.inf)  # of a peak rate to the highest fitted one
MPL_WARMUP_STEPS = 2160

RECIPES: Mapping[str, Callable[[str], str | None]] = {
    "multipowerlaw": lambda name: name.split("_")[0],
    "lr_scheduling": lambda name: "L12" if "_L12_" in name else None,
}
"""Folder -> the recipe that a run's name tells."""


def main() -> None:
    tell_if_asked(__doc__)
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LOSSCAST_RUNS", "../shared/data")
    directory = Path(given)
    if not directory.is_dir():
        sys.exit(f"No directory {directory}: give one with folders of CSV runs.")
    print(
        "|error| of the final loss [%], share of runs inside the 90 % and 50 % bands, median width of the 90 % band [%]"
    )
    print(f"{'recipe':22} fitted {'the other':12}    n  median    mean cover90 cover50   band")
    for folder, recipe_of in RECIPES.items():
        for recipe, runs in read_recipes(directory / folder, recipe_of).items():
            asked = []
            for size in (1, 2, 3):
                of_size = list(predicted(runs, size))
                _print_rows(f"{folder} {recipe}", size, scored(of_size))
                asked += of_size
            _print_order(f"{folder} {recipe}", ranked(asked))


def read_recipes(folder: Path, recipe_of: Callable[[str], str | None]) -> dict[str, list[RecordedRun]]:
    """Runs that ended, by recipe."""
    recipes: dict[str, list[RecordedRun]] = defaultdict(list)
    for path in sorted(folder.glob("*.csv")):
        recipe = recipe_of(path.stem)
        if recipe is None:
            continue
        try:
            warmup = MPL_WARMUP_STEPS if folder.name == "multipowerlaw" else None
            run = read_recorded_run(path, METRIC, warmup_steps=warmup)
        except NotARecordedRun:
            continue
        if run.schedule is not None:
            recipes[recipe].append(run)
    return recipes


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What a set of fitted runs said of others.

    lowest, highest : of the fitted runs' peak rates
    predictions, actual : of each other run, and where it ended
    """

    lowest: float
    highest: float
    predictions: tuple[Prediction, ...]
    actual: Mapping[str, float]


def predicted(runs: Sequence[RecordedRun], size: int) -> Iterator[Asked]:
    """Sets of one size, drawn by chance, each asked for other runs of the recipe."""
    sets = list(itertools.combinations(range(len(runs)), size))
    rng = np.random.default_rng(size)
    chosen = rng.permutation(len(sets))[:SETS]
    for fitted in (sets[i] for i in chosen):
        left = [i for i in range(len(runs)) if i not in fitted]
        others = {runs[i].name: runs[i] for i in rng.permutation(left)[:MOST_CANDIDATES]}
        candidates = [
            Candidate(name, "explicit", run.schedule, int(run.steps[-1]))
            for name, run in others.items()
            if run.schedule is not None
        ]
        try:
            predictions = compare_schedules([runs[i] for i in fitted], candidates).predictions
        except BadInput as error:
            print(f"  left out: {error}")
            continue
        peaks = [run.schedule.peak for run in (runs[i] for i in fitted) if run.schedule is not None]
        yield Asked(min(peaks), max(peaks), predictions, {name: run.final_loss() for name, run in others.items()})


def scored(asked: Sequence[Asked]) -> dict[str, list[tuple[float, float, float, float]]]:
    """(|error|, inside 90 %, inside 50 %, width of the 90 % band), relative, by how far the other run goes."""
    rows: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    for one_set in asked:
        for one in one_set.predictions:
            actual, final = one_set.actual[one.candidate.words], one.final_quantiles
            notes = " ".join(one.notes)
            reach = "beyond peak" if "peak rate" in notes else "longer" if "as long" in notes else "within"
            rows[reach].append(
                (
                    abs(one.final_mean / actual - 1),
                    final[0.05] <= actual <= final[0.95],
                    final[0.25] <= actual <= final[0.75],
                    (final[0.95] - final[0.05]) / actual,
                )
            )
    return rows


def ranked(asked: Sequence[Asked]) -> dict[str, list[bool]]:
    """Whether the lower prediction of a pair ended lower, by how far the higher peak lies above the fitted ones."""
    rows: dict[str, list[bool]] = defaultdict(list)
    for one_set in asked:
        for pair in itertools.combinations(one_set.predictions, 2):
            low, high = sorted(pair, key=lambda one: one.candidate.schedule.peak)
            ratio = high.candidate.schedule.peak / one_set.highest
            is_one_length = low.candidate.total_steps == high.candidate.total_steps
            is_within = one_set.lowest / SAME_PEAK <= low.candidate.schedule.peak <= one_set.highest * SAME_PEAK
            if not is_one_length or not is_within or ratio <= SAME_PEAK:
                continue
            ends = [one_set.actual[one.candidate.words] for one in (low, high)]
            reach = next(f"up to {top:g} times" for top in RATIOS if ratio <= top)
            rows[reach].append((low.final_mean < high.final_mean) == (ends[0] < ends[1]))
    return rows


def _print_rows(label: str, size: int, rows: Mapping[str, Sequence[tuple[float, float, float, float]]]) -> None:
    for reach, scores in sorted(rows.items()):
        errors, inside, inside_half, widths = 100 * np.array(scores, dtype=np.float64).T
        print(
            f"{label:22} {size:6} {reach:12} {len(scores):4} {np.median(errors):7.2f} {errors.mean():7.2f} "
            f"{inside.mean():7.0f} {inside_half.mean():7.0f} {np.median(widths):6.2f}",
            flush=True,
        )


def _print_order(label: str, rows: Mapping[str, Sequence[bool]]) -> None:
    for reach, right in sorted(rows.items()):
        print(f"{label:22} one peak {reach} the fitted: {100 * np.mean(right):.0f} % of {len(right)} pairs in order")


if __name__ == "__main__":
    main()
