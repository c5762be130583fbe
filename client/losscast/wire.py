"""Bytes: how rows and requests look on their way to the server (API version 1)."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Dict

from losscast.buffer import Row
from losscast.values import nonfinite_name

GZIP_FROM = 1024
"""Bytes of JSON from which compressing pays; a smaller body fits in one packet as it is."""


@dataclass(frozen=True)
class Payload:
    """A request's body, made once and sent as often as it takes."""

    data: bytes
    size: int
    """Bytes before compression: what the server's limit is about."""
    headers: Dict[str, str] = field(default_factory=dict)


def pack(body: Mapping[str, Any]) -> Payload:
    """JSON, compressed when that pays."""
    data = json.dumps(body, allow_nan=False, separators=(",", ":")).encode("ascii")
    headers = {"Content-Type": "application/json"}
    if len(data) <= GZIP_FROM:
        return Payload(data, len(data), headers)
    headers["Content-Encoding"] = "gzip"
    return Payload(gzip.compress(data, compresslevel=6, mtime=0), len(data), headers)


def batch_body(rows: Sequence[Row], segment: int, seq: int) -> Dict[str, Any]:
    """Rows as columns: each metric's name is written once. None is "no value at this step"; NaN is data."""
    columns: Dict[str, list[Any]] = {}
    for at, (_, _, metrics) in enumerate(rows):
        for metric, value in metrics.items():
            column = columns.get(metric)
            if column is None:
                column = columns[metric] = [None] * len(rows)
            column[at] = value if math.isfinite(value) else nonfinite_name(value)
    return {
        "segment": segment,
        "seq": seq,
        "steps": [step for step, _, _ in rows],
        "times": [round(time, 3) for _, time, _ in rows],
        "metrics": columns,
    }
