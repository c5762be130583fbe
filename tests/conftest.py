"""What every test may ask for: a real Postgres, and a database of its own in it.

`TEST_DATABASE_URL` names a server to use instead of the embedded one; its user must be allowed to create databases.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

# As every process of ours sets it, before numpy is loaded.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from app import migrate
from app.embedded import EmbeddedPostgres
from app.storage.database import Database, sqlalchemy_url

TemplateOf = Callable[[Callable[[Database], None]], str]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A server's address; its own database is not to be touched."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield sqlalchemy_url(given)
        return
    # Not below pytest's own folder: as root the server runs as another account, and every start of pytest closes that
    # folder to others, which ended the servers of runs that were still going on.
    with tempfile.TemporaryDirectory(prefix="losscast-postgres-") as home:
        Path(home).chmod(0o711)
        with EmbeddedPostgres(Path(home) / "data") as server:
            yield server.url


@pytest.fixture(scope="session")
def migrated_template(postgres_url: str) -> Iterator[str]:
    name = f"template_{uuid.uuid4().hex[:12]}"
    with database_named(postgres_url, name) as url:
        database = Database(url)
        migrate.upgrade(database)
        database.close()
        yield name


@pytest.fixture(scope="module")
def template_of(postgres_url: str, migrated_template: str) -> Iterator[TemplateOf]:
    """Makes a database that a module's tests begin with, by what fills it; see the mark `begins_with`.

    Real runs take seconds to be forecast and judged, a copy of a database takes a tenth of one.
    """
    with ExitStack() as kept:

        def made(fill: Callable[[Database], None]) -> str:
            name = f"template_{uuid.uuid4().hex[:12]}"
            database = Database(kept.enter_context(database_named(postgres_url, name, template=migrated_template)))
            try:
                fill(database)
            finally:
                database.close()  # nobody may be connected to what is copied
            return name

        yield made


@pytest.fixture
def empty_database_url(postgres_url: str) -> Iterator[str]:
    """A database without any schema."""
    with database_named(postgres_url, f"test_{uuid.uuid4().hex[:12]}") as url:
        yield url


@pytest.fixture
def database_url(request: pytest.FixtureRequest, postgres_url: str, migrated_template: str) -> Iterator[str]:
    """A migrated database of the test's own, holding what its mark `begins_with` names."""
    mark = request.node.get_closest_marker("begins_with")
    template = request.getfixturevalue(mark.args[0]) if mark is not None else migrated_template
    with database_named(postgres_url, f"test_{uuid.uuid4().hex[:12]}", template=template) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


class database_named:
    def __init__(self, server_url: str, name: str, *, template: str = "template1") -> None:
        self._admin = create_engine(server_url, isolation_level="AUTOCOMMIT")
        self._name, self._template = name, template
        self._url = make_url(server_url).set(database=name).render_as_string(hide_password=False)

    def __enter__(self) -> str:
        with self._admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {self._name} TEMPLATE {self._template}"))
        return self._url

    def __exit__(self, *_: object) -> None:
        with self._admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE IF EXISTS {self._name} WITH (FORCE)"))
        self._admin.dispose()


@contextmanager
def unreachable(postgres_url: str, database_url: str) -> Iterator[None]:
    """Shuts everyone out of a database for a while."""
    name = make_url(database_url).database
    server = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false"))
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
        connection.execute(text(ended), {"name": name})
        yield
        connection.execute(text(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true"))
    server.dispose()
