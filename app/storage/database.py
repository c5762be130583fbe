"""The way to Postgres: one engine a process, and two ways to hold a connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from app.errors import DiskFull, Unavailable

_DISK_FULL = "53100"  # SQLSTATE
OLDEST_MAJOR = 15  # the SQL is kept to what Postgres 15 knows


class Database:
    """A pool of connections to one Postgres.

    Parameters
    ----------
    url : str
        Any of the usual forms (`postgres://`, `postgresql://`, `postgresql+psycopg://`).
    name : str
        Shown in `pg_stat_activity`.
    pool_size : int
        Connections kept open.
    """

    def __init__(self, url: str, *, name: str = "losscast", pool_size: int = 5) -> None:
        self.url = sqlalchemy_url(url)
        self.engine: Engine = create_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=5,
            pool_timeout=10.0,  # seconds; a page should fail rather than hang
            pool_pre_ping=True,  # the embedded server may have been restarted under us
            connect_args={"application_name": name, "connect_timeout": 5},
        )
        self._reader = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One read-only snapshot: what several queries see belongs together."""
        with _reachable(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, committed at the end of the block, rolled back on an error."""
        with _reachable(), self.engine.begin() as connection:
            yield connection

    def ping(self) -> None:
        """Raise `Unavailable` unless the server answers and is new enough."""
        with self.read() as connection:
            major = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
        if major < OLDEST_MAJOR:
            raise Unavailable(f"Postgres {major} is too old: Losscast needs {OLDEST_MAJOR} or newer.")

    def close(self) -> None:
        self.engine.dispose()


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == _DISK_FULL:
            raise DiskFull from error
        if error.connection_invalidated or "connect" in str(error.orig).lower():
            raise Unavailable(f"Postgres does not answer: {first_line(error.orig)}") from error
        raise


def first_line(error: object) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def sqlalchemy_url(url: str) -> str:
    """The URL with the driver we use; other drivers are refused where it is made into an engine."""
    for prefix in ("postgres://", "postgresql://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url.removeprefix(prefix)
    if not url.startswith("postgresql+psycopg://"):
        raise Unavailable(
            f"DATABASE_URL must start with postgresql://; it starts with {url.split(':', 1)[0]!r}. Losscast keeps its "
            "data in Postgres only."
        )
    return url


def driver_dsn(url: str) -> str:
    """The same address in libpq's form, for libraries that take psycopg's own."""
    return make_url(sqlalchemy_url(url)).set(drivername="postgresql").render_as_string(hide_password=False)
