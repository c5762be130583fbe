"""Text for people: as wide as their terminal, and in a pipe or a file as wide as it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NO_EDGE = 10_000
"""Columns of what is no terminal: nothing is broken or cut short there, and `grep` finds a sentence whole."""


def open_console() -> Console:
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = NO_EDGE
    return console


def print_table(console: Console, table: Table) -> None:
    """The table, without the blanks that fill its last column where nobody sees them."""
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        console.out(line.rstrip(), highlight=False)


def counted(number: int, noun: str) -> str:
    """A number of things in words: "1 group", "23 groups"."""
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"
