"""What a run's metric has been so far, as policies read it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.errors import BadInput

Array = npt.NDArray[np.float64]

LEVEL_BINS = 5
"""A level is the median of so many bins: the least of many noisy values is mostly noise."""


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """A metric against the step, binned (`Curve.steps`, `Curve.values`) or as logged; may be empty.

    steps : float64, shape (n,), strictly increasing   [steps]
    values : float64, shape (n,), finite               [of the metric]
    """

    steps: Array
    values: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", np.asarray(self.steps, dtype=np.float64))
        object.__setattr__(self, "values", np.asarray(self.values, dtype=np.float64))
        if self.steps.ndim != 1 or self.steps.shape != self.values.shape or (np.diff(self.steps) <= 0).any():
            raise BadInput("A history has one value a step, and its steps increase strictly.")
        if not np.isfinite(self.values).all():
            raise BadInput("A history's values must be finite.")

    def __len__(self) -> int:
        return len(self.steps)

    @staticmethod
    def empty() -> History:
        return History(np.empty(0), np.empty(0))

    def until(self, step: float) -> History:
        """The part up to a step, itself included."""
        n = int(np.searchsorted(self.steps, step, side="right"))
        return History(self.steps[:n], self.values[:n])

    def mirrored(self) -> History:
        return History(self.steps, -self.values)

    def levels(self) -> Array:
        """Running median over up to `LEVEL_BINS` bins, each with those before it; shape (n,)."""
        n = len(self)
        if n == 0:
            return np.empty(0)
        padded = np.concatenate([np.full(LEVEL_BINS - 1, np.nan), self.values])
        windows = np.lib.stride_tricks.sliding_window_view(padded, LEVEL_BINS)
        return np.asarray(np.nanmedian(windows, axis=1))

    def level(self) -> float | None:
        """Where the metric stands now."""
        return float(np.median(self.values[-LEVEL_BINS:])) if len(self) else None

    def lowest(self) -> float | None:
        """The lowest level so far."""
        return float(self.levels().min()) if len(self) else None

    def reached(self, width: float) -> float | None:
        """The lowest level that was held over a stretch of `width` steps: what stopping now keeps.

        Medians of whole stretches and of the newest one, since the least of many noisy values lies below anything that
        the run can repeat. Of runs that fall it lies a little high, which speaks for going on.
        """
        if not len(self):
            return None
        number = np.floor(self.steps / width).astype(np.int64) if width > 0 else np.arange(len(self))
        pieces = np.split(self.values, np.flatnonzero(np.diff(number)) + 1)
        newest = self.values[self.steps > self.steps[-1] - width]
        held = [float(np.median(piece)) for piece in pieces[:-1]]
        return min([*held, float(np.median(newest)) if len(newest) else float(self.values[-1])])

    def strips(self, width: float) -> Array:
        """Mean of the values in each whole stretch of `width` steps so far that holds any: Prechelt's strips."""
        if not len(self) or width <= 0:
            return np.empty(0)
        number = np.floor(self.steps / width).astype(np.int64)
        whole = number < int(self.steps[-1] // width)
        _, starts = np.unique(number[whole], return_index=True)
        if not len(starts):
            return np.empty(0)
        counts = np.diff(np.append(starts, int(whole.sum())))
        return np.asarray(np.add.reduceat(self.values[whole], starts) / counts)
