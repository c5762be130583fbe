"""The chain of migrations, run for real."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from app import migrate
from app.errors import Unavailable
from app.storage.database import Database

VERSIONS = Path(__file__).parents[2] / "migrations" / "versions"


def test_up_then_down_then_up_leaves_nothing_behind(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    migrate.upgrade(database)
    migrate.downgrade(database, "base")
    assert inspect(database.engine).get_table_names() == ["alembic_version"]
    with database.read() as connection:
        left = connection.execute(text("SELECT proname FROM pg_proc WHERE proname LIKE 'procrastinate%'")).all()
    assert left == []
    migrate.upgrade(database)
    migrate.require_current(database)
    database.close()


def test_runs_that_finished_before_others_spoke_too_speak_on(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    migrate.upgrade(database, "20261123_failed_refits")
    with database.write() as connection:
        connection.execute(text("INSERT INTO project (name, siblings_revision) VALUES ('llama', 3)"))
        for run_id in ("old", "older", "live"):
            connection.execute(
                text("INSERT INTO run (id, project_id, name) SELECT :run_id, id, :run_id FROM project"),
                {"run_id": run_id},
            )
        connection.execute(text(OF_A_WORKER_OF_BEFORE), {"run_id": "old", "arrivals": 7})
    migrate.upgrade(database)
    assert made_by_run(database) == {"old": 1.0}
    with database.write() as connection:  # a worker of before may still be at work
        connection.execute(text(OF_A_WORKER_OF_BEFORE), {"run_id": "old", "arrivals": 8})
        connection.execute(text(OF_A_WORKER_OF_BEFORE), {"run_id": "older", "arrivals": 1})
        connection.execute(text(OF_A_WORKER_OF_BEFORE), {"run_id": "live", "arrivals": 1})
        connection.execute(text("UPDATE offer SET made = 0.4 FROM run WHERE run.key = run_key AND run.id = 'live'"))
        assert connection.execute(text("SELECT arrivals FROM finished_run ORDER BY arrivals")).scalars().all() == [1, 8]
    assert made_by_run(database) == {"old": 1.0, "older": 1.0, "live": 0.4}
    migrate.downgrade(database, "20261123_failed_refits")
    with database.read() as connection:
        kept = connection.execute(text("SELECT run.id FROM finished_run JOIN run ON run.key = run_key ORDER BY 1"))
        assert kept.scalars().all() == ["old", "older"]
    migrate.upgrade(database)
    assert made_by_run(database) == {"old": 1.0, "older": 1.0}
    database.close()


OF_A_WORKER_OF_BEFORE = """
    INSERT INTO finished_run (run_key, project_id, revision, rules, arrivals, traits, losses)
    SELECT key, project_id, 3, 1, :arrivals, '{"numbers": {}, "words": {}}', '{}' FROM run WHERE id = :run_id
    ON CONFLICT (run_key) DO UPDATE SET arrivals = excluded.arrivals
"""


def made_by_run(database: Database) -> dict[str, float]:
    with database.read() as connection:
        rows = connection.execute(text("SELECT run.id, offer.made FROM offer JOIN run ON run.key = offer.run_key"))
        return {row.id: row.made for row in rows}


def test_tables_and_migrations_agree(database: Database) -> None:
    migrate.check(database)


def test_every_column_says_what_it_holds(database: Database) -> None:
    inspector = inspect(database.engine)
    silent = [
        f"{table}.{column['name']}"
        for table in inspector.get_table_names()
        if not table.startswith("procrastinate_") and table != "alembic_version"
        for column in inspector.get_columns(table)
        if not column["comment"]
    ]
    assert silent == []


def test_migration_files_are_named_by_date() -> None:
    for path in VERSIONS.glob("*.py"):
        assert re.fullmatch(r"\d{4}_\d{2}_\d{2}_\d{4}_[a-z0-9_]+", path.stem), path.name


def test_processes_that_migrate_at_once_do_not_collide(empty_database_url: str) -> None:
    script = (
        "import sys; from app import migrate; from app.storage.database import Database; "
        "migrate.upgrade(Database(sys.argv[1]))"
    )
    racers = [subprocess.Popen([sys.executable, "-c", script, empty_database_url]) for _ in range(3)]
    assert [racer.wait(timeout=120) for racer in racers] == [0, 0, 0]


def test_an_old_schema_is_refused_with_the_command_that_mends_it(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    with pytest.raises(Unavailable, match="losscast migrate"):
        migrate.require_current(database)
    database.close()
