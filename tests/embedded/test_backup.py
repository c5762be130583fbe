"""The commands that docs/operations.md gives for backup and restore."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from app.embedded import EmbeddedPostgres
from app.embedded.binaries import find_binaries
from tests.embedded.probes import query

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


def documented_commands(program: str) -> str:
    """The lines of the page that call `program` from `$bin`, with the password set before."""
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", OPERATIONS.read_text(), flags=re.DOTALL)
    (block,) = [block for block in blocks if f"$bin/{program}" in block]
    return block[block.index("export PGPASSWORD") :]


def test_what_was_dumped_while_running_is_restored_over_a_new_directory(
    data_dir: Path, open_folder: Path, tmp_path: Path
) -> None:
    binaries = find_binaries()
    if not (binaries.folder / "pg_dump").exists():
        pytest.skip("these binaries come without pg_dump")
    new_dir = open_folder / "restored"

    def run(program: str, folder: Path) -> None:
        settings = f"set -e; dir='{folder}'; bin='{binaries.folder}'\n"
        subprocess.run(["sh", "-c", settings + documented_commands(program)], cwd=tmp_path, check=True)

    with EmbeddedPostgres(data_dir):
        run("pg_dump", data_dir)
    with EmbeddedPostgres(new_dir) as postgres:
        query(postgres.url, "CREATE TABLE kept (word text)")  # as the migrations of the first start would
        run("pg_restore", new_dir)
        assert query(postgres.url, "SELECT word FROM kept") == [("before",)]
