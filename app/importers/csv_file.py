"""CSV: a header of names, one column of steps, a metric in each of the others.

Cells are parted by commas, semicolons or tabs, whichever the header has most of; where it is not commas, a comma in a
number is its decimal point, as spreadsheets of many countries write it. A blank cell means no value at this step; `nan`
and `inf` are data. Python's own reader is used because it takes rows of
unequal length and says on which line it stumbled; converted by the column it reads a million rows of five columns in
three to four seconds, so a faster parser would not be felt beside the upload.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from app.curves.roles import assign_roles
from app.importers.imported_run import (
    BATCH_ROWS,
    LARGEST_STEP,
    Column,
    ImportedRun,
    SkippedCells,
    closed_up,
    counted,
    guess_step_name,
    make_batch,
    open_text,
    run_name,
    unreadable,
    whole_number,
)
from app.runs import Batch

# What pandas, R and spreadsheets write where there is no value.
BLANKS = frozenset({"", "null", "none", "na", "n/a", "-"})


# What a first column may mean and count steps all the same, where none is named after them.
COUNTS = frozenset({"epoch", "tokens", "samples"})

# ... and what its name may end with: `Train Steps`, `num_iterations`, `globalStep`; pandas calls an index `Unnamed: 0`.
COUNTING = re.compile(r"(time)?steps?|iter(ation)?s?|updates?|batch(es)?|epochs|index|unnamed")
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")

DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")


THOUSANDS = re.compile(r"[1-9]\d{0,2}\.000")


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a file: comment lines, then the header."""

    lines: int  # how many lines the head has
    facts: Mapping[str, str]  # from comment lines: `# licence: MIT`
    header: Sequence[str]
    delimiter: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Which column of a file is what; the others are left alone."""

    head: Head
    step_column: int
    metrics: Mapping[int, str]  # names by column
    part: str = ""  # the name of the run, where the file holds several

    @property
    def step_name(self) -> str:
        return self.head.header[self.step_column]


def read_head(path: Path) -> Head:
    facts: dict[str, str] = {}
    with open_text(path) as file:
        try:
            for number, line in enumerate(file, start=1):
                text = line.strip()
                if text.startswith("#"):
                    key, colon, value = text.lstrip("# ").partition(":")
                    if colon:
                        facts[key.strip().lower()] = value.strip()
                elif text:
                    return _head_of(path, number, facts, text)
        except (UnicodeError, OSError, EOFError) as error:
            raise _not_text(path, error) from error
    raise unreadable(path, None, "the file is empty", "Give it a header line and at least one row")


def read_table(path: Path, head: Head) -> ImportedRun:
    """A run of one column a metric: the common case."""
    step_column = _step_column(path, head)
    metrics = {i: name for i, name in enumerate(head.header) if name and i != step_column}
    run = read_columns(path, Layout(head, step_column, metrics))
    unnamed = [i for i, name in enumerate(head.header) if not name and i != step_column]
    run.warnings.extend(f"Column {i + 1} has no name and was left out." for i in unnamed)
    return run


def read_columns(path: Path, layout: Layout) -> ImportedRun:
    """The run that is in the columns of a layout."""
    facts = dict(layout.head.facts)
    warnings: list[str] = []
    return ImportedRun(
        name=layout.part or facts.pop("name", run_name(path)),
        part=layout.part,
        licence=facts.pop("licence", None),
        origin=facts.pop("origin", None),
        config=facts,
        batches=_read_batches(path, layout, warnings),
        warnings=warnings,
    )


def _head_of(path: Path, number: int, facts: dict[str, str], line: str) -> Head:
    if "\0" in line:
        raise unreadable(path, number, "this is not text", "Export the run as CSV (UTF-8) and try again")
    delimiter = max(",;\t", key=line.count)
    header = [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]
    named = [name for name in header if name]
    repeated = next((name for name in named if named.count(name) > 1), None)
    if any(_are_numbers(line.split(other)) for other in ",;\t"):
        instead = f"Put a line of names above it, as step{delimiter}loss"
        raise unreadable(path, number, "there are numbers where the names of the columns should be", instead)
    if repeated is not None:
        raise unreadable(path, number, f"two columns are named {repeated!r}", "Rename one of them")
    if len(header) < 2:
        instead = "Losscast needs a step column and a metric column, parted by commas, semicolons or tabs"
        raise unreadable(path, number, "the header has one column", instead)
    return Head(number, facts, header, delimiter)


def _are_numbers(names: Sequence[str]) -> bool:
    """Whether a first line holds numbers alone, blanks aside; of a table without numbers for names that is a row."""
    return all(_is_number(name.strip(' "')) for name in names if name.strip())


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return bool(DECIMAL_COMMA.fullmatch(name))
    return True


def _step_column(path: Path, head: Head) -> int:
    """The column that is named after steps, else the first one, if it has no name, as an index, or one that counts."""
    header = head.header
    named = [name for name in header if name]
    step_name = guess_step_name(named)
    if step_name is not None:
        return header.index(step_name)
    if header[0] and not _may_count_steps(header[0]):
        what = f"no column counts steps (there are {', '.join(map(repr, named[:8]))})"
        raise unreadable(path, head.lines, what, "Name the one that does 'step', or add one")
    return 0


def _may_count_steps(name: str) -> bool:
    role = assign_roles([name])[name].role
    last_word = (WORD.findall(name) or [""])[-1].lower()
    return role in COUNTS or (role == "other" and COUNTING.fullmatch(last_word) is not None)


def _read_batches(path: Path, layout: Layout, warnings: list[str]) -> Iterator[Batch]:
    skipped = SkippedCells()
    without_step = 0
    commas: set[str] = set()
    for line, rows in read_rows(path, layout.head, warnings):
        cells = list(zip(*rows, strict=True))
        lines: Sequence[int] = range(line, line + len(rows))
        if not all(cells[layout.step_column]):
            stepped = [i for i, cell in enumerate(cells[layout.step_column]) if cell.strip()]
            without_step += sum(any(row[i].strip() for i in layout.metrics) for row in rows)
            without_step -= sum(any(rows[at][i].strip() for i in layout.metrics) for at in stepped)
            cells = [tuple(column[i] for i in stepped) for column in cells]
            lines = [line + i for i in stepped]
        steps = to_steps(path, cells[layout.step_column], lines, layout.step_name, warnings)
        columns = {
            name: to_column(name, _with_points(name, cells[i], layout.head.delimiter, commas), lines, skipped)
            for i, name in layout.metrics.items()
        }
        batch = make_batch(steps, columns)
        if batch.metrics:
            yield _own_rows(batch) if layout.part else batch
    warnings.extend(skipped.warnings())
    if commas:
        named = ", ".join(repr(name) for name in layout.metrics.values() if name in commas)
        warnings.append(f"Commas in the numbers of {named} were read as decimal points.")
    if without_step:
        warnings.append(f"{counted(without_step, 'row')} without a step left out.")


def _own_rows(batch: Batch) -> Batch:
    """Without the rows of other runs of the file."""
    own = batch.present.any(axis=0)
    return Batch(batch.steps[own], batch.times[own], batch.metrics, batch.values[:, own], batch.present[:, own])


def read_rows(path: Path, head: Head, warnings: list[str]) -> Iterator[tuple[int, list[list[str]]]]:
    """Yield the line of the first row and rows of equal length, BATCH_ROWS at a time."""
    with open_text(path) as file:
        for _ in islice(file, head.lines):
            pass
        yield from _rows_below(path, file, head, warnings)


def _rows_below(path: Path, file: IO[str], head: Head, warnings: list[str]) -> Iterator[tuple[int, list[list[str]]]]:
    ends = _LineEnds(file)
    reader = csv.reader(ends, delimiter=head.delimiter)
    width = len(head.header)
    while True:
        line = head.lines + reader.line_num + 1
        try:
            rows = list(islice(reader, BATCH_ROWS))
        except csv.Error as error:
            at = head.lines + reader.line_num
            raise unreadable(path, at, f"not CSV ({error})", "Look for an unclosed quote there") from error
        except (UnicodeError, OSError, EOFError) as error:
            raise _not_text(path, error) from error
        if not rows:
            return
        if len(rows) < BATCH_ROWS and ends.is_torn and 0 < len(rows[-1]) < width:
            warnings.append(f"Line {line + len(rows) - 1} is cut off in the middle and was left out.")
            rows.pop()
            if not rows:
                return
        for i, row in enumerate(rows):
            if len(row) != width:
                rows[i] = _to_width(path, line + i, row, width)
            elif row[0].strip() == head.header[0] and [cell.strip() for cell in row] == head.header:
                rows[i] = [""] * width  # two logs behind one another: the header comes again
        yield line, rows


class _LineEnds:
    """Hands lines through and remembers whether the last one was finished."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self.is_torn = False

    def __iter__(self) -> Iterator[str]:
        line = "\n"
        for line in self._file:
            yield line
        self.is_torn = not line.endswith(("\n", "\r"))


