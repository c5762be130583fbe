"""What every importer hands over, and the guesses all of them share: which column counts steps, which is a clock."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from app.errors import UnreadableFile
from app.runs import Batch, Points

BATCH_ROWS = 10_000

NEEDED = "Give it a step column and at least one metric"

# In order of trust. Where a logger counts its own calls in `step` or `_step`, the trainer's count lies beside it.
STEP_NAMES = (
    "train/global_step",
    "trainer/global_step",
    "step",
    "global_step",
    "iteration",
    "iter",
    "current_steps",
    "current_step",
    "_step",
    "num_updates",
    "n_iter",
    "epoch",
)
CLOCK_FROM, CLOCK_TO = 315e6, 4.1e9  # 1980 and 2100 [s since 1970]
CLOCK_NAMES = ("time", "timestamp", "_timestamp", "wall_time", "wall time")

# 1.234.567, 12'000 or 1 234,5: digits in threes with something between them that Python does not read over.
SET_APART = re.compile(r"[+-]?\d{1,3}(?:([.,'’ \u00a0\u202f])\d{3})(?:\1\d{3})*(?:(?!\1)[.,]\d+)?")

LARGEST_STEP = 2**62
LARGEST_EXACT_FLOAT = 2**53


@dataclass(frozen=True, slots=True)
class Said:
    """What an export of ours says of its run beside name and config, as the API takes it."""

    project: str | None = None
    status: str | None = None
    message: str | None = None
    tags: tuple[str, ...] = ()
    plan: Mapping[str, Any] = field(default_factory=dict)
    roles: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ImportedRun:
    """A file as a run: what it says of itself, and its rows as a stream.

    The file is read while `batches` is consumed, so an `UnreadableFile` may come from there, and `warnings` is complete
    only at the end.
    """

    name: str
    config: Mapping[str, Any]
    batches: Iterator[Batch]  # at most BATCH_ROWS rows each
    part: str = ""  # which run of its file this is, where the file holds several
    licence: str | None = None
    origin: str | None = None
    warnings: list[str] = field(default_factory=list)
    said: Said = Said()


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """Cells of one metric in one batch.

    values : float64, shape (n_rows,), NaN where absent
    present : bool, shape (n_rows,)
    """

    values: npt.NDArray[np.float64]
    present: npt.NDArray[np.bool_]


class SkippedCells:
    """Counts cells that are not numbers, and says so once for each column; `place` is what the file is made of."""

    def __init__(self, place: str = "line") -> None:
        self._place = place
        self._skipped: dict[str, tuple[int, str, int]] = {}  # name -> how many, the first one, its line
        self._numeric: set[str] = set()

    def skip(self, name: str, cell: object, line: int) -> None:
        if name not in self._skipped:
            self._skipped[name] = (0, _shorten(cell) + _as_plain(cell), line)
        count, example, first_line = self._skipped[name]
        self._skipped[name] = (count + 1, example, first_line)

    def keep(self, name: str) -> None:
        self._numeric.add(name)

    def warnings(self) -> Iterator[str]:
        for name, (count, example, line) in self._skipped.items():
            where = f"on {self._place} {line}"
            if name in self._numeric:
                yield f"{counted(count, 'cell')} of {name!r} left out, not a number (the first, {where}, is {example})."
            else:
                yield f"Column {name!r} left out: it holds no numbers (the first cell, {where}, is {example})."


def guess_step_name(names: Iterable[str]) -> str | None:
    """The column that counts steps, by its name alone."""
    by_lower_name = {name.lower(): name for name in reversed(list(names))}
    return next((by_lower_name[known] for known in STEP_NAMES if known in by_lower_name), None)


def whole_number(cell: str | float) -> int | None:
    """The step written in a cell: "7", "7.0" and "7e3" count, 7.5 and numbers beyond 2**62 do not."""
    try:
        number = int(cell) if isinstance(cell, str | int) else _int_of_float(cell)
    except ValueError:
        try:
            number = _int_of_float(float(cell))
        except ValueError:
            return None
    return number if number is not None and abs(number) <= LARGEST_STEP else None


def make_batch(steps: npt.NDArray[np.int64], columns: Mapping[str, Column]) -> Batch:
    """Put columns side by side; a column of wall-clock times becomes the batch's times."""
    clocks = {name: clock_times(column.values) for name, column in columns.items() if name.lower() in CLOCK_NAMES}
    clock = next((name for name, times in clocks.items() if not np.isnan(times).all()), None)
    times = np.full(len(steps), np.nan) if clock is None else clocks[clock]
    logged = {name: column for name, column in columns.items() if name != clock and column.present.any()}
    if not logged:
        return Batch(steps, times, (), np.empty((0, len(steps))), np.empty((0, len(steps)), np.bool_))
    return Batch(
        steps=steps,
        times=times,
        metrics=tuple(logged),
        values=np.stack([column.values for column in logged.values()]),
        present=np.stack([column.present for column in logged.values()]),
    )


