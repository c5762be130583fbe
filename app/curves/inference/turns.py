"""Where a logged rate turns: its tops, its bottoms, and where its last descent begins."""

from __future__ import annotations

import numpy as np

from app.curves.inference.inferred import Floats

TURN = 0.05
"""A rise or fall of this fraction of the peak is a turn, not noise."""


def turns_of(rates: Floats, threshold: float) -> list[int]:
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


def ends_rising(rates: Floats, turns: list[int]) -> bool:
    """Whether the last leg goes up, and is still going."""
    return len(turns) > 2 and rates[turns[-1]] > rates[turns[-2]] and bool(rates[-1] >= 0.999 * rates[turns[-1]])


def last_top(rates: Floats, turns: list[int]) -> int:
    """Where the last descent begins: its highest point, the first one of a plateau."""
    if len(turns) < 2:
        return int(np.argmax(rates))
    falling = rates[turns[-1]] < rates[turns[-2]]
    after = turns[-2] if falling else turns[-1]
    since = turns[-3] if falling and len(turns) > 2 else turns[-2] if not falling else 0
    window = rates[since : after + 1]
    return since + int(np.argmax(window >= window.max() * (1.0 - 1e-6)))
