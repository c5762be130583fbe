"""How fast a run goes, by the clock of its job: marks of when it was where, kept as its batches come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import Connection

from app.storage.pace import PaceMarks, marks_since, read_pace
from app.verdicts.durations import format_duration
from app.verdicts.targets import Arrival, arrive

MOST_MARKS = 400
"""Evenly over the steps of the run, whatever its length; a pause much shorter than the time between two marks is part
of the pace."""

MOST_NEW = 256
"""Batches that are looked at in one refit; of more, evenly many are left out."""

LOOK_SHARE = 0.005
"""The time left is worked out again when so much more of the run was made."""


def follow(connection: Connection, key: int, arrivals: int) -> PaceMarks:
    """The run's marks with those of the batches up to `arrivals`, not yet stored."""
    before = read_pace(connection, key)
    if arrivals <= before.arrivals:
        return before
    span = np.linspace(before.arrivals + 1, arrivals, min(arrivals - before.arrivals, MOST_NEW))
    new = marks_since(connection, key, np.unique(span.astype(np.int64)).tolist())
    return PaceMarks(arrivals, tuple(joined(before.marks, new)))


def joined(
    old: Sequence[tuple[int, float]], new: Sequence[tuple[int, float]], most: int = MOST_MARKS
) -> list[tuple[int, float]]:
    """Marks in order, steps and times rising, at most about `most` of them.

    A mark that lies behind takes those after it away, as a restart does with points: what is left between the last of
    before and the first of now is the time that the restart cost, rework included.
    """
    marks = list(old)
    for step, time in new:
        while marks and marks[-1][0] >= step:
            marks.pop()
        if not marks or time >= marks[-1][1]:
            marks.append((step, time))
    if len(marks) < 3:
        return marks
    # At once, not when there are too many: the newest stretch must not be seen more closely than those before it.
    gap = (marks[-1][0] - marks[0][0]) / most
    kept = [marks[0]]
    for mark in marks[1:-1]:
        if mark[0] - kept[-1][0] >= gap:
            kept.append(mark)
    return [*kept, marks[-1]]


def time_left(marks: Sequence[tuple[int, float]], total_steps: int) -> dict[str, Any] | None:
    """When the run ends, ready for JSON; None where its clock says too little.

    The same marks give the same answer: what is drawn is seeded by where the run stands.
    """
    if len(marks) < 2:
        return None
    steps, times = np.array(marks).T
    found = arrive(steps, times, total_steps, rng=np.random.default_rng(int(steps[-1])))
    return None if found is None else _told(found, int(steps[-1]), float(times[-1]))


def _told(found: Arrival, step: int, measured_at: float) -> dict[str, Any]:
    left = {f"p{round(100 * level):02d}": seconds for level, seconds in found.seconds.items()}
    pace = found.pace
    return {
        "at_step": step,
        "total_steps": found.step,
        "measured_at": _moment(measured_at),
        "seconds_left": left,
        "ends_at": {name: _moment(measured_at + seconds) for name, seconds in left.items()},
        "seconds_per_step": pace.seconds,
        "seconds_per_step_before": pace.before,
        "has_slowed": pace.has_dropped,
        "pauses": pace.pauses,
        "paused_share": pace.paused,
        "sentence": _sentence(found),
    }


def _moment(seconds: float) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, ValueError, OSError):
        return None  # a clock that is none, or an end beyond the year 9999


def _sentence(found: Arrival) -> str:
    low, middle, high = (format_duration(found.seconds[level]) for level in (0.05, 0.5, 0.95))
    left = f"About {middle} left" if low == high else f"About {middle} left ({low} to {high} in 90 of 100 cases)"
    return f"{left}. {found.pace.sentence}".strip()
