"""How well one to three finished runs foresee the end of others under their schedules, and whether the bands hold.

Run ``python -m benchmarks.across_runs [DIRECTORY]``, with folders as for `benchmarks.forecast_accuracy`. Sets of one,
two and three runs of a recipe are drawn by chance (always the same), fitted by `app.forecasting.other_schedules`, and
asked for the final validation loss of every other run of the recipe. The model and data are one recipe; peak rate,
length and schedule differ. Printed apart: where the other run has a peak rate, or a length, beyond all fitted ones.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from app.errors import BadInput
from app.forecasting.other_schedules.candidate import Candidate
from app.forecasting.other_schedules.compare import MOST_CANDIDATES, compare_schedules
from app.forecasting.recorded_run import RecordedRun
from app.importers.recorded_run_file import NotARecordedRun, read_recorded_run
from benchmarks.usage import tell_if_asked

METRIC = "val_loss"
SETS = 16  # drawn of each size
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
            for size in (1, 2, 3):
                _print_rows(f"{folder} {recipe}", size, scored(runs, size))


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


def scored(runs: Sequence[RecordedRun], size: int) -> dict[str, list[tuple[float, float, float, float]]]:
    """(|error|, inside 90 %, inside 50 %, width of the 90 % band), relative, by how far the other run goes."""
    sets = list(itertools.combinations(range(len(runs)), size))
    rng = np.random.default_rng(size)
    chosen = rng.permutation(len(sets))[:SETS]
    rows: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
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
        for one in predictions:
            actual, final = others[one.candidate.words].final_loss(), one.final_quantiles
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


def _print_rows(label: str, size: int, rows: Mapping[str, Sequence[tuple[float, float, float, float]]]) -> None:
    for reach, scores in sorted(rows.items()):
        errors, inside, inside_half, widths = 100 * np.array(scores, dtype=np.float64).T
        print(
            f"{label:22} {size:6} {reach:12} {len(scores):4} {np.median(errors):7.2f} {errors.mean():7.2f} "
            f"{inside.mean():7.0f} {inside_half.mean():7.0f} {np.median(widths):6.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
