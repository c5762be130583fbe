"""Metrics that are no numbers any more: one rule for the worker, the pages and the commands."""

from __future__ import annotations

import math


def is_broken(last_value: float | None) -> bool:
    """Whether a metric is NaN or infinite where it stands, whatever came before: its forecast would mean nothing.

    last_value : as it was logged; None before the first point
    """
    return last_value is not None and not math.isfinite(last_value)
