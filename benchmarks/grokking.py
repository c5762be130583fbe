"""How well grokking is called and timed, and the constants of the forecast.

    python -m benchmarks.grokking FOLDER...          the record of each folder of runs
    python -m benchmarks.grokking --fit FOLDER FOLDER FOLDER...    the constants of app/diagnostics/grokking.py, too

`python -m benchmarks.made_runs.grokking FOLDER` makes runs to fit to. Every file needs train and validation losses and
accuracies. What is counted is what the engine said at the time, in `losscast diagnose`'s order of steps.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from app.diagnostics.engine import Engine
from app.diagnostics.event import Event
from app.diagnostics.grokking import GENERALISED, HALF_WAY, NORMAL_90, SOLVED_ACCURACY, _logit
from app.diagnostics.signals import choose_inputs
from app.importers.curve_file import points_by_metric
from app.importers.run_files import find_run_files, read_file
from benchmarks.usage import tell_if_asked

CALLED_BEFORE = 0.3
NEVER = 0.2
"""A run that ends below this validation accuracy did not generalise within its budget."""

COVERED = 0.8


@dataclass(frozen=True)
class Outcome:
    """What became of one run, and what was said of it on the way."""

    name: str
    memorised_at: int | None
    accuracy_then: float
    at_30: int | None
    generalised_at: int | None
    last_step: int
    last_accuracy: float
    said: tuple[Event, ...]  # every version of every call

    @property
    def call(self) -> Event | None:
        return self.said[0] if self.said else None

    @property
    def furthest(self) -> float:
        """Progress that was said to be reached; minus infinity where nothing was said."""
        return max((float(event.evidence["progress"] or 0) for event in self.said), default=-math.inf)

    @property
    def is_grokking(self) -> bool:
        """Memorised while validation was below 30 %, and generalised at least half-way later."""
        return self.memorised_at is not None and self.accuracy_then < CALLED_BEFORE and self.last_accuracy >= HALF_WAY

    @property
    def is_called_in_time(self) -> bool:
        return self.call is not None and self.at_30 is not None and self.call.raised_at < self.at_30

    def looks(self) -> list[tuple[Event, float]]:
        """Versions of the call with the true logarithm of (step of generalisation / step)."""
        if self.generalised_at is None:
            return []
        steps = [(event, int(event.evidence["judged_at"] or 0)) for event in self.said]
        return [(event, math.log(self.generalised_at / step)) for event, step in steps if step < self.generalised_at]


def read_outcome(file: Path) -> Outcome | None:
    logged = points_by_metric(list(read_file(file).batches))
    engine = Engine(choose_inputs({metric: len(points) for metric, points in logged.items()}))
    names = [engine.inputs.metric(signal) for signal in ("train_accuracy", "val_accuracy")]
    if None in names:
        return None
    said = engine.observe({metric: (points.steps, points.values) for metric, points in logged.items()}).events
    train, held_out = (logged[name or ""] for name in names)
    memorised_at = _first(train.steps, train.values >= SOLVED_ACCURACY)
    last = int(np.searchsorted(held_out.steps, memorised_at or 0, side="right")) - 1
    return Outcome(
        name=file.stem,
        memorised_at=memorised_at,
        accuracy_then=float(held_out.values[max(last, 0)]),
        at_30=_first(held_out.steps, held_out.values >= CALLED_BEFORE),
        generalised_at=_first(held_out.steps, held_out.values >= GENERALISED),
        last_step=int(held_out.steps[-1]),
        last_accuracy=float(held_out.values[-1]),
        said=tuple(event for event in said if event.kind == "grokking" and event.resolved_at is None),
    )


def report(folder: str, runs: Sequence[Outcome]) -> None:
    grokking = [run for run in runs if run.is_grokking]
    never = [run for run in runs if run.memorised_at is not None and run.last_accuracy < NEVER]
    print(f"{folder}: {len(runs)} runs")
    in_time = [run for run in grokking if run.is_called_in_time]
    print(f"  called before 30 %: {len(in_time)} of {len(grokking)} grokking runs")
    print(f"  called though below 20 % at the end: {sum(run.call is not None for run in never)} of {len(never)}")
    held = [(run, _holds(event, truth)) for run in runs for event, truth in run.looks()]
    first = [_holds(*run.looks()[0]) for run in runs if run.looks()]
    each = [np.mean([ok for one, ok in held if one is run]) for run in runs if run.looks()]
    if held:
        print(f"  80 % interval held at the call: {sum(first)} of {len(first)}")
        print(f"  held over all looks: {sum(ok for _, ok in held)} of {len(held)}; a run's mean {np.mean(each):.2f}")
    for run in grokking:
        if not run.is_called_in_time:
            print(f"    late: {run.name}, called at {run.call and run.call.raised_at}, 30 % at {run.at_30}")


def fit(by_folder: Mapping[str, Sequence[Outcome]]) -> None:
    """The constants from all folders, and how those from the others do on each: a folder is a family of runs.

    Every run weighs the same within its folder. The spread covers 80 % of the looks at folders that were left out; for
    the score of a folder it is that of the others among themselves.
    """
    looks = {folder: [run.looks() for run in runs if run.looks()] for folder, runs in by_folder.items()}
    for folder in looks:
        others = {name: one for name, one in looks.items() if name != folder}
        held = _held(looks[folder], _least_surprising(others), _spread(others))
        print(f"{folder}: left out, held at the call {sum(one[0] for one in held)} of {len(held)}, ", end="")
        print(f"over all looks {sum(map(sum, held))} of {sum(map(len, held))}")
    print(f"REMAINING = ({', '.join(f'{one:.3f}' for one in _least_surprising(looks))})")
    print(f"REMAINING_SPREAD = {_spread(looks):.2f}")
    every = [run for runs in by_folder.values() for run in runs]
    memorised = [run for run in every if run.memorised_at is not None and run.accuracy_then < HALF_WAY]
    print(f"MEMORISED_RECORD = {_came(memorised)}")
    for reached in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5):
        print(f"  reached {reached}: {_came([run for run in memorised if run.furthest >= reached])}")


Looks = list[tuple[Event, float]]


def _held(runs: Sequence[Looks], parameters: np.ndarray, spread: float) -> list[list[bool]]:
    return [[abs(_residual(look, parameters)) <= NORMAL_90 * spread for look in looks] for looks in runs]


def _spread(folders: Mapping[str, Sequence[Looks]]) -> float:
    misses, weights = [], []
    for folder, runs in folders.items():
        parameters = _least_surprising({name: one for name, one in folders.items() if name != folder})
        for looks in runs:
            misses += [abs(_residual(look, parameters)) for look in looks]
            weights += [1 / len(looks) / len(runs)] * len(looks)
    order = np.argsort(misses)
    share = np.cumsum(np.array(weights)[order]) / sum(weights)
    return float(np.array(misses)[order][np.searchsorted(share, COVERED)]) / NORMAL_90


def _came(runs: Sequence[Outcome]) -> tuple[int, int]:
    came = sum(run.last_accuracy >= HALF_WAY for run in runs)
    return came, len(runs) - came


def _least_surprising(folders: Mapping[str, Sequence[Looks]]) -> np.ndarray:
    finished = [looks for runs in folders.values() for looks in runs]

    def squares(parameters: np.ndarray) -> float:
        each = [np.mean([_residual(look, parameters) ** 2 for look in looks]) for looks in finished]
        return float(np.mean(each)) + 1e-3 * float(parameters @ parameters)

    found: np.ndarray = minimize(squares, np.array([0.0, 1.0, -1.0]), method="Nelder-Mead").x
    return found


def _residual(look: tuple[Event, float], parameters: np.ndarray) -> float:
    event, truth = look
    gap = max(_logit(GENERALISED) - _logit(float(event.evidence["progress"] or 0)), 0.1)
    terms = np.array([1.0, math.log(gap), math.log(1 + float(event.evidence["speed"] or 0))])
    return math.log(truth) - float(terms @ parameters)


def _holds(event: Event, truth: float) -> bool:
    at = math.exp(truth) * float(event.evidence["judged_at"] or 0)
    return float(event.evidence["expected_from"] or 0) <= at <= float(event.evidence["expected_to"] or 0)


def _first(steps: np.ndarray, holds: np.ndarray) -> int | None:
    return int(steps[np.argmax(holds)]) if holds.any() else None


def main() -> None:
    tell_if_asked(__doc__)
    arguments = [one for one in sys.argv[1:] if one != "--fit"]
    if not arguments:
        sys.exit("Name folders of runs with train and validation losses and accuracies.")
    by_folder = {
        folder: [run for file in find_run_files(Path(folder)) if (run := read_outcome(file)) is not None]
        for folder in arguments
    }
    if "--fit" in sys.argv:
        if len(by_folder) < 3:
            sys.exit("It takes three folders: one is left out, and the others must be left out of each other.")
        fit(by_folder)
    for folder, runs in by_folder.items():
        report(folder, runs)


if __name__ == "__main__":
    main()
