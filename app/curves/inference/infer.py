"""Which schedule family a logged learning rate follows, and so what it will do next.

The rate logged so far is compared with every family at once: each is a shape with a begin, a length and a floor, on a
grid that zooms into where it fits, and the families are weighed by their evidence. That gives the most probable family
and, from how much the others disagree about the future, how far to trust it. Where the data cannot tell, the answer is
`HOLD`: the rate stays what it is, and the text says so.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from app.curves.curve import Curve
from app.curves.inference.descent import Descent
from app.curves.inference.hypotheses import Hypothesis, weighed
from app.curves.inference.inferred import Floats, InferredSchedule, held, past
from app.curves.inference.patterns import repeated, stepwise
from app.curves.inference.turns import TURN, ends_rising, last_top, turns_of
from app.curves.schedule import Schedule, next_step

DOUBT_LIMIT = 0.15
"""Above this expected error of the future rate, as a fraction of the peak, an inference is refused."""

_FLAT = 3e-3  # a rate that has moved by less than this fraction of its peak is constant so far
_MISFIT = 0.01  # a family that is off by more than this fraction of the peak (rms) does not fit
_MIN_POINTS = 4  # of a decay, before it is looked at


def infer_schedule(rate: Curve, *, total_steps: int | None = None) -> InferredSchedule:
    """Family and future of a logged learning rate.

    Parameters
    ----------
    rate : Curve
        The learning rate logged so far: any spacing, rounded or not, with or without its warm-up.
    total_steps : int, optional
        Last step of the run, if known: it settles much that the curve alone leaves open. One that the log has passed
        is none. [steps]
    """
    kept = rate.values >= 0
    steps, rates = rate.steps[kept], rate.values[kept]
    if total_steps is not None and total_steps < rate.cutoff:
        total_steps = None
    if len(steps) < 2 or rates.max() <= 0:
        return held(steps, rates, total_steps, "Too few learning rates were logged to tell the schedule.")
    turns = turns_of(rates, TURN * float(rates.max()))
    if len(turns) == 2 and rates[turns[1]] > rates[turns[0]] and turns[1] >= len(rates) - 2:
        return held(steps, rates, total_steps, "The learning rate is still warming up; what follows is not known yet.")
    cycle = repeated(steps, rates, turns, total_steps)
    if cycle is not None:
        return cycle
    if ends_rising(rates, turns):
        why = "The learning rate rises again after a decay; what follows is not known."
        return held(steps, rates, total_steps, why)
    return _of_last_descent(steps, rates, turns, total_steps)


def _of_last_descent(steps: Floats, rates: Floats, turns: list[int], total_steps: int | None) -> InferredSchedule:
    """Judge the stretch since the last (re)start of the rate."""
    top = last_top(rates, turns)
    peak = float(rates[top])
    later_rates = rates[top:]
    if later_rates.min() >= (1.0 - _FLAT) * peak:
        why = f"The learning rate has been constant so far; a later decay cannot be seen coming, so {peak:.3g} is held."
        return held(steps, rates, total_steps, why)
    stepped = stepwise(steps, rates, top, total_steps)
    if stepped is not None:
        return stepped
    descent = Descent.of(steps, rates, top)
    if descent.n_falling < _MIN_POINTS:
        why = "The learning rate has only just begun to fall; the last one is held until its course shows."
        return held(steps, rates, total_steps, why)
    return _judged(steps, rates, descent, weighed(descent, total_steps), total_steps)


def _judged(
    steps: Floats, rates: Floats, descent: Descent, hypotheses: list[Hypothesis], total_steps: int | None
) -> InferredSchedule:
    """The best hypothesis, if it fits and if the others see about the same future."""
    best = hypotheses[0]
    cell = int(np.argmax(best.log_weights))
    if best.misfit > max(_MISFIT, 4.0 * descent.noise):
        why = "The learning rate falls as no schedule that is known here does; the last one is held."
        return held(steps, rates, total_steps, why)
    decay_end = _rounded_end(best, cell, float(steps[-1]), total_steps) if best.candidate.ends else None
    horizon = float(total_steps or decay_end or 2.0 * steps[-1])
    if horizon <= steps[-1]:
        horizon = next_step(float(steps[-1]))
    doubt = _doubt(descent, hypotheses, best, cell, np.linspace(float(steps[-1]), horizon, 129))
    if doubt > DOUBT_LIMIT:
        why = (
            f"The learning rate is falling, but schedules that fit it so far disagree by {100 * doubt:.0f} % "
            "of the peak on what follows; the last one is held."
        )
        return held(steps, rates, total_steps, why)
    ahead = _ahead(best, cell, float(steps[-1]), horizon, decay_end)
    future = Schedule.through(ahead, descent.peak * _at_least_zero(_moved(best, cell, decay_end, ahead)))
    why = _told(best, cell, descent, decay_end, doubt, total_steps)
    return InferredSchedule(best.candidate.family, past(steps, rates).then(future), decay_end, doubt, why)


def _doubt(descent: Descent, hypotheses: list[Hypothesis], best: Hypothesis, cell: int, ahead: Floats) -> float:
    """Expected distance between the best path and the others. [fraction of the peak]"""
    reference = best.heights(ahead, np.array([cell]))[0]
    top = max(float(h.log_weights.max()) for h in hypotheses)
    total, distance = 0.0, 0.0
    for hypothesis in hypotheses:
        cells = np.flatnonzero(hypothesis.log_weights > top - 8.0)
        if not len(cells):
            continue
        weights = np.exp(hypothesis.log_weights[cells] - top)
        apart = np.abs(hypothesis.heights(ahead, cells) - reference).mean(axis=1)
        total += float(weights.sum())
        distance += float(weights @ apart)
    return distance / total


def _rounded_end(best: Hypothesis, cell: int, last: float, total_steps: int | None) -> int:
    """The end of the decay: the roundest number that the data allow, since people choose round totals."""
    ends = best.begins + best.lengths
    end = float(ends[cell])
    if total_steps is not None and abs(end - total_steps) < 1.0:
        return total_steps
    weights = np.exp(best.log_weights - best.log_weights.max())
    spread = max(math.sqrt(float(weights @ (ends - end) ** 2 / weights.sum())), 2e-4 * (end - best.begins[cell]), 0.5)
    for digits in range(-len(str(int(end))), 1):
        rounded = round(end, digits)
        if abs(rounded - end) <= spread and (rounded > last) == (end > last):
            return int(rounded)
    return round(end)


def _ahead(best: Hypothesis, cell: int, last: float, horizon: float, decay_end: int | None) -> Floats:
    """Steps at which to sample the future: dense, and with a knot where the decay ends."""
    ahead = np.linspace(last, horizon, 1_025)
    begin = float(best.begins[cell])
    marks = [mark for mark in (begin, float(decay_end or last)) if last < mark < horizon]
    return np.unique(np.append(ahead, marks))


def _moved(best: Hypothesis, cell: int, decay_end: int | None, ahead: Floats) -> Floats:
    """Heights of the best path, with its end moved to the round number."""
    begins, lengths = best.begins.copy(), best.lengths.copy()
    if decay_end is not None:
        lengths[cell] = max(decay_end - begins[cell], 1.0)
    moved: Floats = replace(best, begins=begins, lengths=lengths).heights(ahead, np.array([cell]))[0]
    return moved


def _at_least_zero(heights: Floats) -> Floats:
    return np.maximum(heights, 0.0)


_IN_WORDS = {
    "cosine": "a cosine",
    "linear": "a straight line",
    "wsd_linear": "a stable phase and a straight line down",
    "wsd_sqrt": "a stable phase and a 1 - sqrt cool-down",
    "wsd_cosine": "a stable phase and half a cosine down",
    "wsd_exponential": "a stable phase and an exponential cool-down",
    "exponential": "an exponential decay",
    "inverse_sqrt": "an inverse square root",
    "polynomial": "a polynomial decay",
    "rex": "a REX decay",
}


def _told(
    best: Hypothesis, cell: int, descent: Descent, decay_end: int | None, doubt: float, total_steps: int | None
) -> str:
    family = best.candidate.family
    top = descent.peak * float(best.scales[cell])
    text = f"The logged learning rate follows {_IN_WORDS[family]}"
    if decay_end is not None:
        floor = float(best.floors[cell]) * top
        text += f", from {top:.3g} at step {best.begins[cell]:,.0f} to {floor:.3g} at step {decay_end:,}"
        if total_steps is None and family.endswith("linear") and decay_end > descent.steps[-1]:
            text += " (where a straight line ends cannot be seen; it is taken to go on to there)"
        if decay_end <= descent.steps[-1] and (total_steps is None or decay_end < total_steps):
            until = "" if total_steps is None else f" until step {total_steps:,}"
            return f"{text}; since then it has stayed there, and is taken to go on so{until}."
        if total_steps is not None and decay_end < total_steps:
            text += f", and is taken to stay there until step {total_steps:,}"
    return f"{text}; its future is known to within {100 * max(doubt, 0.001):.1f} % of the peak."
