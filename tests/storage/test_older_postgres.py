"""The same SQL on every Postgres from 15 on: runs where another major version is installed on the machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app import migrate
from app.embedded import EmbeddedPostgres
from app.storage.database import Database
from app.storage.forecasts import latest_forecast
from app.storage.runs import list_runs
from app.worker.refit import refit_run
from tests.storing import compact, make_batch, shown, start, store

OTHERS = sorted(Path("/usr/lib/postgresql").glob("*/bin")) if Path("/usr/lib/postgresql").is_dir() else []


@pytest.fixture(params=OTHERS, ids=lambda path: f"postgres-{path.parent.name}")
def other_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    with EmbeddedPostgres(tmp_path / "data", binaries=request.param) as server:
        database = Database(server.url)
        migrate.upgrade(database)
        yield database
        database.close()


def test_a_run_is_stored_compacted_fitted_and_listed(other_database: Database) -> None:
    database = other_database
    migrate.check(database)
    start(database)
    for seq in range(4):
        steps = list(range(100 * seq, 100 * seq + 100))
        store(database, make_batch(steps, loss=[3.0 - step / 400 for step in steps], lr=[0.1] * 100), seq=seq)
    assert compact(database) == 4
    assert len(shown(database)) == 400
    assert refit_run(database, "run", []) is not None
    with database.read() as connection:
        rows, total = list_runs(connection, search="ru")
        assert latest_forecast(connection, "run") is not None
    assert total == 1
    assert rows[0].summary is not None
    migrate.downgrade(database, "base")
