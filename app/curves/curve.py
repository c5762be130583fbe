"""The part of one metric seen so far, reduced to a few hundred bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.curves.bins import Bins
from app.errors import BadInput


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A metric against the step, reduced to bins; arrays have shape (n_bins,). May be empty.

    Parameters
    ----------
    steps : float64
        Mean step of the finite points in the bin, strictly increasing. [steps]
    values : float64
        Mean of the finite values, in the metric's own unit (a language model's loss: [nats/token]).
    counts : int64
        Finite points in the bin, at least 1.
    spreads : float64
        Standard deviation of the values inside the bin (divisor `counts - 1`), 0 where there is one point.
    cutoff : int
        Last step seen, with a finite value or not. [steps]
    nonfinite : int
        How many points were NaN or infinite.
    """

    steps: npt.NDArray[np.float64]
    values: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    spreads: npt.NDArray[np.float64]
    cutoff: int
    nonfinite: int

    def __post_init__(self) -> None:
        for name, dtype in (("steps", float), ("values", float), ("counts", np.int64), ("spreads", float)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=dtype))
        if self.steps.ndim != 1 or not (
            self.steps.shape == self.values.shape == self.counts.shape == self.spreads.shape
        ):
            raise BadInput("A curve's steps, values, counts and spreads must be one-dimensional and of equal length.")
        if not (np.isfinite(self.steps).all() and np.isfinite(self.values).all() and np.isfinite(self.spreads).all()):
            raise BadInput("A curve's bins must be finite; count NaN and infinite points in `nonfinite`.")
        if (np.diff(self.steps) <= 0).any():
            raise BadInput("A curve's steps must be strictly increasing.")
        if (self.counts < 1).any() or (self.spreads < 0).any() or self.nonfinite < 0:
            raise BadInput("A curve's counts must be at least 1, its spreads and `nonfinite` at least 0.")
        if len(self.steps) and self.steps[-1] > float(self.cutoff):
            raise BadInput(f"A curve's cutoff ({self.cutoff}) lies before its last bin ({self.steps[-1]:g}).")

    def __len__(self) -> int:
        return len(self.steps)

    @property
    def n_points(self) -> int:
        """Finite points seen, before the reduction to bins."""
        return int(self.counts.sum())

    @staticmethod
    def from_points(steps: npt.ArrayLike, values: npt.ArrayLike) -> Curve:
        """Reduce points to bins.

        Parameters
        ----------
        steps : int64, shape (n_points,)
            Strictly increasing. [steps]
        values : float64, shape (n_points,)
            NaN and the infinities are counted, not averaged.
        """
        all_steps, all_values = checked_points(steps, values)
        if not len(all_steps):
            return Curve(np.empty(0), np.empty(0), np.empty(0, np.int64), np.empty(0), cutoff=0, nonfinite=0)
        origin = int(all_steps[0])
        bins = Bins.empty().extended(offsets_from(origin, all_steps), all_values)
        return Curve.from_bins(bins, origin=origin, cutoff=int(all_steps[-1]))

    @staticmethod
    def from_bins(bins: Bins, *, origin: int, cutoff: int) -> Curve:
        """The curve that bins describe; bins without a finite value are left out."""
        nonfinite = int(bins.nonfinite.sum())
        seen = bins.counts > 0
        counts = bins.counts[seen]
        # Near 2**62 neighbouring steps are one and the same float64: keep the last bin of those that fall together.
        steps = np.minimum(origin + bins.mean_offsets[seen], float(cutoff))
        apart = np.append(np.diff(steps) > 0, True)[: len(steps)]
        variances = bins.deviations[seen] / np.maximum(counts - 1, 1)
        return Curve(steps[apart], bins.means[seen][apart], counts[apart], np.sqrt(variances[apart]), cutoff, nonfinite)


def checked_points(
    steps: npt.ArrayLike, values: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Steps and values as arrays, or `BadInput`: one value a step, steps whole and strictly increasing."""
    given = np.asarray(steps)
    all_values = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or given.shape != all_values.shape:
        raise BadInput(f"One value a step: got steps of shape {given.shape}, values of shape {all_values.shape}.")
    all_steps = given.astype(np.int64)
    if given.dtype.kind not in "iu" and not np.array_equal(all_steps, given):
        raise BadInput("Steps must be whole numbers.")
    if (all_steps[1:] <= all_steps[:-1]).any():
        raise BadInput("Steps must be strictly increasing.")
    return all_steps, all_values


def offsets_from(origin: int, steps: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """`steps - origin`, exact over the whole range of int64: the difference of -2**62 and 2**62 needs 64 bits."""
    return steps.astype(np.uint64) - np.int64(origin).astype(np.uint64)
