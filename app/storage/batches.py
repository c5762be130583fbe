"""Writing what jobs send: the batch log, and the counters that follow it.

`write_batches` is the body of a group commit: many requests, one transaction. Locking each run's row of
`run_progress` puts its batches into one order (`arrival`), which is what lets the worker ask for "everything after"
without missing a transaction that was slow to commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger, Double, Integer, LargeBinary, Text

from app.errors import NotFound
from app.runs import Batch
from app.storage.codec import encode_batch
from app.storage.runs import gone

LARGEST_COUNT = 2**53
"""No run makes so many steps; beyond it not even every step is a double of its own."""


@dataclass(frozen=True, slots=True)
class PendingBatch:
    """A batch on its way in. Without `segment` the current one is meant; without `seq` the server counts."""

    run_id: str
    batch: Batch
    segment: int | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """What became of it."""

    segment: int
    seq: int
    points: int
    duplicate: bool
    warning: str | None = None


@dataclass(slots=True)
class _Progress:
    """A run's counters while its row is locked."""

    run_key: int
    segment: int
    arrivals: int
    last_step: int | None
    added: int = 0


@dataclass(frozen=True, slots=True)
class _Row:
    """A batch with everything decided."""

    run_key: int
    segment: int
    seq: int
    arrival: int
    batch: Batch


def write_batches(
    connection: Connection, pending: Sequence[PendingBatch], series_ids: dict[tuple[int, str], int] | None = None
) -> list[StoredBatch | NotFound]:
    """Store many batches in this transaction; one answer for each, in order.

    A batch whose (segment, seq) is already stored is answered as a duplicate and changes nothing. An unknown run is
    answered with `NotFound`, a deleted one with `RunDeleted`, and the others are stored all the same. `series_ids`
    remembers the keys of known series; hand in a copy and keep it only once the transaction has committed.
    """
    series_ids = {} if series_ids is None else series_ids
    wanted = {item.run_id for item in pending}
    progress = _lock_runs(connection, wanted)
    missing = gone(connection, sorted(wanted - progress.keys())) if wanted - progress.keys() else {}
    segments = _segments(connection, [known.run_key for known in progress.values()])
    known_keys = _stored_keys(connection, pending, progress)
    rows: list[_Row] = []
    answers: list[StoredBatch | NotFound] = []
    for item in pending:
        run = progress.get(item.run_id)
        if run is None:
            answers.append(missing[item.run_id])
            continue
        number, warning = _which_segment(item, run, segments)
        seq = segments[run.run_key, number] if item.seq is None else item.seq
        key = (run.run_key, number, seq)
        if key in known_keys:
            answers.append(StoredBatch(number, seq, 0, duplicate=True, warning=warning))
            continue
        known_keys.add(key)
        if item.seq is None:
            segments[run.run_key, number] += 1
        run.added += 1
        rows.append(_Row(run.run_key, number, seq, run.arrivals + run.added, item.batch))
        if number == run.segment and len(item.batch.steps):
            run.last_step = _further(run.last_step, int(item.batch.steps.max()))
        answers.append(StoredBatch(number, seq, item.batch.n_points, duplicate=False, warning=warning))
    if rows:
        _resolve_series(connection, rows, series_ids)
        _insert(connection, rows, series_ids)
        _count_series(connection, rows, series_ids)
        _count_segments(connection, rows, segments)
    _count_runs(connection, progress.values())
    return answers


def _further(last_step: int | None, newest: int) -> int:
    """The larger step; one that counts nothing, such as an overflowed counter, yields to one that may."""
    if last_step is None or (newest <= LARGEST_COUNT < last_step):
        return newest
    return last_step if last_step <= LARGEST_COUNT < newest else max(last_step, newest)


def _array(name: str, kind: type) -> bindparam:  # type: ignore[valid-type]
    return bindparam(name, type_=ARRAY(kind))


_LOCK_RUNS = text("""
    SELECT run.id, p.run_key, p.segment, p.arrivals, p.last_step
    FROM run JOIN run_progress p ON p.run_key = run.key
    WHERE run.id = ANY(:ids) ORDER BY p.run_key FOR NO KEY UPDATE OF p
""").bindparams(_array("ids", Text))


def _lock_runs(connection: Connection, run_ids: Iterable[str]) -> dict[str, _Progress]:
    found = connection.execute(_LOCK_RUNS, {"ids": sorted(run_ids)})
    return {row.id: _Progress(row.run_key, row.segment, row.arrivals, row.last_step) for row in found}


_SEGMENTS = text("SELECT run_key, number, next_seq FROM segment WHERE run_key = ANY(:keys)").bindparams(
    _array("keys", BigInteger)
)


