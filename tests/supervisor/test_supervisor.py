"""The supervisor over real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from app.errors import Unavailable
from app.supervisor import (
    FIRST_DELAY_SECONDS,
    LONGEST_DELAY_SECONDS,
    SETTLED_SECONDS,
    Command,
    Service,
    Step,
    Supervisor,
    next_delay,
)

CHECKOUT = Path(__file__).parents[2]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no parent-death signal")

SLEEP = ["sleep", "600"]
STUBBORN = [
    sys.executable,
    "-u",
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf'); time.sleep(600)",
]


class Diary:
    """What happened, in order, from all threads: a list is enough, its append is atomic."""

    def __init__(self) -> None:
        self.entries: list[str] = []

    def note(self, entry: str) -> None:
        self.entries.append(entry)

    def note_start(self, name: str, starts: int) -> None:
        self.entries.append(f"{name} start {starts}")

    def wait_for(self, entry: str) -> None:
        assert eventually(lambda: entry in self.entries), f"{entry!r} not in {self.entries}"


class FakeServer:
    """A server without a process, whose death and failures the test decides."""

    def __init__(self, name: str, diary: Diary, *, failures: int = 0) -> None:
        self.name = name
        self.diary = diary
        self.failures = failures
        self.running = False
        self.interrupted = threading.Event()

    def start(self) -> None:
        if self.failures:
            self.failures -= 1
            self.diary.note(f"{self.name} failed")
            raise Unavailable("not now")
        self.running = True
        self.diary.note(f"{self.name} up")

    def stop(self) -> None:
        if self.running:
            self.diary.note(f"{self.name} down")
        self.running = False

    def alive(self) -> bool:
        return self.running

    def interrupt(self) -> None:
        self.interrupted.set()


def eventually(condition: Callable[[], bool], *, timeout_seconds: float = 60.0) -> bool:
    """Whether `condition` becomes true; the limit only keeps a failing test from hanging."""
    give_up_at = time.monotonic() + timeout_seconds
    while time.monotonic() < give_up_at:
        if condition():
            return True
        time.sleep(0.02)
    return False


def process_gone(pid: int) -> bool:
    """Whether `pid` has ended; a zombie has."""
    answer = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip() in ("", "Z", "Zs", "Z+")


@contextmanager
def running(supervisor: Supervisor) -> Iterator[Supervisor]:
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    try:
        assert supervisor.wait_until_started(60)
        yield supervisor
    finally:
        supervisor.request_stop()
        thread.join()


def shell(script: str) -> Sequence[str]:
    return ["sh", "-c", script]


def test_parts_start_in_order_and_stop_in_reverse() -> None:
    diary = Diary()
    parts: list[Command | Service | Step] = [
        Service("database", FakeServer("database", diary)),
        Step("migrate", lambda: diary.note("migrated")),
        Command("web", shell("trap 'echo bye; exit' TERM; echo hello; while :; do sleep 0.05; done")),
        Service("last", FakeServer("last", diary)),
    ]
    with running(Supervisor(parts, write_line=diary.note)):
        diary.wait_for("web | hello")
    assert [entry for entry in diary.entries if "hello" not in entry] == [
        "database up",
        "migrated",
        "last up",
        "last down",
        "web | bye",
        "database down",
    ]


def test_a_killed_command_is_started_again() -> None:
    diary = Diary()
    with running(Supervisor([Command("web", SLEEP)], on_start=diary.note_start)) as supervisor:
        first = supervisor.pids()["web"]
        os.kill(first, signal.SIGKILL)
        diary.wait_for("web start 2")
        assert supervisor.pids()["web"] != first
    assert process_gone(first)


def test_a_command_that_ends_by_itself_is_started_again() -> None:
    diary = Diary()
    with running(Supervisor([Command("web", ["true"])], on_start=diary.note_start)):
        diary.wait_for("web start 3")


def test_a_dead_service_is_started_again_until_it_comes_up() -> None:
    diary = Diary()
    server = FakeServer("database", diary)
    with running(Supervisor([Service("database", server)], on_start=diary.note_start)):
        server.failures = 2
        server.running = False
        diary.wait_for("database start 2")
    assert diary.entries == [
        "database up",
        "database start 1",
        "database failed",
        "database failed",
        "database up",
        "database start 2",
        "database down",
    ]


def test_restarts_get_slower_up_to_a_limit_and_quick_again_after_a_good_life() -> None:
    delays = [next_delay(0.0, lived_seconds=0.0)]
    for _ in range(8):
        delays.append(next_delay(delays[-1], lived_seconds=0.1))
    assert delays[0] == FIRST_DELAY_SECONDS
    assert delays[1:5] == [2 * delay for delay in delays[:4]]
    assert delays[-1] == LONGEST_DELAY_SECONDS
    assert next_delay(LONGEST_DELAY_SECONDS, lived_seconds=SETTLED_SECONDS) == FIRST_DELAY_SECONDS


def test_copies_of_a_command_are_numbered_and_run_side_by_side() -> None:
    with running(Supervisor([Command("worker", SLEEP, count=3)])) as supervisor:
        pids = supervisor.pids()
    assert sorted(pids) == ["worker-1", "worker-2", "worker-3"]
    assert len(set(pids.values())) == 3
    assert all(process_gone(pid) for pid in pids.values())


def test_the_environment_is_asked_for_at_each_start() -> None:
    diary = Diary()
    address = iter(["first", "second"])
    command = Command(
        "web", shell("echo $ADDRESS $FROM_OUTSIDE; exec sleep 600"), env=lambda: {"ADDRESS": next(address)}
    )
    with running(Supervisor([command], write_line=diary.note)) as supervisor:
        diary.wait_for("web | first")
        os.kill(supervisor.pids()["web"], signal.SIGKILL)
        diary.wait_for("web | second")


def test_output_carries_the_name_of_its_child_even_without_a_last_newline() -> None:
    diary = Diary()
    parts: list[Command | Service | Step] = [
        Command("a", shell("echo one; echo two >&2; printf three; exec sleep 600 >/dev/null 2>&1")),
        Command("longer", shell("printf '\\377\\n'; exec sleep 600")),
    ]
    with running(Supervisor(parts, write_line=diary.note)):
        for line in ("a      | one", "a      | two", "a      | three", "longer | \N{REPLACEMENT CHARACTER}"):
            diary.wait_for(line)


def test_a_command_that_ignores_the_request_is_killed_after_the_grace() -> None:
    diary = Diary()
    with running(Supervisor([Command("deaf", STUBBORN)], grace_seconds=0.3, write_line=diary.note)) as supervisor:
        diary.wait_for("deaf | deaf")
        pid = supervisor.pids()["deaf"]
    assert process_gone(pid)


def test_a_second_request_does_not_wait_for_the_grace() -> None:
    diary = Diary()
    with running(Supervisor([Command("deaf", STUBBORN)], grace_seconds=3600, write_line=diary.note)) as supervisor:
        diary.wait_for("deaf | deaf")
        pid = supervisor.pids()["deaf"]
        supervisor.request_stop()
    assert process_gone(pid)


def test_children_of_a_dead_command_go_with_it() -> None:
    diary = Diary()
    family = shell("sleep 600 & echo $!; wait")
    with running(Supervisor([Command("web", family)], write_line=diary.note, on_start=diary.note_start)) as supervisor:
        assert eventually(lambda: any("|" in entry for entry in diary.entries))
        grandchild = int(next(entry for entry in diary.entries if "|" in entry).split("| ")[1])
        os.kill(supervisor.pids()["web"], signal.SIGKILL)
        diary.wait_for("web start 2")
        # A killed process takes the kernel a moment.
        assert eventually(lambda: process_gone(grandchild))


def test_what_fails_at_the_first_start_ends_everything_and_is_told() -> None:
    diary = Diary()

    def fail() -> None:
        raise Unavailable("the schema is from the future")

    supervisor = Supervisor(
        [Service("database", FakeServer("database", diary)), Step("migrate", fail), Command("web", SLEEP)],
        on_start=diary.note_start,
    )
    with pytest.raises(Unavailable, match="from the future"):
        supervisor.run()
    assert diary.entries == ["database up", "database start 1", "database down"]
    with pytest.raises(Unavailable, match="from the future"):
        supervisor.wait_until_started()


def test_a_request_during_the_first_start_ends_it_without_an_error() -> None:
    diary = Diary()
    server = FakeServer("database", diary)

    class SlowServer(FakeServer):
        def start(self) -> None:
            diary.note("slow start")
            self.interrupted.wait()
            raise Unavailable("the start was interrupted")

    supervisor = Supervisor([Service("database", server), Service("slow", SlowServer("slow", diary))])
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    diary.wait_for("slow start")
    supervisor.request_stop()
    thread.join()
    assert not supervisor.wait_until_started()
    assert diary.entries == ["database up", "slow start", "database down"]


def test_what_comes_after_waits_until_a_command_is_ready_even_if_it_dies_first(tmp_path: Path) -> None:
    diary = Diary()
    proof = tmp_path / "proof"
    # Dies once, and is ready only in its second life.
    script = f"if [ -e {tmp_path}/once ]; then echo ready > {proof}; exec sleep 600; fi; touch {tmp_path}/once"
    parts: list[Command | Service | Step] = [
        Command("web", shell(script), ready=proof.exists),
        Step("after", lambda: diary.note(f"after, ready: {proof.exists()}")),
    ]
    with running(Supervisor(parts, on_start=diary.note_start)):
        assert diary.entries == ["web start 1", "web start 2", "after, ready: True"]


def test_a_command_that_is_never_ready_ends_the_start() -> None:
    supervisor = Supervisor([Command("web", SLEEP, ready=lambda: False, ready_seconds=0.3)])
    with pytest.raises(Unavailable, match="web was not ready"):
        supervisor.run()


def test_a_wait_for_readiness_heeds_a_request_to_stop() -> None:
    def ask_to_stop() -> bool:
        supervisor.request_stop()
        return False

    supervisor = Supervisor([Command("web", SLEEP, ready=ask_to_stop)])
    supervisor.run()


# Runs a supervisor in the main thread of a process of its own and says who runs.
MAIN = """
import sys
from app.supervisor import Command, Supervisor
def tell(name, starts):
    print("started", name, supervisor.pids()[name], flush=True)
supervisor = Supervisor(
    [Command("first", ["sleep", "600"]), Command("second", ["sleep", "600"])], on_start=tell
)
supervisor.run()
print("done", flush=True)
"""


@contextmanager
def main_process() -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    with subprocess.Popen([sys.executable, "-c", MAIN], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as process:
        assert process.stdout is not None
        try:
            yield process, [int(process.stdout.readline().split()[2]) for _ in range(2)]
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_and_ends_well(number: signal.Signals) -> None:
    with main_process() as (process, pids):
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.read() == "done\n"
        assert process.wait() == 0
        assert all(process_gone(pid) for pid in pids)


@on_linux
def test_children_do_not_outlive_a_killed_supervisor() -> None:
    with main_process() as (process, pids):
        process.kill()
        assert eventually(lambda: all(process_gone(pid) for pid in pids))


def test_signal_handlers_are_given_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    supervisor = Supervisor([Step("stop at once", lambda: supervisor.request_stop())])
    supervisor.run()
    assert signal.getsignal(signal.SIGTERM) is before
