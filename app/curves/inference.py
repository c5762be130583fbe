"""Which schedule family a logged learning rate follows, and so what it will do next.

The rate logged so far is compared with every family at once: each is a shape with a begin, a length and a floor, on a
grid that zooms into where it fits, and the families are weighed by their evidence. That gives the most probable family
and, from how much the others disagree about the future, how far to trust it. Where the data cannot tell, the answer is
`HOLD`: the rate stays what it is, and the text says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from app.curves.curve import Curve
from app.curves.families import cosine_shape, linear_shape, power_shape, rex_shape, sqrt_shape
from app.curves.schedule import Schedule, next_step

Floats = npt.NDArray[np.float64]

HOLD = "hold"
"""The family of a schedule that nobody knows: the last rate is kept."""

DOUBT_LIMIT = 0.15
"""Above this expected error of the future rate, as a fraction of the peak, an inference is refused."""

_FLAT = 3e-3  # a rate that has moved by less than this fraction of its peak is constant so far
_TURN = 0.05  # a rise or fall of this fraction of the peak is a turn, not noise
_STEP = 0.05  # each level of a step schedule is lower than the last by at least this fraction of it
_MISFIT = 0.01  # a family that is off by more than this fraction of the peak (rms) does not fit
_RESOLUTION = 3e-5  # rates agree with their formula to no better than this fraction of the peak (off-by-ones, float32)
_MAX_POINTS = 100  # of the curve, thinned, that families are compared with
_EVIDENCE_POINTS = 60  # neighbouring rates err together: count no more independent points than this
_BEGINS, _LENGTHS, _ZOOMS = 7, 21, 8  # of the grid of a family
_MIN_POINTS = 4  # of a decay, before it is looked at

# Floors as fractions of the peak, with prior probabilities: what configs say. The rest goes to a floor fitted freely.
_FLOORS = {0.0: 0.50, 0.1: 0.20, 0.01: 0.05, 0.05: 0.05, 0.2: 0.04, 0.02: 0.02, 0.001: 0.02, 0.3: 0.01, 0.5: 0.01}
_FREE_FLOOR = 0.10
# With the total known: the probability that the decay ends with the run and not elsewhere.
_ENDS_WITH_RUN = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class InferredSchedule:
    """What the logged rate says about the schedule.

    family : our name of the family, or `HOLD`
    schedule : the logged rate so far and the inferred one from there to `decay_end` or the total
    decay_end : the step at which the decay arrives at its floor; None for a family without one [steps]
    doubt : expected absolute error of the future rate, from the disagreement of the hypotheses [fraction of the peak]
    why : one plain sentence
    """

    family: str
    schedule: Schedule
    decay_end: int | None
    doubt: float
    why: str

    @property
    def is_known(self) -> bool:
        """Whether the data told; otherwise the last rate is merely held."""
        return self.family != HOLD


def infer_schedule(rate: Curve, *, total_steps: int | None = None) -> InferredSchedule:
    """Family and future of a logged learning rate.

    Parameters
    ----------
    rate : Curve
        The learning rate logged so far: any spacing, rounded or not, with or without its warm-up.
    total_steps : int, optional
        Last step of the run, if known: it settles much that the curve alone leaves open. [steps]
    """
    kept = rate.values >= 0
    steps, rates = rate.steps[kept], rate.values[kept]
    if len(steps) < 2 or rates.max() <= 0:
        return _hold(steps, rates, total_steps, "Too few learning rates were logged to tell the schedule.")
    turns = _turns(rates, _TURN * float(rates.max()))
    if len(turns) == 2 and rates[turns[1]] > rates[turns[0]] and turns[1] >= len(rates) - 2:
        return _hold(steps, rates, total_steps, "The learning rate is still warming up; what follows is not known yet.")
    repeated = _repeat(steps, rates, turns, total_steps)
    if repeated is not None:
        return repeated
    if _ends_rising(rates, turns):
        why = "The learning rate rises again after a decay; what follows is not known."
        return _hold(steps, rates, total_steps, why)
    return _of_last_descent(steps, rates, turns, total_steps)


def _of_last_descent(steps: Floats, rates: Floats, turns: list[int], total_steps: int | None) -> InferredSchedule:
    """Judge the stretch since the last (re)start of the rate."""
    top = _last_top(rates, turns)
    peak = float(rates[top])
    later_rates = rates[top:]
    if later_rates.min() >= (1.0 - _FLAT) * peak:
        why = f"The learning rate has been constant so far; a later decay cannot be seen coming, so {peak:.3g} is held."
        return _hold(steps, rates, total_steps, why)
    stepped = _stepwise(steps, rates, top, total_steps)
    if stepped is not None:
        return stepped
    descent = _Descent.of(steps, rates, top)
    if descent.n_falling < _MIN_POINTS:
        why = "The learning rate has only just begun to fall; the last one is held until its course shows."
        return _hold(steps, rates, total_steps, why)
    return _judged(steps, rates, descent, _weighed(descent, total_steps), total_steps)


# Turns, steps and cycles.


def _turns(rates: Floats, threshold: float) -> list[int]:
    """Indices of the ends and of every extreme that the rate leaves by more than `threshold`."""
    turns, extreme, direction = [0], 0, 0
    for i in range(1, len(rates)):
        gone = rates[i] - rates[extreme]
        if direction == 0:
            if abs(gone) > threshold:
                direction, extreme = (1 if gone > 0 else -1), i
        elif gone * direction > 1e-3 * threshold:
            extreme = i  # ties and noise leave it where the extreme was first reached
        elif abs(gone) > threshold:
            turns.append(extreme)
            direction, extreme = -direction, i
    if direction and extreme != turns[-1]:
        turns.append(extreme)
    return turns


def _ends_rising(rates: Floats, turns: list[int]) -> bool:
    """Whether the last leg goes up, and is still going."""
    return len(turns) > 2 and rates[turns[-1]] > rates[turns[-2]] and bool(rates[-1] >= 0.999 * rates[turns[-1]])


def _last_top(rates: Floats, turns: list[int]) -> int:
    """Where the last descent begins: its highest point, the first one of a plateau."""
    if len(turns) < 2:
        return int(np.argmax(rates))
    falling = rates[turns[-1]] < rates[turns[-2]]
    after = turns[-2] if falling else turns[-1]
    since = turns[-3] if falling and len(turns) > 2 else turns[-2] if not falling else 0
    window = rates[since : after + 1]
    return since + int(np.argmax(window >= window.max() * (1.0 - 1e-6)))


def _stepwise(steps: Floats, rates: Floats, top: int, total_steps: int | None) -> InferredSchedule | None:
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
    held = Schedule.constant(float(rates[-1]), first=float(steps[-1]), last=_end(steps, total_steps))
    every = _regular_spacing([0.0, *(at for at, _ in drops)])
    is_regular = every is not None and max(ratios) - min(ratios) < 0.02 and len(drops) >= 2
    if not is_regular or every is None:
        schedule = _past(steps, rates).then(held)
        return InferredSchedule("step", schedule, None, 0.0, f"{text}; no further step is assumed.")
    last, level = drops[-1]
    knots: list[tuple[float, float]] = [(float(steps[-1]), level)]
    while (last := last + every) < _end(steps, total_steps) and len(knots) < 400:
        knots += [(last - 1.0, level), (last, level := level * ratios[-1])]
    knots = [knot for i, knot in enumerate(knots) if i == 0 or knot[0] > knots[i - 1][0]]
    future = Schedule(
        *map(np.array, zip(*[*knots, (max(_end(steps, total_steps), next_step(knots[-1][0])), level)], strict=True))
    )
    why = f"{text}, every {every:,.0f} steps by a factor of {ratios[-1]:.3g}; it is taken to go on so."
    return InferredSchedule("step", _past(steps, rates).then(future), None, 0.0, why)


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


def _repeat(steps: Floats, rates: Floats, turns: list[int], total_steps: int | None) -> InferredSchedule | None:
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
    end = _end(steps, total_steps) if total_steps else float(steps[-1]) + period
    n_cycles = math.ceil((end - steps[-1]) / period)
    if n_cycles > 400:
        return None
    cycle = (steps > steps[-1] - period) & (steps <= steps[-1])
    ahead = np.concatenate([steps[cycle] + (i + 1) * period for i in range(n_cycles)])
    future = Schedule.through(ahead, np.tile(rates[cycle], n_cycles)).until(max(end, next_step(float(ahead[0]))))
    why = f"The learning rate repeats itself every {period:,.0f} steps and is taken to go on so."
    return InferredSchedule("cyclic", _past(steps, rates).then(future), None, error, why)


def _is_top(rates: Floats, turns: list[int], place: int) -> bool:
    here = rates[turns[place]]
    return bool((place == 0 or rates[turns[place - 1]] < here) and rates[turns[place + 1]] < here)


# One descent, weighed against every family.


@dataclass(frozen=True, slots=True, eq=False)
class _Descent:
    """A rate that falls from a top, thinned, in units of that top.

    steps, heights : float64, shape (n,); heights are rates / peak
    start_range : the step at which the warm-up ended lies in here
    break_range : the step at which a stable phase ended, if there was one, lies in here
    noise : standard deviation to expect of the heights
    n_falling : points on the way down
    warms_up_once : a warm-up was logged, and no decay before the top
    """

    steps: Floats
    heights: Floats
    peak: float
    start_range: tuple[float, float]
    break_range: tuple[float, float]
    noise: float
    n_falling: int
    warms_up_once: bool

    @staticmethod
    def of(steps: Floats, rates: Floats, top: int) -> _Descent:
        peak = float(rates[top])
        start_range = _start_range(steps, rates, top)
        noise = max(_RESOLUTION, _rounding(rates) / peak, 0.3 / float(steps[-1] - steps[top]))
        inside = steps >= start_range[1]
        inside[top] = True
        later_steps, heights = steps[inside], rates[inside] / peak
        falling = heights < 1.0 - max(1e-3, 3.0 * noise)
        first = int(np.argmax(falling))
        n_falling = int(falling[first:].sum()) if falling.any() else 0
        leaves = float(later_steps[max(first - 1, 0)])
        slack = 0.1 * (float(later_steps[-1]) - leaves)
        # A plateau shorter than this is not told from the flat top of a cosine.
        earliest = start_range[1] + 0.05 * (float(later_steps[-1]) - start_range[1])
        break_range = max(leaves - slack, earliest), float(later_steps[first])
        thin = np.unique(np.linspace(0, len(heights) - 1, _MAX_POINTS).round().astype(int))
        if n_falling < _MAX_POINTS // 2:
            # A decay that has just begun must not drown in its plateau.
            thin = np.unique(np.concatenate([thin, np.arange(max(first - 2, 0), len(heights))]))
        fell = np.maximum.accumulate(rates[: top + 1]) - rates[: top + 1]
        warms_up_once = top > 0 and float(fell.max()) < _TURN * peak
        return _Descent(
            later_steps[thin], heights[thin], peak, start_range, break_range, noise, n_falling, warms_up_once
        )


def _start_range(steps: Floats, rates: Floats, top: int) -> tuple[float, float]:
    """Where the warm-up ended: about the top, or anywhere before it if no warm-up was logged."""
    if top == 0:
        return min(0.0, float(steps[0])), float(steps[0])
    after = float(steps[min(top + 1, len(steps) - 1)])
    return float(steps[top - 1]), after


def _rounding(rates: Floats) -> float:
    """Standard deviation of the rounding that the rates show: most of them are whole in some decimal place."""
    distinct = np.unique(rates[rates > 1e-6 * rates.max()])
    if len(distinct) < 8:
        return 0.0
    exponents = np.floor(np.log10(distinct))
    for digits in range(2, 7):
        unit = 10.0 ** (exponents - digits + 1)
        if np.mean(np.abs(distinct / unit - np.round(distinct / unit)) < 1e-6) > 0.5:
            return float(unit.max() / math.sqrt(12.0))
    return 0.0


Shape = Callable[[Floats, Floats, Floats], Floats]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A family as the grid sees it: heights from steps, begin and length; all broadcast."""

    family: str
    shape: Shape
    begins: str  # at the end of the warm-up ("start") or of a stable phase ("break"), or at step 0 ("zero")
    ends: bool  # arrives at a floor after its length


