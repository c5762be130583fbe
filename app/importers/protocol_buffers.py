"""Protocol buffers as they lie in files, read without their definitions [1]_.

.. [1] https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5


def read_message(data: bytes) -> dict[int, list[Any]]:
    """The fields of a protocol buffer: numbers for varints, bytes for all others."""
    fields: dict[int, list[Any]] = {}
    at = 0
    while at < len(data):
        key = data[at]
        at += 1
        if key > 127:  # fields beyond 15 take more than a byte, and we read none of them
            key, at = read_varint(data, at - 1)
        kind = key & 7
        value: int | bytes
        if kind == VARINT:
            value, at = read_varint(data, at)
        else:
            if kind == LENGTH_DELIMITED:
                length = data[at]
                at += 1
                if length > 127:
                    length, at = read_varint(data, at - 1)
            elif kind in (FIXED64, FIXED32):
                length = 8 if kind == FIXED64 else 4
            else:
                raise IndexError(f"a field of the unknown kind {kind}")
            if at + length > len(data):
                raise IndexError("a field goes beyond its record")
            value, at = data[at : at + length], at + length
        fields.setdefault(key >> 3, []).append(value)
    return fields


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7


def last(fields: Mapping[int, Sequence[Any]], number: int, default: Any) -> Any:
    return fields[number][-1] if number in fields else default


def signed(varint: int) -> int:
    return varint - 2**64 if varint >= 2**63 else varint
