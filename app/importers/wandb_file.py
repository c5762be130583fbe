"""wandb's own file of a run, `run-ID.wandb`: what its `sync` sends, written online and offline alike.

Seven bytes of header, then blocks of 32 KiB in LevelDB's log format [1]_: a record lies in one chunk or in several
(first, middle, last), each after its checksum (u32, the plain CRC-32 of kind and data), length (u16) and kind (u8). A
record is a protocol buffer `Record` [2]_, of which we read

- `Record`: 2 history, 5 config, 17 run; of the run 1 run_id, 4 config, 8 display_name
- history: 1 item, repeated; of it 1 key, 2 nested_key, 16 value_json
- config: 1 update, repeated; of it 1 key, 2 nested_key, 16 value_json

As wandb 0.31 writes it; nobody has promised that it stays so.

.. [1] https://github.com/google/leveldb/blob/main/doc/log_format.md
.. [2] wandb/proto/wandb_internal.proto
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.importers.imported_run import ImportedRun, unreadable
from app.importers.jsonl_file import run_of_records
from app.importers.protocol_buffers import last, read_message

MAGIC = b":W&B"
HEADER_BYTES = 7
BLOCK_BYTES = 32 * 2**10
CHUNK_HEAD = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def is_wandb_file(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_wandb_file(path: Path) -> list[ImportedRun]:
    warnings: list[str] = []
    rows: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    name = ""
    try:
        for record in _records(path.read_bytes(), path, warnings):
            said = read_message(record)
            for history in said.get(2, ()):
                row = _items(read_message(history).get(1, ()))
                rows.append({metric: cell for metric, cell in row.items() if not _is_none_of_ours(metric, cell)})
            for update in said.get(5, ()):
                config.update(_items(read_message(update).get(1, ())))
            for run in said.get(17, ()):
                about = read_message(run)
                config.update(_items(read_message(last(about, 4, b"")).get(1, ())))
                name = (last(about, 8, b"") or last(about, 1, b"")).decode()
    except (IndexError, ValueError) as error:
        raise unreadable(path, None, f"a record is damaged ({error})", "Export the run from wandb instead") from error
    run = run_of_records(path, lambda _: enumerate(rows, start=1), "row")
    run.warnings.extend(warnings)
    own = {key: value for key, value in config.items() if not key.startswith("_")}  # `_wandb`: about the machine
    return [replace(run, name=name or run.name, config=own)]


def _is_none_of_ours(metric: str, cell: object) -> bool:
    """A histogram, a picture; wandb's clock since the start."""
    return metric == "_runtime" or (isinstance(cell, dict) and "_type" in cell)


def _items(items: Sequence[bytes]) -> dict[str, Any]:
    """Names to values, nested names joined as the other readers join them."""
    found: dict[str, Any] = {}
    for item in items:
        fields: Mapping[int, Sequence[Any]] = read_message(item)
        nested = [part.decode() for part in fields.get(2, ())]
        name = "/".join(nested) or last(fields, 1, b"").decode()
        if 16 in fields:
            found[name] = json.loads(fields[16][-1])
    return found


def _records(data: bytes, path: Path, warnings: list[str]) -> Iterator[bytes]:
    if len(data) < HEADER_BYTES or data[: len(MAGIC)] != MAGIC:
        raise unreadable(path, None, "this is no file of wandb's", "Losscast reads run-ID.wandb as it is written")
    at, parts = HEADER_BYTES, b""
    while at < len(data):
        left = BLOCK_BYTES - at % BLOCK_BYTES
        if left < CHUNK_HEAD.size:  # too little for a chunk: filled up
            at += left
            continue
        if at + CHUNK_HEAD.size > len(data):
            break
        checksum, length, kind = CHUNK_HEAD.unpack_from(data, at)
        chunk = data[at + CHUNK_HEAD.size : at + CHUNK_HEAD.size + length]
        if len(chunk) < length:
            break
        if zlib.crc32(bytes((kind,)) + chunk) != checksum or not FULL <= kind <= LAST:
            raise unreadable(path, None, f"damaged at byte {at:,}", "Export the run from wandb instead")
        at += CHUNK_HEAD.size + length
        parts = chunk if kind in (FULL, FIRST) else parts + chunk
        if kind in (FULL, LAST):
            yield parts
            parts = b""
    if parts or at < len(data):
        warnings.append("The last record is cut off in the middle and was left out.")
