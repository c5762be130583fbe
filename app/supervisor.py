"""Start several things in order, keep them alive, stop them in reverse.

Used by `losscast up`: the embedded Postgres, then the migrations, then the web server, then the workers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Protocol

from app.errors import LosscastError, Unavailable
from app.processes import spawn

log = logging.getLogger(__name__)

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 10.0
# A child that lived this long had a good start: its next death is a new story.
SETTLED_SECONDS = 30.0

_LOOK_SECONDS = 0.5  # between looks at services; the end of a command is noticed at once, by the end of its output
_READY_LOOK_SECONDS = 0.1
_LONGEST_LINE = 64 * 1024  # [bytes]

Environment = Mapping[str, str] | Callable[[], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Command:
    """A program to keep running.

    `env` is added to our environment; a function is asked at every start, for what is known only once those before
    have started. `count` copies start and stop together and are named NAME-1, NAME-2, ... What comes after waits for
    the first time that `ready` says True, but not longer than `ready_seconds`.
    """

    name: str
    argv: Sequence[str]
    env: Environment | None = None
    count: int = 1
    ready: Callable[[], bool] | None = None
    ready_seconds: float = 120.0


class Server(Protocol):
    """Something that is kept running and is no command of ours, like the embedded Postgres."""

    def start(self) -> None:
        """Start, or start again after a death; return when it can be used."""

    def stop(self) -> None: ...

    def alive(self) -> bool: ...

    def interrupt(self) -> None:
        """Make a start that is under way give up soon. Called from any thread and from signal handlers."""


@dataclass(frozen=True, slots=True)
class Service:
    """A server object to keep running."""

    name: str
    server: Server


@dataclass(frozen=True, slots=True)
class Step:
    """Something done once, between the start of what stands before it and of what stands after it."""

    name: str
    run: Callable[[], None]


class Supervisor:
    """Keeps `parts` running from `run` until `request_stop`, SIGTERM or SIGINT.

    Parameters
    ----------
    parts
        In the order of starting. What fails in the first start ends everything; what dies later is started again.
    grace_seconds
        How long a command may take to stop before it is killed.
    on_start
        Told the name of a child and how often it has been started by now, after every start.
    write_line
        Takes the children's output, line by line, with the child's name before it; from several threads.
    """

    def __init__(
        self,
        parts: Sequence[Command | Service | Step],
        *,
        grace_seconds: float = 15.0,
        on_start: Callable[[str, int], None] | None = None,
        write_line: Callable[[str], None] | None = None,
    ) -> None:
        self._parts = parts
        self._grace_seconds = grace_seconds
        self._on_start = on_start
        self._write_line = write_line or _write_to_stdout
        self._width = max(
            (len(name) for part in parts if isinstance(part, Command) for name in _names(part)), default=0
        )
        self._groups: list[list[_Child]] = []  # started ones, in order
        self._stop_requests = 0
        # Not a threading.Event: its set() can deadlock in a signal handler, put() cannot.
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._all_started = threading.Event()
        self._failure: BaseException | None = None

    def run(self) -> None:
        """Start everything, keep it running, and return when all has been stopped.

        Takes over SIGTERM and SIGINT when called from the main thread.

        Raises
        ------
        LosscastError
            What a service or step raised in the first start; all that had started has been stopped.
        """
        with self._signals():
            try:
                self._start_all()
                self._all_started.set()
                while not self._stop_requests:
                    self._mend()
                    self._sleep(min([_LOOK_SECONDS, *(child.wait_seconds() for child in self._children())]))
            except BaseException as error:
                # A start that was given up because of the request to stop is no failure.
                if not (self._stop_requests and isinstance(error, LosscastError)):
                    self._failure = error
                    raise
            finally:
                self._stop_all()
                self._all_started.set()  # whoever waits for a start learns that there will be none

    def request_stop(self) -> None:
        """Ask for the end; a second call kills commands that are still stopping. From any thread or signal handler."""
        self._stop_requests += 1
        for part in self._parts:
            if isinstance(part, Service):
                part.server.interrupt()
        self._wake.put(None)

    def wait_until_started(self, timeout_seconds: float | None = None) -> bool:
        """Wait, in another thread than that of `run`, for the first start of everything.

        Returns
        -------
        bool
            True if all is started; False after the timeout or a request to stop.

        Raises
        ------
        BaseException
            What made `run` fail.
        """
        started = self._all_started.wait(timeout_seconds)
        if self._failure is not None:
            raise self._failure
        return started and not self._stop_requests

    def pids(self) -> dict[str, int]:
        """Return the process ids of the commands that run now, by child name."""
        return {child.name: child.pid for child in self._children() if isinstance(child, _Program) and child.alive()}

    def _children(self) -> list[_Child]:
        return [child for group in self._groups for child in group]

    def _start_all(self) -> None:
        for part in self._parts:
            if self._stop_requests:
                return
            if isinstance(part, Step):
                log.info("%s", part.name)
                part.run()
                continue
            # Noted before the start, so that one that fails half-way is stopped too.
            self._groups.append(group := self._make(part))
            for child in group:
                self._start(child)
            if isinstance(part, Command) and part.ready is not None:
                self._wait_until_ready(part, part.ready)

    def _wait_until_ready(self, command: Command, ready: Callable[[], bool]) -> None:
        """Wait, keeping alive what has started and heeding a request to stop."""
        give_up_at = time.monotonic() + command.ready_seconds
        while not self._stop_requests and not ready():
            if time.monotonic() > give_up_at:
                raise Unavailable(f"{command.name} was not ready after {command.ready_seconds:g} s; see its output.")
            self._mend()
            self._sleep(_READY_LOOK_SECONDS)

    def _make(self, part: Command | Service) -> list[_Child]:
        if isinstance(part, Service):
            return [_Served(part.name, part.server)]
        return [_Program(name, part, self._take_line, lambda: self._wake.put(None)) for name in _names(part)]

    def _start(self, child: _Child) -> None:
        child.start()
        self._tell_start(child)

    def _tell_start(self, child: _Child) -> None:
        log.info("%s started%s", child.name, "" if child.starts == 1 else f" again ({child.starts - 1})")
        if self._on_start is not None:
            self._on_start(child.name, child.starts)

    def _mend(self) -> None:
        """Start again what is dead and has waited long enough."""
        for child in self._children():
            if self._stop_requests:
                return
            if child.due_at is None:
                self._notice_death(child)
            elif time.monotonic() >= child.due_at:
                self._restart(child)

    def _notice_death(self, child: _Child) -> None:
        if child.alive():
            return
        story = child.describe_end()
        child.bury()
        log.warning("%s %s; starting it again in %.1f s", child.name, story, child.plan_restart())

    def _restart(self, child: _Child) -> None:
        try:
            child.start()
        except Exception as error:  # whatever it is, trying again is all that can be done here
            delay = child.plan_restart()
            log.warning("%s could not be started: %s; trying again in %.1f s", child.name, error, delay)
        else:
            self._tell_start(child)

    def _stop_all(self) -> None:
        for group in reversed(self._groups):
            for child in group:
                child.ask_to_stop()
            give_up_at = time.monotonic() + self._grace_seconds
            for child in group:
                while child.alive() and time.monotonic() < give_up_at and self._stop_requests < 2:
                    self._sleep(min(0.1, max(0.0, give_up_at - time.monotonic())))
                child.end()
                log.info("%s stopped", child.name)
        self._groups.clear()

    def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(queue.Empty):
            self._wake.get(timeout=max(seconds, 0.001))

    def _take_line(self, name: str, line: str) -> None:
        self._write_line(f"{name:<{self._width}} | {line}")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def handle(number: int, frame: FrameType | None) -> None:
            self.request_stop()

        before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Child(ABC):
    """One thing that is kept running, with its history of starts."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.starts = 0
        self.due_at: float | None = None  # when a dead one starts again, on the monotonic clock [s]
        self._delay = 0.0
        self._started_at = 0.0

    def start(self) -> None:
        self._started_at = time.monotonic()
        self._start()
        self.starts += 1
        self.due_at = None

    def plan_restart(self) -> float:
        """Note when to start again; return in how many seconds."""
        now = time.monotonic()
        self._delay = next_delay(self._delay, lived_seconds=now - self._started_at)
        self.due_at = now + self._delay
        return self._delay

    def wait_seconds(self) -> float:
        return _LOOK_SECONDS if self.due_at is None else self.due_at - time.monotonic()

    @abstractmethod
    def _start(self) -> None: ...

    @abstractmethod
    def alive(self) -> bool: ...

    @abstractmethod
    def describe_end(self) -> str: ...

    def bury(self) -> None:  # noqa: B027  (most leave nothing)
        """Clear away what a dead one left."""

    @abstractmethod
    def ask_to_stop(self) -> None: ...

    @abstractmethod
    def end(self) -> None:
        """Stop now, by force if it must be, and leave nothing behind."""


