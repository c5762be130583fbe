"""Points of one metric within a window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A metric's points, steps strictly increasing.

    name : as it was logged; empty where the run has no such metric
    steps : int64, shape (n,) [steps]
    values : float64, shape (n,); NaN and the infinities are data
    """

    name: str
    steps: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.steps)

    @staticmethod
    def empty(name: str = "") -> Series:
        return Series(name, np.empty(0, np.int64), np.empty(0))

    def between(self, first: int | None, last: int | None) -> Series:
        """Points with `first <= step <= last`; None: no limit."""
        begin = 0 if first is None else int(np.searchsorted(self.steps, first))
        end = len(self) if last is None else int(np.searchsorted(self.steps, last, side="right"))
        return self if (begin, end) == (0, len(self)) else self.slice(begin, end)

    def slice(self, begin: int, end: int) -> Series:
        return Series(self.name, self.steps[begin:end], self.values[begin:end])

    def finite(self) -> Series:
        kept = np.isfinite(self.values)
        return self if kept.all() else Series(self.name, self.steps[kept], self.values[kept])

    def cut_before(self, steps: Sequence[int]) -> Iterator[tuple[int | None, Series]]:
        """Pieces, each with the step (one of `steps`) that it begins at or after; None for what lies before them all.

        Pieces may be empty: whoever resets something at a step must hear of it though no point came yet.
        """
        begin, at = 0, None
        for step in steps:
            end = int(np.searchsorted(self.steps, step))
            if at is not None or end > begin:
                yield at, self.slice(begin, end)
            begin, at = end, step
        if at is not None or begin < len(self):
            yield at, self.slice(begin, len(self))
