"""How fast a run goes, by its own clock."""

from __future__ import annotations

import numpy as np
from sqlalchemy import Connection

from app.runs import Points, Run, RunStatus
from app.storage import points


def read_speed(connection: Connection, run: Run, metric: str | None) -> float | None:
    if metric is None or run.last_step is None or run.status is not RunStatus.RUNNING:
        return None
    recent = points.read_points(connection, run.id, metric, from_step=run.last_step - max(200, run.last_step // 20))
    return steps_per_second(recent)


def steps_per_second(recent: Points) -> float | None:
    """Speed of the last stretch by the job's own clock; None where it sent no times, or was not steady.

    An honest forecast of the end needs a speed that holds: where the two halves differ by more than a factor of
    three, it does not.
    """
    timed = np.isfinite(recent.times)
    steps, times = recent.steps[timed], recent.times[timed]
    if len(steps) < 5 or times[-1] <= times[0]:
        return None
    middle = len(steps) // 2
    halves = []
    for first, last in ((0, middle), (middle, len(steps) - 1)):
        seconds = float(times[last] - times[first])
        if seconds <= 0:
            return None
        halves.append(float(steps[last] - steps[first]) / seconds)
    if max(halves) > 3 * min(halves):
        return None
    return float(steps[-1] - steps[0]) / float(times[-1] - times[0])
