"""Sweeps of the learning rate that a project's ended runs make up."""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger, Text

from app.curves.reduction import Reduction
from app.curves.roles import spelling
from app.diagnostics.dynamics.best_rate import BestRate, best_rate
from app.diagnostics.dynamics.sensitivity import Sensitivity, SweptRun, sensitivity
from app.errors import NotFound
from app.forecasting.final_value import FINAL_SHARE
from app.runs import RunStatus
from app.storage.curves import read_curve_states
from app.verdicts.measured_end import final_error

NEWEST_RUNS = 300
"""Two reduced curves are read of each."""

ABOUT_THE_RATE = re.compile(
    r"(^|/)(lr|learning/rate|eta)(/|$)|^(peak/)?rate$|(^|/)(seed|random/state|run/name|output/dir)$|^(name|id|notes?|tags?)$"
)
"""Settings that may differ within a sweep: those of the rate, and those that tell runs apart and train nothing else."""

AS_LONG = 0.9
"""Of the longest run that is compared: one that ended well before is no end to compare, unless it became NaN."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A run of a sweep that has no end to compare, and why."""

    run_id: str
    name: str
    peak_rate: float
    why: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """Runs whose settings differ in the rate alone.

    settings : those in which this sweep differs from the project's others
    """

    metric: str
    settings: dict[str, Any]
    runs: tuple[SweptRun, ...]
    found: Sensitivity
    left_out: tuple[LeftOut, ...] = ()

    @property
    def best_rate(self) -> BestRate:
        return best_rate(self.runs, self.found)


@dataclass(frozen=True, slots=True)
class _Ended:
    run: SweptRun
    name: str
    was_stopped: bool
    metric: str
    settings: Mapping[str, Any]
    last_step: int


def read_sweeps(connection: Connection, project: str) -> list[Sweep]:
    """The largest first; empty where the rate was not swept. Raises `NotFound`."""
    if not connection.execute(
        text("SELECT count(*) FROM project WHERE name = :project"), {"project": project}
    ).scalar_one():
        raise NotFound(f"No project named {project!r}. GET /api/v1/projects lists the ones there are.")
    groups: dict[str, list[_Ended]] = defaultdict(list)
    for ended in _ended_runs(connection, project):
        if ended.settings:  # a job that says nothing of its settings cannot be told from others
            groups[json.dumps([ended.metric, ended.settings], sort_keys=True, default=str)].append(ended)
    swept = []
    for group in groups.values():
        group.sort(key=lambda one: one.run.peak_rate)
        longest = _longest_compared(group)
        reasons = [_why_left_out(one, longest) for one in group]
        runs = tuple(one.run for one, why in zip(group, reasons, strict=True) if not why)
        found = sensitivity(runs)
        if found is not None:
            left_out = tuple(
                LeftOut(one.run.run_id, one.name, one.run.peak_rate, why)
                for one, why in zip(group, reasons, strict=True)
                if why
            )
            swept.append((group[0], runs, found, left_out))
    differing = _differing([first.settings for first, *_ in swept])
    sweeps = [
        Sweep(first.metric, {name: first.settings.get(name) for name in differing}, runs, found, left_out)
        for first, runs, found, left_out in swept
    ]
    return sorted(sweeps, key=lambda sweep: (-len(sweep.runs), repr(sweep.settings)))


def _longest_compared(group: Sequence[_Ended]) -> int:
    """Last step of the longest run among those of one length that make up the widest sweep; 0 where there is none.

    Of runs of several lengths those of most rates are compared: one that went on for longer must not cost all others
    their sweep.
    """

    def width(longest: int) -> tuple[bool, int, int, int]:
        compared = [one.run for one in group if not _why_left_out(one, longest)]
        rates = {run.peak_rate for run in compared if math.isfinite(run.final)}
        return sensitivity(compared) is not None, len(rates), len(compared), longest

    lengths = {one.last_step for one in group if not one.was_stopped}
    return max(lengths, key=width, default=0)


