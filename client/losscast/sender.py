"""The thread that delivers: registers the run, sends batches until they are answered, says that the run is over.

`log` only appends to the buffer. What follows runs in one daemon thread, reads top to bottom, and may wait as long as
it likes: nobody waits for it except `flush` and `finish`, and those for a bounded time.
"""

from __future__ import annotations

import http.client
import queue
import random
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Deque, Dict, List, Union
from urllib.parse import quote

from losscast.buffer import Buffer, Row
from losscast.notices import Notices
from losscast.registration import Registration
from losscast.transport import Answer, Transport, cause_of, reason_of
from losscast.wire import Payload, batch_body, pack

BATCH_ROWS = 500
"""Rows that are worth a request of their own."""

MOST_BATCH_ROWS = 10_000
"""Rows of one batch where more wait. A request takes the server 10 to 20 ms however little is in it: 500 rows in each
are 30,000 rows a second at best, these are ten times as many."""

BATCH_CELLS = 100_000
"""Rows times metrics of one batch: rows with different metrics make a wide table of mostly nothing."""

QUICK_SECONDS = 1.0
"""A batch that was answered within this may be followed by one of twice the rows; a slower one by one of half."""

BATCH_SECONDS = 1.0
HEARTBEAT_SECONDS = 30.0
LARGEST_BODY = 4 * 2**20
"""Bytes of JSON, uncompressed. The server's limit is 32 MiB; proxies are stricter."""

BACK_OFF_SECONDS = 0.5
LONGEST_BACK_OFF_SECONDS = 60.0
LONGEST_BACK_OFF_WHILE_AWAITED_SECONDS = 1.0
CHILD_EXIT_SECONDS = 5.0
TOLD_TRIES = 5


@dataclass
class Batch:
    """Rows under one number. The number is what makes a repeated request harmless."""

    seq: int
    rows: List[Row]
    renumbered: bool = False

    @property
    def points(self) -> int:
        return sum(len(metrics) for _, _, metrics in self.rows)


@dataclass(eq=False)
class Flush:
    """Somebody waits until what was logged before this is delivered."""

    done: threading.Event
    until: float
    rows_ahead: int = 0
    """Rows that waited when the thread heard of it, less those that were taken since. Others may go on logging."""


@dataclass(frozen=True)
class Finish:
    """The run is over; send what is left, and say so."""

    status: str
    message: str | None
    done: threading.Event
    until: float


@dataclass(frozen=True)
class Told:
    """The job asked whether to stop and was told to, at this step; the server keeps a record of that."""

    step: int | None


Command = Union[None, Flush, Finish, Told]
"""None: look at the buffer."""


