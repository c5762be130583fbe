"""Child processes that do not outlive us, wherever they are started from."""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_Start = Callable[[], "subprocess.Popen[bytes]"]

_LAUNCHER = Path(__file__).with_name("launcher.py")


@dataclass(frozen=True, slots=True)
class Account:
    """Whom a child runs as."""

    name: str
    uid: int
    gid: int


def spawn(
    argv: Sequence[str | Path],
    *,
    death_signal: signal.Signals,
    account: Account | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = None,
    stderr: int | IO[bytes] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `argv` in a session of its own, so that Ctrl-C reaches us alone and we choose the order of stopping.

    On Linux the kernel sends the child `death_signal` when this process ends, however it ends. Elsewhere nothing does:
    a caller that must know looks for what an earlier run left behind.

    Parameters
    ----------
    account
        Drop to this account before the program starts; None keeps ours. Only root can drop.
    """
    order = {
        "parent": os.getpid(),
        "death_signal": int(death_signal),
        "uid": account.uid if account else None,
        "gid": account.gid if account else None,
    }
    # A launcher rather than preexec_fn: Python code between fork and exec may deadlock in a process with threads.
    program, *arguments = map(str, argv)
    program = shutil.which(program) or program
    command = [sys.executable, "-I", "-S", str(_LAUNCHER), json.dumps(order), program, *arguments]
    return _keeper().run(
        lambda: subprocess.Popen(
            command,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            start_new_session=True,
        )
    )


class _Keeper:
    """One thread that starts every child and lives as long as the process.

    The kernel's "parent" in PR_SET_PDEATHSIG is the thread that forked: a child started from a thread that ends would
    be told that its parent died.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._orders: queue.SimpleQueue[tuple[_Start, Future[subprocess.Popen[bytes]]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="child-keeper", daemon=True).start()

    def run(self, start: _Start) -> subprocess.Popen[bytes]:
        future: Future[subprocess.Popen[bytes]] = Future()
        self._orders.put((start, future))
        return future.result()

    def _work(self) -> None:
        while True:
            start, future = self._orders.get()
            try:
                future.set_result(start())
            except BaseException as error:
                future.set_exception(error)


_keeper_lock = threading.Lock()
_kept: list[_Keeper] = []


def _keeper() -> _Keeper:
    """Return this process's keeper; a fork of us has none of our threads and gets its own."""
    with _keeper_lock:
        if not _kept or _kept[0].pid != os.getpid():
            _kept[:] = [_Keeper()]
        return _kept[0]