def _why_left_out(one: _Ended, longest: int) -> str:
    """Empty where it is compared: it went as far as the others, or became NaN, which no more steps would mend."""
    if math.isnan(one.run.final):
        return ""
    if one.was_stopped:
        return f"stopped at step {one.last_step:,}"
    if one.last_step > longest:
        return f"went on to step {one.last_step:,}, beyond {longest:,}"
    return "" if one.last_step >= AS_LONG * longest else f"ended at step {one.last_step:,} of {longest:,}"


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    names = sorted({name for one in settings for name in one})
    return [name for name in names if len({repr(one.get(name)) for one in settings}) > 1]


def _ended_runs(connection: Connection, project: str) -> list[_Ended]:
    rows = connection.execute(
        text("""
            SELECT run.key, run.id, run.name, run.status, run.config, s.metric, s.conclusions -> 'roles' AS roles,
                EXISTS (SELECT FROM diagnosis_event e
                        WHERE e.run_key = run.key AND e.kind = 'divergence' AND e.resolved_at IS NULL) AS has_diverged
            FROM run JOIN project ON project.id = run.project_id JOIN run_summary s ON s.run_key = run.key
            WHERE project.name = :project AND run.status IN ('finished', 'failed', 'stopped') AND s.metric IS NOT NULL
            ORDER BY run.created_at DESC, run.key DESC LIMIT :limit
        """),
        {"project": project, "limit": NEWEST_RUNS},
    ).all()
    rates = {row.key: _rate_metric(row.roles or {}) for row in rows}
    curves = _reductions(connection, [row.key for row in rows], {*rates.values(), *(row.metric for row in rows)})
    found = (_ended(row, curves.get((row.key, row.metric)), curves.get((row.key, rates[row.key]))) for row in rows)
    return [one for one in found if one is not None]


def _ended(row: Row[Any], loss: Reduction | None, rate: Reduction | None) -> _Ended | None:
    if loss is None or rate is None or loss.last_step is None or not rate.bins.counts.sum():
        return None
    peak = float(rate.bins.maxima.max())
    if not 0 < peak < math.inf:
        return None
    first = float(loss.bins.maxima[0]) if loss.bins.counts[0] else math.nan
    error = final_error(loss.to_curve())
    run = SweptRun(
        run_id=row.id,
        peak_rate=float(f"{peak:.6g}"),
        final=final_level(loss),
        first=first,
        error=math.nan if error is None else error,
        has_diverged=row.has_diverged,
    )
    was_stopped = row.status == RunStatus.STOPPED
    return _Ended(run, row.name, was_stopped, row.metric, _other_settings(row.config), loss.last_step)


def final_level(loss: Reduction) -> float:
    """Over the last 2 % of the steps; NaN where one of them is not finite."""
    curve = loss.to_curve()
    if not len(curve) or loss.origin is None:
        return math.nan
    since = curve.cutoff - FINAL_SHARE * (curve.cutoff - loss.origin)
    if loss.last_nonfinite_step is not None and loss.last_nonfinite_step >= since:
        return math.nan
    # Where the run is so short that no bin lies there whole, its last bin.
    at = curve.steps >= min(since, float(curve.steps[-1]))
    return float(np.average(curve.values[at], weights=curve.counts[at]))


def _rate_metric(roles: Mapping[str, Mapping[str, Any]]) -> str:
    """As the worker saw it; of several the shortest name."""
    named = [metric for metric, match in roles.items() if match.get("role") == "lr"]
    return min(named, key=lambda metric: (len(metric), metric), default="")


def _other_settings(config: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Everything but the rate, by its path."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        path = f"{before}{name}"
        if isinstance(value, Mapping):
            found |= _other_settings(value, f"{path}.")
        elif not ABOUT_THE_RATE.search(spelling(path)):
            found[path] = value
    return found


def _reductions(connection: Connection, keys: Sequence[int], metrics: set[str]) -> dict[tuple[int, str], Reduction]:
    rows = connection.execute(
        text("SELECT id, run_key, metric FROM series WHERE run_key = ANY(:keys) AND metric = ANY(:metrics)").bindparams(
            bindparam("keys", type_=ARRAY(BigInteger)), bindparam("metrics", type_=ARRAY(Text))
        ),
        {"keys": list(keys), "metrics": sorted(metrics)},
    ).all()
    states = read_curve_states(connection, [row.id for row in rows])
    return {(row.run_key, row.metric): states[row.id].reduction for row in rows if row.id in states}
