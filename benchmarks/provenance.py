"""Which code made a number that is kept."""

from __future__ import annotations

import subprocess
from pathlib import Path


def source_commit() -> str:
    """The commit that this code is, "-dirty" behind it where a file has changed since; "unknown" outside a checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()
