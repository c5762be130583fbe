"""Answers that say no, or are none of ours: what is set aside, halved, sent again or told."""

from __future__ import annotations

import threading

import pytest

from losscast import sender
from tests.client.conftest import MakeRun
from tests.client.local_server import Fault, LocalServer
from tests.client.sent_batches import assert_stored_once, log_steps


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


def test_a_size_that_was_refused_is_not_tried_again(server: LocalServer, make_run: MakeRun) -> None:
    answer = threading.Event()
    server.faults.append(Fault(503, until=answer, on="runs"))
    server.largest_body = 100_000
    run = make_run()
    log_steps(run, range(30_000))
    answer.set()
    run.finish(timeout=60)
    assert_stored_once(server, run, range(30_000))
    rows = [len(request.body["steps"]) for request in server.sent_to("batches")]
    refused = rows.index(max(rows))
    assert max(rows) > 1000
    assert max(rows[refused + 1 :]) <= max(rows) // 2


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
