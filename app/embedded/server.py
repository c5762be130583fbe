"""One Postgres of our own: started, watched and stopped with us."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import psycopg
from psycopg import sql

from app.embedded import leftover
from app.embedded.account import account_for, reachable_binaries
from app.embedded.binaries import Binaries, find_binaries
from app.embedded.cluster import (
    make_cluster,
    postgres_environment,
    reset_password,
    write_configuration,
)
from app.embedded.layout import (
    DATABASE,
    USER,
    Layout,
    database_url,
    make_home,
    make_socket_folder,
    remove_socket_folder,
    write_private,
)
from app.errors import Unavailable
from app.processes import Account, spawn

log = logging.getLogger(__name__)

_SHORTEST_PAUSE_SECONDS = 0.01  # between two tries to connect
_LONGEST_PAUSE_SECONDS = 0.5
_TELL_EVERY_SECONDS = 10.0
# How long a started Postgres may stay without any answer. Crash recovery answers "starting up" and has no limit: it
# takes as long as the log to replay is, and giving up would only make the next start begin again.
_SILENCE_SECONDS = 60.0
_FAST_STOP_SECONDS = 60.0  # ends the sessions, then writes everything to the tables: slow on a slow disk
_IMMEDIATE_STOP_SECONDS = 10.0
# After a killed postmaster its children may still hold the shared memory for a moment, and Postgres refuses to start.
_HELD_MEMORY_SECONDS = 30.0
_LARGEST_LOG = 8 * 2**20  # [bytes]


class EmbeddedPostgres:
    """A Postgres whose life is ours: nobody else is needed to run it, and it does not outlive us.

    Parameters
    ----------
    data_dir
        Everything of the server lies here. It is made if it does not exist.
    binaries
        A folder with the programs `postgres` and `initdb`; None looks for them, see
        :func:`app.embedded.binaries.find_binaries`.

    Notes
    -----
    `start`, `stop` and `alive` are called from one thread at a time; which one does not matter.
    """

    def __init__(self, data_dir: Path, *, binaries: Path | None = None) -> None:
        self.data_dir = data_dir.absolute()
        self._given_binaries = binaries
        self._layout = Layout(self.data_dir)
        self._lock: IO[str] | None = None
        self._socket_folder: Path | None = None
        self._password: str | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._interrupted = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address of the database `losscast`, in SQLAlchemy's form. It stays the same over restarts by `start`."""
        if self._password is None or self._socket_folder is None:
            raise Unavailable("The embedded Postgres has not been started.")
        return database_url(self._password, self._socket_folder)

    @property
    def has_data(self) -> bool:
        """Whether a cluster has been made here before."""
        return self._layout.cluster.exists()

    @property
    def pid(self) -> int | None:
        """The postmaster's, None while nothing runs."""
        return self._process.pid if self._process else None

    def alive(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return False
        _trim_log(self._layout.log)
        return True

    def start(self) -> None:
        """Start the server, or start it again after it died, and wait until the database answers.

        Raises
        ------
        Unavailable
            Whatever the operator must mend; the text says how.
        """
        if self.alive():
            return
        if os.name != "posix":
            raise Unavailable("The embedded Postgres runs on Linux and macOS only. Give DATABASE_URL of a server.")
        first_time = self._lock is None
        try:
            self._start()
        except BaseException as error:
            # A failed restart keeps the lock: the caller may try again, and nobody else should in between.
            if first_time:
                self.stop()
            if isinstance(error, OSError):  # a full disk, a file that another account left behind
                raise Unavailable(f"The database in {self.data_dir} cannot be started: {error}.") from error
            raise

    def _start(self) -> None:
        layout = self._layout
        account = account_for(layout.cluster)
        make_home(self.data_dir, account)
        if self._lock is None:
            self._lock = leftover.lock_data_dir(layout)
        binaries = find_binaries(self._given_binaries, major=layout.major())
        binaries = reachable_binaries(binaries, account, self.data_dir)
        leftover.clear(layout, layout.read_password(), lambda: self._interrupted)
        self._password = self._make_cluster(binaries, account)
        if self._socket_folder is None or not self._socket_folder.is_dir():
            self._socket_folder = make_socket_folder(layout, account)
        write_configuration(layout)
        self._launch(binaries, account)
        self._create_database()

    def _make_cluster(self, binaries: Binaries, account: Account | None) -> str:
        """Make sure that there are a cluster and a password that opens it; return the password."""
        layout = self._layout
        password = layout.read_password()
        if layout.major() is None:
            log.info("making a new database in %s with PostgreSQL %s", self.data_dir, binaries.version)
            password = password or secrets.token_urlsafe(32)
            # The password first: a cluster is never there without one.
            write_private(layout.password, f"{password}\n")
            make_cluster(layout, binaries, account, password)
        elif password is None:
            log.warning("%s is lost: the database gets a new password", layout.password)
            password = secrets.token_urlsafe(32)
            reset_password(layout, binaries, account, password)
            write_private(layout.password, f"{password}\n")
        return password

    def _launch(self, binaries: Binaries, account: Account | None) -> None:
        """Run postgres until it answers; again, while only the remains of a killed one keep it from starting."""
        give_up_at = time.monotonic() + _HELD_MEMORY_SECONDS
        while True:
            log_begin = self._run(binaries, account)
            if self._wait_until_ready():
                return
            text = _read_from(self._layout.log, log_begin)
            patient = time.monotonic() < give_up_at and not self._interrupted
            if "No space left on device" in text:
                raise Unavailable(
                    f"The disk that holds {self.data_dir} is full, so that PostgreSQL cannot start. Make room there; "
                    "nothing that was acknowledged is lost."
                )
            if "pre-existing shared memory block" not in text or not patient:
                raise Unavailable(f"PostgreSQL {binaries.version} did not start in {self.data_dir}:\n{text.strip()}")
            time.sleep(0.2)

    def _run(self, binaries: Binaries, account: Account | None) -> int:
        """Start the program; return where its part of the log begins."""
        _trim_log(self._layout.log)
        with self._layout.log.open("ab") as output:
            os.fchmod(output.fileno(), 0o600)
            begin = output.tell()
            self._process = spawn(
                [
                    *(binaries.postgres, "-D", self._layout.cluster, "-c", f"config_file={self._layout.configuration}"),
                    *("-k", str(self._socket_folder), "-p", "5432"),
                ],
                # Postgres's fast shutdown: sessions end, everything is written, the next start recovers nothing.
                death_signal=signal.SIGINT,
                account=account,
                env=postgres_environment(),
                cwd=Path("/"),
                stdout=output,
                stderr=output,
            )
        return begin

    def _wait_until_ready(self) -> bool:
        """Wait for the first session; False if the process ended before."""
        assert self._process is not None
        begun_at = told_at = time.monotonic()
        give_up_at = begun_at + _SILENCE_SECONDS
        pause = _SHORTEST_PAUSE_SECONDS
        while self._process.poll() is None:
            try:
                self._connect("postgres").close()
                return True
            except psycopg.OperationalError as error:
                now = time.monotonic()
                if leftover.is_starting_or_stopping(error):
                    give_up_at = now + _SILENCE_SECONDS
                self._give_up_if(now > give_up_at or _is_refusal(error), error)
                if now - told_at > _TELL_EVERY_SECONDS:
                    told_at = now
                    log.info("waiting for Postgres since %.0f s: %s", now - begun_at, str(error).strip())
            self._give_up_if(self._interrupted, "the start was interrupted")
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE_SECONDS)
        return False

    def _give_up_if(self, hopeless: bool, why: object) -> None:
        if hopeless:
            self._end_process()
            raise Unavailable(f"Postgres in {self.data_dir} gave no session: {why}")

    def _create_database(self) -> None:
        with self._connect("postgres") as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))

    def _connect(self, database: str) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self._socket_folder),
            port=5432,
            user=USER,
            password=self._password,
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        )

    def interrupt(self) -> None:
        """Make a start that is under way give up soon. May be called from any thread and from signal handlers."""
        self._interrupted = True

    def stop(self) -> None:
        """End all sessions and stop; harmless when nothing runs."""
        self._end_process()
        self._interrupted = False
        if self._lock is not None:
            remove_socket_folder(self._layout)
            self._socket_folder = None
            self._lock.close()
            self._lock = None

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for signal_number, seconds in (
            (signal.SIGINT, _FAST_STOP_SECONDS),
            (signal.SIGQUIT, _IMMEDIATE_STOP_SECONDS),
            (signal.SIGKILL, None),
        ):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal_number)
            try:
                process.wait(seconds)
                return
            except subprocess.TimeoutExpired:
                log.warning("Postgres did not stop %.0f s after %s", seconds, signal_number.name)


