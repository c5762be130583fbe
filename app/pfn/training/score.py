"""How good a network is on curves that it has not seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from app.pfn.bars import LARGEST_ANSWER, Bars
from app.pfn.training.examples import Examples

SEEN_SHARES = {"10": (0.0, 0.15), "20": (0.15, 0.3), "40": (0.3, 0.5), "60": (0.5, 0.7), "80": (0.7, 1.0)}
"""Groups of curves by how much of the way to the last step asked was seen, named by about their middle. [%]"""

LARGEST_ERROR = 10.0
"""Errors count as at most this many scales: the mean would be that of the curves that blow up alone."""


@dataclass(frozen=True, slots=True)
class Score:
    """Means over the queries of some curves.

    log_score : log density of what came, in units of each curve's scale      [nats]
    error : distance of the median from it, in that unit
    cover_50, cover_90 : share of what came inside the central bands
    error_of_bank, error_of_last : the same error of the closed-form fits alone, and of the recent level
    """

    n_curves: int
    log_score: float
    error: float
    cover_50: float
    cover_90: float
    error_of_bank: float
    error_of_last: float


def scores_of(bars: Bars, examples: Examples) -> dict[str, Score]:
    """The score of all curves ("all"), and by how much of them was seen."""
    inputs = examples.inputs
    targets = inputs.location + inputs.unit * np.clip(
        (examples.targets - inputs.location) / inputs.unit, -LARGEST_ANSWER, LARGEST_ANSWER
    )
    log_scores = bars.log_density(targets) + np.log(inputs.scale)
    levels = bars.cdf(targets)
    median = bars.quantiles([0.5])[0]

    def score(chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> Score:
        def error(forecast: np.ndarray[Any, np.dtype[np.float64]]) -> float:
            off = np.abs(forecast - targets) / inputs.scale
            return float(np.minimum(off, LARGEST_ERROR)[chosen].mean())

        inside = np.abs(levels[chosen] - 0.5)
        return Score(
            n_curves=int(chosen.sum()),
            log_score=float(log_scores[chosen].mean()),
            error=error(median),
            cover_50=float((inside <= 0.25).mean()),
            cover_90=float((inside <= 0.45).mean()),
            error_of_bank=error(inputs.location),
            error_of_last=error(np.broadcast_to(inputs.centre, targets.shape)),
        )

    groups = {
        name: (examples.seen_share > low) & (examples.seen_share <= high) for name, (low, high) in SEEN_SHARES.items()
    }
    return {"all": score(np.ones(len(examples), dtype=bool))} | {
        name: score(chosen) for name, chosen in groups.items() if chosen.any()
    }


def as_record(scores: dict[str, Score]) -> dict[str, dict[str, float]]:
    """For JSON, rounded to what it means."""
    return {name: {key: round(value, 5) for key, value in asdict(score).items()} for name, score in scores.items()}
