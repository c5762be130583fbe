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
