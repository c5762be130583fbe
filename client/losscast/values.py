"""What users hand in, made into what can be sent. Nothing here raises: what cannot be used comes back as None."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import sys
from collections.abc import Mapping
from typing import Any

LONGEST_NAME = 512
"""Characters of a metric's name; the server's own limit."""

LONGEST_TEXT = 10_000
"""Characters of one text in a config."""

DEEPEST_CONFIG = 8
"""Levels of nesting in a config; deeper things, and circles, are sent as text."""

_LARGEST = sys.float_info.max
_STEP_LIMIT = 2**63


def to_float(value: Any) -> float | None:
    """A number from anything that is one: int, bool, Decimal, numpy scalar, tensor of one element.

    Integers beyond the range of a double are clamped to its ends. Strings are not numbers, even "1.5".
    """
    value = _unwrapped(value)
    if isinstance(
        value, (str, bytes, bytearray, memoryview)
    ):  # float() would read these, and a column of text would look like a metric
        return None
    try:
        return float(value)
    except OverflowError:
        return _LARGEST if value > 0 else -_LARGEST
    except Exception:
        return None


def to_step(value: Any) -> int | None:
    """A step from anything that stands for a whole number; a fraction is cut off."""
    value = _unwrapped(value)
    try:
        step = math.floor(value) if isinstance(value, float) else int(value)
    except Exception:
        return None
    return step if -_STEP_LIMIT <= step < _STEP_LIMIT else None


def to_name(value: Any) -> str | None:
    """A metric's name that the server can keep: text without control characters, not too long.

    A longer one ends in a sum of the whole, as the server would make it: two that begin alike stay two metrics.
    """
    name = _mended(value)
    if name is not None and len(name) > LONGEST_NAME:
        ending = "~" + hashlib.sha256(name.encode()).hexdigest()[:8]
        name = name[: LONGEST_NAME - len(ending)] + ending
    return name or None


def to_text(value: Any) -> str | None:
    """Text that JSON and Postgres can carry: no NUL, no half surrogates, no control characters but line ends."""
    text = _mended(value)
    return None if text is None else text[:LONGEST_TEXT]


def _mended(value: Any) -> str | None:
    try:
        text = value if isinstance(value, str) else str(value)
    except Exception:
        return None
    if not text.isprintable():
        text = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text


def to_json(value: Any, depth: int = 0) -> Any:
    """What JSON can carry of a config: mappings, namespaces, dataclasses and lists, with text for the rest."""
    if value is None or isinstance(value, (bool, str)):
        return to_text(value) if isinstance(value, str) else value
    if isinstance(value, int):
        # More digits than a double holds would come back as another number from most readers of JSON.
        return int(value) if abs(value) < _STEP_LIMIT else to_text(value)
    if depth < DEEPEST_CONFIG:
        fields = _fields(value)
        if fields is not None:
            return {to_text(key) or "": to_json(item, depth + 1) for key, item in fields.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [to_json(item, depth + 1) for item in value]
    number = to_float(value)
    if number is None:
        return to_text(value)
    return number if math.isfinite(number) else nonfinite_name(number)


def nonfinite_name(value: float) -> str:
    """JSON has no word for these; the API's are JavaScript's."""
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _fields(value: Any) -> Mapping[Any, Any] | None:
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    # argparse.Namespace, types.SimpleNamespace and settings objects of one's own; not modules, classes or functions.
    if type(value).__name__.endswith("Namespace"):
        fields: dict[str, Any] = vars(value)
        return fields
    return None


def _unwrapped(value: Any) -> Any:
    """The Python number inside a numpy scalar or a tensor.

    `item()` before `float()`: the latter warns for tensors that require a gradient and for arrays of one element.
    """
    if isinstance(value, (int, float, str)):
        return value
    try:
        return value.item()
    except Exception:  # none, or it holds many
        return value
