"""The learning rate that the job plans, in the form in which the server takes it.

A schedule known in full is what makes a forecast sharp: most of a run's last improvement comes from the decay, and the
decay cannot be seen in the past. A function or a list is sent as knots with straight lines between them; a jump is two
knots one step apart.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Dict, List, Tuple

from losscast.notices import Notices
from losscast.values import to_float, to_json, to_step, to_text

MAX_KNOTS = 512
TOLERANCE = 1e-5
"""Largest error of a knotted schedule as a part of its peak; doubled until the knots suffice."""

GRID = 4096
"""Intervals in which a function is looked at first; within one, only where it bends or jumps."""

SAMPLING_SECONDS = 2.0
"""`init` calls the job's function in the job's thread: a slow function is given up, not waited for."""

Knot = Tuple[int, float]


class UnusableSchedule(ValueError):
    """The text says what to hand in instead."""


def describe_schedule(schedule: Any, total_steps: int | None, notices: Notices) -> Dict[str, Any] | None:
    """The declared form of a schedule; None, with a warning, where it cannot be used.

    Parameters
    ----------
    schedule
        One of

        - a family in the API's words: ``{"family": "cosine", "warmup_steps": 500, "final_fraction": 0.1}``, or only
          its name, ``"constant"``;
        - a function of the step, ``step -> rate``, without side effects; called here, now, for steps from 0 to
          `total_steps`;
        - the rates of steps 0, 1, 2, ..., or pairs ``(step, rate)`` with straight lines between them. Two pairs at the
          same step are a jump at that step.
    total_steps
        The last step of training; a function needs it. [steps]
    """
    try:
        return _describe(schedule, total_steps)
    except UnusableSchedule as error:
        notices.warn("the schedule is not sent: %s", error)
    except Exception as error:
        notices.warn("the schedule is not sent: %r", error)
    return None


def _describe(schedule: Any, total_steps: int | None) -> Dict[str, Any]:
    if isinstance(schedule, str):
        return {"family": to_text(schedule)}
    if isinstance(schedule, Mapping):
        family: Dict[str, Any] = to_json(schedule)
        return family
    if callable(schedule):
        if total_steps is None:
            raise UnusableSchedule("a function needs total_steps as well")
        knots, tolerance = sample(schedule, total_steps)
    else:
        knots, tolerance = _listed(schedule), 0.0
    knots = thin_out(knots, tolerance)
    return {"family": "explicit", "steps": [step for step, _ in knots], "rates": [rate for _, rate in knots]}


def sample(rate: Callable[[int], Any], total_steps: int) -> Tuple[List[Knot], float]:
    """A function's values wherever it bends, and the error of the straight lines between them.

    Every interval of a grid is halved until its middle lies on the line between its ends, so that a kink or a jump is
    found to the step at the price of a dozen calls. What happens entirely between two points of the grid and is over
    by the second is not seen: with a million steps, a dip of less than 250 of them.
    """
    deadline = time.monotonic() + SAMPLING_SECONDS
    values: Dict[int, float] = {}

    def look(step: int) -> float:
        if step not in values:
            if time.monotonic() > deadline:
                raise UnusableSchedule(
                    f"the function took more than {SAMPLING_SECONDS:g} s; hand in (step, rate) pairs"
                )
            values[step] = _checked_rate(rate(step), step)
        return values[step]

    grid = sorted({round(i * total_steps / GRID) for i in range(GRID + 1)})
    peak = max(map(look, grid))
    tolerance = TOLERANCE * peak
    intervals = [(grid[i], grid[i + 1]) for i in range(len(grid) - 1)]
    while intervals:
        first, last = intervals.pop()
        middle = (first + last) // 2
        if middle == first:
            continue
        expected = _between((first, look(first)), (last, look(last)), middle)
        if abs(look(middle) - expected) > tolerance / 2:
            intervals += [(first, middle), (middle, last)]
    return sorted(values.items()), tolerance


def thin_out(points: Sequence[Knot], tolerance: float, max_knots: int = MAX_KNOTS) -> List[Knot]:
    """The fewest of these points, nearly, such that straight lines between them pass all others within a tolerance.

    The tolerance grows from what was asked until `max_knots` suffice.
    """
    peak = max(rate for _, rate in points)
    while True:
        knots = _on_lines(points, tolerance)
        if len(knots) <= max_knots:
            return knots
        tolerance = max(2 * tolerance, TOLERANCE * peak)


def _on_lines(points: Sequence[Knot], tolerance: float) -> List[Knot]:
    """One pass: lengthen a line for as long as everything it skips stays near it.

    `low` and `high` bound the slopes of the lines from the last knot that do so, the cone of C. M. Williams, "An
    efficient algorithm for the piecewise linear approximation of planar curves," CGIP 8, 1978. A jump between
    neighbours ends one line, and the next begins one step later: jumps stay.
    """
    knots = [points[0]]
    low, high = -math.inf, math.inf
    for at in range(1, len(points) - 1):
        (start, start_rate), (step, rate), (next_step, next_rate) = knots[-1], points[at], points[at + 1]
        low = max(low, (rate - tolerance - start_rate) / (step - start))
        high = min(high, (rate + tolerance - start_rate) / (step - start))
        if not low <= (next_rate - start_rate) / (next_step - start) <= high:
            knots.append(points[at])
            low, high = -math.inf, math.inf
    return knots + list(points[1:][-1:])


def _listed(schedule: Iterable[Any]) -> List[Knot]:
    try:
        entries = list(schedule)
    except TypeError:
        raise UnusableSchedule(
            f"{type(schedule).__name__} is none of: a family, a function of the step, rates, (step, rate) pairs"
        ) from None
    if not entries:
        raise UnusableSchedule("it is empty")
    if not _is_pair(entries[0]):
        return [(step, _checked_rate(entry, step)) for step, entry in enumerate(entries)]
    knots: Dict[int, float] = {}
    for entry in sorted(map(_pair, entries), key=lambda pair: pair[0]):
        step, rate = entry
        if step in knots:  # the earlier of the two held until the step before
            knots.setdefault(step - 1, knots[step])
        knots[step] = rate
    return sorted(knots.items())


def _is_pair(entry: Any) -> bool:
    try:
        return len(entry) == 2
    except TypeError:
        return False


def _pair(entry: Any) -> Knot:
    step, rate = entry
    whole = to_step(step)
    if whole is None:
        raise UnusableSchedule(f"{step!r} is no step")
    return whole, _checked_rate(rate, whole)


def _checked_rate(rate: Any, step: int) -> float:
    number = to_float(rate)
    if number is None or not math.isfinite(number) or number < 0:
        raise UnusableSchedule(f"the rate at step {step} is {rate!r}; it must be a finite number, at least 0")
    return number


def _between(first: Knot, last: Knot, step: int) -> float:
    return first[1] + (last[1] - first[1]) * (step - first[0]) / (last[0] - first[0])
