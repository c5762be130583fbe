"""Objects on their way into a jsonb column, which knows neither NaN nor the character U+0000."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

DEEPEST = 64  # levels; a config nested deeper is cut there rather than refused


def as_json(value: Any) -> str:
    return json.dumps(_storable(value, DEEPEST))


def _storable(value: Any, levels_left: int) -> Any:
    if levels_left == 0:
        return "..."
    if isinstance(value, Mapping):
        return {storable_text(str(key)): _storable(item, levels_left - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item, levels_left - 1) for item in value]
    if isinstance(value, str):
        return storable_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {math.inf: "Infinity", -math.inf: "-Infinity"}.get(value, "NaN")
    return value


def storable_text(value: str) -> str:
    """The text without what Postgres refuses: U+0000 becomes U+FFFD, lone surrogates become question marks."""
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
