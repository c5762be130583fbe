"""What was read of an imported run, in one line."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.runs import Batch

METRICS_SHOWN = 6


@dataclass(slots=True)
class Account:
    """What was read of a run, for the line that says so; rows that hold nothing are not counted."""

    rows: int = 0
    first_step: int | None = None
    last_step: int | None = None
    points: Counter[str] = field(default_factory=Counter)

    def add(self, batch: Batch) -> None:
        steps = batch.steps[batch.present.any(axis=0)]
        self.rows += len(steps)
        first, last = int(steps.min()), int(steps.max())
        self.first_step = first if self.first_step is None else min(self.first_step, first)
        self.last_step = last if self.last_step is None else max(self.last_step, last)
        for metric, present in zip(batch.metrics, batch.present, strict=True):
            self.points[metric] += int(present.sum())

    @property
    def spacing(self) -> float:
        """Mean distance of rows, at least 1. [steps]"""
        if self.first_step is None or self.last_step is None or self.rows < 2:
            return 1.0
        return max((self.last_step - self.first_step) / (self.rows - 1), 1.0)

    def told(self) -> str:
        """Rows, steps, and what the metrics were taken for."""
        from app.curves.roles import assign_roles, forecastable
        from app.importers.imported_run import counted

        roles = assign_roles(self.points)
        forecast = forecastable(roles, self.points)
        rates = [metric for metric, match in roles.items() if match.role == "lr"]
        others = [metric for metric in self.points if metric not in (*forecast, *rates)]
        parts = [f"{counted(self.rows, 'row')}, steps {self.first_step:,} to {self.last_step:,}"]
        if forecast:
            parts.append(f"forecast: {_listed(forecast)}")
        else:
            parts.append("no metric is known as a loss or an accuracy (--rename OLD=NEW)")
        parts.append(f"rate: {_listed(rates)}" if rates else "no learning rate")
        if others:
            parts.append(f"also {_listed(others)}")
        return "; ".join(parts)


def _listed(metrics: list[str]) -> str:
    more = len(metrics) - METRICS_SHOWN
    return ", ".join(metrics[:METRICS_SHOWN]) + (f" and {more} more" if more > 0 else "")
