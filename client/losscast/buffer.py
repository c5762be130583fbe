"""What was logged and is not sent yet: bounded, and thinned rather than cut when the server stays away for long."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Deque, Dict, List, Tuple

Row = Tuple[int, float, Dict[str, float]]
"""Step, wall clock [s since 1970], value of each metric. A plain tuple: it is made in every call of `log`."""

MAX_POINTS = 500_000
"""Two metrics every second for three days."""

MAX_BYTES = 64 * 2**20

_ROW_BYTES = 200
_POINT_BYTES = 60  # a float, its place in a dict; measured with tracemalloc on rows of four metrics


class Buffer:
    """Rows in the order in which they were logged.

    When full, rows that follow another of the same metrics closely go, so that a long outage costs resolution, the same
    everywhere, and no stretch of the curve; rows that are rare beside others (a validation loss) stay longest.
    """

    def __init__(self, max_points: int = MAX_POINTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_points = max_points
        self._max_bytes = max_bytes
        self.dropped = 0
        self.clear()

    def clear(self) -> None:
        """Forget all rows and whoever held the lock: what a forked child does with its parent's."""
        # Re-entrant, because a signal handler may log in the middle of an append.
        self._lock = threading.RLock()
        self._rows: Deque[Row] = deque()
        self.points = 0
        self._bytes = 0
        self._spacing = 0.0

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, row: Row) -> int:
        """Add a row; the number of rows that now wait."""
        with self._lock:
            self._rows.append(row)
            self.points += len(row[2])
            self._bytes += _cost(row)
            if self.points > self._max_points or self._bytes > self._max_bytes:
                self._thin()
            return len(self._rows)

    def take(self, max_rows: int, max_cells: int) -> List[Row]:
        """Remove and return the oldest rows, as many as fit in a table of `max_cells`; at least one if any waits."""
        taken: List[Row] = []
        metrics: set[str] = set()
        with self._lock:
            while self._rows and len(taken) < max_rows:
                metrics.update(self._rows[0][2])
                if taken and (len(taken) + 1) * len(metrics) > max_cells:
                    break
                taken.append(self._forget_oldest())
            if not self._rows:
                self._spacing = 0.0
        return taken

    def _thin(self) -> None:
        """Drop rows that follow one of the same metrics too closely in time, until a quarter is free."""
        before = self.points
        span = self._rows[-1][1] - self._rows[0][1]
        # Go on from the last spacing: what is old has it already, so what is new comes down to the same.
        spacing = self._spacing or span / len(self._rows)
        while 0 < spacing <= span and self._crowded():
            self._keep(_spaced(self._rows, spacing))
            self._spacing, spacing = spacing, 2 * spacing
        while self._crowded():  # rows that all differ in their metrics, or a clock that stands still
            self._forget_oldest()
        self.dropped += before - self.points

    def _crowded(self) -> bool:
        return self.points > 0.75 * self._max_points or self._bytes > 0.75 * self._max_bytes

    def _keep(self, rows: Iterable[Row]) -> None:
        self._rows = deque(rows)
        self.points = sum(len(row[2]) for row in self._rows)
        self._bytes = sum(map(_cost, self._rows))

    def _forget_oldest(self) -> Row:
        row = self._rows.popleft()
        self.points -= len(row[2])
        self._bytes -= _cost(row)
        return row


def _spaced(rows: Iterable[Row], seconds: float) -> Iterator[Row]:
    kept_at: Dict[Tuple[str, ...], float] = {}
    for row in rows:
        metrics = tuple(row[2])
        # The distance, not the difference: a clock that was set back must not silence a metric.
        if abs(row[1] - kept_at.get(metrics, math.inf)) >= seconds:
            kept_at[metrics] = row[1]
            yield row


def _cost(row: Row) -> int:
    return _ROW_BYTES + _POINT_BYTES * len(row[2]) + sum(map(len, row[2]))
