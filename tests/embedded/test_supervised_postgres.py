"""The embedded server in the hands of the supervisor, as `losscast up` runs it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from app.embedded import EmbeddedPostgres
from app.supervisor import Command, Service, Step, Supervisor
from tests.embedded.probes import eventually, process_gone, query

# A stand-in for the web server: says what it finds in the database, then stays.
READER = """
import os, time, psycopg
with psycopg.connect(os.environ["DATABASE_URL"].replace("+psycopg", "")) as connection:
    print("found", connection.execute("SELECT count(*) FROM kept").fetchone()[0])
time.sleep(600)
"""


def test_a_killed_postgres_comes_back_under_its_commands_with_all_that_was_committed(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    lines: list[str] = []

    def one_more_row() -> None:
        query(postgres.url, "INSERT INTO kept VALUES ('migrated')")

    supervisor = Supervisor(
        [
            Service("postgres", postgres),
            Step("one more row", one_more_row),
            Command("reader", [sys.executable, "-c", READER], env=lambda: {"DATABASE_URL": postgres.url}),
        ],
        on_start=lambda name, starts: lines.append(f"{name} start {starts}"),
        write_line=lines.append,
    )
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        assert supervisor.wait_until_started(60)
        assert eventually(lambda: "reader | found 2" in lines)
        first = postgres.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: "postgres start 2" in lines)
        assert postgres.pid != first
        assert query(postgres.url, "SELECT word FROM kept") == [("before",), ("migrated",)]
        second = postgres.pid
        reader = supervisor.pids()["reader"]
    finally:
        supervisor.request_stop()
        thread.join()
    assert second is not None
    assert process_gone(second)
    assert process_gone(reader)
    assert "database system is shut down" in (data_dir / "postgres.log").read_text().splitlines()[-1]
