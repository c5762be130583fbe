"""A data directory for each test, copied from one initdb, where the account that Postgres drops to can reach it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.embedded import EmbeddedPostgres
from tests.embedded.probes import copy_data_dir, query


@pytest.fixture(scope="session")
def open_folder() -> Iterator[Path]:
    """A folder outside of pytest's own, which is closed to the account that root's Postgres runs as."""
    folder = Path(tempfile.mkdtemp(prefix="losscast-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template(open_folder: Path) -> Path:
    """A data directory after a clean stop, holding the table `kept` with one row."""
    postgres = EmbeddedPostgres(open_folder / "template")
    with postgres:
        query(postgres.url, "CREATE TABLE kept (word text)")
        query(postgres.url, "INSERT INTO kept VALUES ('before')")
    return postgres.data_dir


@pytest.fixture
def data_dir(template: Path, open_folder: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="data-", dir=open_folder))
    folder.rmdir()
    copy_data_dir(template, folder)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def make_postgres() -> Iterator[Callable[..., EmbeddedPostgres]]:
    """Make servers that are stopped at the end of the test, however it ends."""
    made: list[EmbeddedPostgres] = []

    def make(data_dir: Path, **options: Any) -> EmbeddedPostgres:
        made.append(EmbeddedPostgres(data_dir, **options))
        return made[-1]

    yield make
    for postgres in made:
        postgres.stop()
