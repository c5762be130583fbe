"""Schedules as people type them and as addresses carry them: a family, then its key=value pairs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from app.errors import BadInput


def read_schedules(words: Iterable[str]) -> list[dict[str, Any]]:
    """`cosine final_fraction=0.1`, in one word or in several; or JSON objects. Values stay text.

    A value in square brackets is a list: `step milestones=[4000,8000]`.

    Raises
    ------
    BadInput
        For pairs before any family, and for text that begins as JSON and is none.
    """
    specs: list[dict[str, Any]] = []
    for word in words:
        if word.lstrip().startswith("{"):
            specs.append(_json_object(word))
            continue
        for part in word.split():
            name, is_pair, value = part.partition("=")
            if not is_pair:
                specs.append({"family": part})
            elif specs:
                specs[-1][name] = _parsed(value) if value.startswith("[") else value
            else:
                raise BadInput(f"A schedule begins with its family, as in: cosine {part}")
    return specs


def write_schedule(spec: Mapping[str, Any]) -> str:
    """What `read_schedules` reads back, for values without blanks."""
    pairs = (f"{name}={value}" for name, value in spec.items() if name != "family" and value not in (None, ""))
    return " ".join([str(spec.get("family", "")), *pairs])


def _json_object(text: str) -> dict[str, Any]:
    found = _parsed(text)
    if not isinstance(found, dict):
        raise BadInput(f'A schedule is an object, e.g. {{"family": "cosine"}}, not {text}')
    return found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadInput(f"This part of a schedule is not JSON ({error}): {text}") from error
