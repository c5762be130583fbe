"""Reading points back: chunks and the batches not yet compacted, as one series.

Which point counts at a step: within a segment the one with the latest `seq` (and in one batch the later row); across
segments the later segment, which replaces everything of earlier ones beyond where it resumed (`Segment.replaces_from`).
Nothing replaced is deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, text

from app.curves.strays import curve_range
from app.errors import UnknownMetric
from app.runs import Points, Segment
from app.storage.codec import Chunk, decode_batch, decode_chunk
from app.storage.runs import list_series, run_key

LOWEST_STEP = -(2**63)
HIGHEST_STEP = 2**63 - 1
FEWEST_POINTS = 10
"""Room for the first and the last point, the lowest, the highest, and each of three kinds of non-finite value."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one segment still shows: its steps below `end`."""

    segment: int
    end: int | None  # first step that a later segment replaced; None: nothing was


def read_points(
    connection: Connection,
    run_id: str,
    metric: str,
    *,
    from_step: int | None = None,
    to_step: int | None = None,
    max_points: int | None = None,
) -> Points:
    """The points of one metric, both ends of the range included.

    With `max_points`, what is left out are points between the extremes: the first and the last point, each bucket's
    minimum and maximum, and each kind of non-finite value in it stay; and, without an end of the range, steps that are
    far beyond all others (`app.curves.strays`). Raises `UnknownMetric`, `NotFound`.
    """
    key = run_key(connection, run_id)
    series_id = connection.execute(
        text("SELECT id FROM series WHERE run_key = :key AND metric = :metric"), {"key": key, "metric": metric}
    ).scalar_one_or_none()
    if series_id is None:
        raise UnknownMetric(metric, [series.metric for series in list_series(connection, run_id)])
    lowest = LOWEST_STEP if from_step is None else from_step
    highest = HIGHEST_STEP if to_step is None else to_step
    points = read_series(connection, key, int(series_id), lowest, highest)
    if max_points is None:
        return points
    if from_step is None and to_step is None:
        begin, end = curve_range(points.steps)
        points = Points(points.steps[begin:end], points.values[begin:end], points.times[begin:end])
    return thinned(points, max_points)


def read_series(
    connection: Connection, key: int, series_id: int, lowest: int = LOWEST_STEP, highest: int = HIGHEST_STEP
) -> Points:
    """The points of a series with `lowest <= step <= highest`, replaced ones left out."""
    shown = []
    for piece in pieces(connection, key):
        end = highest if piece.end is None else min(highest, piece.end - 1)
        if lowest <= end:
            shown.append(read_segment(connection, key, series_id, piece.segment, lowest, end))
    # A segment may have logged at the step it said it resumed from, or below: then the later wins step by step.
    whole = _last_of_equal_steps(_concatenated(shown), order=None)
    return Points(whole.steps, whole.values, whole.times)


def segment_starts(connection: Connection, key: int) -> dict[int, int | None]:
    """For each segment of the run the step from which it replaces earlier ones; None before its first point."""
    rows = connection.execute(
        text("""
            SELECT number, session, started_at, resume_step, first_step
            FROM segment WHERE run_key = :key ORDER BY number
        """),
        {"key": key},
    )
    return {segment.number: segment.replaces_from for segment in (Segment(*row) for row in rows)}


def pieces(connection: Connection, key: int) -> list[Piece]:
    """The run's segments, each with the step from which a later one replaced it."""
    found: list[Piece] = []
    end: int | None = None
    for number, start in reversed(segment_starts(connection, key).items()):
        found.append(Piece(number, end))
        if start is not None:
            end = start if end is None else min(end, start)
    return found[::-1]


def read_segment(
    connection: Connection,
    key: int,
    series_id: int,
    segment: int,
    lowest: int = LOWEST_STEP,
    highest: int = HIGHEST_STEP,
) -> Chunk:
    """One segment's points of a series within a range of steps, the latest seq at each step."""
    stored = [
        *read_chunks(connection, series_id, segment, lowest, highest),
        *_tail(connection, key, series_id, segment, lowest, highest),
    ]
    return _between(merged(stored), lowest, highest)


def read_chunks(connection: Connection, series_id: int, segment: int, lowest: int, highest: int) -> list[Chunk]:
    rows = connection.execute(
        text("""
            SELECT codec, data FROM series_chunk
            WHERE series_id = :series_id AND segment = :segment AND step_min <= :highest AND step_max >= :lowest
            ORDER BY step_min
        """),
        {"series_id": series_id, "segment": segment, "lowest": lowest, "highest": highest},
    )
    return [decode_chunk(data, codec) for codec, data in rows]


