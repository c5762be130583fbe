"""Writing points: the batch log beside the usual table with one row a point, and the whole way through HTTP.

Run ``python -m benchmarks.ingest``. Points are five metrics by 200 steps a batch, durable at COMMIT (fsync on), in an
embedded Postgres of our own. Machines are noisy: read the ratios, and the medians of several rounds.
"""

from __future__ import annotations

import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from sqlalchemy import text

from app import migrate
from app.embedded import EmbeddedPostgres
from app.runs import Batch
from app.storage.batches import PendingBatch, write_batches
from app.storage.compaction import compact_run
from app.storage.database import Database
from app.storage.runs import RunRequest, open_run, run_key
from benchmarks.usage import tell_if_asked

METRICS = tuple(f"metric_{at}" for at in range(5))
STEPS = 200
ROUNDS = 5
BATCHES = 100  # a round
SENDERS = 16
SECONDS = 6.0


def main() -> None:
    tell_if_asked(__doc__)
    with _server() as url:
        database = Database(url)
        migrate.upgrade(database)
        _storage(database)
        _over_http(database, url)
        database.close()


def _storage(database: Database) -> None:
    print(f"{'way':<34}{'points/s':>12}{'bytes/point':>14}")
    ours = _rate(lambda at: _write_ours(database, at, 1))
    print(f"{'batch log, a commit each':<34}{ours:>12,.0f}{'':>14}")
    grouped = _rate(lambda at: _write_ours(database, at, 16), per_call=16)
    with database.write() as connection:
        key = run_key(connection, "bench-16")
        while compact_run(connection, key, up_to_arrival=2**60):
            pass
    used = "SELECT sum(octet_length(c.data)) / sum(c.n_points)::float FROM series_chunk c"
    print(f"{'batch log, 16 a commit':<34}{grouped:>12,.0f}{_number(database, used):>14.1f}  (compacted)")
    with database.write() as connection:
        connection.execute(
            text("""
                CREATE TABLE narrow (
                    series_id bigint, step bigint, value float8, at float8, PRIMARY KEY (series_id, step)
                )
            """)
        )
    narrow = _rate(lambda at: _write_narrow(database, at))
    size = "SELECT pg_total_relation_size('narrow') / count(*)::float FROM narrow"
    print(f"{'peer: one row a point, upsert':<34}{narrow:>12,.0f}{_number(database, size):>14.1f}")
    print(f"ratio ours to peer: {ours / narrow:.1f} (a commit each), {grouped / narrow:.1f} (16 a commit)")


def _batch(at: int) -> Batch:
    rng = np.random.default_rng(at)
    steps = np.arange(at * STEPS, (at + 1) * STEPS)
    # Losses are float32 numbers in nearly every job.
    values = rng.normal(2.0, 0.1, (len(METRICS), STEPS)).astype(np.float32).astype(np.float64)
    times = (1.7e9 + steps * 0.35).astype(np.float64)
    return Batch(steps, times, METRICS, values, np.ones_like(values, np.bool_))


def _write_ours(database: Database, at: int, together: int) -> None:
    run_id = f"bench-{together}"
    with database.write() as connection:
        if at == 0:
            open_run(connection, RunRequest(id=run_id, session="one"))
        seqs = range(at * together, (at + 1) * together)
        write_batches(connection, [PendingBatch(run_id, _batch(seq), 1, seq) for seq in seqs])


def _write_narrow(database: Database, at: int) -> None:
    batch = _batch(at)
    with database.write() as connection:
        connection.exec_driver_sql(
            """
            INSERT INTO narrow SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::float8[], %s::float8[])
            ON CONFLICT (series_id, step) DO UPDATE SET value = excluded.value
            """,
            (
                np.repeat(np.arange(len(METRICS)), STEPS).tolist(),
                np.tile(batch.steps, len(METRICS)).tolist(),
                batch.values.ravel().tolist(),
                np.tile(batch.times, len(METRICS)).tolist(),
            ),
        )


def _rate(write: Callable[[int], None], *, per_call: int = 1) -> float:
    """Median points a second over the rounds."""
    rates = []
    for round_ in range(ROUNDS):
        calls = max(1, BATCHES // per_call)
        start = time.perf_counter()
        for at in range(round_ * calls, (round_ + 1) * calls):
            write(at)
        rates.append(calls * per_call * len(METRICS) * STEPS / (time.perf_counter() - start))
    return statistics.median(rates)


def _over_http(database: Database, url: str) -> None:
    port = 18_700 + os.getpid() % 1000
    environment = {**os.environ, "DATABASE_URL": url, "LOSSCAST_PORT": str(port), "LOSSCAST_HOST": "127.0.0.1"}
    web = subprocess.Popen([sys.executable, "-m", "app", "serve"], env=environment, stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        print(f"\n{'over HTTP, durable':<34}{'requests/s':>12}{'points/s':>14}{'p50 ms':>9}{'p99 ms':>9}")
        for senders in (1, SENDERS):
            waits = _send(database, port, senders)
            rate = len(waits) / SECONDS
            p50, p99 = np.percentile(np.array(waits) * 1000, [50, 99])
            points = rate * len(METRICS) * STEPS
            print(f"{f'{senders} senders, 200 x 5 a batch':<34}{rate:>12,.0f}{points:>14,.0f}{p50:>9.1f}{p99:>9.1f}")
        print("(the senders are Python threads on the same cores and cost about as much as the server)")
    finally:
        web.terminate()
        web.wait(30)


def _send(database: Database, port: int, senders: int) -> list[float]:
    values = _batch(0).values.tolist()
    waits: list[float] = []
    end = time.perf_counter() + SECONDS

    def run(sender: int) -> None:
        run_id = f"http-{senders}-{sender}"
        with database.write() as connection:
            open_run(connection, RunRequest(id=run_id, session="one"))
        web = http.client.HTTPConnection("127.0.0.1", port)
        metrics = json.dumps(dict(zip(METRICS, values, strict=True)))
        seq = 0
        while time.perf_counter() < end:
            steps = list(range(seq * STEPS, (seq + 1) * STEPS))
            body = f'{{"segment":1,"seq":{seq},"steps":{json.dumps(steps)},"metrics":{metrics}}}'
            start = time.perf_counter()
            web.request("POST", f"/api/v1/runs/{run_id}/batches", body)
            answer = web.getresponse()
            answer.read()
            if answer.status == 200:
                waits.append(time.perf_counter() - start)
                seq += 1
        web.close()

    threads = [threading.Thread(target=run, args=(sender,)) for sender in range(senders)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits


def _wait(port: int) -> None:
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/healthz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the web process did not start")


def _number(database: Database, query: str) -> float:
    with database.read() as connection:
        return float(connection.execute(text(query)).scalar_one())


@contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="losscast-bench-") as folder:
        os.chmod(folder, 0o711)
        with EmbeddedPostgres(Path(folder) / "data") as server:
            yield server.url


if __name__ == "__main__":
    main()
