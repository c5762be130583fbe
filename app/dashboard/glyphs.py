"""Small drawings inside lines of text: made on the server, coloured by the stylesheet.

A drawing is an SVG used as a mask over a block of colour, so it follows the theme without being drawn twice, and
nothing of it is markup that a run's data could break out of: coordinates only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from app.runs import ForecastPoint

WIDTH, HEIGHT = 132, 34  # of the view box
POINTS = 60  # more would not be seen at this size
FEWEST_POINTS = 10  # fewer are no curve yet
LEAST_SHARE = 0.03  # of the run; less is a smudge at the left end
WHISKER = 8  # room at the right end for the predicted band


@dataclass(frozen=True, slots=True)
class Sparkline:
    """Two masks of one drawing: the loss so far, and the predicted final band at the run's horizon."""

    curve: str
    whisker: str | None


def sparkline(
    steps: npt.NDArray[np.float64],
    values: npt.NDArray[np.float64],
    horizon: int | None,
    forecast: ForecastPoint | None,
) -> Sparkline | None:
    """The loss against the whole of the run, so that the empty part is what is still to come.

    steps, values : ndarray, shape (n_points,), finite, steps increasing
    """
    if len(steps) < FEWEST_POINTS:
        return None
    at = np.unique(np.linspace(0, len(steps) - 1, POINTS).round().astype(np.intp))
    steps, values = steps[at], values[at]
    start, end = float(steps[0]), max(float(horizon or 0), float(steps[-1]))
    if float(steps[-1]) - start < LEAST_SHARE * (end - start):
        return None
    # The first drop would press everything else onto the floor.
    settled = values[steps > steps[0] + 0.05 * (steps[-1] - steps[0])]
    ends = [forecast.p05, forecast.p95] if forecast else []
    low, high = float(min([*settled, *ends])), float(max([*settled, *ends]))
    span = (high - low) or 1.0

    def x(step: float) -> float:
        return 1.5 + (WIDTH - WHISKER - 3) * (step - start) / max(end - start, 1.0)

    def y(value: float) -> float:
        return 3 + (HEIGHT - 6) * (1 - (min(max(value, low), high) - low) / span)

    points = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in zip(steps, values, strict=True))
    last = f"<circle cx='{x(steps[-1]):.1f}' cy='{y(values[-1]):.1f}' r='2.2' fill='black'/>"
    line = f"<polyline points='{points}' fill='none' stroke='black' stroke-width='1.5' stroke-linejoin='round'/>"
    if forecast is None:
        return Sparkline(_mask(line + last), None)
    return Sparkline(_mask(line + last), _mask(_whisker(y(forecast.p95), y(forecast.p50), y(forecast.p05))))


def _whisker(top: float, middle: float, bottom: float) -> str:
    x, end = WIDTH - 4, max(bottom, top + 1)
    return (
        f"<line x1='{x}' x2='{x}' y1='{top:.1f}' y2='{end:.1f}' stroke='black' stroke-width='2'/>"
        f"<circle cx='{x}' cy='{middle:.1f}' r='2.6' fill='black'/>"
    )


def _mask(drawing: str) -> str:
    svg = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}'>{drawing}</svg>"
    return f'url("data:image/svg+xml,{quote(svg, safe="")}")'


@dataclass(frozen=True, slots=True)
class RangeGlyph:
    """Where the last value and the predicted final band lie on one short line, in percent of its length."""

    low: float
    middle: float
    high: float
    last: float | None


def range_glyph(forecast: ForecastPoint, last_value: float | None) -> RangeGlyph:
    """Both ends of the line hold what must be seen: the band, and the last value if it is a number."""
    seen: Sequence[float] = [forecast.p05, forecast.p95]
    if last_value is not None and np.isfinite(last_value):
        seen = [*seen, last_value]
    low, high = min(seen), max(seen)
    span = (high - low) or 1.0

    def percent(value: float) -> float:
        return round(4 + 92 * (value - low) / span, 2)

    return RangeGlyph(
        low=percent(forecast.p05),
        middle=percent(min(max(forecast.p50, low), high)),
        high=percent(forecast.p95),
        last=percent(last_value) if last_value is not None and np.isfinite(last_value) else None,
    )