def _ending(progress_shape: Callable[[Floats], Floats]) -> Shape:
    return lambda steps, begin, length: progress_shape(np.clip((steps - begin) / length, 0.0, 1.0))


def _exponential(steps: Floats, begin: Floats, length: Floats) -> Floats:
    return np.asarray(np.exp(-np.maximum(steps - begin, 0.0) / length))


def _inverse_sqrt(steps: Floats, begin: Floats, length: Floats) -> Floats:
    return np.asarray(np.sqrt(length / (length + np.maximum(steps - begin, 0.0))))


_CANDIDATES = (
    _Candidate("cosine", _ending(cosine_shape), begins="start", ends=True),
    _Candidate("linear", _ending(linear_shape), begins="start", ends=True),
    _Candidate("wsd_linear", _ending(linear_shape), begins="break", ends=True),
    _Candidate("wsd_sqrt", _ending(sqrt_shape), begins="break", ends=True),
    _Candidate("wsd_cosine", _ending(cosine_shape), begins="break", ends=True),
    _Candidate("wsd_exponential", _exponential, begins="break", ends=False),
    _Candidate("exponential", _exponential, begins="start", ends=False),
    _Candidate("inverse_sqrt", _inverse_sqrt, begins="start", ends=False),
    _Candidate("polynomial", _ending(power_shape(2.0)), begins="start", ends=True),
    # Where the warm-up is a factor on a schedule that runs from step 0.
    _Candidate("cosine", _ending(cosine_shape), begins="zero", ends=True),
    _Candidate("linear", _ending(linear_shape), begins="zero", ends=True),
    _Candidate("rex", _ending(rex_shape), begins="start", ends=True),
)
_PRIOR = {"cosine": 0.4, "linear": 0.2, "wsd_linear": 0.12, "inverse_sqrt": 0.05, "wsd_sqrt": 0.06, "exponential": 0.03}
_OTHER_PRIOR = 0.035  # each of the rest
_FROM_ZERO = 0.2  # of a family's prior, for the form that runs from step 0


