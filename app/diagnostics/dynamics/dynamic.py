"""What is said of one thing that moves, and what it is read off."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NEWEST_SHARE = 0.2
"""Of the points; "now" is their median: a probe is noisy."""


@dataclass(frozen=True, slots=True)
class Dynamic:
    """One sentence about how something moves.

    kind : "massive_activations", "weight_distance", "noise_scale", "gradient_phase", "effective_rate",
        "geometry_phase" or "not_judged"
    metrics : what it was read off, by the names they were logged under
    numbers : for programs; None where something could not be said
    """

    kind: str
    metrics: tuple[str, ...]
    text: str
    numbers: dict[str, float | None] = field(default_factory=dict)


def now(values: Floats) -> float:
    """The median of the newest fifth."""
    return float(np.median(values[-max(3, round(NEWEST_SHARE * len(values))) :]))


def share_explained(values: Floats, fitted: Floats) -> float:
    """R², of the variance; 1 where there is none to explain."""
    total = float(((values - values.mean()) ** 2).sum())
    return 1.0 - float(((values - fitted) ** 2).sum()) / total if total > 0 else 1.0
