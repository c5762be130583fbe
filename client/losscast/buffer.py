"""What was logged and is not sent yet: bounded, and thinned rather than cut when the server stays away for long."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Deque, Dict, List, Tuple

Row = Tuple[int, float, Dict[str, float]]
"""Step, wall clock [s since 1970], value of each metric. A plain tuple: it is made in every call of `log`."""

MAX_POINTS = 250_000
"""Two metrics every second for a day and a half."""

MAX_BYTES = 32 * 2**20
"""Rows are objects that Python's garbage collector walks over: more of them would be felt in the job."""

_ROW_BYTES = 200
_POINT_BYTES = 60  # a float, its place in a dict; measured with tracemalloc on rows of four metrics


CROWDED = 0.75
"""The part of the room from which on rows are thinned."""

THINNED_AT_ONCE = 16
"""Rows looked at in one call of `append`: thinning them all at once would hold the job up for half a second."""

TAKEN_AT_ONCE = 500
"""Rows taken while `append` has to wait: about half a millisecond."""


class Buffer:
    """Rows in the order in which they were logged.

    When it gets crowded, rows that follow another of the same metrics closely in time go, so that a long outage costs
    resolution, about the same everywhere, and no stretch of the curve. Rows that are rare beside others (a validation
    loss) stay longest. Only what cannot be thinned fast enough is dropped by age.
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
        # A pass of thinning moves rows from the left of `_rows` to the right of `_thinned`, a few with each append.
        self._thinned: Deque[Row] = deque()
        self._pass_rows = 0  # of the pass, in all; 0 between passes
        self._pass_left = 0
        self._pass_kept: Dict[Tuple[str, ...], float] = {}  # metrics -> time of the row kept last
        self._spacing = 0.0

    def __len__(self) -> int:
        return len(self._thinned) + len(self._rows)

    def append(self, row: Row) -> int:
        """Add a row; the number of rows that now wait."""
        with self._lock:
            self._rows.append(row)
            self.points += len(row[2])
            self._bytes += _cost(row)
            if self._pass_rows or self._fuller_than(CROWDED):
                self._thin()
            while self._fuller_than(1.0):
                self.dropped += len(self._take_oldest()[2])
            return len(self)

    def take(self, max_rows: int, max_cells: int) -> List[Row]:
        """Remove and return the oldest rows, as many as fit in a table of `max_cells`; at least one if any waits."""
        taken: List[Row] = []
        metrics: set[str] = set()
        while len(taken) < max_rows:
            portion = min(max_rows, len(taken) + TAKEN_AT_ONCE)
            with self._lock:
                while len(self) and len(taken) < portion:
                    metrics.update((self._thinned or self._rows)[0][2])
                    if taken and (len(taken) + 1) * len(metrics) > max_cells:
                        return taken
                    taken.append(self._take_oldest())
                if not len(self):
                    self._spacing = 0.0
                    return taken
        return taken

    def _fuller_than(self, part: float) -> bool:
        return self.points > part * self._max_points or self._bytes > part * self._max_bytes

    def _thin(self) -> None:
        if not self._pass_rows:
            self._begin_pass()
        for _ in range(min(THINNED_AT_ONCE, self._pass_left)):
            row = self._rows.popleft()
            metrics = tuple(row[2])
            # The distance, not the difference: a clock that was set back must not silence a metric.
            if abs(row[1] - self._pass_kept.get(metrics, math.inf)) >= self._spacing:
                self._pass_kept[metrics] = row[1]
                self._thinned.append(row)
            else:
                self._discount(row)
                self.dropped += len(row[2])
            self._pass_left -= 1
        if not self._pass_left:
            self._end_pass()

    def _begin_pass(self) -> None:
        """Twice the mean distance halves rows of one kind; more is needed where several kinds take turns."""
        mean = abs(self._rows[-1][1] - self._rows[0][1]) / len(self._rows)
        self._spacing = max(2 * mean, self._spacing)
        self._pass_rows = self._pass_left = len(self._rows)
        self._pass_kept.clear()

    def _end_pass(self) -> None:
        if len(self._thinned) > 0.75 * self._pass_rows:
            self._spacing *= 2
        self._thinned.extend(self._rows)
        self._rows, self._thinned = self._thinned, deque()
        self._pass_rows = 0

    def _take_oldest(self) -> Row:
        if self._thinned:
            row = self._thinned.popleft()
        else:
            row = self._rows.popleft()
            self._pass_left = max(0, self._pass_left - 1)
        self._discount(row)
        return row

    def _discount(self, row: Row) -> None:
        self.points -= len(row[2])
        self._bytes -= _cost(row)


def _cost(row: Row) -> int:
    return _ROW_BYTES + _POINT_BYTES * len(row[2]) + sum(map(len, row[2]))