def _tail(connection: Connection, key: int, series_id: int, segment: int, lowest: int, highest: int) -> list[Chunk]:
    rows = connection.execute(
        text("""
            SELECT seq, series, data FROM metric_batch
            WHERE run_key = :key AND segment = :segment AND data IS NOT NULL
              AND step_min <= :highest AND step_max >= :lowest AND :series_id = ANY(series)
            ORDER BY seq
        """),
        {"key": key, "segment": segment, "series_id": series_id, "lowest": lowest, "highest": highest},
    )
    return [column_of_batch(data, columns, series_id, seq) for seq, columns, data in rows]


def column_of_batch(data: bytes, columns: Sequence[int], series_id: int, seq: int) -> Chunk:
    """One series out of a stored batch, in the order of its rows."""
    column = columns.index(series_id)
    batch = decode_batch(data, tuple(str(one) for one in columns))
    here = batch.present[column]
    steps = batch.steps[here]
    return Chunk(steps, batch.values[column, here], batch.times[here], np.full(len(steps), seq, np.int64))


def merged(chunks: Sequence[Chunk]) -> Chunk:
    """Chunks of one segment as one: steps strictly increasing, the latest seq at each."""
    whole = _concatenated(chunks)
    return _last_of_equal_steps(whole, order=whole.seqs)


def _concatenated(chunks: Sequence[Chunk]) -> Chunk:
    if not chunks:
        return Chunk(np.empty(0, np.int64), np.empty(0), np.empty(0), np.empty(0, np.int64))
    if len(chunks) == 1:
        return chunks[0]
    return Chunk(
        np.concatenate([chunk.steps for chunk in chunks]),
        np.concatenate([chunk.values for chunk in chunks]),
        np.concatenate([chunk.times for chunk in chunks]),
        np.concatenate([chunk.seqs for chunk in chunks]),
    )


def _last_of_equal_steps(chunk: Chunk, *, order: npt.NDArray[np.int64] | None) -> Chunk:
    """Sorted by step; of equal steps the one with the largest `order` stays, and of those the one that came last."""
    steps = chunk.steps
    if np.all(steps[1:] > steps[:-1]):  # comparison, not difference: steps may be 2^63 apart
        return chunk
    at = np.argsort(steps, kind="stable") if order is None else np.lexsort((order, steps))
    steps = steps[at]
    at = at[np.append(steps[1:] != steps[:-1], True)]
    return _taken(chunk, at)


def _between(chunk: Chunk, lowest: int, highest: int) -> Chunk:
    steps = chunk.steps
    if not len(steps) or (steps[0] >= lowest and steps[-1] <= highest):
        return chunk
    return _taken(chunk, np.flatnonzero((steps >= lowest) & (steps <= highest)))


def _taken(chunk: Chunk, at: npt.NDArray[np.intp]) -> Chunk:
    return Chunk(chunk.steps[at], chunk.values[at], chunk.times[at], chunk.seqs[at])


def thinned(points: Points, max_points: int) -> Points:
    """At most `max_points` of the points (from `FEWEST_POINTS` on), extremes and non-finite kinds kept.

    Buckets hold equally many points each; out of a bucket come its minimum, its maximum and the first of each kind of
    non-finite value, and always the first and the last point of all.
    """
    if len(points) <= max_points:
        return points
    nan, plus, minus = np.isnan(points.values), np.isposinf(points.values), np.isneginf(points.values)
    kinds = [kind for kind in (nan, plus, minus) if kind.any()]
    n_buckets = max(1, (max_points - 2) // (2 + len(kinds)))
    starts = np.unique(np.linspace(0, len(points), n_buckets, endpoint=False).astype(np.intp))
    finite = ~(nan | plus | minus)
    keep = np.zeros(len(points), np.bool_)
    keep[[0, -1]] = True
    keep[_where_first(points.values, starts, np.fmin.reduceat(np.where(finite, points.values, np.inf), starts))] = True
    keep[_where_first(points.values, starts, np.fmax.reduceat(np.where(finite, points.values, -np.inf), starts))] = True
    for kind in kinds:
        bucket = np.searchsorted(starts, np.flatnonzero(kind), side="right")
        _, first = np.unique(bucket, return_index=True)
        keep[np.flatnonzero(kind)[first]] = True
    return Points(points.steps[keep], points.values[keep], points.times[keep])


def _where_first(
    values: npt.NDArray[np.float64], starts: npt.NDArray[np.intp], wanted: npt.NDArray[np.float64]
) -> npt.NDArray[np.intp]:
    """For each bucket the index of the first value equal to its wanted one; buckets without any are left out."""
    sizes = np.diff(np.append(starts, len(values)))
    hits = np.flatnonzero(values == np.repeat(wanted, sizes))
    bucket = np.searchsorted(starts, hits, side="right")
    _, first = np.unique(bucket, return_index=True)
    return hits[first]
