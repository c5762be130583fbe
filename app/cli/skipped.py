"""Why a file of many was passed over."""

from __future__ import annotations

from pathlib import Path

from app.errors import LosscastError


def reason(error: LosscastError, path: Path) -> str:
    """The error's words without the file's name, which stands beside them."""
    text = str(error)
    for name in (str(path), path.name):
        text = text.removeprefix(f"{name}: ").removeprefix(f"{name}, ")
    return text