def batches_of_series(series: Mapping[str, Points]) -> Iterator[Batch]:
    """Metrics that were logged one by one, side by side; of points at the same step the later one wins.

    Parameters
    ----------
    series : mapping
        Points by metric; their steps in any order, with repeats.
    """
    logged = [points.steps for points in series.values() if len(points)]
    if not logged:
        return
    steps = np.unique(np.concatenate(logged))
    for start in range(0, len(steps), BATCH_ROWS):
        yield _rows_of_series(series, steps[start : start + BATCH_ROWS])


def _rows_of_series(series: Mapping[str, Points], steps: npt.NDArray[np.int64]) -> Batch:
    times = np.full(len(steps), np.nan)
    columns: dict[str, Column] = {}
    for name, points in series.items():
        here = (points.steps >= steps[0]) & (points.steps <= steps[-1])
        rows = np.searchsorted(steps, points.steps[here])
        column = Column(np.full(len(steps), np.nan), np.zeros(len(steps), np.bool_))
        column.values[rows] = points.values[here]
        column.present[rows] = True
        times[rows] = points.times[here]
        columns[name] = column
    logged = {name: column for name, column in columns.items() if column.present.any()}
    return Batch(
        steps,
        times,
        tuple(logged),
        np.stack([column.values for column in logged.values()]),
        np.stack([column.present for column in logged.values()]),
    )


def counted(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number:,} {what}s"


def clock_times(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Seconds since 1970, of what may be milliseconds; all NaN where it is no clock but time since a start. [s]"""
    seconds: npt.NDArray[np.float64] = np.where(values > 1e11, values / 1000.0, values)
    known = seconds[~np.isnan(seconds)]
    is_clock = len(known) > 0 and bool(np.all((known > CLOCK_FROM) & (known < CLOCK_TO)))
    return seconds if is_clock else np.full(len(seconds), np.nan)


def closed_up(text: str) -> str | None:
    """The number as Python writes it, where its thousands are set apart; else None."""
    match = SET_APART.fullmatch(text.strip())
    return None if match is None else text.strip().replace(match[1], "").replace(",", ".")


def no_numbers(path: Path, warnings: Sequence[str]) -> UnreadableFile:
    """For a file of which nothing is left; of what was left out the first is told."""
    return unreadable(path, None, "no row holds a number", warnings[0] if warnings else NEEDED)


def unreadable(path: Path, line: int | None, what: str, instead: str) -> UnreadableFile:
    """An error that says where, what is wrong there, and what to do about it."""
    where = f"{path.name}, line {line}" if line is not None else path.name
    return UnreadableFile(f"{where}: {what}. {instead}")


def open_text(path: Path) -> IO[str]:
    """Open a text file for reading: UTF-8 with or without a BOM, UTF-16 with one, gzip whatever its name."""
    try:
        with open_bytes(path) as file:
            head = file.read(2)
        encoding = "utf-16" if head in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        if is_gzipped(path):
            return gzip.open(path, "rt", encoding=encoding, newline="")
        return path.open(encoding=encoding, newline="")
    except OSError as error:
        raise unreadable(path, None, _reason(error), "Check the path and that this user may read it") from error


def open_bytes(path: Path) -> IO[bytes]:
    return gzip.open(path) if is_gzipped(path) else path.open("rb")  # type: ignore[return-value]


def is_gzipped(path: Path) -> bool:
    """By its first bytes: downloads lose their `.gz`, and some keep it although they were unpacked on the way."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def run_name(path: Path) -> str:
    return path.name.removesuffix(".gz").rsplit(".", 1)[0] or path.name


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower().rstrip(".")


def _int_of_float(number: float) -> int | None:
    # Above 2**53 a float no longer holds every whole number: refuse it rather than round a step.
    if not math.isfinite(number) or not number.is_integer() or abs(number) > LARGEST_EXACT_FLOAT:
        return None
    return int(number)


def _as_plain(cell: object) -> str:
    plain = closed_up(cell) if isinstance(cell, str) else None
    return "" if plain is None else f", whose thousands are set apart: write {plain}"


def _shorten(cell: object) -> str:
    text = repr(cell)
    return text if len(text) <= 40 else text[:37] + "..."
