"""What lies where in an embedded server's data directory, and who may touch it."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from app.embedded.account import account_for, first_barrier
from app.errors import Unavailable
from app.processes import Account

USER = "losscast"
DATABASE = "losscast"

# sockaddr_un holds 108 bytes on Linux and 104 on macOS, the closing NUL included.
_LONGEST_SOCKET_PATH = 103
_SOCKET_NAME = ".s.PGSQL.5432"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths inside one data directory.

    Started by root, all stays root's but `cluster` and the socket folder: they belong to the account that Postgres
    runs as.
    """

    home: Path

    @property
    def cluster(self) -> Path:
        """What Postgres calls PGDATA."""
        return self.home / "cluster"

    @property
    def password(self) -> Path:
        return self.home / "password"

    @property
    def lock(self) -> Path:
        return self.home / "lock"

    @property
    def log(self) -> Path:
        return self.home / "postgres.log"

    @property
    def configuration(self) -> Path:
        return self.home / "losscast.conf"

    @property
    def socket_note(self) -> Path:
        """Says in which folder the socket of the running server lies."""
        return self.home / "socket-folder"

    def read_password(self) -> str | None:
        try:
            return self.password.read_text().strip() or None
        except FileNotFoundError:
            return None

    def read_socket_folder(self) -> Path | None:
        try:
            return Path(self.socket_note.read_text().strip())
        except FileNotFoundError:
            return None

    def major(self) -> int | None:
        """Return the major version that made the cluster, None if there is no cluster yet."""
        try:
            return int((self.cluster / "PG_VERSION").read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None


def database_url(password: str, socket_folder: Path, database: str = DATABASE) -> str:
    """Return the address in SQLAlchemy's form."""
    # The port is said because a PGPORT in the environment would otherwise change the name of the socket.
    return (
        f"postgresql+psycopg://{USER}:{quote(password)}@/{database}"
        f"?host={quote(str(socket_folder), safe='/')}&port=5432"
    )


def workable_data_dir(preferred: Path, fallback: Path = Path("/var/lib/losscast")) -> Path:
    """Return `preferred`, or `fallback` where Postgres could not live in `preferred`.

    For defaults only. Root's home is closed to the account that Postgres drops to, so root's default lies elsewhere; a
    directory that the operator named is used or refused, never replaced.
    """
    return preferred if first_barrier(preferred.parent, account_for(Layout(preferred).cluster)) is None else fallback


def make_home(home: Path, account: Account | None) -> None:
    """Make the data directory, or say clearly why it cannot be used."""
    barrier = first_barrier(home.parent, account)
    if account and barrier:
        raise Unavailable(
            f"Postgres runs as {account.name!r} when Losscast is started by root, and {account.name!r} may not enter "
            f"{barrier}. Choose a data directory outside of it (LOSSCAST_DATA_DIR=/var/lib/losscast), or start "
            "Losscast as an ordinary user."
        )
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if account:
            # Others may pass through to what is theirs and see nothing else.
            home.chmod(home.stat().st_mode & 0o777 | 0o011)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        raise Unavailable(f"The data directory {home} cannot be written: {error.strerror}.") from error


def write_private(path: Path, text: str, account: Account | None = None) -> None:
    """Replace `path` in one step by a file that its owner alone may read, on disk before this returns."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # made with mode 0600
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        if account:
            os.fchown(descriptor, account.uid, account.gid)
        file.flush()
        os.fsync(descriptor)
    os.replace(draft, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put renames inside `folder` on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_socket_folder(layout: Layout, account: Account | None) -> Path:
    """Make a folder for the socket that only Postgres's account may enter, and note where it is.

    It lies in the data directory, or in the system's folder for temporary files where that path would be too long for
    a socket address.
    """
    remove_socket_folder(layout)
    folder = layout.home / "socket"
    if _fits(folder) and first_barrier(folder.parent, account) is None:
        folder.mkdir(mode=0o700, exist_ok=True)
    else:
        roots = [root for root in (Path(tempfile.gettempdir()), Path("/tmp")) if _fits(root / "losscast-12345678")]
        folder = Path(tempfile.mkdtemp(prefix="losscast-", dir=roots[0] if roots else "/tmp"))  # made with mode 0700
    if account:
        os.chown(folder, account.uid, account.gid)
    write_private(layout.socket_note, f"{folder}\n")
    return folder


def remove_socket_folder(layout: Layout) -> None:
    """Forget where the socket was; a folder among the temporary files goes too."""
    folder = layout.read_socket_folder()
    layout.socket_note.unlink(missing_ok=True)
    if folder and folder.name.startswith("losscast-") and folder.parent != layout.home:
        shutil.rmtree(folder, ignore_errors=True)


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / _SOCKET_NAME)) <= _LONGEST_SOCKET_PATH
