"""Numbers, steps, spans of time and names as people read them."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from datetime import datetime

from app.verdicts.durations import format_duration as format_duration

MISSING = "–"

NOTHING_BESIDE = 1e-6
"""A positive end of an interval that is smaller than this share of the other is as good as zero."""

SMALLEST_DECIMAL = 1e-5
"""Beside a number without an exponent this one has none either: 0.0001014 – 0.01150."""


def format_value(value: float | None) -> str:
    """Four significant digits, trailing zeros kept so that columns of numbers line up: 2.800, 0.01230, 1.234e-5."""
    if value is None:
        return MISSING
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if value == 0.0:
        return "0"
    if _is_plain(value):
        text = f"{value:#.4g}"
        return text.rstrip(".") if "e" not in text else f"{float(text):.0f}"  # five digits before the point: 17440
    return _scientific(value)


def format_rate(rate: float | None) -> str:
    """A learning rate the way configs write it: 3e-4, 1.25e-5, 0.05."""
    if rate is None or not math.isfinite(rate):
        return format_value(rate)
    if rate == 0.0:
        return "0"
    if abs(rate) >= 1e-2:
        return f"{rate:.3g}"
    mantissa, exponent = f"{rate:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def format_count(number: float) -> str:
    """Three significant digits, thousands set apart and never an exponent: 0.25, 12.5, 1,090."""
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:.3g}"


def format_step(step: int | None) -> str:
    """12345 -> 12,345."""
    return MISSING if step is None else f"{step:,}"


def format_band(low: float, high: float) -> str:
    """The ends of an interval in one notation, joined as the numbers allow: an en dash is unreadable beside a minus.

    An end that is nothing beside the other is told by what it is below: < 1e-9 – 0.001152.
    """
    joint = " to " if low < 0 or high < 0 else " – "
    largest = max(abs(low), abs(high))
    if largest == 0.0 or not (math.isfinite(low) and math.isfinite(high)):
        return f"{format_value(low)}{joint}{format_value(high)}"
    least = math.floor(math.log10(NOTHING_BESIDE * min(largest, 1.0)))
    shown = _in_one_notation([end for end in (low, high) if end and not 0 < end < 10.0**least])
    return joint.join("0" if not end else shown.get(end, f"< 1e{least}") for end in (low, high))


def _in_one_notation(values: Sequence[float]) -> dict[float, str]:
    """Values in text, all with an exponent or none."""
    if len({_is_plain(value) for value in values}) < 2:
        return {value: format_value(value) for value in values}
    if all(SMALLEST_DECIMAL <= abs(value) < 1e5 for value in values):
        return {value: format_value(value) if _is_plain(value) else _decimal(value) for value in values}
    return {value: _scientific(value) for value in values}


def _decimal(value: float) -> str:
    """Four significant digits of a number below 1 without an exponent: 0.0001014."""
    return f"{value:.{3 - math.floor(math.log10(abs(value)))}f}"


def format_percent(share: float) -> str:
    """A share in [0, 1]. Never says 100 % or 0 % before it is so."""
    percent = 100.0 * share
    if 99.0 < percent < 100.0:
        return "99 %"
    if 0.0 < percent < 1.0:
        return "< 1 %"
    return f"{percent:.0f} %"


def format_chance(probability: float) -> str:
    """A probability from 0 to 1. Never none, never certain: "< 1 %" and "> 99 %"."""
    if probability > 0.99:
        return "> 99 %"
    return "< 1 %" if probability < 0.01 else f"{100.0 * probability:.0f} %"


def format_ago(moment: datetime, now: datetime) -> str:
    """The script in static/dashboard/ keeps the same words fresh between updates; change both together."""
    seconds = (now - moment).total_seconds()
    return "just now" if seconds < 5 else f"{format_duration(seconds)} ago"


def natural_order(name: str) -> tuple[object, ...]:
    """A key to sort names by: layer/2 before layer/10, whatever the case, and names that begin with a sign last."""
    parts = re.split(r"([0-9]+)", name.casefold())  # text and numbers in turn, text first
    return not name[:1].isalnum(), [int(part) if place % 2 else part for place, part in enumerate(parts)], name


def shortened(text: str, *, longest: int = 60) -> str:
    """A name that must not swallow the sentence or the chart that it stands in."""
    shown = " ".join(text.split())
    if len(shown) <= longest:
        return shown
    # The end of a name tells it apart more often than its beginning.
    return f"{shown[: longest // 3]}…{shown[-(longest - longest // 3 - 1) :]}"


def chart_text(text: str, *, longest: int = 48) -> str:
    """A name from outside, safe inside a Plotly text: Plotly reads a little HTML, and `%{...}` in hover templates."""
    return html.escape(shortened(text, longest=longest), quote=False).replace("%{", "%&#123;")


def _is_plain(value: float) -> bool:
    """Whether a value is written without an exponent."""
    return 1e-3 <= abs(value) < 1e5


def _scientific(value: float) -> str:
    return _short_exponent(f"{value:.3e}")


def _short_exponent(text: str) -> str:
    mantissa, exponent = text.split("e")
    return f"{mantissa}e{int(exponent)}"
