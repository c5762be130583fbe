"""SIGTERM, for jobs that ask for it: what waits is sent and the run marked stopped before the process ends.

That is what a scheduler sends some seconds before it kills (preemption, `scancel`, a pod's end). The handler itself
never waits: it may have interrupted the very call whose lock the sending thread needs.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from types import FrameType
from typing import Any, Protocol

from losscast import hooks
from losscast.notices import Notices

SIGTERM_SECONDS = 5.0
"""How long all runs together may take; schedulers grant 10 (Docker) to 30 s (Slurm, Kubernetes)."""

MESSAGE = "SIGTERM"


class EndingRun(Protocol):
    """What the signal asks of a run."""

    def _begin_finish(self, status: str, message: str | None, timeout: float) -> None: ...

    def _await_finish(self, timeout: float) -> None: ...


_runs: weakref.WeakSet[EndingRun] = weakref.WeakSet()
_owner: int | None = None
_previous: Any = signal.SIG_DFL
_is_ending = False


def stop_on_sigterm(run: EndingRun, notices: Notices) -> None:
    """From now on a SIGTERM stops this run before it ends the process."""
    global _owner, _previous
    if _owner is None:
        # Only once: a handler that was put above ours may call ours, and would be called by it again.
        _previous = signal.getsignal(signal.SIGTERM)
        why_not = _why_not(_previous)
        if why_not is not None:
            notices.warn("SIGTERM will not stop the run: %s", why_not)
            return
        signal.signal(signal.SIGTERM, _handle)
        _owner = os.getpid()
    _runs.add(run)


def _why_not(previous: Any) -> str | None:
    if not hasattr(signal, "pthread_kill"):
        return "this system has no such signal"
    if threading.current_thread() is not threading.main_thread():
        return "init() was not called by the main thread"
    if previous is signal.SIG_IGN:
        return "this process ignores it"
    if previous is None:
        return "its handler was not installed from Python"
    return None


def _handle(number: int, frame: FrameType | None) -> None:
    global _is_ending
    if callable(_previous):  # the job has plans of its own: a checkpoint, an exit
        if os.getpid() == _owner:
            hooks.expect_end("stopped", MESSAGE)
        _previous(number, frame)
        return
    if os.getpid() != _owner or _is_ending:  # a forked child, whose parent the run is; or somebody will not wait
        _die(number)
        return
    _is_ending = True
    deadline = time.monotonic() + SIGTERM_SECONDS
    for run in list(_runs):
        run._begin_finish("stopped", MESSAGE, SIGTERM_SECONDS)
    try:
        threading.Thread(target=_end, args=(number, deadline), name="losscast-sigterm", daemon=True).start()
    except RuntimeError:  # no thread to be had
        _die(number)


def _end(number: int, deadline: float) -> None:
    try:
        for run in list(_runs):
            run._await_finish(max(0.0, deadline - time.monotonic()))
    finally:
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, number)  # only the main thread may give the signal its old meaning back


def _die(number: int) -> None:
    """As without us, so that whoever waits for the process sees the same."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