@dataclass(frozen=True, slots=True, eq=False)
class _Hypothesis:
    """One family with one floor, and its grid of begins and lengths.

    begins, lengths, log_weights, scales : float64, shape (n_cells,); scales are peaks / the observed top
    """

    candidate: _Candidate
    floor: float | None  # fraction of the peak; None: fitted freely
    begins: Floats
    lengths: Floats
    log_weights: Floats
    scales: Floats
    floors: Floats
    misfit: float  # rms of the best cell, in heights

    @property
    def log_evidence(self) -> float:
        top = float(self.log_weights.max())
        return top + math.log(float(np.exp(self.log_weights - top).sum()))

    def heights(self, steps: Floats, cells: npt.NDArray[np.intp]) -> Floats:
        """Shape (len(cells), len(steps))."""
        shape = self.candidate.shape(steps[None, :], self.begins[cells, None], self.lengths[cells, None])
        floors = self.floors[cells, None]
        return self.scales[cells, None] * (floors + (1.0 - floors) * shape)


def _weighed(descent: _Descent, total_steps: int | None) -> list[_Hypothesis]:
    """Every family that is in the running, with each floor; best first."""
    # A free floor fits at least as well as any other: families that fail with it are out.
    pilots = [_fitted(descent, candidate, None, None) for candidate in _CANDIDATES if _applies(descent, candidate)]
    best = max(_likelihood_of(descent, pilot.misfit) for pilot in pilots)
    survivors = [pilot for pilot in pilots if _likelihood_of(descent, pilot.misfit) > best - 25.0]
    hypotheses = []
    for pilot in survivors:
        candidate = pilot.candidate
        prior = math.log(
            _PRIOR.get(candidate.family, _OTHER_PRIOR) * (_FROM_ZERO if candidate.begins == "zero" else 1.0)
        )
        for floor, floor_prior in _floors_of(candidate):
            for end, end_prior in _ends_of(candidate, descent, total_steps):
                fitted = _fitted(descent, candidate, floor, end, pilot.begins)
                weight = prior + math.log(floor_prior) + math.log(end_prior)
                hypotheses.append(replace(fitted, log_weights=fitted.log_weights + weight))
    return sorted(hypotheses, key=lambda hypothesis: -hypothesis.log_evidence)