def _segments(connection: Connection, run_keys: list[int]) -> dict[tuple[int, int], int]:
    return {(row.run_key, row.number): row.next_seq for row in connection.execute(_SEGMENTS, {"keys": run_keys})}


_STORED_KEYS = text("""
    SELECT b.run_key, b.segment, b.seq FROM metric_batch b
    JOIN unnest(:keys, :segments, :seqs) AS asked(run_key, segment, seq)
      ON b.run_key = asked.run_key AND b.segment = asked.segment AND b.seq = asked.seq
""").bindparams(_array("keys", BigInteger), _array("segments", Integer), _array("seqs", BigInteger))


def _stored_keys(
    connection: Connection, pending: Sequence[PendingBatch], progress: dict[str, _Progress]
) -> set[tuple[int, int, int]]:
    asked = [
        (run.run_key, item.segment if item.segment is not None else run.segment, item.seq)
        for item in pending
        if item.seq is not None and (run := progress.get(item.run_id)) is not None
    ]
    if not asked:
        return set()
    # An unknown segment is written to the current one, so that is where its seq would collide.
    asked += [
        (run.run_key, run.segment, item.seq)
        for item in pending
        if item.seq is not None and (run := progress.get(item.run_id))
    ]
    keys, segments, seqs = zip(*asked, strict=True)
    found = connection.execute(_STORED_KEYS, {"keys": list(keys), "segments": list(segments), "seqs": list(seqs)})
    return {(row.run_key, row.segment, row.seq) for row in found}


def _which_segment(item: PendingBatch, run: _Progress, segments: dict[tuple[int, int], int]) -> tuple[int, str | None]:
    if item.segment is None or (run.run_key, item.segment) in segments:
        return (run.segment if item.segment is None else item.segment), None
    # A metric write is never refused for such a thing: the numbers matter more than their bookkeeping.
    return run.segment, f"segment {item.segment} was never opened; stored in segment {run.segment}"


_ADD_SERIES = text("""
    INSERT INTO series (run_key, metric) SELECT * FROM unnest(:keys, :metrics) ON CONFLICT DO NOTHING
""").bindparams(_array("keys", BigInteger), _array("metrics", Text))
_FIND_SERIES = text("""
    SELECT s.run_key, s.metric, s.id FROM series s
    JOIN unnest(:keys, :metrics) AS asked(run_key, metric) ON s.run_key = asked.run_key AND s.metric = asked.metric
""").bindparams(_array("keys", BigInteger), _array("metrics", Text))


def _resolve_series(connection: Connection, rows: list[_Row], series_ids: dict[tuple[int, str], int]) -> None:
    missing = sorted({(row.run_key, metric) for row in rows for metric in row.batch.metrics} - series_ids.keys())
    if not missing:
        return
    keys, metrics = zip(*missing, strict=True)
    asked = {"keys": list(keys), "metrics": list(metrics)}
    connection.execute(_ADD_SERIES, asked)
    series_ids.update({(row.run_key, row.metric): row.id for row in connection.execute(_FIND_SERIES, asked)})


# A function, not unnest, because the column `series` is an array itself.
_INSERT = text("""
    INSERT INTO metric_batch (run_key, segment, seq, arrival, n_points, step_min, step_max, series, data)
    VALUES (:run_key, :segment, :seq, :arrival, :n_points, :step_min, :step_max, :series, :data)
""").bindparams(_array("series", BigInteger), bindparam("data", type_=LargeBinary))


def _insert(connection: Connection, rows: list[_Row], series_ids: dict[tuple[int, str], int]) -> None:
    connection.execute(
        _INSERT,
        [
            {
                "run_key": row.run_key,
                "segment": row.segment,
                "seq": row.seq,
                "arrival": row.arrival,
                "n_points": row.batch.n_points,
                "step_min": int(row.batch.steps.min()) if len(row.batch.steps) else None,
                "step_max": int(row.batch.steps.max()) if len(row.batch.steps) else None,
                "series": [series_ids[row.run_key, metric] for metric in row.batch.metrics],
                "data": encode_batch(row.batch),
            }
            for row in rows
        ],
    )


_COUNT_SERIES = text("""
    UPDATE series s SET
        points = s.points + new.points,
        first_step = least(s.first_step, new.first_step),
        last_step = CASE WHEN (new.segment, new.last_step) >= (s.last_segment, coalesce(s.last_step, new.last_step))
            THEN new.last_step ELSE s.last_step END,
        last_value = CASE WHEN (new.segment, new.last_step) >= (s.last_segment, coalesce(s.last_step, new.last_step))
            THEN new.last_value ELSE s.last_value END,
        last_segment = greatest(s.last_segment, new.segment)
    FROM (
        SELECT * FROM unnest(:ids, :segments, :points, :first_steps, :last_steps, :last_values)
            AS t(id, segment, points, first_step, last_step, last_value)
    ) new
    WHERE s.id = new.id
""").bindparams(
    _array("ids", BigInteger),
    _array("segments", Integer),
    _array("points", BigInteger),
    _array("first_steps", BigInteger),
    _array("last_steps", BigInteger),
    _array("last_values", Double),
)


