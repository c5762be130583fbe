"""Whatever the server does: the job goes on, and what can still arrive arrives once."""

from __future__ import annotations

import json
import random
import threading
import time
from email.utils import formatdate
from typing import Any

import pytest

import losscast
from losscast import sender
from losscast.notices import Notices
from losscast.wire import batch_body
from tests.client.conftest import MakeRun
from tests.client.local_server import Fault, LocalServer
from tests.client.sent_batches import assert_stored_once, log_steps, same_batch


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


@pytest.mark.parametrize("cut", ["trickle", "trickled head"])
def test_an_answer_that_trickles_in_is_given_up_and_asked_for_again(
    server: LocalServer, make_run: MakeRun, impatient: None, caplog: pytest.LogCaptureFixture, cut: str
) -> None:
    server.faults += [Fault(cut=cut, on="batches") for _ in range(2)]
    run = make_run()
    log_steps(run, range(10))
    # A whole answer of that kind takes 20 s: with a timeout for each byte alone, this would wait in vain.
    assert run.flush(10)
    run.finish(timeout=20)
    assert len(same_batch(server.sent_to("batches"))) >= 3
    assert_stored_once(server, run, range(10))
    assert caplog.text.count("does not take metrics") == 1


def test_the_bytes_of_a_broken_server_reach_the_log_escaped_short_and_once(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    noise = random.Random(7)
    # Printable beside control characters, with an escape sequence that would clear the reader's screen.
    garbage = [b"\x1b[2J" + bytes(noise.choices(range(1, 256), k=5000)).replace(b"\n", b"") for _ in range(10)]
    server.faults += [Fault(cut="garbage", body=body, on="batches") for body in garbage]
    run = make_run()
    log_steps(run, range(10))
    run.finish(timeout=30)
    assert_stored_once(server, run, range(10))
    (said,) = [record.getMessage() for record in caplog.records if "does not take" in record.getMessage()]
    assert said.isprintable()
    assert "\\x1b[2J" in said
    assert len(said) < 600


def test_what_a_server_says_of_itself_is_escaped_and_said_once_for_each_status(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    said = [json.dumps({"error": "down", "message": f"\x1b[2J{n} " + "\u202e" * 5000}).encode() for n in range(5)]
    server.faults += [Fault(503, body=body, on="batches") for body in said]
    run = make_run()
    log_steps(run, range(10))
    run.finish(timeout=30)
    (told,) = [record.getMessage() for record in caplog.records if "does not take" in record.getMessage()]
    assert told.isprintable()
    assert "503" in told
    assert len(told) < 1100


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