def running_url(data_dir: Path) -> str | None:
    """Return the address of the server that another process of this machine runs in `data_dir`, None if none answers.

    Raises
    ------
    Unavailable
        A server is there, but it belongs to another account of this machine.
    """
    layout = Layout(data_dir.absolute())
    try:
        password, folder = layout.read_password(), layout.read_socket_folder()
        if password is None or folder is None:
            return None
        with psycopg.connect(host=str(folder), port=5432, user=USER, password=password, dbname=DATABASE):
            return database_url(password, folder)
    except PermissionError as error:
        raise Unavailable(f"{error.filename} belongs to another account. Run this command as the same user.") from error
    except psycopg.OperationalError:
        return None


def _is_refusal(error: psycopg.OperationalError) -> bool:
    """Whether trying again is of no use: the password file is not this database's."""
    return "authentication failed" in str(error)


def _read_from(path: Path, begin: int) -> str:
    with path.open("rb") as file:
        file.seek(begin)
        return file.read().decode(errors="replace")


def _trim_log(path: Path) -> None:
    """Keep the log and one older part of it. Postgres appends, so it goes on at the start of the emptied file."""
    if path.exists() and path.stat().st_size > _LARGEST_LOG:
        shutil.copy(path, path.with_suffix(".log.1"))  # with its mode: statements may stand in it
        os.truncate(path, 0)
