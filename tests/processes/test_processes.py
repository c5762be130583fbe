"""Children that are tied to us, as the kernel sees them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from app.processes import Account, spawn

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no parent-death signal")

CHECKOUT = Path(__file__).parents[2]

# A parent that starts `sleep` with the death signal named by its argument, says so, and waits to be killed.
PARENT = """
import signal, sys, threading, time
from app.processes import spawn
def start():
    child = spawn(["sh", "-c", "trap 'echo told; exit' INT; echo $$; while :; do sleep 0.05; done"],
                  death_signal=signal.SIGINT)
    globals().update(child=child)
thread = threading.Thread(target=start)
thread.start()
thread.join()
time.sleep(600)
"""


def test_the_program_replaces_its_launcher() -> None:
    child = spawn(["sh", "-c", "echo $$"], death_signal=signal.SIGTERM, stdout=subprocess.PIPE)
    output, _ = child.communicate()
    assert int(output) == child.pid


def test_arguments_arrive_as_they_were_given() -> None:
    arguments = ["", "two words", "'quoted'", "--", "-c", "ünï"]
    child = spawn(["printf", "%s\\n", *arguments], death_signal=signal.SIGTERM, stdout=subprocess.PIPE)
    output, _ = child.communicate()
    assert output.decode().splitlines() == arguments


def test_a_program_that_does_not_exist_is_named() -> None:
    child = spawn(["/nowhere/program"], death_signal=signal.SIGTERM, stderr=subprocess.PIPE)
    _, text = child.communicate()
    assert child.returncode != 0
    assert b"could not start /nowhere/program: " in text


def test_a_broken_pipe_ends_the_child_as_it_would_from_a_shell() -> None:
    # Python ignores SIGPIPE; had the child inherited that, `yes` would complain and exit with status 1.
    child = spawn(["yes"], death_signal=signal.SIGTERM, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.close()
    assert child.wait() == -signal.SIGPIPE


def test_the_child_leads_a_session_of_its_own() -> None:
    child = spawn(["sleep", "600"], death_signal=signal.SIGTERM)
    try:
        assert os.getsid(child.pid) == child.pid
    finally:
        child.kill()
        child.wait()


@on_linux
def test_a_child_outlives_the_thread_that_asked_for_it_but_not_the_process() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        # The thread that asked has ended, and a signal would have been answered by the time of a second look.
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
        assert parent.stdout.read() == "told\n"  # read ends when the child, which holds the pipe too, has ended


def test_children_can_be_started_from_many_threads_at_once() -> None:
    children: list[subprocess.Popen[bytes]] = []
    threads = [
        threading.Thread(target=lambda: children.append(spawn(["true"], death_signal=signal.SIGTERM))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [child.wait() for child in children] == [0] * 8


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can drop to another account")
def test_dropping_leaves_no_group_and_no_right_behind() -> None:
    child = spawn(
        ["sh", "-c", "id -u; id -g; id -G; umask"],
        death_signal=signal.SIGTERM,
        account=Account("someone", 12345, 23456),
        cwd=Path("/"),
        stdout=subprocess.PIPE,
    )
    output, _ = child.communicate()
    assert output.decode().split() == ["12345", "23456", "23456", "0077"]