def _applies(descent: _Descent, candidate: _Candidate) -> bool:
    """A family with a stable phase needs room for one; one that runs from step 0, a warm-up and no restart."""
    if candidate.begins == "start":
        return True
    first, last = _begin_range(descent, candidate)
    return last > first if candidate.begins == "break" else descent.warms_up_once


def _begin_range(descent: _Descent, candidate: _Candidate) -> tuple[float, float]:
    return {"start": descent.start_range, "break": descent.break_range, "zero": (0.0, 0.0)}[candidate.begins]


def _floors_of(candidate: _Candidate) -> list[tuple[float | None, float]]:
    if not candidate.ends:
        return [(0.0, 1.0)]
    return [*_FLOORS.items(), (None, _FREE_FLOOR)]


def _ends_of(candidate: _Candidate, descent: _Descent, total_steps: int | None) -> list[tuple[float | None, float]]:
    if not candidate.ends or total_steps is None or total_steps <= descent.steps[-1]:
        return [(None, 1.0)]
    return [(float(total_steps), _ENDS_WITH_RUN), (None, 1.0 - _ENDS_WITH_RUN)]


def _fitted(
    descent: _Descent,
    candidate: _Candidate,
    floor: float | None,
    end: float | None,
    begins_about: Floats | None = None,
) -> _Hypothesis:
    """The grid of one family with one floor, zoomed until its cells resolve the peak of the likelihood.

    With `end` the decay arrives at its floor there, and only its begin is open. Begin and length trade off against each
    other, so every begin has a range of lengths of its own: a common one would zoom past the narrow ridge.
    `begins_about`, begins that fit with a free floor, save zooming in on them again.
    """
    first, last = _begin_range(descent, candidate)
    prior_width = max(last - first, 1.0)
    if begins_about is not None:
        middle, reach = float(np.median(begins_about)), float(np.ptp(begins_about))
        first, last = max(first, middle - reach), min(last, middle + reach)
    begins = np.linspace(first, last, _BEGINS if last > first else 1)
    for _ in range(_ZOOMS):
        lengths, row_widths = _lengths_for(descent, candidate, floor, begins, end)
        cells = np.repeat(begins, lengths.shape[1]), lengths.ravel()
        scales, floors, misfits, log_widths = _least_squares(descent, candidate, *cells, floor)
        scores = _likelihood_of(descent, misfits)
        by_begin = scores.reshape(lengths.shape).max(axis=1)
        at = int(np.argmax(by_begin))
        narrow = begins[max(at - 1, 0)], begins[min(at + 1, len(begins) - 1)]
        beside = by_begin[max(at - 1, 0) : at + 2].min()
        if by_begin[at] - beside < 1.0 or narrow[1] - narrow[0] < 0.1:
            break
        begins = np.linspace(*narrow, _BEGINS)
    width = max(float(begins[1] - begins[0]), 1e-6) / prior_width if len(begins) > 1 else 1.0
    log_weights = scores + math.log(min(width, 1.0)) + np.repeat(np.log(row_widths), lengths.shape[1]) + log_widths
    best = int(np.argmax(scores))
    return _Hypothesis(candidate, floor, *cells, log_weights, scales, floors, float(misfits[best]))