def _to_width(path: Path, line: int, row: Sequence[str], width: int) -> list[str]:
    if any(cell.strip() for cell in row[width:]):
        what = f"{len(row)} cells where the header names {width} columns"
        raise unreadable(path, line, what, "Quote cells that contain the delimiter, or name every column")
    return [*row[:width], *[""] * (width - len(row))]


def to_steps(
    path: Path, cells: Sequence[str], lines: Sequence[int], name: str, warnings: list[str]
) -> npt.NDArray[np.int64]:
    """The cells of the column of steps, which is called `name`."""
    try:
        steps = np.fromiter(map(int, cells), np.int64, len(cells))
        if len(steps) == 0 or (steps.max() <= LARGEST_STEP and steps.min() >= -LARGEST_STEP):
            return steps
    except (ValueError, OverflowError):
        pass
    numbers = [whole_number(cell) for cell in cells]
    if None in numbers:
        bad = numbers.index(None)
        plain = closed_up(cells[bad])
        raise unreadable(
            path,
            lines[bad],
            f"{cells[bad].strip()!r} in {f'column {name!r}' if name else 'the first column'} is not a step, a whole "
            "number of at most 2**62",
            f"If its thousands are set apart, write {plain}" if plain else "Name the column that counts steps 'step'",
        )
    doubtful = next((cell.strip() for cell in cells if THOUSANDS.fullmatch(cell.strip())), None)
    if doubtful is not None and not any("can mean" in warning for warning in warnings):
        read = whole_number(doubtful)
        warnings.append(f"The step {doubtful!r} can mean {closed_up(doubtful)} or {read}; it was read as {read}.")
    return np.array(numbers, np.int64)


