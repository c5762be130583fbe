"""Whatever the server does: the job goes on, and what can still arrive arrives once."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Sequence
from email.utils import formatdate
from typing import Any

import pytest

import losscast
from losscast import buffer, sender
from losscast.buffer import Buffer
from losscast.notices import Notices
from losscast.wire import batch_body
from tests.client.conftest import MakeRun
from tests.client.local_server import Fault, LocalServer, Request


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


@pytest.mark.parametrize("address", ["refusing_url", "silent_url"])
def test_a_dead_server_costs_the_job_nothing_but_a_warning(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    run = losscast.init(url=request.getfixturevalue(address), total_steps=10)
    log_steps(run, range(1000))
    run.finish(timeout=0.2)
    assert "1000 points" in caplog.text
    assert "had not arrived" in caplog.text


def test_a_host_without_an_address_costs_the_job_nothing(caplog: pytest.LogCaptureFixture) -> None:
    run = losscast.init(url="http://losscast.invalid:8700")
    log_steps(run, range(10))
    run.finish(timeout=0.2)
    assert "10 points" in caplog.text


def test_logging_never_waits_for_an_answer(server: LocalServer, make_run: MakeRun) -> None:
    answer = threading.Event()
    run = make_run()
    server.wait_until(lambda: server.run(run.id).segments)
    server.faults.append(Fault(until=answer, store_first=True, on="batches"))
    log_steps(run, range(1000))
    server.wait_until(lambda: server.sent_to("batches"))
    log_steps(run, range(1000, 3000))  # would stand still here: the answer comes only below
    answer.set()
    run.finish(timeout=20)
    assert_stored_once(server, run, range(3000))


def test_a_run_that_began_without_a_server_arrives_when_one_comes(server: LocalServer, make_run: MakeRun) -> None:
    server.kill()
    run = make_run(config={"lr": 1})
    log_steps(run, range(100))
    server.start()
    run.finish(timeout=20)
    assert_stored_once(server, run, range(100))
    assert server.run(run.id).descriptions[0]["config"] == {"lr": 1}


def test_a_server_that_dies_and_returns_misses_nothing(server: LocalServer, make_run: MakeRun) -> None:
    run = make_run()
    log_steps(run, range(100))
    assert run.flush(20)
    server.kill()
    log_steps(run, range(100, 2000))
    server.start()
    log_steps(run, range(2000, 2100))
    run.finish(timeout=20)
    assert_stored_once(server, run, range(2100))
    assert server.run(run.id).end == {"status": "finished"}


def test_a_server_that_is_dead_at_the_end_still_gets_the_rest_while_the_process_lives(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run()
    log_steps(run, range(10))
    assert run.flush(20)
    server.kill()
    log_steps(run, range(10, 30))
    run.finish(timeout=0.1)
    assert "20 points" in caplog.text
    server.start()
    server.wait_until(lambda: server.run(run.id).end)
    assert_stored_once(server, run, range(30))


def test_a_server_that_forgot_the_run_is_told_of_it_again(server: LocalServer, make_run: MakeRun) -> None:
    run = make_run(config={"lr": 1})
    log_steps(run, range(10))
    assert run.flush(20)
    server.runs.clear()
    log_steps(run, range(10, 20))
    run.finish(timeout=20)
    assert_stored_once(server, run, range(10, 20))
    assert server.run(run.id).descriptions[0]["config"] == {"lr": 1}


def test_a_server_that_forgot_the_run_at_its_end_is_told_of_both(server: LocalServer, make_run: MakeRun) -> None:
    run = make_run()
    log_steps(run, range(10))
    assert run.flush(20)
    server.runs.clear()
    run.finish(timeout=20)
    assert server.run(run.id).end == {"status": "finished"}


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 504, 401, 403, 301])
def test_an_answer_that_will_change_is_asked_for_again_with_the_same_bytes(
    server: LocalServer, make_run: MakeRun, status: int
) -> None:
    server.faults += [Fault(status, on="batches") for _ in range(4)]
    run = make_run()
    log_steps(run, range(10))
    run.finish(timeout=20)
    tries = same_batch(server.sent_to("batches"))
    assert tries[:5] == [tries[0]] * 5
    assert_stored_once(server, run, range(10))


def test_a_storm_of_errors_on_every_path_is_sat_out(server: LocalServer, make_run: MakeRun) -> None:
    server.faults += [Fault(503) for _ in range(15)]
    run = make_run()
    log_steps(run, range(10))
    server.wait_until(lambda: not server.faults)
    server.faults += [Fault(503, on="finish") for _ in range(3)]
    run.finish(timeout=20)
    assert_stored_once(server, run, range(10))
    assert server.run(run.id).end == {"status": "finished"}


@pytest.mark.parametrize("cut", ["silence", "reset"])
def test_a_batch_whose_answer_was_cut_off_is_sent_again_under_the_same_number(
    server: LocalServer, make_run: MakeRun, cut: str
) -> None:
    server.faults += [Fault(cut=cut, store_first=True, on="batches") for _ in range(2)]
    run = make_run()
    log_steps(run, range(10))
    run.finish(timeout=20)
    tries = same_batch(server.sent_to("batches"))
    assert tries[:3] == [tries[0]] * 3
    assert server.run(run.id).duplicates == 2
    assert_stored_once(server, run, range(10))


def test_a_registration_whose_answer_was_cut_off_opens_no_second_segment(
    server: LocalServer, make_run: MakeRun
) -> None:
    server.faults += [Fault(cut="reset", store_first=True, on="runs") for _ in range(2)]
    run = make_run()
    log_steps(run, range(10))
    run.finish(timeout=20)
    assert len(server.run(run.id).descriptions) == 3
    assert list(server.run(run.id).segments.values()) == [1]
    assert_stored_once(server, run, range(10))


def test_an_answer_that_comes_too_late_is_asked_for_again(
    server: LocalServer, make_run: MakeRun, impatient: None
) -> None:
    late = threading.Event()
    server.faults.append(Fault(until=late, store_first=True, on="batches"))
    run = make_run()
    log_steps(run, range(10))
    server.wait_until(lambda: len(server.sent_to("batches")) >= 2)
    late.set()
    run.finish(timeout=20)
    tries = same_batch(server.sent_to("batches"))
    assert tries[0] == tries[1]
    assert_stored_once(server, run, range(10))


@pytest.mark.parametrize("as_date", [False, True])
def test_a_server_that_names_the_time_is_not_asked_before_it(
    server: LocalServer, make_run: MakeRun, as_date: bool
) -> None:
    run = make_run()
    server.wait_until(lambda: server.run(run.id).segments)
    # A date has whole seconds: two ahead are more than one away.
    named = formatdate(time.time() + 2, usegmt=True) if as_date else "1"
    server.faults.append(Fault(429, {"Retry-After": named}, on="batches"))
    log_steps(run, range(10))
    run.flush(timeout=20)
    first, second = server.sent_to("batches")
    assert second.arrived - first.arrived >= 0.99
    assert_stored_once(server, run, range(10))
    run.finish()


@pytest.mark.parametrize("status", [400, 404, 410, 422])
def test_a_refused_batch_is_set_aside_with_one_warning_and_the_next_goes_through(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    server.faults += [Fault(status, on="batches") for _ in range(2)]
    run = make_run()
    log_steps(run, range(10))
    assert not run.flush(20)
    log_steps(run, range(10, 20))
    assert not run.flush(20)
    log_steps(run, range(20, 30))
    assert run.flush(20), "nothing was refused since the last flush"
    run.finish(timeout=20)
    assert_stored_once(server, run, range(20, 30))
    assert caplog.text.count("set aside") == 1
    assert "20 points of run" in caplog.text


def test_a_refusal_that_came_before_the_flush_is_told_by_it(server: LocalServer, make_run: MakeRun) -> None:
    server.faults.append(Fault(410, on="batches"))
    run = make_run()
    sending = run._sender
    assert sending is not None
    run.log({"loss": 1.0}, step=1)
    server.wait_until(lambda: not server.faults and sending.refused == 1)
    assert not run.flush(20)
    assert run.flush(20)
    run.finish(timeout=20)


def test_a_proxys_own_404_is_not_a_refusal(server: LocalServer, make_run: MakeRun) -> None:
    server.faults += [Fault(404, body=b"<html>404 page not found</html>", on="batches") for _ in range(3)]
    run = make_run()
    log_steps(run, range(10))
    run.finish(timeout=20)
    assert_stored_once(server, run, range(10))


def test_a_login_page_with_status_200_is_not_an_answer(server: LocalServer, make_run: MakeRun) -> None:
    server.faults += [Fault(200, body=b"<html>please log in</html>") for _ in range(3)]
    run = make_run()
    server.wait_until(lambda: not server.faults)
    server.faults += [Fault(200, body=b"<html>please log in</html>", on="batches") for _ in range(3)]
    log_steps(run, range(10))
    run.finish(timeout=20)
    assert_stored_once(server, run, range(10))


def test_a_batch_that_is_too_large_is_halved_until_it_fits(
    server: LocalServer, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BATCH_SECONDS", 60)
    run = make_run()
    server.wait_until(lambda: server.run(run.id).segments)
    server.largest_body = 1000
    log_steps(run, range(300))
    run.log({f"metric{number}": 1.0 for number in range(200)}, step=300)
    run.finish(timeout=30)
    stored = server.run(run.id)
    assert stored.points("loss") == {step: float(step) for step in range(300)}
    assert stored.n_points == 500
    assert all(stored.points(f"metric{number}") == {300: 1.0} for number in range(200))


def test_a_body_above_the_clients_own_limit_is_never_sent(
    server: LocalServer, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "LARGEST_BODY", 2000)
    monkeypatch.setattr(sender, "BATCH_SECONDS", 60)
    run = make_run()
    log_steps(run, range(500))
    run.finish(timeout=20)
    assert max(len(request.raw) for request in server.sent_to("batches")) <= 2000
    assert_stored_once(server, run, range(500))


def test_a_single_value_that_is_too_large_is_given_up(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults.append(Fault(413, on="batches"))
    run = make_run()
    log_steps(run, [1])
    assert not run.flush(20)
    log_steps(run, [2])
    run.finish()
    assert_stored_once(server, run, [2])
    assert "set aside" in caplog.text


def test_a_key_that_is_mended_later_lets_everything_through(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    server.api_key = "right"
    run = make_run(api_key="right ")
    log_steps(run, range(10))
    assert run.flush(20)
    server.api_key = "rotated"
    log_steps(run, range(10, 20))
    server.wait_until(lambda: "401" in caplog.text)
    server.api_key = "right"
    run.finish(timeout=20)
    assert_stored_once(server, run, range(20))


def test_a_plan_that_the_server_refuses_does_not_cost_the_metrics(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    server.faults.append(Fault(400, body=b'{"error": "bad_input", "message": "no such family"}', on="runs"))
    run = make_run(schedule={"family": "sinus"}, total_steps=5, config={"lr": 1})
    log_steps(run, range(10))
    run.finish()
    assert_stored_once(server, run, range(10))
    (said,) = server.run(run.id).descriptions
    assert "plan" not in said
    assert said["config"] == {"lr": 1}
    assert "no such family" in caplog.text


def test_a_number_that_another_sender_used_is_no_reason_to_lose_a_batch(server: LocalServer, make_run: MakeRun) -> None:
    run = make_run()
    server.wait_until(lambda: server.run(run.id).segments)
    # As when curl logs to the same run: the server numbers those itself, and takes ours.
    taken = {"segment": 1, "seq": 1, "steps": [99], "times": [0.0], "metrics": {"loss": [9.0]}}
    server.run(run.id).batches[1, 1] = taken
    log_steps(run, range(10))
    run.finish(timeout=20)
    assert server.run(run.id).points("loss") == {**{step: float(step) for step in range(10)}, 99: 9.0}


def test_the_servers_warnings_are_passed_on_once(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    body = b'{"stored": 1, "duplicate": false, "warnings": ["step 3 is older than the checkpoint"]}'
    server.faults += [Fault(200, body=body, on="batches") for _ in range(2)]
    run = make_run()
    log_steps(run, range(10))
    assert run.flush(20)
    log_steps(run, range(10, 20))
    run.finish()
    assert caplog.text.count("older than the checkpoint") == 1


def test_a_connection_that_the_server_closed_while_idle_is_opened_again_without_a_word(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run()
    log_steps(run, range(10))
    assert run.flush(20)
    server.kill()
    server.start()
    log_steps(run, range(10, 20))
    run.finish(timeout=20)
    assert_stored_once(server, run, range(20))
    assert not caplog.records


def test_one_connection_serves_many_batches(server: LocalServer, make_run: MakeRun) -> None:
    run = make_run()
    seen = set()
    for step in range(10):
        log_steps(run, [step])
        assert run.flush(20)
        seen |= {connection.getpeername() for connection in list(server._connections)}
    run.finish()
    assert len(seen) == 1


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


def test_a_system_without_threads_to_spare_is_asked_again(
    server: LocalServer, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    start = threading.Thread.start

    def no_thread(thread: threading.Thread) -> None:
        if thread.name == "losscast":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    run = make_run()
    log_steps(run, [1])
    assert "can't start new thread" in caplog.text
    monkeypatch.setattr(threading.Thread, "start", start)
    log_steps(run, [2])
    run.finish(timeout=20)
    assert_stored_once(server, run, [1, 2])


def test_a_fault_of_our_own_in_the_sending_thread_does_not_end_it(
    server: LocalServer, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults = iter([ZeroDivisionError("ours")])
    honest = batch_body

    def body_once_broken(*args: Any) -> dict[str, Any]:
        for fault in faults:
            raise fault
        return honest(*args)

    monkeypatch.setattr(sender, "batch_body", body_once_broken)
    run = make_run()
    log_steps(run, range(10))
    run.finish(timeout=20)
    assert "ZeroDivisionError" in caplog.text
    assert_stored_once(server, run, range(10))


def test_a_thing_is_said_once_however_often_it_happens(caplog: pytest.LogCaptureFixture) -> None:
    notices = Notices()
    for _ in range(5):
        notices.once("key", "the %s", "text")
    assert [record.message for record in caplog.records] == ["losscast: the text"]