@dataclass(slots=True)
class _SeriesCount:
    segment: int
    points: int
    first_step: int
    last_step: int
    last_value: float


def _count_series(connection: Connection, rows: list[_Row], series_ids: dict[tuple[int, str], int]) -> None:
    counts: dict[int, _SeriesCount] = {}
    for row in rows:
        for column, metric in enumerate(row.batch.metrics):
            where = np.flatnonzero(row.batch.present[column])
            if not len(where):
                continue
            steps = row.batch.steps[where]
            # The last of equal steps has won, as everywhere.
            newest = len(steps) - 1 - int(np.argmax(steps[::-1]))
            last_step, last_value = int(steps[newest]), float(row.batch.values[column, where[newest]])
            series_id = series_ids[row.run_key, metric]
            seen = counts.get(series_id)
            if seen is None:
                counts[series_id] = _SeriesCount(row.segment, len(where), int(steps.min()), last_step, last_value)
                continue
            seen.points += len(where)
            seen.first_step = min(seen.first_step, int(steps.min()))
            if (row.segment, last_step) >= (seen.segment, seen.last_step):
                seen.segment, seen.last_step, seen.last_value = row.segment, last_step, last_value
    if not counts:
        return
    ordered = sorted(counts.items())  # one order for all writers: no deadlock
    connection.execute(
        _COUNT_SERIES,
        {
            "ids": [series_id for series_id, _ in ordered],
            "segments": [count.segment for _, count in ordered],
            "points": [count.points for _, count in ordered],
            "first_steps": [count.first_step for _, count in ordered],
            "last_steps": [count.last_step for _, count in ordered],
            "last_values": [count.last_value for _, count in ordered],
        },
    )


_COUNT_SEGMENTS = text("""
    UPDATE segment SET
        -- A negative step starts no segment that has others: it must not hide all that was logged before a restart.
        first_step = CASE WHEN segment.first_step >= 0 AND new.first_step < 0 THEN segment.first_step
            WHEN segment.first_step < 0 AND new.first_step >= 0 THEN new.first_step
            ELSE least(segment.first_step, new.first_step) END,
        next_seq = new.next_seq
    FROM (
        SELECT * FROM unnest(:keys, :numbers, :first_steps, :next_seqs) AS t(run_key, number, first_step, next_seq)
    ) new
    WHERE segment.run_key = new.run_key AND segment.number = new.number
""").bindparams(
    _array("keys", BigInteger),
    _array("numbers", Integer),
    _array("first_steps", BigInteger),
    _array("next_seqs", BigInteger),
)


def _count_segments(connection: Connection, rows: list[_Row], segments: dict[tuple[int, int], int]) -> None:
    first_steps: dict[tuple[int, int], int | None] = {}
    for row in rows:
        key = (row.run_key, row.segment)
        lowest = _start(row.batch.steps)
        so_far = first_steps.get(key)
        if lowest is not None and so_far is not None and (lowest < 0) == (so_far < 0):
            lowest = min(lowest, so_far)
        elif lowest is None or (so_far is not None and lowest < 0):
            lowest = so_far
        first_steps[key] = lowest
    ordered = sorted(first_steps)
    connection.execute(
        _COUNT_SEGMENTS,
        {
            "keys": [run_key for run_key, _ in ordered],
            "numbers": [number for _, number in ordered],
            "first_steps": [first_steps[key] for key in ordered],
            "next_seqs": [segments[key] for key in ordered],
        },
    )


def _start(steps: npt.NDArray[np.int64]) -> int | None:
    """The smallest step that is not negative, if there is any."""
    counted = steps[steps >= 0]
    return int(counted.min()) if len(counted) else int(steps.min()) if len(steps) else None


_COUNT_RUNS = text("""
    UPDATE run_progress p SET
        arrivals = p.arrivals + new.added,
        revision = p.revision + new.added,
        last_step = new.last_step,
        last_seen_at = now()
    FROM (SELECT * FROM unnest(:keys, :added, :last_steps) AS t(run_key, added, last_step)) new
    WHERE p.run_key = new.run_key
""").bindparams(_array("keys", BigInteger), _array("added", Integer), _array("last_steps", BigInteger))


def _count_runs(connection: Connection, progress: Iterable[_Progress]) -> None:
    changed = [run for run in progress if run.added]
    if not changed:
        return
    connection.execute(
        _COUNT_RUNS,
        {
            "keys": [run.run_key for run in changed],
            "added": [run.added for run in changed],
            "last_steps": [run.last_step for run in changed],
        },
    )
