"""Postgres's own programs, on the service's database: for backups, and to look into it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer

from app.cli.configuration import data_dir_of, external_url, settings_with
from app.errors import Unavailable

DataDir = Annotated[Path | None, typer.Option(help="Where the embedded Postgres keeps its data, as given to `up`.")]


def postgres(
    context: typer.Context,
    program: Annotated[str, typer.Argument(metavar="PROGRAM", help="pg_dump, pg_restore, psql, ...")],
    data_dir: DataDir = None,
) -> None:
    """Run a program of Postgres's on the running service's database.

    It is told by its environment where the database is and by which password.

    \b
    losscast pg pg_dump --format=custom --file=losscast.dump
    """
    from app.embedded import running_url

    settings = settings_with(data_dir=data_dir)
    url = external_url(settings) if data_dir is None else running_url(data_dir_of(settings))
    if url is None:
        raise Unavailable(f"No Postgres runs in {data_dir}. Start it: losscast up --data-dir {data_dir}")
    found = _program(program, settings.pg_bin)
    os.execve(found, [program, *context.args], {**os.environ, **_libpq_environment(url)})


def _program(name: str, pg_bin: Path | None) -> str:
    """The program beside the Postgres that we would run, else the one in the PATH."""
    from app.embedded.binaries import find_binaries

    try:
        beside = str(find_binaries(pg_bin).folder)
    except Unavailable:  # DATABASE_URL needs no Postgres here
        beside = ""
    found = shutil.which(name, path=beside) if "/" not in name else None
    found = found or shutil.which(name)
    if found is None:
        raise Unavailable(f"There is no program {name} beside Postgres or in the PATH.")
    return found


def _libpq_environment(url: str) -> dict[str, str]:
    """The database's address in the variables that libpq reads: what is in arguments, all users of the machine see."""
    from psycopg import pq

    from app.storage.database import driver_dsn

    options = pq.Conninfo.parse(driver_dsn(url).encode())
    return {one.envvar.decode(): one.val.decode() for one in options if one.envvar and one.val}
