"""What the rooms hand each other about a run: plain, frozen records without a database or a wire in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt


class RunStatus(StrEnum):
    """What is stored of a run's life. `late` and `lost` are read off the heartbeat, never stored."""

    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Run:
    """One training job's history.

    `declared_plan` and `declared_roles` are what the job or a person said; what is concluded from the data lies in
    `Summary`.
    """

    id: str
    project: str
    name: str
    status: RunStatus
    config: Mapping[str, Any]
    tags: Sequence[str]
    declared_plan: Mapping[str, Any]  # {"total_steps": int, "schedule": {...}}: app.curves.plan reads it
    declared_roles: Mapping[str, str]  # metric name -> role
    created_at: datetime
    last_seen_at: datetime  # newest batch, heartbeat or start
    finished_at: datetime | None
    exit_message: str | None
    segment: int  # the current one, counted from 1
    arrivals: int  # batches stored; a counter that grows by one with each
    last_step: int | None  # the largest step stored in the current segment


@dataclass(frozen=True, slots=True)
class Segment:
    """One (re)start of a run. What it logs replaces what earlier ones logged beyond where it resumed."""

    number: int
    session: str
    started_at: datetime
    resume_step: int | None  # the checkpoint's, said by the job: the last one that still holds
    first_step: int | None  # the smallest step logged so far

    @property
    def replaces_from(self) -> int | None:
        """First step that earlier segments no longer show, logged again or not; None: none is replaced so far. [steps]

        Nothing is replaced before the segment has logged something: a start that dies at once loses no points.
        """
        if self.first_step is None or self.resume_step is None:
            return self.first_step
        return self.resume_step + 1


@dataclass(frozen=True, slots=True)
class Series:
    """One metric of one run, with its newest value."""

    id: int
    run_id: str
    metric: str
    points: int  # as received, duplicates included
    first_step: int | None
    last_step: int | None
    last_value: float | None  # None before the first point; may be NaN or infinite


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Points of one metric, steps strictly increasing.

    steps : int64, shape (n,)      [steps]
    values : float64, shape (n,)   NaN and the infinities are data
    times : float64, shape (n,)    wall clock of the job, NaN where it sent none [s since 1970]
    """

    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    times: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    @staticmethod
    def empty() -> Points:
        return Points(np.empty(0, np.int64), np.empty(0), np.empty(0))


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """What one request logged: rows of steps, columns of metrics.

    steps : int64, shape (n_rows,), any order, repeats allowed (the later row wins)   [steps]
    times : float64, shape (n_rows,), NaN where the job sent none                     [s since 1970]
    metrics : names of the columns
    values : float64, shape (n_metrics, n_rows)
    present : bool, shape (n_metrics, n_rows); False where a row has no value for a metric
    """

    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.float64]
    metrics: tuple[str, ...]
    values: npt.NDArray[np.float64]
    present: npt.NDArray[np.bool_]

    @property
    def n_points(self) -> int:
        return int(self.present.sum())


@dataclass(frozen=True, slots=True)
class SiblingRun:
    """Another run of the same project that a forecast listened to."""

    run_id: str
    similarity: float  # how alike it is, in [0, 1]
    name: str | None = None  # None where it was not looked up, or the run has been deleted since
    made: float = 1.0  # share of its steps at the mark that it had passed by then; 1: it had finished

    @property
    def was_going(self) -> bool:
        """Whether it had not ended when it was heard."""
        return self.made < 1


@dataclass(frozen=True, slots=True, eq=False)
class StoredForecast:
    """A forecast as it was made: kept with its cutoff, never overwritten.

    quantiles : float64, shape (n_levels, n_path); row i belongs to `levels[i]`
    """

    id: int
    run_id: str
    metric: str
    made_at: datetime
    cutoff: int
    horizon: int
    final_mean: float
    final_quantiles: Mapping[float, float]  # level -> value
    levels: tuple[float, ...]
    path_steps: npt.NDArray[np.int64]
    quantiles: npt.NDArray[np.float64]
    schedule: Mapping[str, Any]  # {"source", "family", "why", "steps": [...], "rates": [...]}
    forecasters: Mapping[str, Any]  # name -> {"weight", "final": {...}}
    notes: tuple[str, ...]
    siblings: tuple[SiblingRun, ...] = ()  # which it was judged from; none: from public runs only
    improvement: float | None = None  # probability of a new best level before the end; None where nobody said
    upper: float | None = None  # what an accuracy cannot exceed, 1 or 100; None for a loss

    @property
    def rises(self) -> bool:
        """Whether more is better."""
        return self.upper is not None


@dataclass(frozen=True, slots=True)
class ForecastPoint:
    """One past forecast of the final value, as the history chart shows it."""

    cutoff: int
    made_at: datetime
    horizon: int
    final_mean: float
    p05: float
    p50: float
    p95: float


class AlertState(StrEnum):
    """What is to be thought of an alert now."""

    OPEN = "open"
    RUN_OVER = "run_over"  # its cause had not passed when the run ended
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """An alert that fired, and whether its cause has passed."""

    id: int
    run_id: str
    project: str
    run_name: str
    run_status: RunStatus
    kind: str
    severity: str  # info | warning | critical
    metric: str | None
    step: int
    message: str
    evidence: Mapping[str, Any]
    fired_at: datetime
    resolved_at: datetime | None

    @property
    def state(self) -> AlertState:
        if self.resolved_at is not None:
            return AlertState.RESOLVED
        return AlertState.OPEN if self.run_status is RunStatus.RUNNING else AlertState.RUN_OVER


@dataclass(frozen=True, slots=True)
class Summary:
    """What the worker concluded about a run at its last refit: one row a run, for lists."""

    run_id: str
    metric: str | None  # the loss that is forecast
    last_step: int | None
    last_value: float | None  # may be NaN or infinite
    total_steps: int | None
    total_source: str | None  # declared | inferred | assumed | ended
    total_why: str | None
    schedule_source: str | None
    schedule_family: str | None
    schedule_why: str | None
    roles: Mapping[str, Any] = field(default_factory=dict)  # metric -> {"role", "rule"}
    forecast: ForecastPoint | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as a list shows it."""

    run: Run
    summary: Summary | None
    unresolved_alerts: int  # of a run that is over: those that were open when it ended
    worst_severity: str | None  # of these
    worst_alerts: int  # so many of these are of the worst severity

    @property
    def open_alerts(self) -> int:
        return self.unresolved_alerts if self.run.status is RunStatus.RUNNING else 0
