"""From the batch log to chunks: the same points in a tenth of the bytes.

Runs beside writers and readers. Batches give up their bytes but keep their row, whose key still answers a retry.
Points that a later segment replaced stay in their own segment's chunks.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger

from app.storage.codec import CHUNK_CODEC, CHUNK_POINTS, Chunk, decode_batch, encode_chunk
from app.storage.points import merged, read_chunks
from app.storage.runs import hold_run

MOST_BATCHES = 2_000  # at once: bounds the memory of one pass


def compact_run(connection: Connection, key: int, *, up_to_arrival: int) -> int:
    """Move a run's oldest batches into chunks, in this transaction; returns how many it moved.

    Only batches that the worker has fitted (`up_to_arrival`) are moved: an incremental refit reads the batches
    themselves. Another compaction of the same run makes this one return 0 at once.
    """
    if not connection.execute(text("SELECT pg_try_advisory_xact_lock(1, hashint8(:key))"), {"key": key}).scalar_one():
        return 0
    if not hold_run(connection, key):
        return 0
    rows = connection.execute(
        text("""
            SELECT segment, seq, series, data FROM metric_batch
            WHERE run_key = :key AND data IS NOT NULL AND arrival <= :up_to_arrival
            ORDER BY segment, seq LIMIT :most
        """),
        {"key": key, "up_to_arrival": up_to_arrival, "most": MOST_BATCHES},
    ).all()
    columns: dict[tuple[int, int], list[Chunk]] = defaultdict(list)
    for segment, seq, series, data in rows:
        batch = decode_batch(data, tuple(str(one) for one in series))
        for column, series_id in enumerate(series):
            here = batch.present[column]
            steps = batch.steps[here]
            seqs = np.full(len(steps), seq, np.int64)
            columns[series_id, segment].append(Chunk(steps, batch.values[column, here], batch.times[here], seqs))
    for (series_id, segment), chunks in columns.items():
        _add_to_chunks(connection, series_id, segment, merged(chunks))
    connection.execute(
        _EMPTY_BATCHES, {"key": key, "segments": [r.segment for r in rows], "seqs": [r.seq for r in rows]}
    )
    return len(rows)


def runs_to_compact(connection: Connection, most_batches: int, limit: int = 1000) -> list[str]:
    """Runs that are fitted and have batches left in the log: any if the run is over, else `most_batches` or more."""
    return list(
        connection.execute(
            text("""
                SELECT run.id
                FROM (SELECT run_key, count(*) AS batches FROM metric_batch WHERE data IS NOT NULL GROUP BY run_key) t
                JOIN run ON run.key = t.run_key
                JOIN run_progress p ON p.run_key = run.key
                WHERE p.fitted_revision >= p.revision AND (run.status <> 'running' OR t.batches >= :most_batches)
                LIMIT :limit
            """),
            {"most_batches": most_batches, "limit": limit},
        ).scalars()
    )


_EMPTY_BATCHES = text("""
    UPDATE metric_batch b SET data = NULL, series = NULL
    FROM unnest(:segments, :seqs) AS done(segment, seq)
    WHERE b.run_key = :key AND b.segment = done.segment AND b.seq = done.seq
""").bindparams(bindparam("segments", type_=ARRAY(BigInteger)), bindparam("seqs", type_=ARRAY(BigInteger)))


def _add_to_chunks(connection: Connection, series_id: int, segment: int, new: Chunk) -> None:
    if not len(new):
        return
    lowest, highest = int(new.steps[0]), int(new.steps[-1])
    lowest = _start_of_last_open_chunk(connection, series_id, segment, lowest)
    whole = merged([*read_chunks(connection, series_id, segment, lowest, highest), new])
    connection.execute(
        text("""
            DELETE FROM series_chunk
            WHERE series_id = :series_id AND segment = :segment AND step_min <= :highest AND step_max >= :lowest
        """),
        {"series_id": series_id, "segment": segment, "lowest": lowest, "highest": highest},
    )
    connection.execute(
        text("""
            INSERT INTO series_chunk (series_id, segment, step_min, step_max, n_points, codec, data)
            VALUES (:series_id, :segment, :step_min, :step_max, :n_points, :codec, :data)
        """),
        [
            {
                "series_id": series_id,
                "segment": segment,
                "step_min": int(part.steps[0]),
                "step_max": int(part.steps[-1]),
                "n_points": len(part),
                "codec": CHUNK_CODEC,
                "data": encode_chunk(part),
            }
            for part in _in_parts(whole)
        ],
    )


def _start_of_last_open_chunk(connection: Connection, series_id: int, segment: int, lowest: int) -> int:
    """Where to begin so that points following the newest chunk fill it up instead of starting a small one."""
    start = connection.execute(
        text("""
            SELECT step_min FROM series_chunk
            WHERE series_id = :series_id AND segment = :segment AND step_max < :lowest AND n_points < :full
              AND NOT EXISTS (
                SELECT 1 FROM series_chunk later
                WHERE later.series_id = series_chunk.series_id AND later.segment = series_chunk.segment
                  AND later.step_min > series_chunk.step_min
              )
        """),
        {"series_id": series_id, "segment": segment, "lowest": lowest, "full": CHUNK_POINTS},
    ).scalar_one_or_none()
    return lowest if start is None else int(start)


def _in_parts(chunk: Chunk) -> list[Chunk]:
    return [
        Chunk(chunk.steps[at:to], chunk.values[at:to], chunk.times[at:to], chunk.seqs[at:to])
        for at in range(0, len(chunk), CHUNK_POINTS)
        for to in [at + CHUNK_POINTS]
    ]
