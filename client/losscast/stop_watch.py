"""Asks the server in the background whether a run is to stop, and remembers what it said last."""

from __future__ import annotations

import http.client
import queue
import threading
import time
from typing import Union
from urllib.parse import quote

from losscast.notices import Notices
from losscast.transport import Answer, Transport, cause_of, reason_of

ASK_SECONDS = 15.0
"""An answer younger than this is not asked for again."""

STALE_SECONDS = 120.0
"""An older answer is none: the verdict may have changed since."""

LONGEST_BACK_OFF_SECONDS = 300.0

Command = Union[bool, None]
"""True: ask; None: leave."""


class StopWatch:
    """What the server thinks of one run.

    Asks only while somebody wants to know: a job that never calls `should_stop` pays nothing.
    """

    def __init__(self, run_id: str, transport: Transport, notices: Notices) -> None:
        self._transport = transport
        self._notices = notices
        self._path = "/runs/" + quote(run_id, safe="") + "/verdict"
        self._begin()

    def _begin(self) -> None:
        self.reason: str | None = None
        self._segment: int | None = None  # the start of the run that is to stop; None: none is
        self._answered_at = float("-inf")
        self._ask_from = float("-inf")
        self._failures = 0
        self._asking = False
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        # As in the sender: `put` is re-entrant, so a signal handler may ask.
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()

    def says_stop(self, segment: int | None) -> bool:
        """Whether this start of the run is to stop, by the last answer; has a newer one fetched where it is old."""
        now = time.monotonic()
        if not self._asking and now >= self._ask_from:
            self._asking = True
            self._inbox.put(True)
            self._start()
        is_fresh = now - self._answered_at < STALE_SECONDS
        return is_fresh and segment is not None and self._segment == segment

    def close(self) -> None:
        """Let the thread end once it has finished what it does."""
        if self._thread is not None:
            self._inbox.put(None)

    def restart_in_child(self) -> None:
        """After a fork: the thread and the connection are the parent's."""
        self._transport.abandon()
        self._begin()

    def _start(self) -> None:
        with self._starting:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._work, name="losscast-stop", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self._notices.once("stop thread", "cannot ask whether to stop (%s); will try again", error)
                self._asking = False
                return
            self._thread = thread

    def _work(self) -> None:
        while self._inbox.get() is not None:
            try:
                self._learn(self._transport.get(self._path))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._missed(cause_of(error), reason_of(error))
            except Exception as error:  # a fault of ours, or of an interpreter on its way out
                self._missed(cause_of(error), repr(error))
            self._asking = False
        self._transport.close()

    def _learn(self, answer: Answer) -> None:
        told, segment = answer.body.get("should_stop"), answer.body.get("segment")
        if not answer.ok or not isinstance(told, bool) or type(segment) is not int:
            # A run that is not there is not there yet, or was deleted; of that the sender warns, in the server's words.
            is_gone = answer.body.get("error") in ("run_not_found", "run_deleted")
            self._missed(str(answer.status), answer.reason, answer.retry_after_seconds, is_warned=not is_gone)
            return
        sentence = answer.body.get("sentence")
        self.reason = sentence if isinstance(sentence, str) else None
        self._segment = segment if told else None
        self._answered_at = time.monotonic()
        self._ask_from = self._answered_at + ASK_SECONDS
        self._failures = 0

    def _missed(
        self, cause: str, reason: str, retry_after_seconds: float | None = None, is_warned: bool = True
    ) -> None:
        """No word from the server; what it said before stands until it is too old."""
        self._failures += 1
        wait = min(ASK_SECONDS * 2.0 ** min(self._failures - 1, 10), LONGEST_BACK_OFF_SECONDS)
        self._ask_from = time.monotonic() + max(wait, retry_after_seconds or 0.0)
        if is_warned:
            self._notices.once(
                f"verdict {cause}", "cannot ask whether to stop (%s); going on, and asking again", reason
            )
