"""Bytes of batches, chunks and forecast paths.

A batch is written once, fast, and soon compacted: raw little-endian arrays. A chunk is kept for good: delta, byte
shuffle, zlib at its fastest level (5 to 6 bytes a point measured, against ~92 for a row a point; 0002).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.runs import Batch

CHUNK_CODEC = 1
CHUNK_POINTS = 16_384

_BATCH_HEADER = struct.Struct("<BBHI")  # version, flags, metrics, rows
_BATCH_VERSION = 1
_HAS_TIMES = 1
_HAS_GAPS = 2

_CHUNK_HEADER = struct.Struct("<IIIII")  # points, then the compressed lengths of steps, values, times, seqs

Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]


def encode_batch(batch: Batch) -> bytes:
    has_times = not np.isnan(batch.times).all()
    has_gaps = not batch.present.all()
    flags = _HAS_TIMES * has_times | _HAS_GAPS * has_gaps
    parts = [
        _BATCH_HEADER.pack(_BATCH_VERSION, flags, len(batch.metrics), len(batch.steps)),
        batch.steps.astype("<i8", copy=False).tobytes(),
    ]
    if has_times:
        parts.append(batch.times.astype("<f8", copy=False).tobytes())
    if has_gaps:
        parts.append(np.packbits(batch.present.ravel()).tobytes())
    parts.append(batch.values[batch.present].astype("<f8", copy=False).tobytes())
    return b"".join(parts)


def decode_batch(data: bytes, metrics: tuple[str, ...]) -> Batch:
    """The batch again; the names of its columns are kept beside it."""
    version, flags, n_metrics, n_rows = _BATCH_HEADER.unpack_from(data)
    if version != _BATCH_VERSION or n_metrics != len(metrics):
        raise ValueError(f"not a batch of {len(metrics)} columns in version {_BATCH_VERSION}")
    at = _BATCH_HEADER.size
    steps = np.frombuffer(data, "<i8", n_rows, at).astype(np.int64)
    at += 8 * n_rows
    times = np.full(n_rows, np.nan)
    if flags & _HAS_TIMES:
        times = np.frombuffer(data, "<f8", n_rows, at).astype(np.float64)
        at += 8 * n_rows
    present = np.ones((n_metrics, n_rows), np.bool_)
    if flags & _HAS_GAPS:
        n_bytes = -(-n_metrics * n_rows // 8)
        bits = np.unpackbits(np.frombuffer(data, np.uint8, n_bytes, at), count=n_metrics * n_rows)
        present = bits.astype(np.bool_).reshape(n_metrics, n_rows)
        at += n_bytes
    values = np.full((n_metrics, n_rows), np.nan)
    values[present] = np.frombuffer(data, "<f8", int(present.sum()), at)
    return Batch(steps=steps, times=times, metrics=metrics, values=values, present=present)


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Points of one series within one segment, steps strictly increasing; `seqs` says which batch each came with."""

    steps: Int64s
    values: Float64s
    times: Float64s
    seqs: Int64s

    def __len__(self) -> int:
        return len(self.steps)


def encode_chunk(chunk: Chunk) -> bytes:
    times = b"" if np.isnan(chunk.times).all() else _pack(chunk.times)
    streams = (_pack(_delta(chunk.steps)), _pack(chunk.values), times, _pack(_delta(chunk.seqs)))
    return _CHUNK_HEADER.pack(len(chunk), *(len(stream) for stream in streams)) + b"".join(streams)


def decode_chunk(data: bytes, codec: int = CHUNK_CODEC) -> Chunk:
    if codec != CHUNK_CODEC:
        raise ValueError(f"chunk codec {codec} is not known to this version; it reads {CHUNK_CODEC}")
    n_points, *lengths = _CHUNK_HEADER.unpack_from(data)
    at = _CHUNK_HEADER.size
    streams = []
    for length in lengths:
        streams.append(data[at : at + length])
        at += length
    return Chunk(
        steps=_undelta(_unpack(streams[0], n_points)),
        values=_unpack(streams[1], n_points).view(np.float64),
        times=_unpack(streams[2], n_points).view(np.float64) if streams[2] else np.full(n_points, np.nan),
        seqs=_undelta(_unpack(streams[3], n_points)),
    )


def encode_path(steps: Int64s, rows: Float64s) -> bytes:
    """A forecast's path: steps (n,) and rows of numbers along it (n_rows, n)."""
    packed_steps = _pack(_delta(steps))
    return struct.pack("<III", *rows.shape, len(packed_steps)) + packed_steps + _pack(rows.ravel())


def decode_path(data: bytes) -> tuple[Int64s, Float64s]:
    n_rows, n_steps, packed_length = struct.unpack_from("<III", data)
    middle = 12 + packed_length
    steps = _undelta(_unpack(data[12:middle], n_steps))
    return steps, _unpack(data[middle:], n_rows * n_steps).view(np.float64).reshape(n_rows, n_steps)


def _delta(values: Int64s) -> Int64s:
    # Differences wrap modulo 2^64, and so does the sum that undoes them: exact for any int64.
    with np.errstate(over="ignore"):
        return np.diff(values, prepend=np.int64(0))


def _undelta(deltas: Int64s) -> Int64s:
    with np.errstate(over="ignore"):
        return np.cumsum(deltas, dtype=np.int64)


def _pack(values: Int64s | Float64s) -> bytes:
    octets = np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<"), copy=False).view(np.uint8)
    return zlib.compress(octets.reshape(-1, 8).T.tobytes(), 1)


def _unpack(data: bytes, n_points: int) -> Int64s:
    octets = np.frombuffer(zlib.decompress(data), np.uint8).reshape(8, n_points)
    return np.ascontiguousarray(octets.T).view("<i8").reshape(n_points).astype(np.int64, copy=False)
