"""Rates that fall in steps, and rates that repeat themselves: what they did is taken to go on."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from app.curves.inference.inferred import Floats, InferredSchedule, end_of, past
from app.curves.schedule import Schedule, next_step

_STEP = 0.05  # each level of a step schedule is lower than the last by at least this fraction of it
_MIN_POINTS = 4  # of a cycle that has come round, before it is compared with the last


def stepwise(steps: Floats, rates: Floats, top: int, total_steps: int | None) -> InferredSchedule | None:
    """A step schedule: levels, each held for a while, and drops between them."""
    peak = float(rates[top])
    moves = np.abs(np.diff(rates[top:]))
    still = moves <= 1e-4 * np.maximum(rates[top:-1], 1e-3 * peak)
    # One bin, or two, may straddle a drop.
    if still.mean() < 0.7 or not still[-2:].all() or len(still) < 4:
        return None
    drops = _drops(steps[top:], rates[top:], still)
    if not drops:
        return None
    levels = [peak, *(level for _, level in drops)]
    ratios = [after / before for before, after in pairwise(levels) if before > 0]
    where = ", ".join(f"{at:,.0f}" for at, _ in drops[-4:])
    text = f"The learning rate fell in {'a step' if len(drops) == 1 else 'steps'} at {where}"
    held = Schedule.constant(float(rates[-1]), first=float(steps[-1]), last=end_of(steps, total_steps))
    every = _regular_spacing([0.0, *(at for at, _ in drops)])
    is_regular = every is not None and max(ratios) - min(ratios) < 0.02 and len(drops) >= 2
    if not is_regular or every is None:
        schedule = past(steps, rates).then(held)
        return InferredSchedule("step", schedule, None, 0.0, f"{text}; no further step is assumed.")
    last, level = drops[-1]
    knots: list[tuple[float, float]] = [(float(steps[-1]), level)]
    while (last := last + every) < end_of(steps, total_steps) and len(knots) < 400:
        knots += [(last - 1.0, level), (last, level := level * ratios[-1])]
    knots = [knot for i, knot in enumerate(knots) if i == 0 or knot[0] > knots[i - 1][0]]
    future = Schedule(
        *map(np.array, zip(*[*knots, (max(end_of(steps, total_steps), next_step(knots[-1][0])), level)], strict=True))
    )
    why = f"{text}, every {every:,.0f} steps by a factor of {ratios[-1]:.3g}; it is taken to go on so."
    return InferredSchedule("step", past(steps, rates).then(future), None, 0.0, why)


def _drops(steps: Floats, rates: Floats, still: npt.NDArray[np.bool_]) -> list[tuple[float, float]]:
    """(step, level after it) of every drop between two levels; empty if something else than drops happens."""
    drops: list[tuple[float, float]] = []
    i = 0
    while i < len(still):
        if still[i]:
            i += 1
            continue
        j = i
        while j < len(still) and not still[j]:
            j += 1
        is_short = j - i <= 2
        if not is_short or rates[j] > (1.0 - _STEP) * rates[i]:
            return []
        drops.append((float(0.5 * (steps[j - 1] + steps[j])), float(rates[j])))
        i = j
    return drops


def _regular_spacing(marks: list[float]) -> float | None:
    spacings = np.diff(marks)
    # The first may be off by the warm-up, and each by the spacing of the log.
    regular = len(spacings) >= 2 and float(np.ptp(spacings)) < 0.05 * float(spacings.mean())
    return float(spacings[-1]) if regular else None


def repeated(steps: Floats, rates: Floats, turns: list[int], total_steps: int | None) -> InferredSchedule | None:
    """A cycle that has come round once and goes on as it did: the past, moved on by its period."""
    peak = float(rates.max())
    tops = [turns[k] for k in range(len(turns) - 1) if _is_top(rates, turns, k) and rates[turns[k]] >= 0.5 * peak]
    if len(tops) < 2:
        return None
    spacing = float(np.median(np.diff(steps)))
    guess, since = float(steps[tops[-1]] - steps[tops[-2]]), steps[tops[-2]]
    periods = guess + np.linspace(-2, 2, 41) * spacing
    periods = periods[periods > 4 * spacing]
    best: tuple[float, float] | None = None
    for period in periods:
        seen = steps >= since + period
        if seen.sum() < _MIN_POINTS or steps[-1] - since - period < 0.1 * period:
            continue
        error = float(np.median(np.abs(rates[seen] - np.interp(steps[seen] - period, steps, rates)))) / peak
        if best is None or error < best[0]:
            best = error, float(period)
    if best is None or best[0] > 0.01:
        return None
    error, period = best
    end = end_of(steps, total_steps) if total_steps else float(steps[-1]) + period
    n_cycles = math.ceil((end - steps[-1]) / period)
    if n_cycles > 400:
        return None
    cycle = (steps > steps[-1] - period) & (steps <= steps[-1])
    ahead = np.concatenate([steps[cycle] + (i + 1) * period for i in range(n_cycles)])
    future = Schedule.through(ahead, np.tile(rates[cycle], n_cycles)).until(max(end, next_step(float(ahead[0]))))
    why = f"The learning rate repeats itself every {period:,.0f} steps and is taken to go on so."
    return InferredSchedule("cyclic", past(steps, rates).then(future), None, error, why)


def _is_top(rates: Floats, turns: list[int], place: int) -> bool:
    here = rates[turns[place]]
    return bool((place == 0 or rates[turns[place - 1]] < here) and rates[turns[place + 1]] < here)
