"""What is said of runs at rates that are too large: of those that end where they began, and of those that learn."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.diagnostics.watched_runs import Run, told_to_people

ENDS = ("fell back", "in between", "learned", "not finite")
STEADY_POINTS = 100
FIRST_POINTS = 5


def how_it_ended(run: Run) -> str:
    """A label made with hindsight: the mean of the last tenth, beside the lowest mean of a hundred points."""
    metric = run.inputs.metric("loss") or ""
    values = run.logged[metric][1]
    if not (np.isfinite(values) & (values > 0)).all():
        return "not finite"
    logs = np.log(values)
    sums = np.concatenate([[0.0], np.cumsum(logs)])
    best = float(((sums[STEADY_POINTS:] - sums[:-STEADY_POINTS]) / STEADY_POINTS).min())
    gained, lost = float(logs[:FIRST_POINTS].mean()) - best, float(logs[-len(logs) // 10 :].mean()) - best
    if lost >= max(0.5 * gained, math.log(1.02)):
        return "fell back"
    return "learned" if lost <= 0.25 * gained else "in between"


def print_fallen_back(runs: list[Run]) -> None:
    print("\nRuns by `python -m benchmarks.made_runs.too_fast`: what was said, by how they ended")
    print(f"{'ended':12s} {'runs':>5s} {'said something':>15s} {'divergence':>11s} {'still open':>11s}")
    for end in ENDS:
        said = [told_to_people(run) for run in runs if how_it_ended(run) == end]
        diverged = [[event for event in events if event.kind == "divergence"] for events in said]
        still = sum(any(event.is_open for event in events) for events in diverged)
        print(f"{end:12s} {len(said):5d} {sum(map(bool, said)):15d} {sum(map(bool, diverged)):11d} {still:11d}")
