"""What the network is given and asked: curves seen up to a cutoff, their schedules, and steps to come.

Real runs and invented ones become the same `Tasks`, by the same rule of binning, so that the network meets nothing in
service that it was not trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Array = npt.NDArray[np.float64]

MAX_BINS = 48
"""Context bins of a task. Half as many as 96 trained 1.8 times as fast and scored alike."""

MAX_KNOTS = 96
"""Corners of a schedule. Smooth families stay within 2e-4 of the peak with this many."""

EARLIEST_DETAIL = 1e-3
"""The logarithm begins at this part of the cutoff; what lies before is in the first bin."""

_NEWTON_STEPS = 12  # from the right on a convex function: the last changes nothing in double precision
_NEARLY_THERE = 1e-8  # the next of Newton's steps is about as large as the square of the last


@dataclass(frozen=True, slots=True, eq=False)
class Tasks:
    """A batch of extrapolation tasks, padded; arrays float32 or bool, B tasks.

    Positions are steps over an arbitrary unit per curve (the horizon, for invented ones): only ratios mean anything.

    Parameters
    ----------
    positions, values, spreads, counts : shape (B, T)
        Of each context bin, in any order: mean step (above 0), mean value, standard deviation of the single points
        inside (0 where there is one), and number of points. Padding has position 1, count 1 and zeros.
    seen : bool, shape (B, T)
        Real bins, not padding.
    cutoff : shape (B,)
        Last step seen.
    horizon : shape (B,)
        Planned end, at least the cutoff; equal to the cutoff where it is unknown.
    horizon_known : bool, shape (B,)
    knots, rates : shape (B, K)
        Corners of the schedule, not decreasing, from 0 to at least the last query, and the learning rate there over
        the run's peak; linear between. Equal knots are a jump. Where the rate to come is unknown it is held; where
        the past is unknown it is 1 throughout.
    past_known, future_known : bool, shape (B,)
        Whether the rate is known up to the cutoff, and beyond it.
    queries : shape (B, Q)
        Steps asked about, beyond the cutoff.
    averaged : shape (B, Q)
        How many points the asked value is the mean of; infinite: the level itself, free of noise.
    minimum : bool, shape (B, Q)
        Asked is the lowest level between the cutoff and the query, not the value at it.
    """

    positions: Floats
    values: Floats
    spreads: Floats
    counts: Floats
    seen: Flags
    cutoff: Floats
    horizon: Floats
    horizon_known: Flags
    knots: Floats
    rates: Floats
    past_known: Flags
    future_known: Flags
    queries: Floats
    averaged: Floats
    minimum: Flags

    def __post_init__(self) -> None:
        n, n_bins = self.positions.shape
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(
            ("positions", "values", "spreads", "counts", "seen"), (n, n_bins)
        )
        shapes |= dict.fromkeys(("cutoff", "horizon", "horizon_known", "past_known", "future_known"), (n,))
        shapes |= dict.fromkeys(("knots", "rates"), (n, self.knots.shape[1]))
        shapes |= dict.fromkeys(("queries", "averaged", "minimum"), (n, self.queries.shape[1]))
        for name, shape in shapes.items():
            given = getattr(self, name).shape
            if given != shape:
                raise ValueError(f"Tasks: {name} has shape {given}, not {shape}.")

    def __len__(self) -> int:
        return len(self.cutoff)

    @staticmethod
    def together(batches: Sequence[Tasks]) -> Tasks:
        """One batch of several with as many bins: of fewer knots and queries, the last ones are repeated."""

        def joined(name: str) -> npt.NDArray[Any]:
            arrays = [getattr(batch, name) for batch in batches]
            if name not in ("knots", "rates", "queries", "averaged", "minimum"):
                return np.concatenate(arrays)
            places = np.arange(max(array.shape[1] for array in arrays))
            return np.concatenate([array[:, np.minimum(places, array.shape[1] - 1)] for array in arrays])

        return Tasks(**{field.name: joined(field.name) for field in fields(Tasks)})

    def rows(self, chosen: slice | npt.NDArray[np.intp] | Flags) -> Tasks:
        """Some of the tasks."""
        return replace(self, **{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """Tasks with their answers.

    Parameters
    ----------
    tasks : Tasks
    targets : float32, shape (B, Q)
        What was asked, in the unit of `tasks.values`.
    """

    tasks: Tasks
    targets: Floats

    def __len__(self) -> int:
        return len(self.tasks)

    def rows(self, chosen: slice | npt.NDArray[np.intp] | Flags) -> Labelled:
        return Labelled(self.tasks.rows(chosen), self.targets[chosen])


def bin_edges(first: npt.ArrayLike, cutoff: npt.ArrayLike, n_bins: int = MAX_BINS) -> Array:
    r"""Edges of the context bins: half even in the step, half in its logarithm.

    A bin spans an equal part of :math:`\tfrac12 (s - s_0)/(c - s_0) + \tfrac12 \ln(s/s_0)/\ln(c/s_0)`, from the first
    step seen :math:`s_0` to the cutoff :math:`c`: detail early, where the loss falls as a power of the step, and late,
    where the noise and the answer to the rate are.

    Parameters
    ----------
    first, cutoff : shape (B,), 0 < first <= cutoff

    Returns
    -------
    float64, shape (B, n_bins + 1)
        Bin k holds the points in (edge k, edge k + 1], the first bin its left edge too.
    """
    first, cutoff = np.broadcast_arrays(np.asarray(first, np.float64), np.asarray(cutoff, np.float64))
    ratio = np.clip(first / cutoff, EARLIEST_DETAIL, 1.0 - 1e-9)[..., None]
    depth = -np.log(ratio)
    parts = np.linspace(0.0, 1.0, n_bins + 1)[1:-1]
    # The place of exp(-y) * cutoff is convex in -y, so Newton's method from y = 0 comes down without overshooting.
    log_position = np.zeros((*first.shape, len(parts)))
    for _ in range(_NEWTON_STEPS):
        position = np.exp(log_position)
        place = 0.5 * (position - ratio) / (1.0 - ratio) + 0.5 * (1.0 + log_position / depth)
        step = (place - parts) / (0.5 * position / (1.0 - ratio) + 0.5 / depth)
        log_position -= step
        if np.abs(step).max() < _NEARLY_THERE:
            break
    inner = np.exp(log_position) * cutoff[..., None]
    return np.concatenate(
        [first[..., None], np.clip(inner, first[..., None], cutoff[..., None]), cutoff[..., None]], -1
    )


def bin_of(positions: Array, edges: Array) -> npt.NDArray[np.intp]:
    """Which bin each position of one curve falls in: positions shape (n,), edges shape (n_bins + 1,)."""
    return np.searchsorted(edges[1:-1], positions, side="left")
