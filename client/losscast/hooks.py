"""How the process's own events reach open runs: fork, exit, and the exception that ends it.

Nothing is installed before the first run.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from types import TracebackType
from typing import Protocol, Set

EXIT_SECONDS = 5.0
"""How long the end of the process waits for all runs that it left open, together."""

LONGEST_MESSAGE = 1000


class OpenRun(Protocol):
    """What these events ask of a run."""

    def _restart_in_child(self) -> None: ...

    def _begin_finish(self, status: str, message: str | None, timeout: float) -> None: ...

    def _await_finish(self, timeout: float) -> None: ...


_open_runs: Set[OpenRun] = set()
_installed = False
_last_words: tuple[str, str] | None = None
_expected_end: tuple[str, str] | None = None


def watch(run: OpenRun) -> None:
    """From now on the process's events reach this run."""
    global _installed
    _open_runs.add(run)
    if not _installed:
        _installed = True
        if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork either
            os.register_at_fork(after_in_child=_after_fork_in_child)
        atexit.register(_at_exit)
        _chain_excepthook()


def forget(run: OpenRun) -> None:
    _open_runs.discard(run)


def expect_end(status: str, message: str) -> None:
    """The process was asked to end: however it does so, short of an error, that is why."""
    global _expected_end
    _expected_end = status, message


def ending(kind: type[BaseException], error: BaseException | None) -> tuple[str, str]:
    """Status and message of a run that this exception ended."""
    if _expected_end is not None and issubclass(kind, (KeyboardInterrupt, SystemExit)):
        return _expected_end
    text = str(error) if error is not None else ""
    message = (f"{kind.__name__}: {text}" if text else kind.__name__)[:LONGEST_MESSAGE]
    if issubclass(kind, KeyboardInterrupt):
        return "stopped", message
    if issubclass(kind, SystemExit):
        code = getattr(error, "code", None)
        return ("finished", "") if code in (None, 0) else ("failed", f"exit: {code}"[:LONGEST_MESSAGE])
    return "failed", message


def _after_fork_in_child() -> None:
    for run in list(_open_runs):
        run._restart_in_child()


def _at_exit() -> None:
    status, message = _last_words or _expected_end or ("finished", "")
    deadline = time.monotonic() + EXIT_SECONDS
    runs = list(_open_runs)
    for run in runs:  # all are told before any is waited for
        run._begin_finish(status, message or None, EXIT_SECONDS)
    for run in runs:
        run._await_finish(max(0.0, deadline - time.monotonic()))


def _chain_excepthook() -> None:
    previous = sys.excepthook

    def excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        global _last_words
        # At a prompt the hook is called for every typing error, and the process lives on.
        if not (hasattr(sys, "ps1") or sys.flags.interactive):
            try:
                _last_words = ending(kind, error)
            except Exception:  # str() of an exception may raise as well
                _last_words = ("failed", kind.__name__)
        previous(kind, error, traceback)

    sys.excepthook = excepthook
