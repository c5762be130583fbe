"""Options that take several values after one flag: `--fractions 0.2 0.4`, as well as the flag once a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import typer
import typer.core


def greedy_command(**options: Callable[[str], Any]) -> type[typer.core.TyperCommand]:
    """A command whose list options go on taking values for as long as these are of their kind.

    `backtest --fractions 0.2 0.4 runs/ --json` reads two fractions and one path: "runs/" is no number.

    Parameters
    ----------
    **options : callable
        By the option's name without its dashes: what reads one value, and raises where it cannot.
    """

    class GreedyCommand(typer.core.TyperCommand):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            return list(super().parse_args(ctx, repeated(args, options)))

    return GreedyCommand


def repeated(args: list[str], options: Mapping[str, Callable[[str], Any]]) -> list[str]:
    """The same arguments with the flag written before each of its values.

    The first value is always taken, so that a wrong one is reported for what it is.
    """
    written: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        written.append(word)
        if word == "--":
            break
        flag = word.split("=", 1)[0]
        read = options.get(flag.removeprefix("--").replace("-", "_")) if flag.startswith("--") else None
        if read is None:
            continue
        if word == flag and rest:
            written.append(rest.pop(0))
        while rest and not rest[0].startswith("-") and _is_read_by(read, rest[0]):
            written += [flag, rest.pop(0)]
    return written + rest


def _is_read_by(read: Callable[[str], Any], word: str) -> bool:
    try:
        read(word)
    except (typer.BadParameter, ValueError):
        return False
    return True
