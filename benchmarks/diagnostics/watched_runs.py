"""Recorded runs, what the engine says of them point by point, and which of it a person would be told."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.diagnostics.engine import Engine
from app.diagnostics.event import Event, Severity
from app.diagnostics.signals import Inputs, choose_inputs
from app.importers.curve_file import points_by_metric
from app.importers.run_files import read_file
from benchmarks.diagnostics.published_rules import Rule

Floats = npt.NDArray[np.float64]

ALARMS = frozenset({"nonfinite", "cold_start", "spike", "divergence", "divergence_risk", "plateau", "dead"})
MERGED = 100
FAILED = ("DIVERGED", "lm_sgd_diverge", "lm_lrjump_diverge", "dead_lr", "cos-zero_slimpajama_L12_d768_lr0.005")
NOT_HEALTHY = (*FAILED, "SPIKE", "STUCK", "OVERFIT", "GROK", "NOGROK", "grok", "nogrok", "adamspike", "lm_badbatch",
               "lm_overfit", "lm_b2", "lrsens_qkFalse_lr3e-1", "lrsens_qkFalse_lr3e-2", "dead", "gan",
               "simsiam_collapse", "ss_nosg")  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    name: str
    logged: Mapping[str, tuple[npt.NDArray[np.int64], Floats]]
    inputs: Inputs

    @property
    def steps(self) -> npt.NDArray[np.int64]:
        return np.unique(np.concatenate([steps for steps, _ in self.logged.values()]))

    def aligned(self, signal: str, steps: npt.NDArray[np.int64]) -> Floats:
        """Its values at some steps: NaN where none was logged, infinite where what was logged is not finite."""
        metric = self.inputs.metric(signal)
        values = np.full(len(steps), np.nan)
        if metric is not None:
            own, logged = self.logged[metric]
            values[np.searchsorted(steps, own)] = np.where(np.isfinite(logged), logged, np.inf)
        return values


def data_folder() -> Path | None:
    given = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("LOSSCAST_DATA", "../shared/data")
    folder = Path(given)
    return folder if folder.is_dir() else None


def read_run(path: Path, data: Path) -> Run:
    logged = {m: (p.steps, p.values) for m, p in points_by_metric(list(read_file(path).batches)).items()}
    return Run(str(path.relative_to(data)), logged, choose_inputs({m: len(s) for m, (s, _) in logged.items()}))


def alarms(run: Run) -> list[Event]:
    """What a person would be told of; of events within `MERGED` points the first."""
    told = told_to_people(run)
    rows = np.searchsorted(run.steps, [event.raised_at for event in told])
    kept, newest = [], -(10**9)
    for row, event in zip(rows.tolist(), told, strict=True):
        if row - newest > MERGED:
            kept.append(event)
        newest = row
    return kept


def told_to_people(run: Run) -> list[Event]:
    return [event for event in events_of(run) if event.kind in ALARMS and event.severity is not Severity.INFO]


def events_of(run: Run) -> list[Event]:
    found = Engine(run.inputs).observe(run.logged)
    newest = {event.id: event for event in found.events}
    return sorted(newest.values(), key=lambda event: event.raised_at)


def merged(rows: npt.NDArray[np.bool_]) -> list[int]:
    hits = np.flatnonzero(rows)
    return [int(hit) for i, hit in enumerate(hits) if i == 0 or hit - hits[i - 1] > MERGED]


def rule_rows(run: Run, rule: Rule) -> npt.NDArray[np.bool_]:
    steps = run.steps
    return rule(*(run.aligned(signal, steps) for signal in ("loss", "grad_norm", "val_loss")))


def fault_row(run: Run) -> int | None:
    """The first row at which something logged shows that the run fails."""
    steps = run.steps
    firsts: list[int] = []
    for metric in run.inputs.with_role("train_loss", "val_loss", "grad_norm"):
        own, values = run.logged[metric]
        bad = ~np.isfinite(values)
        if run.inputs.roles[metric] == "train_loss":
            above = bad | (values > 1.1 * values[0])
            runs = above[2:] & above[1:-1] & above[:-2]
            bad[:-2] |= runs if len(values) > 2 else False
        if bad.any():
            firsts.append(int(np.searchsorted(steps, own[int(np.argmax(bad))])))
    return min(firsts, default=None)


def doublings(steps: npt.NDArray[np.int64], values: Floats) -> list[int]:
    """Steps at which a value first is twice the median of the hundred before; within thirty points they are one."""
    found, newest = [], -(10**9)
    for i in range(100, len(values)):
        if values[i] > 2 * np.median(values[i - 100 : i]):
            if i - newest > 30:
                found.append(int(steps[i]))
            newest = i
    return found


def spacing(run: Run) -> float:
    return float(np.median(np.diff(run.logged[run.inputs.metric("loss") or ""][0])))


def regimes(run: Run) -> list[int]:
    steps, rates = run.logged.get("lr", (np.empty(0, np.int64), np.empty(0)))
    jumps = np.flatnonzero(rates[1:] > 1.2 * rates[:-1]) + 1
    return [int(steps[i]) for i in jumps if i > 50]