def _lengths_for(
    descent: _Descent, candidate: _Candidate, floor: float | None, begins: Floats, end: float | None
) -> tuple[Floats, Floats]:
    """For every begin: lengths about the best one, shape (n_begins, n), and the share of the prior each stands for."""
    if end is not None:
        return np.maximum(end - begins, 1.0)[:, None], np.ones(len(begins))
    seen = max(float(descent.steps[-1] - descent.steps[0]), 1.0)
    low = np.full(len(begins), math.log((0.05 if candidate.ends else 1e-3) * seen))
    high = np.full(len(begins), math.log(50.0 * seen))
    prior_width = float(high[0] - low[0])
    rows = np.arange(len(begins))
    for _ in range(_ZOOMS):
        logs = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, _LENGTHS)
        cells = np.repeat(begins, _LENGTHS), np.exp(logs).ravel()
        scores = _likelihood_of(descent, _least_squares(descent, candidate, *cells, floor)[2]).reshape(logs.shape)
        at = np.argmax(scores, axis=1)
        left, right = np.maximum(at - 1, 0), np.minimum(at + 1, _LENGTHS - 1)
        drop = scores[rows, at] - np.minimum(scores[rows, left], scores[rows, right])
        in_the_running = scores[rows, at] > scores.max() - 10.0
        if (drop[in_the_running] < 1.0).all():
            break
        sharp = drop >= 1.0
        low = np.where(sharp, logs[rows, left], low)
        high = np.where(sharp, logs[rows, right], high)
    return np.exp(logs), (high - low) / (_LENGTHS - 1) / prior_width


