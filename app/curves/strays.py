"""Steps that cannot be: which points of a metric lie so far from all others that they are no part of its curve.

A job that logs a clock or an overflowed counter as its step, once, would stretch the axis until everything else is one
bin. Such a point is stored and exported like any other; curves, charts and forecasts leave it out, and say so.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FAR = 100.0
"""A point is far beyond those before it when the gap is so many times as long as they are from first to last."""

LEAST_BEFORE = 16
"""Points that there must be before a gap: the first few say nothing of how long a run is."""

ALONE_SHARE = 0.05
MOST_ALONE = 50
"""Points behind a gap are left out while they are fewer than this share of those before it (and than 50, and of one
in any case): a run that really goes on there is shown with them from then on."""


def curve_range(
    steps: npt.NDArray[np.int64], *, before: int = 0, origin: int | None = None, last: int | None = None
) -> tuple[int, int]:
    """Which of a metric's points are its curve.

    Parameters
    ----------
    steps : int64, shape (n_points,), strictly increasing
    before, origin, last : int
        Of points that are known to be of the curve and lie before these: how many, their first and last step.

    Returns
    -------
    begin, end : int
        The curve is `steps[begin:end]`. Negative steps are no part of it where there are others.
    """
    begin = 0 if before else int(np.searchsorted(steps, 0)) % max(len(steps), 1)
    rest = steps[begin:]
    if not len(rest):
        return begin, len(steps)
    first = int(rest[0]) if origin is None else origin
    known = rest if last is None else np.concatenate([[np.int64(last)], rest])
    # As floats: steps may be 2^63 apart. What is lost in precision is nothing beside a gap of a hundred spans.
    at = known.astype(np.float64)
    gaps, spans = np.diff(at), np.maximum(at[:-1] - float(first), 1.0)
    counts = np.arange(len(gaps)) + (1 if last is None else before)
    for gap in np.flatnonzero((counts >= LEAST_BEFORE) & (gaps > FAR * spans)).tolist():
        if len(gaps) - gap < needed_behind(int(counts[gap])):
            return begin, len(steps) - (len(gaps) - gap)
    return begin, len(steps)


def needed_behind(before: int) -> int:
    """How many points behind a gap make it a part of the curve, with so many before it."""
    return max(2, min(MOST_ALONE, math.ceil(ALONE_SHARE * before)))


def is_far(step: int, *, before: int, origin: int, last: int) -> bool:
    """Whether a step lies far beyond the points before it."""
    return before >= LEAST_BEFORE and step - last > FAR * max(last - origin, 1)
