"""Commands for API keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.configuration import data_dir_of, settings_with
from app.errors import BadInput

if TYPE_CHECKING:
    from app.storage.database import Database

DataDir = Annotated[Path | None, typer.Option(help="Where the embedded Postgres keeps its data, as given to `up`.")]

app = typer.Typer(help="API keys: make, list, revoke.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what will use it, such as 'cluster-a'.")],
    data_dir: DataDir = None,
) -> None:
    """Make an API key and print it. It is shown this once: only its hash is kept.

    \b
    losscast key create cluster-a
    """
    from app.storage.keys import create_key

    if not name.strip():
        raise BadInput("Name the key after who or what will use it, such as 'cluster-a'.")
    with _database(data_dir) as database, database.write() as connection:
        key = create_key(connection, name)
    typer.echo(key)
    typer.echo("Keep it now; it cannot be shown again. Jobs read it from LOSSCAST_API_KEY.", err=True)


@app.command("list")
def list_all(data_dir: DataDir = None) -> None:
    """List keys by name and first characters."""
    from app.storage.keys import list_keys

    with _database(data_dir) as database, database.read() as connection:
        for key in list_keys(connection):
            state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "good"
            typer.echo(f"{key.id:>4}  {key.prefix}…  {key.created_at:%Y-%m-%d}  {state:<18}  {key.name}")


@app.command("revoke")
def revoke(
    key_id: Annotated[int, typer.Argument(metavar="NUMBER", help="Its number in 'losscast key list'.")],
    data_dir: DataDir = None,
) -> None:
    """Shut a key out. Takes effect within seconds."""
    from app.storage.keys import revoke_key

    with _database(data_dir) as database, database.write() as connection:
        revoke_key(connection, key_id)
    typer.echo("Revoked.", err=True)


@contextmanager
def _database(data_dir: Path | None) -> Iterator[Database]:
    """The service's database, whether it runs or not: a key is needed before the first start on a network."""
    from app import migrate
    from app.embedded import EmbeddedPostgres, running_url
    from app.storage.database import Database

    settings = settings_with(data_dir=data_dir)
    url = settings.database_url or running_url(data_dir_of(settings))
    server = None if url else EmbeddedPostgres(data_dir_of(settings), binaries=settings.pg_bin)
    if server is not None:
        server.start()
    database = Database(url or (server.url if server else ""), name="losscast key")
    try:
        migrate.upgrade(database)
        yield database
    finally:
        database.close()
        if server is not None:
            server.stop()