def _least_squares(
    descent: _Descent, candidate: _Candidate, begins: Floats, lengths: Floats, floor: float | None
) -> tuple[Floats, Floats, Floats, Floats]:
    """Best scale (and floor, where it is free) of every cell, its rms, and the log of the width of a free floor.

    Each of shape (n_cells,). The width, against a prior that is even over 0..1, is the price of the freedom.
    """
    shapes = candidate.shape(descent.steps[None, :], begins[:, None], lengths[:, None])
    heights = descent.heights
    if floor is None:
        means, height_mean = shapes.mean(axis=1), heights.mean()
        centred = shapes - means[:, None]
        squares = np.maximum((centred**2).sum(axis=1), 1e-12)
        slopes = (centred @ (heights - height_mean)) / squares
        bottoms = np.maximum(height_mean - slopes * means, 0.0)
        slopes = np.where(bottoms > 0, slopes, (shapes @ heights) / np.maximum((shapes**2).sum(axis=1), 1e-12))
        scales = np.maximum(slopes + bottoms, 1e-12)
        floors = np.clip(bottoms / scales, 0.0, 1.0)
        independent = min(len(heights), _EVIDENCE_POINTS) / len(heights)
        log_widths = np.log(np.minimum(2.5 * descent.noise / np.sqrt(squares * independent), 1.0))
    else:
        floors, log_widths = np.full(len(begins), floor), np.zeros(len(begins))
        models = floor + (1.0 - floor) * shapes
        scales = (models @ heights) / np.maximum((models**2).sum(axis=1), 1e-12)
    fitted = scales[:, None] * (floors[:, None] + (1.0 - floors[:, None]) * shapes)
    return scales, floors, np.sqrt(((fitted - heights) ** 2).mean(axis=1)), log_widths


def _likelihood_of(descent: _Descent, misfit: npt.ArrayLike) -> Floats:
    """Log-likelihood of a root mean square error.

    With heavy tails: the true family may be off by a step here or there, and a normal law would then be certain of
    whichever family is off least.
    """
    n = min(len(descent.heights), _EVIDENCE_POINTS)
    return np.asarray(-0.5 * n * np.log1p((np.asarray(misfit) / descent.noise) ** 2))


