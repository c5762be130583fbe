"""What is kept of an outage that is longer than the buffer."""

from __future__ import annotations

import itertools
import threading

import pytest

import losscast
from losscast import buffer
from losscast.buffer import Buffer
from tests.client.conftest import MakeRun
from tests.client.local_server import Fault, LocalServer
from tests.client.sent_batches import log_steps


def test_an_outage_beyond_the_buffer_costs_resolution_and_says_how_much(
    server: LocalServer, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(losscast.current, "Buffer", lambda: Buffer(max_points=1000))
    server.kill()
    run = make_run()
    log_steps(run, range(10_000))
    server.start()
    run.finish(timeout=20)
    stored = server.run(run.id)
    assert "were dropped" in caplog.text
    steps = sorted(stored.points("loss"))
    assert f"{10_000 - len(steps)} points" in caplog.text
    assert steps[0] == 0
    assert steps[-1] == 9999


def test_the_first_point_that_is_dropped_is_told_at_once_and_only_once(
    make_run: MakeRun, server: LocalServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(losscast.current, "Buffer", lambda: Buffer(max_points=1000))
    answer = threading.Event()
    run = make_run()
    server.wait_until(lambda: server.run(run.id).segments)
    server.faults.append(Fault(until=answer, store_first=True, on="batches"))
    log_steps(run, range(700))
    assert "left out" not in caplog.text
    log_steps(run, range(700, 5000))
    assert caplog.text.count("points are left out, evenly over what waits, since the buffer is full") == 1
    assert "more is logged than the server takes" in caplog.text
    answer.set()
    run.finish(timeout=20)


def test_dropped_points_do_not_count_as_arrived(
    make_run: MakeRun, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losscast.current, "Buffer", lambda: Buffer(max_points=1000))
    answer = threading.Event()
    run = make_run()
    server.wait_until(lambda: server.run(run.id).segments)
    server.faults.append(Fault(until=answer, store_first=True, on="batches"))
    log_steps(run, range(5000))
    answer.set()
    assert not run.flush(20)
    log_steps(run, range(5000, 5010))
    assert run.flush(20), "nothing was dropped since the last flush"
    assert len(server.run(run.id).points("loss")) < 5010
    run.finish()


def test_thinning_leaves_no_stretch_of_the_curve_without_rows() -> None:
    kept = Buffer(max_points=1000)
    for step in range(100_000):
        kept.append((step, float(step), {"loss": 1.0}))
    steps = [row[0] for row in kept.take(10_000, 10**9)]
    # At least 300 rows for 100,000 steps, nowhere three times as far apart as that makes them.
    assert len(steps) >= 300
    assert max(later - earlier for earlier, later in itertools.pairwise(steps)) <= 1000
    assert (steps[0], steps[-1]) == (0, 99_999)
    assert kept.dropped == 100_000 - len(steps)


def test_thinning_keeps_rows_that_are_rare_beside_others() -> None:
    kept = Buffer(max_points=1000)
    for step in range(5000):
        kept.append((step, float(step), {"loss": 1.0}))
        if step % 100 == 0:
            kept.append((step, float(step), {"val": 2.0}))
    rows = kept.take(10_000, 10**9)
    assert sum("val" in row[2] for row in rows) == 50
    assert kept.dropped == 5050 - len(rows)


def test_a_clock_that_was_set_back_silences_no_metric() -> None:
    kept = Buffer(max_points=1000)
    for step in range(3000):
        kept.append((step, 1e9 + step if step < 1500 else float(step), {"loss": 1.0}))
    steps = [row[0] for row in kept.take(10_000, 10**9)]
    assert len(steps) > 250
    assert steps[-1] == 2999


def test_after_an_outage_rows_are_kept_in_full_again() -> None:
    kept = Buffer(max_points=1000)
    for step in range(10_000):
        kept.append((step, float(step), {"loss": 1.0}))
    kept.take(10_000, 10**9)
    dropped = kept.dropped
    for step in range(10_000, 10_700):
        kept.append((step, float(step), {"loss": 1.0}))
    assert len(kept.take(10_000, 10**9)) == 700
    assert kept.dropped == dropped


def test_rows_that_cannot_be_thinned_make_room_by_age() -> None:
    kept = Buffer(max_points=1000)
    for step in range(3000):
        kept.append((step, 0.0, {f"metric{step}": 1.0}))
    rows = kept.take(10_000, 10**9)
    assert len(rows) <= 1000
    assert rows[-1][0] == 2999
    assert kept.points == 0


def test_a_buffer_is_bounded_in_bytes_too() -> None:
    kept = Buffer(max_points=10**9, max_bytes=100_000)
    for step in range(2000):
        kept.append((step, 0.0, {f"{step}" * 40: 1.0}))
    assert kept._bytes <= 100_000
    assert kept.dropped > 0
    assert sum(map(buffer._cost, kept.take(10**6, 10**9))) <= 100_000
