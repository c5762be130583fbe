"""TensorBoard's event files: the scalars of a folder as one run, read without TensorBoard.

A file is a row of records: length (u64), its checksum (u32), payload, the payload's checksum (u32), all little-endian
[1]_. A payload is a protocol buffer `Event` [2]_, of which we read

- `Event`: 1 wall_time (double), 2 step (int64), 5 summary, 7 session_log; of that 1 status (1 is START)
- `Summary`: 1 value, repeated; of it 1 tag, 2 simple_value (float), 8 tensor, 9 metadata (1 plugin_data (1 name))
- `TensorProto`: 1 dtype, 2 shape, 4 tensor_content, 5 float_val, 6 double_val, 7 int_val, 8 string_val, 10 int64_val

One folder is one run: a job that starts again writes another file there. A file that begins with a purge step takes
back what was logged from that step on; without one, a later file replaces what earlier ones say of a metric from its
own first step of it on. The checksum of each length is checked, which finds a file that is none; those of the payloads
are not: they would take longer than all the rest.

.. [1] https://www.tensorflow.org/tutorials/load_data/tfrecord
.. [2] tensorboard/compat/proto/event.proto, summary.proto, tensor.proto
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from app.importers.imported_run import LARGEST_STEP, ImportedRun, batches_of_series, counted, unreadable
from app.importers.protocol_buffers import last, read_message, read_varint, signed
from app.runs import Points

IN_THEIR_NAMES = ".tfevents."

SESSION_START = 1

# Of DataType: which field of a TensorProto holds the values, and how they lie in tensor_content.
NUMBERS = {1: (5, "<f4"), 2: (6, "<f8"), 3: (7, "<i4"), 9: (10, "<i8")}
STRING = 7

CONFIG_TAGS = ("args/text_summary",)
"""Where the Hugging Face Trainer writes all of its arguments, as JSON."""


@dataclass(slots=True)
class _Series:
    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    def add(self, step: int, value: float, time: float) -> None:
        self.steps.append(step)
        self.values.append(value)
        self.times.append(time)

    def points(self) -> Points:
        return Points(np.array(self.steps, np.int64), np.array(self.values), np.array(self.times))

    def before(self, step: int) -> _Series:
        kept = [i for i, own in enumerate(self.steps) if own < step]
        return _Series([self.steps[i] for i in kept], [self.values[i] for i in kept], [self.times[i] for i in kept])

    def then(self, later: _Series) -> _Series:
        return _Series(self.steps + later.steps, self.values + later.values, self.times + later.times)


@dataclass(slots=True)
class _Log:
    """What one file or the files of one folder say."""

    series: dict[str, _Series] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)  # by tag; written with a tag's first value alone
    config: Mapping[str, Any] = field(default_factory=dict)
    purged_from: int | None = None
    left_out: int = 0  # steps that cannot be

    def then(self, later: _Log) -> None:
        """Go on with a file that was begun later."""
        if later.purged_from is not None:
            self.series = {tag: series.before(later.purged_from) for tag, series in self.series.items()}
        for tag, series in later.series.items():
            self.series[tag] = self.series.get(tag, _Series()).before(min(series.steps)).then(series)
        self.config = later.config or self.config
        self.left_out += later.left_out


def is_event_file(path: Path) -> bool:
    return IN_THEIR_NAMES in path.name and path.is_file()


def event_files_in(folder: Path) -> list[Path]:
    """The event files of one run, those begun first in front: the time is in their names."""
    return sorted(file for file in folder.iterdir() if is_event_file(file))


def read_events(path: Path) -> list[ImportedRun]:
    """The run of a folder, or of one file of it."""
    warnings: list[str] = []
    log = _Log()
    for file in event_files_in(path) if path.is_dir() else [path]:
        log.then(_read_file(file, warnings))
    if log.left_out:
        warnings.append(f"{counted(log.left_out, 'value')} at a step beyond 2**62 left out.")
    return [
        ImportedRun(
            name=path.resolve().name if path.is_dir() else path.resolve().parent.name,
            config=log.config,
            batches=batches_of_series({tag: series.points() for tag, series in log.series.items()}),
            warnings=warnings,
        )
    ]


def _read_file(path: Path, warnings: list[str]) -> _Log:
    log = _Log()
    try:
        with path.open("rb") as file:
            for record in _records(path, file, warnings):
                _take(log, record)
    except OSError as error:
        what = (error.strerror or str(error)).lower()
        raise unreadable(path, None, what, "Check that this user may read it") from error
    except (struct.error, IndexError, UnicodeError) as error:
        what = f"a record is damaged ({error})"
        raise unreadable(path, None, what, "Leave this file out, or import the other files of the folder") from error
    return log


def _records(path: Path, file: IO[bytes], warnings: list[str]) -> Iterator[bytes]:
    while head := file.read(12):
        if len(head) == 12:
            length, checksum = struct.unpack("<QI", head)
            if _masked_crc32c(head[:8]) != checksum:
                what = f"no event file, or damaged at byte {file.tell() - 12:,}"
                raise unreadable(path, None, what, "Losscast imports TensorBoard's event files as they are written")
            payload = file.read(length + 4)
            if len(payload) == length + 4:
                yield payload[:length]
                continue
        warnings.append(f"The last record of {path.name} is cut off in the middle and was left out.")
        return


def _take(log: _Log, record: bytes) -> None:
    event = read_message(record)
    step = signed(last(event, 2, 0))
    time = struct.unpack("<d", last(event, 1, bytes(8)))[0]
    for session in event.get(7, ()):
        if last(read_message(session), 1, 0) == SESSION_START:
            # A writer that was given a purge step marks it before its first value.
            log.purged_from = step
    for summary in event.get(5, ()):
        for value in read_message(summary).get(1, ()):
            _take_value(log, step, time, read_message(value))


def _take_value(log: _Log, step: int, time: float, value: Mapping[int, Sequence[Any]]) -> None:
    tag = last(value, 1, b"").decode()
    if 2 in value:
        number: float | None = struct.unpack("<f", value[2][-1])[0]
    elif 8 in value:
        plugin = log.plugins.setdefault(tag, _plugin(value))
        tensor = read_message(value[8][-1])
        if last(tensor, 1, 0) == STRING:
            log.config = _config(tag, tensor) or log.config
        number = _scalar(tensor) if plugin in ("scalars", "") else None
    else:
        number = None
    if number is None:
        return
    if abs(step) > LARGEST_STEP:
        log.left_out += 1
        return
    log.series.setdefault(tag, _Series()).add(step, number, time)


def _plugin(value: Mapping[int, Sequence[Any]]) -> str:
    metadata = read_message(last(value, 9, b""))
    name: bytes = last(read_message(last(metadata, 1, b"")), 1, b"")
    return name.decode()


def _scalar(tensor: Mapping[int, Sequence[Any]]) -> float | None:
    """The number of a tensor of no dimensions; None of any other."""
    dtype = last(tensor, 1, 0)
    if dtype not in NUMBERS or read_message(last(tensor, 2, b"")).get(2):
        return None
    in_field, layout = NUMBERS[dtype]
    content = last(tensor, 4, b"") or last(tensor, in_field, b"")
    if isinstance(content, int):
        return float(signed(content))
    if in_field in (7, 10) and not tensor.get(4):  # packed varints
        return float(signed(read_varint(content, 0)[0])) if content else 0.0
    values = np.frombuffer(content, layout)
    return float(values[0]) if len(values) else 0.0


def _config(tag: str, tensor: Mapping[int, Sequence[Any]]) -> Mapping[str, Any]:
    if tag not in CONFIG_TAGS:
        return {}
    try:
        said = json.loads(last(tensor, 8, b""))
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)  # the polynomial of Castagnoli, reversed
        table.append(crc)
    return tuple(table)


CRC_TABLE = _crc_table()


def _masked_crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
