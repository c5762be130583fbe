"""JSONL: one object a line, most often one row of metrics; a first line may hold `meta` about the run.

NaN and the infinities are read as bare tokens (Python's json, PyTorch loggers) and as strings (JavaScript, MLflow).
Nested objects are flattened with "/". A last line that a live writer has not finished is left out with a warning.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from app.importers.imported_run import (
    BATCH_ROWS,
    Column,
    ImportedRun,
    Said,
    SkippedCells,
    counted,
    guess_step_name,
    make_batch,
    open_text,
    run_name,
    unreadable,
    whole_number,
)
from app.runs import Batch

Records = Callable[[list[str]], Iterator[tuple[int, dict[str, Any]]]]
"""From the first on, with their numbers: lines of a file, entries of a list. What is left out is said in the list."""

_decode = msgspec.json.Decoder().decode

# How far to look for a row with a step before giving up: loggers write a few lines of settings first.
ROWS_SEARCHED = 100


def read_jsonl(path: Path) -> list[ImportedRun]:
    return [run_of_records(path, partial(_read_objects, path))]


def run_of_records(path: Path, records: Records, place: str = "line") -> ImportedRun:
    """Objects, one most often a row of metrics, as a run.

    Parameters
    ----------
    records : callable
        Begins at the first of them, with their numbers, each time that it is called with a list for warnings.
    place : str
        What they are numbered by, for messages.
    """
    warnings: list[str] = []
    meta, step_name = _read_head(path, records)
    config = meta.get("config", meta)
    return ImportedRun(
        name=str(meta.get("name") or run_name(path)),
        config=dict(config) if isinstance(config, Mapping) else {},
        licence=_text(meta.get("licence", meta.get("license"))),
        origin=_text(meta.get("origin", meta.get("source"))),
        batches=_read_batches(records, step_name, place, warnings),
        warnings=warnings,
        said=_said(meta),
    )


def _said(meta: Mapping[str, Any]) -> Said:
    """As our own export says it; a `meta` without a config is itself the config of somebody else's run."""
    if not isinstance(meta.get("config"), Mapping):
        return Said()
    tags, plan, roles = meta.get("tags"), meta.get("plan"), meta.get("roles")
    return Said(
        project=_text(meta.get("project")),
        status=_text(meta.get("status")),
        message=_text(meta.get("message")),
        tags=tuple(map(str, tags)) if isinstance(tags, list) else (),
        plan=plan if isinstance(plan, Mapping) else {},
        roles=roles if isinstance(roles, Mapping) else {},
    )


def _read_head(path: Path, records: Records) -> tuple[Mapping[str, Any], str]:
    """What the file says of itself, and the name of its step column."""
    meta: Mapping[str, Any] = {}
    seen: list[str] = []
    for number, (_, record) in enumerate(records([])):
        if number == 0 and isinstance(record.get("meta"), Mapping):
            meta = record["meta"]
            continue
        row = _flat(record)
        step_name = guess_step_name(row)
        if step_name is not None and whole_number_of(row[step_name]) is not None:
            return meta, step_name
        seen.extend(name for name in row if name not in seen)
        if number >= ROWS_SEARCHED:
            break
    if not seen:
        raise unreadable(path, None, "the file has no rows", "Give it one JSON object a line, each with a step")
    raise unreadable(
        path,
        None,
        f"no field counts steps (there are {', '.join(map(repr, seen[:8]))})",
        "Name the one that does 'step', or add one, and give it whole numbers",
    )


def _read_batches(records: Records, step_name: str, place: str, warnings: list[str]) -> Iterator[Batch]:
    skipped = SkippedCells(place)
    rows = _Rows(skipped)
    without_step = 0
    for number, (line, record) in enumerate(records(warnings)):
        if number == 0 and isinstance(record.get("meta"), Mapping):
            continue
        row = dict(_flat(record))
        step = whole_number_of(row.pop(step_name, None))
        if step is None:
            without_step += 1
            continue
        rows.add(line, step, row)
        if len(rows.steps) == BATCH_ROWS:
            yield from rows.batches()
            rows = _Rows(skipped)
    yield from rows.batches()
    warnings.extend(skipped.warnings())
    if without_step:
        warnings.append(f"{counted(without_step, place)} without a whole number in {step_name!r} left out.")


class _Rows:
    """Rows on their way to being columns; metrics may differ from row to row."""

    def __init__(self, skipped: SkippedCells) -> None:
        self.steps: list[int] = []
        self._cells: dict[str, tuple[list[int], list[float]]] = {}
        self._skipped = skipped

    def add(self, line: int, step: int, row: Mapping[str, object]) -> None:
        index = len(self.steps)
        self.steps.append(step)
        for name, cell in row.items():
            if cell is None:
                continue
            number = cell if type(cell) is float else number_of(cell)
            if number is None:
                self._skipped.skip(name, cell, line)
                continue
            indices, numbers = self._cells.setdefault(name, ([], []))
            indices.append(index)
            numbers.append(number)

    def batches(self) -> Iterator[Batch]:
        columns = {}
        for name, (indices, numbers) in self._cells.items():
            values = np.full(len(self.steps), np.nan)
            values[indices] = numbers
            present = np.zeros(len(self.steps), np.bool_)
            present[indices] = True
            columns[name] = Column(values, present)
            self._skipped.keep(name)
        batch = make_batch(np.array(self.steps, np.int64), columns)
        if batch.metrics:
            yield batch


def _read_objects(path: Path, warnings: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield line numbers and objects."""
    torn: tuple[int, ValueError] | None = None
    with open_text(path) as file:
        try:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                if torn is not None:
                    raise _not_json(path, *torn)
                try:
                    record = _parse(line)
                except ValueError as error:  # perhaps a writer is still at this line: only the last may be broken
                    torn = (number, error)
                    continue
                except RecursionError as error:
                    raise unreadable(path, number, "nested too deeply", "Write one flat object a line") from error
                if not isinstance(record, dict):
                    what = f"a JSON {type(record).__name__} where an object was expected"
                    raise unreadable(path, number, what, 'Write rows as {"step": 1, "loss": 2.5}, one a line')
                yield number, record
        except (UnicodeError, OSError, EOFError) as error:
            what = f"this is not UTF-8 text ({error})"
            raise unreadable(path, None, what, "Write the run as JSONL in UTF-8 and try again") from error
    if torn is not None:
        if torn[0] == 1:
            raise _not_json(path, *torn)
        warnings.append(f"Line {torn[0]} is cut off in the middle and was left out.")


def _parse(line: str) -> Any:
    try:
        return _decode(line)  # several times as fast as json.loads, but it refuses the tokens NaN and Infinity
    except msgspec.DecodeError:
        return json.loads(line)


def _not_json(path: Path, line: int, error: ValueError) -> Exception:
    return unreadable(path, line, f"not JSON ({error})", "Losscast reads one JSON object a line, or CSV")


def _flat(record: dict[str, Any]) -> dict[str, Any]:
    return dict(_flatten(record)) if any(type(cell) is dict for cell in record.values()) else record


def _flatten(record: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, cell in record.items():
        name = f"{prefix}{key}"
        if isinstance(cell, dict):
            yield from _flatten(cell, f"{name}/")
        else:
            yield name, cell


def number_of(cell: object) -> float | None:
    """The number in a JSON cell: a number, or a string that spells one ("NaN", "-Infinity", "2.5"); no booleans."""
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return None
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return None


def whole_number_of(cell: object) -> int | None:
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return None
    return whole_number(cell)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