class _Program(_Child):
    def __init__(
        self, name: str, command: Command, take_line: Callable[[str, str], None], tell_end: Callable[[], None]
    ) -> None:
        super().__init__(name)
        self._command = command
        self._take_line = take_line
        self._tell_end = tell_end
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _start(self) -> None:
        extra = self._command.env() if callable(self._command.env) else self._command.env or {}
        process = spawn(
            self._command.argv,
            death_signal=signal.SIGTERM,
            env={"PYTHONUNBUFFERED": "1", **os.environ, **extra},  # else Python holds back lines in a pipe
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._process = process
        self._reader = threading.Thread(target=self._pass_output, args=(process,), name=f"{self.name}-output")
        self._reader.daemon = True
        self._reader.start()

    def _pass_output(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as stream:
            while line := stream.readline(_LONGEST_LINE):
                self._take_line(self.name, line.decode(errors="replace").rstrip("\r\n"))
        process.wait()
        self._tell_end()

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def describe_end(self) -> str:
        code = self._process.returncode if self._process else 0
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit status {code}"

    def bury(self) -> None:
        self._forget_process()

    def ask_to_stop(self) -> None:
        if self._process is not None:
            self._process.terminate()

    def end(self) -> None:
        if self._process is None:
            return
        if self.alive():
            log.warning("%s did not stop in time and is killed", self.name)
        self._forget_process()

    def _forget_process(self) -> None:
        """End what is left of the last process and its own children, which share its session."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._reader is not None:
            self._reader.join(timeout=1.0)  # a grandchild in a session of its own may keep the pipe open
        self._process = self._reader = None


class _Served(_Child):
    def __init__(self, name: str, server: Server) -> None:
        super().__init__(name)
        self._server = server

    def _start(self) -> None:
        self._server.start()

    def alive(self) -> bool:
        return self._server.alive()

    def describe_end(self) -> str:
        return "died"

    def ask_to_stop(self) -> None:
        self._server.stop()

    def end(self) -> None:
        self._server.stop()


def next_delay(last_delay: float, *, lived_seconds: float) -> float:
    """Return how long to wait before the next start: short at first, twice as long each time, at most 10 s. [s]"""
    if last_delay == 0.0 or lived_seconds >= SETTLED_SECONDS:
        return FIRST_DELAY_SECONDS
    return min(2.0 * last_delay, LONGEST_DELAY_SECONDS)


def _names(command: Command) -> list[str]:
    if command.count == 1:
        return [command.name]
    return [f"{command.name}-{number}" for number in range(1, command.count + 1)]


def _write_to_stdout(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