class Sender:
    """Delivers one run."""

    def __init__(self, registration: Registration, transport: Transport, buffer: Buffer, notices: Notices) -> None:
        self._registration = registration
        self._transport = transport
        self._buffer = buffer
        self._notices = notices
        self._path = "/runs/" + quote(registration.run_id, safe="")
        self._segment: int | None = None
        self.url: str | None = None
        self.delivered = 0
        self.refused = 0
        self._is_drop_told = False
        self._in_child = False
        self._begin(first_seq=1)

    def _begin(self, first_seq: int) -> None:
        self._thread: threading.Thread | None = None
        self._starting = threading.RLock()
        # A SimpleQueue, not an Event or a Condition: its `put` is re-entrant, so a signal handler may log.
        self._inbox: queue.SimpleQueue[Command] = queue.SimpleQueue()
        self._next_seq = first_seq
        self._waiting: Deque[Batch] = deque()
        self._flushes: List[Flush] = []
        self._finish: Finish | None = None
        self._told: Told | None = None
        self._batch_rows = BATCH_ROWS
        self._most_batch_rows = MOST_BATCH_ROWS
        self._lost_told = self._lost
        self._last_contact = time.monotonic()
        self._away = False
        # Not the module's functions: the job's own random numbers must not depend on our network.
        self._random = random.Random()

    # What the job's threads call -------------------------------------------------------------------------------------

    def start(self) -> bool:
        """Start the thread unless it runs; False where the system gives us none, to be tried again."""
        with self._starting:
            if self._thread is not None:
                return True
            self._thread = threading.Thread(target=self._work, name="losscast", daemon=True)
            try:
                self._thread.start()
            except RuntimeError as error:
                self._thread = None
                self._notices.once("thread", "cannot start the sending thread (%s); will try again", error)
                return False
        if self._in_child:
            _before_child_ends(self.flush)
        return True

    def offer(self, row: Row) -> None:
        """Take a row. Costs a microsecond; wakes the thread for the first row and for a full batch."""
        waiting = self._buffer.append(row)
        if waiting == 1 or waiting == BATCH_ROWS:
            self._inbox.put(None)
        if self._buffer.dropped and not self._is_drop_told:
            self._tell_of_drops()
        if self._thread is None:  # after a fork, or where no thread could be had before
            self.start()

    def flush(self, timeout_seconds: float) -> bool:
        """Wait until everything offered so far is delivered or lost.

        False when the time did not suffice, or when points were refused or dropped since the last flush that sufficed.
        """
        request = Flush(threading.Event(), time.monotonic() + timeout_seconds)
        self._inbox.put(request)
        if not (self.start() and request.done.wait(timeout_seconds)):
            return False
        lost, told = self._lost, self._lost_told
        self._lost_told = lost
        return lost == told

    def finish(self, status: str, message: str | None, timeout_seconds: float) -> threading.Event:
        """Ask for the end; the event is set once the server knows of it. Does not wait."""
        request = Finish(status, message, threading.Event(), time.monotonic() + timeout_seconds)
        self._inbox.put(request)
        self.start()
        return request.done

    def tell_told(self, step: int | None) -> None:
        """Have the server know that the job was told to stop. Does not wait."""
        self._inbox.put(Told(step))
        self.start()

    @property
    def segment(self) -> int | None:
        """Which (re)start of the run this is, once the server has said so."""
        return self._segment

    @property
    def pending(self) -> int:
        """Points that are on no server yet."""
        return self._buffer.points + sum(batch.points for batch in list(self._waiting))

    @property
    def dropped(self) -> int:
        """Points that the buffer had no room for."""
        return self._buffer.dropped

    @property
    def _lost(self) -> int:
        """Points that were logged and will be on no server."""
        return self.refused + self.dropped

    def _tell_of_drops(self) -> None:
        """At the first of them: a job that is killed never comes to the count at its end."""
        self._is_drop_told = True
        self._notices.once(
            "crowded",
            "run %s: points are left out, evenly over what waits, since the buffer is full: %s (said once, counted "
            "when the run ends)",
            self._registration.run_id,
            f"{self._transport.address} does not answer" if self._away else "more is logged than the server takes",
        )

    def restart_in_child(self) -> None:
        """After a fork: the parent's rows, thread and connection are the parent's.

        The child writes into the same segment, with numbers of its own far from the parent's: the server would take
        two batches of one number for the same.
        """
        self._buffer.clear()
        self._transport.abandon()
        self._in_child = True
        self._begin(_far_seq())

    # The thread ------------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            try:
                self._register()
                while not self._over():
                    self._wait_for_work()
                    self._send_waiting()
                    self._send_told()
                    self._answer_flushes()
                    self._keep_alive()
                self._send_finish()
                return
            except Exception as error:
                # A fault of ours, or of an interpreter on its way out. The batch stays where it was.
                self._notices.once("fault", "internal error while sending, will go on: %r", error)
                self._back_off(failures=5)

    def _over(self) -> bool:
        return self._finish is not None and not self._waiting and not len(self._buffer)

    def _wait_for_work(self) -> None:
        """Return with a batch worth sending, with somebody waiting for us, or when a heartbeat is due."""
        until = self._last_contact + HEARTBEAT_SECONDS
        lingering = False
        while not self._has_work():
            if len(self._buffer) and not lingering:
                lingering = True
                until = time.monotonic() + BATCH_SECONDS
            if not self._listen(until):
                return

    def _has_work(self) -> bool:
        somebody_asks = bool(self._flushes) or self._finish is not None or self._told is not None
        return somebody_asks or bool(self._waiting) or len(self._buffer) >= BATCH_ROWS

    def _send_told(self) -> None:
        """A record is worth some tries, not the metrics that wait behind it."""
        told = self._told
        if told is None:
            return
        body = {"segment": self._register()}
        if told.step is not None:
            body["step"] = told.step
        for failures in range(1, TOLD_TRIES + 1):
            answer = self._try(self._path + "/verdict/heard", pack(body))
            if answer is not None and answer.final:
                break
            self._back_off(failures)
        self._told = None

    def _send_waiting(self) -> None:
        while True:
            if not self._waiting:
                rows = self._buffer.take(self._batch_rows, BATCH_CELLS)
                if not rows:
                    return
                self._waiting.append(self._numbered(rows))
                for flush in self._flushes:
                    flush.rows_ahead -= len(rows)
            self._deliver(self._waiting[0])
            while self._listen(until=0.0):  # a job that never stops logging may have questions meanwhile
                pass
            self._answer_flushes()
            if not self._has_work():  # a few rows, which may wait for more
                return

    def _deliver(self, batch: Batch) -> None:
        """Send the first waiting batch until it is off the list: stored, split in two, or refused for good."""
        lost_runs = 0
        while True:
            segment = self._segment if self._segment is not None else self._register()
            payload = pack(batch_body(batch.rows, segment, batch.seq))
            if payload.size > LARGEST_BODY and self._split(batch):
                return
            began = time.monotonic()
            answer = self._until_answered(self._path + "/batches", payload)
            self._learn_pace(time.monotonic() - began)
            if answer.ok and answer.body.get("duplicate") and not answer.resent and not batch.renumbered:
                # We never sent it, yet the number is taken: by a copy of this process, or by curl in the same run.
                self._next_seq = _far_seq()
                batch.seq, batch.renumbered = self._take_seq(), True
                continue
            if answer.status == 404 and answer.body.get("error") == "run_not_found":
                lost_runs += 1
                self._segment = None
                if lost_runs > 1:
                    self._back_off(lost_runs)
                continue
            if answer.status == 413 and self._split(batch):
                return
            self._settle(batch, answer)
            return

    def _learn_pace(self, seconds: float) -> None:
        """How many rows the next batch may have: many where the way is quick, few on a slow line or after an outage."""
        rows = self._batch_rows * 2 if seconds < QUICK_SECONDS else self._batch_rows // 2
        self._batch_rows = max(BATCH_ROWS, min(rows, self._most_batch_rows))

    def _settle(self, batch: Batch, answer: Answer) -> None:
        self._waiting.popleft()
        if not answer.ok:
            self.refused += batch.points
            self._notices.once(
                f"refused {answer.status}",
                "points of run %s are set aside, the server refused them (said once, counted when the run ends): %s",
                self._registration.run_id,
                answer.reason,
            )
            return
        self.delivered += batch.points
        warnings = answer.body.get("warnings")
        for warning in warnings if isinstance(warnings, list) else ():
            without_counts = re.sub(r"\d+", "#", str(warning))
            self._notices.once(f"server {without_counts}", "the server says: %s", warning)

    def _split(self, batch: Batch) -> bool:
        """Put two halves in the place of a batch that is too large; False when it is a single value.

        Both get new numbers: nothing under the old one was ever stored.
        """
        middle = len(batch.rows) // 2
        if middle >= BATCH_ROWS:  # a limit on the way, which later batches would meet again
            self._batch_rows = self._most_batch_rows = middle
        if middle:
            halves = [batch.rows[:middle], batch.rows[middle:]]
        else:
            (step, wall_time, metrics), items = batch.rows[0], list(batch.rows[0][2].items())
            middle = len(metrics) // 2
            if not middle:
                return False
            halves = [[(step, wall_time, dict(part))] for part in (items[:middle], items[middle:])]
        self._waiting.popleft()
        self._waiting.extendleft(reversed([self._numbered(half) for half in halves]))
        return True

    def _numbered(self, rows: List[Row]) -> Batch:
        return Batch(self._take_seq(), rows)

    def _take_seq(self) -> int:
        self._next_seq += 1
        return self._next_seq - 1

    def _register(self) -> int:
        """Announce the run until the server knows it; returns the segment."""
        if self._segment is not None:
            return self._segment
        failures = 0
        while True:
            for body in self._registration.bodies():
                answer = self._until_answered("/runs", pack(body))
                segment = answer.body.get("segment")
                if answer.ok and isinstance(segment, int):
                    self._segment = segment
                    url = answer.body.get("url")
                    self.url = url if isinstance(url, str) else None
                    self._notices.tell(
                        "run %s is at %s", self._registration.run_id, self.url or self._transport.address
                    )
                    return segment
                self._notices.once(
                    "registration",
                    "the server refused what init() said of the run; trying with less: %s",
                    answer.reason,
                )
            # Even the least was refused: another program at this address, perhaps for now. The rows can wait.
            failures += 1
            self._back_off(failures + 3)

    def _send_finish(self) -> None:
        finish = self._finish
        assert finish is not None
        self._send_told()
        body: Dict[str, Any] = {"status": finish.status}
        if finish.message:
            body["message"] = finish.message
        answer = self._until_answered(self._path + "/finish", pack(body))
        if answer.status == 404:
            self._segment = None
            self._register()
            answer = self._until_answered(self._path + "/finish", pack(body))
        if not answer.ok:
            self._notices.once("finish", "the server did not take the end of the run: %s", answer.reason)
        self._answer_flushes()
        self._transport.close()
        finish.done.set()

    def _keep_alive(self) -> None:
        """Tell the server that the job lives although it logs nothing. One try: the next is due soon enough."""
        if self._finish is not None or time.monotonic() - self._last_contact < HEARTBEAT_SECONDS:
            return
        answer = self._try(self._path + "/heartbeat", pack({}))
        if answer is not None and answer.status == 404:
            self._segment = None
            self._register()
        self._last_contact = time.monotonic()

    def _answer_flushes(self) -> None:
        if self._waiting:
            return
        is_all_sent = not len(self._buffer)
        answered = [flush for flush in self._flushes if is_all_sent or flush.rows_ahead <= 0]
        self._flushes = [flush for flush in self._flushes if flush not in answered]
        for flush in answered:
            flush.done.set()

    # Tries, and the waits between them -------------------------------------------------------------------------------

    def _until_answered(self, path: str, payload: Payload) -> Answer:
        """The same body again and again, until the server has said yes or a no that will stay one."""
        failures = 0
        while True:
            answer = self._try(path, payload)
            if answer is not None and answer.final:
                self._reached()
                return replace(answer, resent=answer.resent or failures > 0)
            failures += 1
            self._back_off(failures, answer.retry_after_seconds if answer is not None else None)

    def _try(self, path: str, payload: Payload) -> Answer | None:
        try:
            answer = self._transport.post(path, payload)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._missed(cause_of(error), reason_of(error))
            return None
        if not answer.final:
            self._missed(str(answer.status), answer.reason)
        return answer

    def _reached(self) -> None:
        self._last_contact = time.monotonic()
        if self._away:
            self._away = False
            self._notices.tell("%s answers again", self._transport.address)

    def _missed(self, cause: str, reason: str) -> None:
        """Say why, once for each cause: the reason itself may quote what the other side sent, new bytes each time."""
        self._away = True
        self._notices.once(
            f"away {cause}",
            "%s does not take metrics (%s); they are kept in memory and sent when it does",
            self._transport.address,
            reason,
        )

    def _back_off(self, failures: int, retry_after_seconds: float | None = None) -> None:
        """Wait a random part of a time that doubles (full jitter), so that a thousand jobs do not return as one.

        Somebody who starts waiting for us cuts the wait short, unless the server itself named the time.
        """
        longest = min(LONGEST_BACK_OFF_SECONDS, BACK_OFF_SECONDS * 2.0 ** min(failures - 1, 10))
        if self._awaited():
            longest = min(longest, LONGEST_BACK_OFF_WHILE_AWAITED_SECONDS)
        now = time.monotonic()
        until = now + (retry_after_seconds or 0.0) + self._random.uniform(0.0, longest)
        impatient = retry_after_seconds is None and not self._awaited()
        while self._listen(until):
            if impatient and self._awaited():
                return

    def _awaited(self) -> bool:
        now = time.monotonic()
        return any(now < flush.until for flush in self._flushes) or (
            self._finish is not None and now < self._finish.until
        )

    def _listen(self, until: float) -> bool:
        """Take one command, waiting for it until then; False when none came."""
        try:
            command = self._inbox.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return False
        if isinstance(command, Flush):
            command.rows_ahead = len(self._buffer)
            self._flushes.append(command)
        elif isinstance(command, Finish):
            self._finish = command
        elif isinstance(command, Told):
            self._told = command
        return True


def _before_child_ends(flush: Callable[[float], bool]) -> None:
    """Flush when a multiprocessing child ends: it leaves by `os._exit`, past `atexit`, not past its own finalizers."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, flush, args=(CHILD_EXIT_SECONDS,), exitpriority=0)


def _far_seq() -> int:
    """Where a second writer's numbers start: no two within reach of each other, and exact as a double."""
    return (1 + random.SystemRandom().getrandbits(20)) << 32
