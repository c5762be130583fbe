"""Scalars that others warn by and that decide nothing here: how they stand, and why no rule reads them.

Whoever logs one of them should not believe that it is watched.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from app.curves.roles import spelling
from app.diagnostics.dynamics.dynamic import Dynamic, Floats, now
from app.diagnostics.trend import fit_trend

FEWEST_POINTS = 12
BLOCKS = 40


@dataclass(frozen=True, slots=True)
class Unjudged:
    """what : the pattern of its names, spelled as in app.curves.roles; why : no rule reads it"""

    what: str
    why: str


UNJUDGED: Mapping[str, Unjudged] = {
    "rms_ratio": Unjudged(
        r"rms/ratio(/\w+)?|(^|/)rms/t$",
        "above the published 2.3 nothing followed in healthy runs, and before Adam's spikes it seldom rose",
    ),
    "log_z": Unjudged(
        r"(^|/)log/?z(/mean)?$|logsumexp|(^|/)mean/log/?z", "no published level, and it grows in runs that stay healthy"
    ),
    "sharpness": Unjudged(
        r"sharpness|lambda/max|hessian/(top|max)",
        "times the rate, gradient descent rises to 2 and Adam (beta1 0.9) to 38, and both go on training there",
    ),
    "alpha": Unjudged(
        r"(^|/)alpha(/req)?$", "a good exponent is known for image features only; collapse is judged by the rank"
    ),
    "lidar": Unjudged(r"(^|/)lidar(/rank)?$", "it needs classes of views that only the job knows how it chose"),
    "entropy": Unjudged(
        r"(^|/)(policy|action|attn|attention|router|routing|output)/entropy(/mean)?$",
        "it is meant to fall in some runs and not in others, and no labelled run of a collapse of it is at hand",
    ),
}


def unjudged_among(names: Iterable[str]) -> dict[str, str]:
    """What of it a run logs -> the metric, the shortest name of several."""
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (-len(name), name)):
        for signal, one in UNJUDGED.items():
            if re.search(one.what, spelling(name)):
                found[signal] = name
    return found


def unjudged(signal: str, metric: str, steps: Floats, values: Floats, rates: Floats | None = None) -> Dynamic | None:
    """How one of them stands; None with too few points.

    Parameters
    ----------
    signal : str
        A key of `UNJUDGED`.
    steps, values : shape (n,), steps increasing, values finite
    rates : shape (n,), optional
        Learning rate at these steps; read beside a sharpness.
    """
    if len(values) < FEWEST_POINTS:
        return None
    level = now(values)
    numbers: dict[str, float | None] = {
        "now": level,
        "smallest": float(values.min()),
        "largest": float(values.max()),
        "exponent": _exponent(steps, values),
    }
    text = f"{metric} is {level:.3g} now, {numbers['smallest']:.3g} to {numbers['largest']:.3g} so far"
    if numbers["exponent"] is not None:
        text += f", {'growing' if numbers['exponent'] > 0 else 'falling'} like step^{numbers['exponent']:.2f}"
    metrics: tuple[str, ...] = (metric,)
    if signal == "sharpness" and rates is not None:
        numbers["times_rate"] = now(values * rates)
        text += f"; times the rate {numbers['times_rate']:.3g}"
    text += f". No alert and no verdict rests on it: {UNJUDGED[signal].why}."
    return Dynamic("not_judged", metrics, text, numbers)


def _exponent(steps: Floats, values: Floats) -> float | None:
    """Of a power of the step through medians, where it is told from none."""
    used = (values > 0) & (steps > 0)
    if used.sum() < FEWEST_POINTS:
        return None
    pieces = np.array_split(np.flatnonzero(used), min(BLOCKS, int(used.sum())))
    at = np.array([float(steps[piece].mean()) for piece in pieces])
    trend = fit_trend(at, np.log([float(np.median(values[piece])) for piece in pieces]))
    return trend.slope if trend is not None and abs(trend.slope) > 2 * trend.slope_error else None
