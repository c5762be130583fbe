"""Who owns a data directory, and what an owner that was killed left running in it."""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import psycopg

from app.embedded.layout import USER, Layout
from app.errors import Unavailable

log = logging.getLogger(__name__)

_STOP_SECONDS = 120.0  # a shutdown writes all it has in memory: slow on a slow disk
_POLL_SECONDS = 0.05
_ASK_AGAIN_SECONDS = 5.0
_STATES_THAT_PASS = "57P03"  # cannot_connect_now: starting up, shutting down, in recovery


def lock_data_dir(layout: Layout) -> IO[str]:
    """Become the only owner of a data directory, for as long as the returned file stays open and we live.

    Raises
    ------
    Unavailable
        Another process owns it.
    """
    import fcntl  # not on Windows, where this package still has to import

    file = layout.lock.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read().strip()
        file.close()
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise Unavailable(f"The file system of {layout.home} cannot lock files: {error.strerror}.") from error
        raise Unavailable(
            f"The database in {layout.home} is in use by another Losscast{f' (process {owner})' if owner else ''}. "
            "Stop that one first, or choose another data directory."
        ) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def clear(layout: Layout, password: str | None, interrupted: Callable[[], bool]) -> None:
    """Stop a postmaster that outlived its owner, and disarm a stale note of one that is gone.

    We hold the lock, so nobody needs what still runs here.

    Raises
    ------
    Unavailable
        It does not stop, or we were interrupted while we waited for it.
    """
    give_up_at = time.monotonic() + _STOP_SECONDS
    ask_again_at = 0.0
    while (pid := _noted_pid(layout)) is not None and _runs_here(pid, layout):
        now = time.monotonic()
        if now > give_up_at or interrupted():
            raise Unavailable(f"A Postgres of an earlier run (process {pid}) in {layout.home} does not stop. End it.")
        if now > ask_again_at and password and _answers_as_ours(layout, password):
            log.info("stopping the Postgres (process %d) that an earlier run left in %s", pid, layout.home)
            os.kill(pid, signal.SIGINT)
            ask_again_at = now + _ASK_AGAIN_SECONDS
        time.sleep(_POLL_SECONDS)
    if pid is not None:
        _disarm(layout, pid)


def is_starting_or_stopping(error: psycopg.OperationalError) -> bool:
    """Whether a refused connection came from a server that is on its way up or down."""
    # libpq gives a failed connection no SQLSTATE, so the text of the C locale, which we start it in, must do.
    text = str(error)
    return error.sqlstate == _STATES_THAT_PASS or any(
        phrase in text for phrase in ("is starting up", "is shutting down", "in recovery mode", "not yet accepting")
    )


def _noted_pid(layout: Layout) -> int | None:
    try:
        return int((layout.cluster / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _runs_here(pid: int, layout: Layout) -> bool:
    """Whether process `pid` is a postmaster of this cluster, not a stranger that was given its number."""
    try:
        if sys.platform == "linux":
            # A postmaster works in its data directory.
            return os.path.samefile(f"/proc/{pid}/cwd", layout.cluster)
        answer = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return "postgres" in answer.stdout and str(layout.cluster) in answer.stdout
    except OSError:  # gone, a zombie, or of another account
        return False


def _answers_as_ours(layout: Layout, password: str) -> bool:
    """Whether a server that takes our password serves this cluster from the noted socket."""
    folder = layout.read_socket_folder()
    if folder is None:
        return False
    try:
        with psycopg.connect(
            host=str(folder), port=5432, user=USER, password=password, dbname="postgres", connect_timeout=5
        ) as connection:
            row = connection.execute("SHOW data_directory").fetchone()
            return row is not None and Path(row[0]) == layout.cluster
    except psycopg.OperationalError:
        return False


def _disarm(layout: Layout, stale_pid: int) -> None:
    """Let Postgres start although a stranger of the same account now has the number that its note holds.

    Postgres would take the stranger for a running server. It does not so with the number of its own parent, which is
    us. The rest of the note stays: by it Postgres sees whether children of the old server still hold its memory.
    """
    # One descriptor for both, and no link followed: root works here in a folder of a lesser account.
    try:
        descriptor = os.open(layout.cluster / "postmaster.pid", os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    with os.fdopen(descriptor, "r+") as file:
        _, _, rest = file.read().partition("\n")
        file.seek(0)
        file.truncate()
        file.write(f"{os.getpid()}\n{rest}")
    log.debug("process %d is no Postgres of %s: its note is stale", stale_pid, layout.home)
