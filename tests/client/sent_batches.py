"""Steps that a run logs, and what a server was sent of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import losscast
from tests.client.local_server import LocalServer, Request


def log_steps(run: losscast.Run, steps: Iterable[int]) -> None:
    for step in steps:
        run.log({"loss": float(step)}, step=step)


def assert_stored_once(server: LocalServer, run: losscast.Run, steps: Sequence[int]) -> None:
    """All of it is there, and nothing was stored under two numbers."""
    stored = server.run(run.id)
    assert stored.points("loss") == {step: float(step) for step in steps}
    assert stored.n_points == len(steps)


def same_batch(requests: list[Request]) -> list[tuple[int, int, bytes]]:
    return [(request.body["segment"], request.body["seq"], request.raw) for request in requests]
