"""The commands that docs/operations.md gives for backup and restore."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import make_url

from app.embedded import EmbeddedPostgres
from app.embedded.binaries import find_binaries
from tests.embedded.probes import query

CHECKOUT = Path(__file__).parents[2]
OPERATIONS = CHECKOUT / "docs" / "operations.md"


def documented_command(program: str) -> list[str]:
    """The line of the page that runs `program`, without `losscast`."""
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", OPERATIONS.read_text(), flags=re.DOTALL)
    (line,) = [line for block in blocks for line in block.splitlines() if re.match(rf"losscast pg.* {program} ", line)]
    return shlex.split(line)[1:]


def test_what_was_dumped_while_running_is_restored_over_a_new_directory(
    data_dir: Path, open_folder: Path, tmp_path: Path
) -> None:
    if not (find_binaries().folder / "pg_dump").exists():
        pytest.skip("these binaries come without pg_dump")
    new_dir = open_folder / "restored"

    def run(program: str, **environment: str) -> None:
        arguments = [str(new_dir) if word == "NEW" else word for word in documented_command(program)]
        inherited = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        inherited |= {"PYTHONPATH": str(CHECKOUT)} | environment
        subprocess.run([sys.executable, "-m", "app", *arguments], cwd=tmp_path, env=inherited, check=True)

    with EmbeddedPostgres(data_dir):
        run("pg_dump", LOSSCAST_DATA_DIR=str(data_dir))
    with EmbeddedPostgres(new_dir) as postgres:
        query(postgres.url, "CREATE TABLE kept (word text)")  # as the migrations of the first start would
        run("pg_restore", LOSSCAST_DATA_DIR=str(data_dir))  # the option wins
        assert query(postgres.url, "SELECT word FROM kept") == [("before",)]


def test_a_database_of_ones_own_is_reached_by_its_address(empty_database_url: str) -> None:
    if not (find_binaries().folder / "psql").exists():
        pytest.skip("these binaries come without psql")
    asked = [sys.executable, "-m", "app", "pg", "psql", "-At", "-c", "SELECT current_database()"]
    environment = {**os.environ, "DATABASE_URL": empty_database_url}
    said = subprocess.run(asked, cwd=CHECKOUT, env=environment, check=True, capture_output=True, text=True).stdout
    assert said.strip() == make_url(empty_database_url).database


def test_a_program_that_is_not_there_is_named(empty_database_url: str) -> None:
    asked = [sys.executable, "-m", "app", "pg", "pg_nothing"]
    environment = {**os.environ, "DATABASE_URL": empty_database_url}
    answer = subprocess.run(asked, cwd=CHECKOUT, env=environment, check=False, capture_output=True, text=True)
    assert answer.returncode == 1
    assert "pg_nothing" in answer.stderr
