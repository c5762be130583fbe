"""A metric's whole past in at most 128 blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MOST_BLOCKS = 128


@dataclass(slots=True)
class History:
    """Means of equally many points each; when there are too many blocks, neighbours are joined.

    The means are formed along a tree that depends on the points' numbers alone, so they are the same to the last bit
    however the points came.

    width : points in a block, a power of two
    steps, values : of each whole block, the mean
    partial : what waits for its block to be whole, by the power of two of its points: (mean step, mean value)
    """

    width: int = 1
    points: int = 0
    steps: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    partial: dict[int, tuple[float, float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.steps)

    def observe(self, steps: npt.NDArray[np.int64], values: Floats) -> Iterator[int]:
        """Take in finite points; yield, as each block becomes whole, the step of its last point."""
        begin = 0
        while begin < len(steps):
            room = (MOST_BLOCKS - len(self)) * self.width - self.points % self.width
            piece = slice(begin, begin + room)
            ends = steps[piece][self.width - self.points % self.width - 1 :: self.width].tolist()
            means = self._joined(steps[piece].astype(np.float64), values[piece])
            points = self.points + len(steps[piece])
            for end, step, value in zip(ends, *(mean.tolist() for mean in means), strict=True):
                self.steps.append(step)
                self.values.append(value)
                # Not the points behind the block: how many came with it depends on how the input was cut.
                self.points += self.width - self.points % self.width
                yield end
            self.points = points
            begin += room
            if len(self) == MOST_BLOCKS:
                self._double()

    def recent(self, share: float) -> tuple[Floats, Floats]:
        """Steps and values of the last `share` of the blocks."""
        begin = len(self) - max(1, round(share * len(self)))
        return np.array(self.steps[begin:]), np.array(self.values[begin:])

    def _joined(self, steps: Floats, values: Floats) -> tuple[Floats, Floats]:
        """Whole blocks, from what waited and what is new; the rest waits."""
        for power in range(self.width.bit_length() - 1):
            waited = self.partial.pop(power, None)
            if waited is not None:
                steps, values = np.append(waited[0], steps), np.append(waited[1], values)
            if len(steps) % 2:
                self.partial[power] = (float(steps[-1]), float(values[-1]))
            steps, values = _pairs(steps), _pairs(values)
        return steps, values

    def _double(self) -> None:
        self.width *= 2
        self.steps = _pairs(np.array(self.steps)).tolist()
        self.values = _pairs(np.array(self.values)).tolist()


def _pairs(numbers: Floats) -> Floats:
    whole = len(numbers) // 2 * 2
    means: Floats = 0.5 * (numbers[0:whole:2] + numbers[1:whole:2])
    return means