def _with_points(name: str, cells: tuple[str, ...], delimiter: str, commas: set[str]) -> tuple[str, ...]:
    """Numbers with a decimal point, where they have one comma instead; notes the columns that had."""
    if delimiter == "," or not any("," in cell for cell in cells):
        return cells
    pointed = tuple(cell.replace(",", ".") if DECIMAL_COMMA.fullmatch(cell.strip()) else cell for cell in cells)
    if pointed != cells:
        commas.add(name)
    return pointed


def to_column(name: str, cells: Sequence[str], lines: Sequence[int], skipped: SkippedCells) -> Column:
    present = np.fromiter(map(bool, cells), np.bool_, len(cells))
    try:
        numbers = map(float, cells) if present.all() else (float(cell) if cell else np.nan for cell in cells)
        values = np.fromiter(numbers, np.float64, len(cells))
    except ValueError:
        return _to_column_slowly(name, cells, lines, skipped)
    if present.any():
        skipped.keep(name)
    return Column(values, present)


def _to_column_slowly(name: str, cells: Sequence[str], lines: Sequence[int], skipped: SkippedCells) -> Column:
    values = np.full(len(cells), np.nan)
    present = np.zeros(len(cells), np.bool_)
    for i, cell in enumerate(cells):
        if cell.strip().lower() in BLANKS:
            continue
        try:
            values[i] = float(cell)
        except ValueError:
            skipped.skip(name, cell, lines[i])
        else:
            present[i] = True
    if present.any():
        skipped.keep(name)
    return Column(values, present)


def _not_text(path: Path, error: Exception) -> Exception:
    return unreadable(path, None, f"this is not UTF-8 text ({error})", "Export the run as CSV in UTF-8 and try again")