def _judged(
    steps: Floats, rates: Floats, descent: _Descent, hypotheses: list[_Hypothesis], total_steps: int | None
) -> InferredSchedule:
    """The best hypothesis, if it fits and if the others see about the same future."""
    best = hypotheses[0]
    cell = int(np.argmax(best.log_weights))
    if best.misfit > max(_MISFIT, 4.0 * descent.noise):
        why = "The learning rate falls as no schedule that is known here does; the last one is held."
        return _hold(steps, rates, total_steps, why)
    decay_end = _rounded_end(best, cell, float(steps[-1]), total_steps) if best.candidate.ends else None
    horizon = float(total_steps or decay_end or 2.0 * steps[-1])
    if horizon <= steps[-1]:
        horizon = next_step(float(steps[-1]))
    doubt = _doubt(descent, hypotheses, best, cell, np.linspace(float(steps[-1]), horizon, 129))
    if doubt > DOUBT_LIMIT:
        why = (
            f"The learning rate is falling, but schedules that fit it so far disagree by {doubt:.0%} of the peak on "
            "what follows; the last one is held."
        )
        return _hold(steps, rates, total_steps, why)
    ahead = _ahead(best, cell, float(steps[-1]), horizon, decay_end)
    future = Schedule.through(ahead, descent.peak * _at_least_zero(_moved(best, cell, decay_end, ahead)))
    why = _told(best, cell, descent, decay_end, doubt, total_steps)
    return InferredSchedule(best.candidate.family, _past(steps, rates).then(future), decay_end, doubt, why)


def _doubt(descent: _Descent, hypotheses: list[_Hypothesis], best: _Hypothesis, cell: int, ahead: Floats) -> float:
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


def _rounded_end(best: _Hypothesis, cell: int, last: float, total_steps: int | None) -> int:
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


def _ahead(best: _Hypothesis, cell: int, last: float, horizon: float, decay_end: int | None) -> Floats:
    """Steps at which to sample the future: dense, and with a knot where the decay ends."""
    ahead = np.linspace(last, horizon, 1_025)
    begin = float(best.begins[cell])
    marks = [mark for mark in (begin, float(decay_end or last)) if last < mark < horizon]
    return np.unique(np.append(ahead, marks))


def _moved(best: _Hypothesis, cell: int, decay_end: int | None, ahead: Floats) -> Floats:
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
    best: _Hypothesis, cell: int, descent: _Descent, decay_end: int | None, doubt: float, total_steps: int | None
) -> str:
    family = best.candidate.family
    top = descent.peak * float(best.scales[cell])
    text = f"The logged learning rate follows {_IN_WORDS[family]}"
    if decay_end is not None:
        floor = float(best.floors[cell]) * top
        text += f", from {top:.3g} at step {best.begins[cell]:,.0f} to {floor:.3g} at step {decay_end:,}"
        if total_steps is None and family.endswith("linear") and decay_end > descent.steps[-1]:
            text += " (where a straight line ends cannot be seen; it is taken to go on to there)"
        if total_steps is not None and decay_end < total_steps:
            text += f", and is taken to stay there until step {total_steps:,}"
    return f"{text}; its future is known to within {max(doubt, 0.001):.1%} of the peak."


def _past(steps: Floats, rates: Floats) -> Schedule:
    return Schedule.through(steps, rates)


def _hold(steps: Floats, rates: Floats, total_steps: int | None, why: str) -> InferredSchedule:
    if not len(steps):
        return InferredSchedule(HOLD, Schedule.constant(1.0, last=float(total_steps or 1)), None, 1.0, why)
    held = Schedule.constant(float(rates[-1]), first=float(steps[-1]), last=_end(steps, total_steps))
    return InferredSchedule(HOLD, _past(steps, rates).then(held), None, 1.0, why)


def _end(steps: Floats, total_steps: int | None) -> float:
    """Where a schedule without an end of its own is drawn to."""
    return max(float(total_steps or 0), next_step(next_step(float(steps[-1]))))
