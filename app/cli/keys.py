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
    new: Annotated[bool, typer.Option("--new", help="Make the database first: before the very first `up`.")] = False,
) -> None:
    """Make an API key and print it. It is shown this once: only its hash is kept.

    \b
    losscast key create cluster-a
    """
    from app.storage.keys import create_key, list_keys

    if not name.strip():
        raise BadInput("Name the key after who or what will use it, such as 'cluster-a'.")
    with _database(data_dir, may_make=new) as database, database.write() as connection:
        same = [key for key in list_keys(connection) if key.name == name and key.revoked_at is None]
        key = create_key(connection, name)
    typer.echo(key)
    typer.echo("Keep it now; it cannot be shown again. Jobs read it from LOSSCAST_API_KEY.", err=True)
    if same:
        numbers = ", ".join(str(one.id) for one in same)
        typer.echo(
            f"{name!r} was the name of key {numbers} already. 'losscast key list' shows which of them is used, "
            "'losscast key revoke NUMBER' shuts one out.",
            err=True,
        )


@app.command("list")
def list_all(data_dir: DataDir = None) -> None:
    """List keys: number, first characters, made, last used, name."""
    from app.storage.keys import list_keys

    with _database(data_dir) as database, database.read() as connection:
        keys = list_keys(connection)
    if not keys:
        typer.echo("There are no keys yet. Make one with: losscast key create NAME", err=True)
    for key in keys:
        state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "good"
        used = f"used {key.last_used_at:%Y-%m-%d %H:%M} UTC" if key.last_used_at else "never used"
        typer.echo(f"{key.id:>4}  {key.prefix}…  made {key.created_at:%Y-%m-%d}  {used:<25}  {state:<18}  {key.name}")


@app.command("revoke")
def revoke(
    key_id: Annotated[int, typer.Argument(metavar="NUMBER", help="Its number in 'losscast key list'.")],
    data_dir: DataDir = None,
) -> None:
    """Shut a key out, and who signed in with it. Takes effect within seconds."""
    from app.storage.keys import revoke_key

    with _database(data_dir) as database, database.write() as connection:
        revoke_key(connection, key_id)
    typer.echo("Revoked.", err=True)


@contextmanager
def _database(data_dir: Path | None, *, may_make: bool = False) -> Iterator[Database]:
    """The service's database, whether it runs or not: a key is needed before the first start on a network.

    What is not there is made only where `may_make` says so: a mistyped folder would get a database of its own, and a
    key that opens nothing.
    """
    from app import migrate
    from app.embedded import EmbeddedPostgres, running_url
    from app.errors import NotFound
    from app.storage.database import Database

    settings = settings_with(data_dir=data_dir)
    folder = data_dir_of(settings)
    url = settings.database_url if data_dir is None else None
    url = url or running_url(folder)
    server = None if url else EmbeddedPostgres(folder, binaries=settings.pg_bin)
    if server is not None and not server.has_data and not may_make:
        raise NotFound(
            f"There is no Losscast data in {folder}. Name its folder by --data-dir or LOSSCAST_DATA_DIR, as `up` is "
            "given it. Before the very first `up`: losscast key create NAME --new"
        )
    if server is not None:
        server.start()
    database = Database(url or (server.url if server else ""), name="losscast key")
    try:
        if server is not None or may_make:
            migrate.upgrade(database)
        else:
            migrate.require_current(database)
        yield database
    finally:
        database.close()
        if server is not None:
            server.stop()
