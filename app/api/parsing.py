"""Bytes of a request into a `Batch`: lenient with numbers, clear about the rest.

A metric write is never refused for its order, its step or its value. What is no number at all is left out with a
warning, and only a body with nothing usable in it is an error: losing a job's loss over a stray string beside it would
be worse than the string.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from app.api.slips import ignored_fields
from app.errors import BadInput
from app.runs import Batch
from app.storage.batches import LARGEST_COUNT
from app.storage.metric_names import LONGEST_METRIC, stored_metric

MOST_CELLS = 8_000_000  # rows x metrics of one batch: 72 MB while it is being read
LOWEST_STEP, HIGHEST_STEP = -(2**63), 2**63 - 1
RESERVED = ("step", "time")

ROW_FORM = 'Send numbers, with a point for decimals: -d step=100 -d loss=2.31, or as JSON {"step": 100, "loss": 2.31}.'
FORM = (
    'Send {"steps": [1, 2], "metrics": {"loss": [2.5, 2.4]}} or {"rows": [{"step": 1, "loss": 2.5}]}; values are '
    'numbers, null (no value at that step), "NaN", "Infinity" or "-Infinity".'
)


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """The two shapes of a batch, before anything in them is trusted."""

    segment: int | None = None
    seq: int | None = None
    steps: list[Any] | None = None
    times: list[Any] | None = None
    metrics: dict[str, list[Any]] | None = None
    rows: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ParsedBatch:
    """A batch, its idempotency key as sent, and what had to be mended."""

    batch: Batch
    segment: int | None
    seq: int | None
    warnings: list[str]


@dataclass(slots=True)
class _Warnings:
    """Each kind of warning once, with how often it was met."""

    counts: dict[str, int] = field(default_factory=dict)

    def add(self, what: str, times: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + times

    def texts(self) -> list[str]:
        return [what if count == 1 else f"{what} ({count} times)" for what, count in list(self.counts.items())[:20]]


FIELDS = BatchBody.__struct_fields__
_decoder = msgspec.json.Decoder(BatchBody)


def parse_batch(body: bytes) -> ParsedBatch:
    """Read the body of `POST /runs/{id}/batches`. Raises `BadInput` saying what to send."""
    warnings = _Warnings()
    parsed = _decode_batch(body, warnings)
    if parsed.seq is not None and not 0 <= parsed.seq <= HIGHEST_STEP:
        raise BadInput(f"seq must lie between 0 and 2^63 - 1; it is {parsed.seq}.")
    if parsed.rows is not None and parsed.metrics is None:
        batch = batch_of_rows(parsed.rows, warnings)
    elif parsed.metrics is not None and parsed.steps is not None and parsed.rows is None:
        batch = _batch_of_columns(parsed.steps, parsed.times, parsed.metrics, warnings)
    else:
        raise BadInput(f"A batch needs either steps and metrics, or rows. {FORM}")
    return ParsedBatch(batch, parsed.segment, parsed.seq, warnings.texts())


def parse_row(fields: Mapping[str, Any], default_step: int) -> ParsedBatch:
    """One row as `POST /log/{run_id}` sends it; without a step it gets `default_step`."""
    warnings = _Warnings()
    row = dict(fields)
    if row.get("step") in (None, ""):
        row["step"] = default_step
    if not row.keys() - set(RESERVED):
        warnings.add(f"there is no value in it, so nothing was stored. {ROW_FORM}")
    return ParsedBatch(batch_of_rows([row], warnings, form=ROW_FORM), None, None, warnings.texts())


def parse_object(body: bytes) -> dict[str, Any]:
    """A flat JSON object, with the tokens that `json.dumps` of Python writes for NaN and the infinities."""
    try:
        found = json.loads(body)
    except ValueError as error:
        raise BadInput(f"The body is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise BadInput(
            'The body must be one JSON object such as {"step": 100, "loss": 2.31}. Several rows go to '
            'POST /api/v1/runs/{id}/batches as {"rows": [...]}.'
        )
    return found


def _decode_batch(body: bytes, warnings: _Warnings) -> BatchBody:
    if not body.strip():
        raise BadInput(f"The body is empty. {FORM}")
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError):
        pass  # perhaps only the fault of a strict reader
    try:
        # Python's json writes NaN and Infinity bare, and some encoders 1e400: not JSON, but plainly numbers.
        found = json.loads(body)
        if isinstance(found, dict):
            for warning in ignored_fields(found.keys() - set(FIELDS), FIELDS):
                warnings.add(warning)
            found = {name: value for name, value in found.items() if name in FIELDS}
        return msgspec.convert(found, BatchBody)
    except msgspec.ValidationError as error:
        raise BadInput(f"{error}. {FORM}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The body is not JSON that can be read: {error}. {FORM}") from error


def _batch_of_columns(
    raw_steps: list[Any],
    raw_times: list[Any] | None,
    columns: Mapping[str, list[Any]],
    warnings: _Warnings,
    form: str = FORM,
) -> Batch:
    for name, column in {"times": raw_times, **columns}.items():
        if column is not None and len(column) != len(raw_steps):
            raise BadInput(
                f"{name!r} has {len(column)} values for {len(raw_steps)} steps. Every column needs one value a step; "
                "write null where there is none."
            )
    _check_size(len(raw_steps), len(columns))
    steps, usable = _steps(raw_steps, warnings)
    if far := int(np.count_nonzero(usable & ((steps > LARGEST_COUNT) | (steps < -LARGEST_COUNT)))):
        warnings.add(
            "a step beyond 2^53 is stored, but hardly counts steps: is it a clock or an overflowed counter?", far
        )
    times = _times(raw_times, len(raw_steps))
    read = {_metric_name(name, warnings): _values(name, column, warnings) for name, column in columns.items()}
    values = _stacked([values for values, _ in read.values()], len(raw_steps))
    present = _stacked([here for _, here in read.values()], len(raw_steps)).astype(np.bool_)
    return _checked(
        Batch(steps[usable], times[usable], tuple(read), values[:, usable], present[:, usable]), warnings, form
    )


def batch_of_rows(rows: Sequence[Mapping[str, Any]], warnings: _Warnings, form: str = FORM) -> Batch:
    names: dict[str, int] = {}
    for row in rows:
        for name in row:
            if name not in RESERVED:
                names.setdefault(name, len(names))
    _check_size(len(rows), len(names))
    if rows and not any("step" in row for row in rows):
        raise BadInput(f"Every row needs a step. {FORM}")
    columns: dict[str, list[Any]] = {name: [None] * len(rows) for name in names}
    for at, row in enumerate(rows):
        for name, value in row.items():
            if name not in RESERVED:
                columns[name][at] = value
    times = [row.get("time") for row in rows] if any("time" in row for row in rows) else None
    return _batch_of_columns([row.get("step") for row in rows], times, columns, warnings, form)


def _check_size(n_rows: int, n_metrics: int) -> None:
    if n_rows * n_metrics > MOST_CELLS:
        raise BadInput(
            f"{n_rows} rows with {n_metrics} different metrics are too many for one batch "
            f"(at most {MOST_CELLS:,} cells). Send the rows in several batches."
        )


def _checked(batch: Batch, warnings: _Warnings, form: str) -> Batch:
    if batch.metrics and not batch.present.any() and warnings.counts:
        raise BadInput(f"Nothing in the batch can be stored: {'; '.join(warnings.texts())}. {form}")
    used = np.flatnonzero(batch.present.any(axis=1))
    metrics = tuple(batch.metrics[at] for at in used)
    return Batch(batch.steps, batch.times, metrics, batch.values[used], batch.present[used])


def _stacked(columns: list[npt.NDArray[Any]], n_rows: int) -> npt.NDArray[Any]:
    return np.stack(columns) if columns else np.empty((0, n_rows))


def _metric_name(name: str, warnings: _Warnings) -> str:
    stored = stored_metric(name)
    if not name:
        warnings.add(f"a metric without a name is stored as {stored!r}")
    elif len(name) > LONGEST_METRIC:
        warnings.add(
            f"a metric's name was cut to {LONGEST_METRIC} characters, the last of them a sum of the whole; it is found "
            "under either"
        )
    elif stored != name:
        warnings.add("characters that cannot be stored were replaced in a metric's name")
    return stored


def _steps(raw: list[Any], warnings: _Warnings) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """The steps, and which of them are steps at all."""
    usable = np.ones(len(raw), np.bool_)
    if all(type(step) is int for step in raw):
        try:
            return np.array(raw, np.int64), usable
        except OverflowError:
            pass  # some are beyond 64 bits: one by one
    steps = np.zeros(len(raw), np.int64)
    for at, value in enumerate(raw):
        step = _step(value, warnings)
        if step is None:
            usable[at] = False
        else:
            steps[at] = step
    return steps, usable


def _step(value: Any, warnings: _Warnings) -> int | None:
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            value = _number(value)
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not (isinstance(value, int) or math.isfinite(value))
    ):
        warnings.add(f"a row without a usable step was left out (step: {_shown(value)})")
        return None
    step = math.floor(value)
    if step != value:
        warnings.add("a fractional step was rounded down")
    if not LOWEST_STEP <= step <= HIGHEST_STEP:
        warnings.add("a step beyond 64 bits was cut to the nearest one that fits")
        step = max(LOWEST_STEP, min(HIGHEST_STEP, step))
    return step


def _times(raw: list[Any] | None, n_rows: int) -> npt.NDArray[np.float64]:
    times = np.full(n_rows, np.nan)
    for at, value in enumerate(raw or ()):
        number = _number(value)
        if number is not None and math.isfinite(number):
            times[at] = number
    return times


def _values(name: str, raw: list[Any], warnings: _Warnings) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Values and where there are any."""
    present = np.ones(len(raw), np.bool_)
    if all(type(value) is float for value in raw):
        return np.array(raw, np.float64), present
    values = np.full(len(raw), np.nan)
    for at, value in enumerate(raw):
        number = None if value is None else _number(value)
        present[at] = number is not None
        if number is not None:
            values[at] = number
        elif value is not None:
            warnings.add(f"{name[:80]!r} held something that is no number and was left out ({_shown(value)})")
    return values, present


def _number(value: Any) -> float | None:
    """The number that a JSON value means, None where it means none."""
    if isinstance(value, str):
        try:
            return float(value)  # takes "NaN", "Infinity", "-inf" and "2.31" alike
        except ValueError:
            return None
    if not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond 1e308
        return math.inf if value > 0 else -math.inf


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else text[:37] + "..."
