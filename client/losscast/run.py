"""A training run, as the job sees it."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Dict

from losscast import hooks
from losscast.notices import Notices
from losscast.sender import Sender
from losscast.stop_watch import StopWatch
from losscast.values import LONGEST_NAME, to_float, to_name, to_step, to_text

FINISH_SECONDS = 5.0
STATUSES = ("finished", "failed", "stopped")

UNNAMED = "unnamed"

_STEP_LIMIT = 2**63


class Run:
    """One training run. Made by :func:`losscast.init`.

    No method raises and only `flush` and `finish` wait, for as long as they are told to. All are safe to call from
    any thread, from a signal handler and in a forked child.
    """

    def __init__(
        self,
        run_id: str,
        project: str,
        sender: Sender | None,
        notices: Notices,
        first_step: int = 1,
        stop_watch: StopWatch | None = None,
    ) -> None:
        self.id = run_id
        self.project = project
        self._sender = sender
        self._notices = notices
        self._stop_watch = stop_watch
        self._told_to_stop = False
        self._next_step = first_step
        self._lock = threading.RLock()
        self._owner = os.getpid()
        self._over = sender is None
        self._finished: threading.Event | None = None
        if sender is not None:
            hooks.watch(self)
            sender.start()

    @property
    def url(self) -> str | None:
        """The run's page, once the server has answered for the first time."""
        return self._sender.url if self._sender is not None else None

    def log(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Note numbers at a step; they are on their way within about a second.

        Parameters
        ----------
        metrics : mapping of name to number
            Anything that is a number: int, float, bool, numpy scalar, tensor of one element. NaN and the infinities
            are data. None is skipped; what is no number is dropped with one warning. Reading a tensor waits for the
            device that holds it, as `float(tensor)` does.
        step : int, optional
            Counted in optimizer steps; calls with the same step add up. Without it, one more than the last.
        """
        if self._over:
            if self._sender is not None:
                self._notices.once("over", "run %s is finished; what is logged now is not sent", self.id)
            return
        try:
            values = self._numbers(metrics)
            number = self._step(step)
            if values and self._sender is not None:
                self._sender.offer((number, time.time(), values))
        except Exception as error:
            self._notices.once("log", "log() could not use what it was given: %r", error)

    def should_stop(self) -> bool:
        """Whether the run's project wants it to stop now: ask every step or every so often, and break if it is True.

        Never waits: the answer is what the server said last, asked for in the background at most every 15 seconds, so
        the first call is always False. False on any doubt too: no server, an answer older than two minutes, a verdict
        on an earlier start of the run, a project that only wants advice (the default). Once True it stays True, the
        server notes that the job was told, and `finish` ends the run as "stopped" unless it is told otherwise.

        In a distributed job only the process that reports knows; tell the others before anybody leaves the loop.
        """
        if self._told_to_stop:
            return True
        if self._over or self._sender is None or self._stop_watch is None:
            return False
        try:
            self._told_to_stop = self._stop_watch.says_stop(self._sender.segment)
            if self._told_to_stop:
                self._notices.warn("run %s is told to stop: %s", self.id, self._stop_watch.reason)
                self._sender.tell_told(self._next_step - 1)
        except Exception as error:
            self._notices.once("should_stop", "should_stop() failed: %r", error)
        return self._told_to_stop

    @property
    def stop_reason(self) -> str | None:
        """Why the run was told to stop, in a sentence; None while it was not."""
        return self._stop_watch.reason if self._stop_watch is not None and self._told_to_stop else None

    def flush(self, timeout: float = FINISH_SECONDS) -> bool:
        """Wait until everything logged so far has arrived.

        False if that took longer than `timeout` seconds, or if the server has refused points since the last flush.
        """
        if self._sender is None or self._over:
            return True
        return self._sender.flush(_seconds(timeout))

    def finish(self, status: str = "finished", message: str | None = None, timeout: float = FINISH_SECONDS) -> None:
        """Say that the run is over and wait up to `timeout` seconds for the rest to arrive.

        `status` is "finished", "failed" or "stopped". A run that was told to stop and finishes is stopped, not
        finished: others of its project are compared with where finished ones came to. What has not arrived by then
        is still sent while the process lives; a warning says how much it is. In a forked child this only flushes:
        the run is its parent's.
        """
        if not self._over:
            self._begin_finish(status, message, _seconds(timeout))
            self._await_finish(_seconds(timeout))

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish()
            return
        try:
            status, message = hooks.ending(kind, error)
        except Exception:
            status, message = "failed", kind.__name__
        self.finish(status, message or None)

    def _begin_finish(self, status: str, message: str | None, timeout: float) -> None:
        if self._sender is None or self._over:
            return
        if os.getpid() != self._owner:
            if self._sender.pending:
                self._sender.flush(timeout)
            return
        self._over = True
        hooks.forget(self)
        if status not in STATUSES:
            self._notices.warn("finish(status=%r) is none of %s; taken as 'finished'", status, ", ".join(STATUSES))
            status = "finished"
        if status == "finished" and self._told_to_stop:
            status, message = "stopped", message or f"Told to stop: {self.stop_reason}"
        if self._stop_watch is not None:
            self._stop_watch.close()
        self._finished = self._sender.finish(status, None if message is None else to_text(message), timeout)

    def _await_finish(self, timeout: float) -> None:
        if self._sender is None or self._finished is None:
            return
        if not self._finished.wait(timeout):
            self._notices.once(
                "undelivered", "%d points of run %s had not arrived after %g s", self._sender.pending, self.id, timeout
            )
        if self._sender.refused:
            self._notices.once(
                "refused", "%d points of run %s were lost: the server refused them", self._sender.refused, self.id
            )
        if self._sender.dropped:
            self._notices.once(
                "dropped", "%d points of run %s were dropped: the buffer was full", self._sender.dropped, self.id
            )

    def _restart_in_child(self) -> None:
        self._lock = threading.RLock()
        if self._sender is not None:
            self._sender.restart_in_child()
        if self._stop_watch is not None:
            self._stop_watch.restart_in_child()

    def _numbers(self, metrics: Mapping[str, Any]) -> Dict[str, float]:
        values: Dict[str, float] = {}
        for name, value in metrics.items():
            if type(value) is not float:
                if value is None:
                    continue
                number = to_float(value)
                if number is None:
                    self._notices.once(
                        f"metric {name}", "%s is dropped: %s is not a number", name, type(value).__name__
                    )
                    continue
                value = number
            if type(name) is not str or not 0 < len(name) <= LONGEST_NAME or not name.isprintable():
                name = self._mended_name(name)
            values[name] = value
        return values

    def _mended_name(self, name: Any) -> str:
        mended = to_name(name)
        if mended is None:
            self._notices.once("no name", "a metric without a name is sent as %r", UNNAMED)
            return UNNAMED
        if type(name) is str and len(name) > LONGEST_NAME:
            self._notices.once(
                "long name",
                "a metric's name is longer than %d characters; such names are cut, and end in a sum of the whole: %s",
                LONGEST_NAME,
                mended,
            )
        elif type(name) is str and mended != name:
            self._notices.once("odd name", "control characters in a metric's name are sent as \ufffd: %r", mended)
        return mended

    def _step(self, step: Any) -> int:
        if type(step) is int and -_STEP_LIMIT <= step < _STEP_LIMIT:
            self._next_step = step + 1
            return step
        number = None if step is None else to_step(step)
        if number is not None:
            if number != step:
                self._notices.once("fraction", "steps are whole numbers: %r is sent as %d", step, number)
            self._next_step = number + 1
            return number
        if step is not None:
            self._notices.once("step", "%r is no step; counting on from the last one", step)
        with self._lock:
            number = self._next_step
            self._next_step = number + 1
        return number


def _seconds(timeout: Any) -> float:
    """A time that can be waited; what is none is taken as the usual one, and for ever as a day."""
    seconds = to_float(timeout)
    if seconds is None or math.isnan(seconds):
        return FINISH_SECONDS
    return min(max(0.0, seconds), 86_400.0)
