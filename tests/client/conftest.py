"""Servers for the client: one that works (until told otherwise), one that refuses, one that never answers."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import losscast
from losscast import current, hooks, sender, stop_watch, transport
from tests.client.local_server import LocalServer

CLIENT = Path(__file__).parents[2] / "client"

MakeRun = Callable[..., losscast.Run]
Script = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same behaviour at a hundredth of the waits, and no word from the surroundings."""
    for name in list(os.environ):
        if name.startswith("LOSSCAST_") or name.lower().endswith("_proxy") or name in ("RANK", "SLURM_PROCID"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(sender, "BATCH_SECONDS", 0.02)
    monkeypatch.setattr(sender, "BACK_OFF_SECONDS", 0.005)
    monkeypatch.setattr(sender, "LONGEST_BACK_OFF_SECONDS", 0.1)
    monkeypatch.setattr(stop_watch, "ASK_SECONDS", 0.02)
    monkeypatch.setattr(current, "_used_environment_ids", set())


@pytest.fixture
def server(quick: None) -> Iterator[LocalServer]:
    before = set(threading.enumerate())
    local = LocalServer()
    yield local
    # Whatever the test left unfinished is let go to its end, so that no sender outlives its server.
    local.faults.clear()
    local.api_key = None
    local.largest_body = 32 * 2**20
    if local._http is None:
        local.start()
    for run in list(hooks._open_runs):
        assert isinstance(run, losscast.Run)
        run.finish(timeout=10)
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("losscast"):
            thread.join(10)
    local.kill()


@pytest.fixture
def make_run(server: LocalServer) -> MakeRun:
    def make(**said: Any) -> losscast.Run:
        return losscast.init(**{"url": server.url, **said})

    return make


@pytest.fixture(scope="session")
def refusing_url() -> Iterator[str]:
    """An address that refuses connections, and will for the whole session: the port is bound but not listened on."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture(scope="session")
def silent_url() -> Iterator[str]:
    """A black hole: connections are taken by the kernel, nobody ever reads or answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen(64)
        yield f"http://127.0.0.1:{held.getsockname()[1]}"
    # Senders of runs that were given up may notice the end of the black hole while pytest is on its way out.
    logging.getLogger("losscast").addHandler(logging.NullHandler())


@pytest.fixture
def script() -> Script:
    """Run a training script in a process of its own, with the client on its path and nothing of ours around it."""

    def run(source: str, *, python: str = sys.executable, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYENV_VERSION") if name in os.environ}
        return subprocess.run(
            [python, "-c", textwrap.dedent(source)],
            env={**kept, "PYTHONPATH": str(CLIENT), **variables},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of a second for each request instead of five."""
    monkeypatch.setattr(transport, "TIMEOUT_SECONDS", 0.1)
