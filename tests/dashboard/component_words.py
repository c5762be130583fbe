"""What a page's components say, read without a browser."""

from __future__ import annotations

from typing import Any


def words(component: Any) -> str:
    """All text of a component, as it is read."""
    if component is None:
        return ""
    if isinstance(component, str | int | float):
        return str(component)
    if isinstance(component, list | tuple):
        return "".join(map(words, component))
    return words(getattr(component, "children", None))
