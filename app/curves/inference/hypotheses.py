"""Families of schedules, each weighed against one descent by its evidence.

A family is a shape with a begin, a length and a floor, on a grid that zooms into where it fits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.curves.families import cosine_shape, linear_shape, power_shape, rex_shape, sqrt_shape
from app.curves.inference.descent import Descent
from app.curves.inference.inferred import Floats

_EVIDENCE_POINTS = 60  # neighbouring rates err together: count no more independent points than this
_BEGINS, _LENGTHS, _ZOOMS = 7, 21, 8  # of the grid of a family

# Floors as fractions of the peak, with prior probabilities: what configs say. The rest goes to a floor fitted freely.
_FLOORS = {0.0: 0.50, 0.1: 0.20, 0.01: 0.05, 0.05: 0.05, 0.2: 0.04, 0.02: 0.02, 0.001: 0.02, 0.3: 0.01, 0.5: 0.01}
_FREE_FLOOR = 0.10
# With the total known: the probability that the decay ends with the run and not elsewhere.
_ENDS_WITH_RUN = 0.8

Shape = Callable[[Floats, Floats, Floats], Floats]


@dataclass(frozen=True, slots=True)
class Candidate:
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
    Candidate("cosine", _ending(cosine_shape), begins="start", ends=True),
    Candidate("linear", _ending(linear_shape), begins="start", ends=True),
    Candidate("wsd_linear", _ending(linear_shape), begins="break", ends=True),
    Candidate("wsd_sqrt", _ending(sqrt_shape), begins="break", ends=True),
    Candidate("wsd_cosine", _ending(cosine_shape), begins="break", ends=True),
    Candidate("wsd_exponential", _exponential, begins="break", ends=False),
    Candidate("exponential", _exponential, begins="start", ends=False),
    Candidate("inverse_sqrt", _inverse_sqrt, begins="start", ends=False),
    Candidate("polynomial", _ending(power_shape(2.0)), begins="start", ends=True),
    # Where the warm-up is a factor on a schedule that runs from step 0.
    Candidate("cosine", _ending(cosine_shape), begins="zero", ends=True),
    Candidate("linear", _ending(linear_shape), begins="zero", ends=True),
    Candidate("rex", _ending(rex_shape), begins="start", ends=True),
)
_PRIOR = {"cosine": 0.4, "linear": 0.2, "wsd_linear": 0.12, "inverse_sqrt": 0.05, "wsd_sqrt": 0.06, "exponential": 0.03}
_OTHER_PRIOR = 0.035  # each of the rest
_FROM_ZERO = 0.2  # of a family's prior, for the form that runs from step 0


@dataclass(frozen=True, slots=True, eq=False)
class Hypothesis:
    """One family with one floor, and its grid of begins and lengths.

    begins, lengths, log_weights, scales : float64, shape (n_cells,); scales are peaks / the observed top
    """

    candidate: Candidate
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


def weighed(descent: Descent, total_steps: int | None) -> list[Hypothesis]:
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


def _applies(descent: Descent, candidate: Candidate) -> bool:
    """A family with a stable phase needs room for one; one that runs from step 0, a warm-up and no restart."""
    if candidate.begins == "start":
        return True
    first, last = _begin_range(descent, candidate)
    return last > first if candidate.begins == "break" else descent.warms_up_once


def _begin_range(descent: Descent, candidate: Candidate) -> tuple[float, float]:
    return {"start": descent.start_range, "break": descent.break_range, "zero": (0.0, 0.0)}[candidate.begins]


def _floors_of(candidate: Candidate) -> list[tuple[float | None, float]]:
    if not candidate.ends:
        return [(0.0, 1.0)]
    return [*_FLOORS.items(), (None, _FREE_FLOOR)]


def _ends_of(candidate: Candidate, descent: Descent, total_steps: int | None) -> list[tuple[float | None, float]]:
    if not candidate.ends or total_steps is None or total_steps <= descent.steps[-1]:
        return [(None, 1.0)]
    return [(float(total_steps), _ENDS_WITH_RUN), (None, 1.0 - _ENDS_WITH_RUN)]


def _fitted(
    descent: Descent,
    candidate: Candidate,
    floor: float | None,
    end: float | None,
    begins_about: Floats | None = None,
) -> Hypothesis:
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
    return Hypothesis(candidate, floor, *cells, log_weights, scales, floors, float(misfits[best]))


def _lengths_for(
    descent: Descent, candidate: Candidate, floor: float | None, begins: Floats, end: float | None
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
    descent: Descent, candidate: Candidate, begins: Floats, lengths: Floats, floor: float | None
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


def _likelihood_of(descent: Descent, misfit: npt.ArrayLike) -> Floats:
    """Log-likelihood of a root mean square error.

    With heavy tails: the true family may be off by a step here or there, and a normal law would then be certain of
    whichever family is off least.
    """
    n = min(len(descent.heights), _EVIDENCE_POINTS)
    return np.asarray(-0.5 * n * np.log1p((np.asarray(misfit) / descent.noise) ** 2))
