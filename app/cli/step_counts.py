"""Options that count steps: `--total-steps 20000` and `--total-steps 2e4` are the same."""

from __future__ import annotations

from collections.abc import Callable

import typer


def step_count(at_least: int) -> Callable[[str], int]:
    """What reads a number of steps from the command line. [steps]"""

    def read(text: str) -> int:
        from app.importers.imported_run import whole_number

        number = whole_number(text)
        if number is None or number < at_least:
            raise typer.BadParameter(
                f"{text!r} is no number of steps: a whole one from {at_least} on, as 20000 or 2e4."
            )
        return number

    return read
