"""Alerts sent to a real receiver."""

from __future__ import annotations

import json
import math
import socket
import threading
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from app.notify import delivery
from app.notify.delivery import DeliveryResult, Outcome, deliver, next_retry_seconds
from app.notify.message import AlertMessage
from app.notify.targets import KNOWN_SCHEMES
from tests.notify.conftest import Receiver

# apprise imports a module that Python 3.13 drops; on older ones that warns.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

MESSAGE = AlertMessage(
    alert_id=17,
    kind="nonfinite_loss",
    severity="critical",
    run_id="r1",
    run_name="sgd-hot",
    project="demo",
    url="http://127.0.0.1:8700/runs/r1",
    metric="train_loss",
    step=22,
    message="train_loss is NaN at step 22.",
    evidence={"value": math.nan, "last_finite_value": 1.5, "around": [math.inf, 2]},
    fired_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
)


def send(target: str, hosts: Collection[str] = ("127.0.0.1",), message: AlertMessage = MESSAGE) -> DeliveryResult:
    return deliver(message, target, allowed_schemes=KNOWN_SCHEMES, allowed_hosts=hosts)


def test_a_webhook_gets_our_document(receiver: Receiver) -> None:
    result = send(f"{receiver.url}/hook?team=a")
    assert result.outcome is Outcome.DELIVERED
    [(path, headers, document)] = receiver.requests
    assert path == "/hook?team=a"
    assert headers["content-type"] == "application/json"
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    assert document == {
        "type": "alert.fired",
        "id": 17,
        "kind": "nonfinite_loss",
        "severity": "critical",
        "run": {"id": "r1", "name": "sgd-hot", "project": "demo", "url": "http://127.0.0.1:8700/runs/r1"},
        "metric": "train_loss",
        "step": 22,
        "message": "train_loss is NaN at step 22.",
        "evidence": {"value": "NaN", "last_finite_value": 1.5, "around": ["Infinity", 2]},
        "fired_at": "2026-01-02T03:04:05+00:00",
        "resolved": False,
        "resolved_at": None,
    }
    json.dumps(document, allow_nan=False)


def test_a_resolved_alert_says_so(receiver: Receiver) -> None:
    send(f"{receiver.url}/", message=replace(MESSAGE, resolved_at=datetime(2026, 1, 2, 4, tzinfo=UTC)))
    [(_, _, document)] = receiver.requests
    assert (document["type"], document["resolved"]) == ("alert.resolved", True)


def test_json_is_another_word_for_http(receiver: Receiver) -> None:
    assert send(f"json://127.0.0.1:{receiver.port}/hook").outcome is Outcome.DELIVERED
    assert receiver.requests[0][2]["id"] == 17


def test_a_name_is_connected_to_by_the_address_that_was_checked(receiver: Receiver) -> None:
    result = send(f"http://localhost:{receiver.port}/hook", hosts=[f"localhost:{receiver.port}"])
    assert result.outcome is Outcome.DELIVERED
    assert receiver.requests[0][1]["host"] == f"localhost:{receiver.port}"


def test_a_password_in_the_url_is_sent_as_basic_auth_and_not_shown(receiver: Receiver) -> None:
    receiver.will_answer(403)
    result = send(f"http://bot:hunter2@127.0.0.1:{receiver.port}/hook")
    assert receiver.requests[0][1]["authorization"].startswith("Basic ")
    assert "hunter2" not in result.detail


@pytest.mark.parametrize("status", [500, 503, 408, 425, 429])
def test_trouble_on_their_side_is_retried_and_then_delivered(receiver: Receiver, status: int) -> None:
    receiver.will_answer(status, Retry_After="7")
    first = send(f"{receiver.url}/hook")
    assert (first.outcome, first.status, first.retry_after_seconds) == (Outcome.RETRY, status, 7.0)
    assert send(f"{receiver.url}/hook").outcome is Outcome.DELIVERED


@pytest.mark.parametrize("status", [400, 401, 404, 410])
def test_a_refusal_is_not_retried(receiver: Receiver, status: int) -> None:
    receiver.will_answer(status)
    assert send(f"{receiver.url}/hook").outcome is Outcome.FAILED


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    receiver.will_answer(status, Location=f"{receiver.url}/elsewhere")
    result = send(f"{receiver.url}/hook")
    assert result.outcome is Outcome.FAILED
    assert "redirect" in result.detail
    assert [path for path, _, _ in receiver.requests] == ["/hook"]


def test_a_dead_port_is_retried() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused at once
        result = send(f"http://127.0.0.1:{taken.getsockname()[1]}/hook")
    assert result.outcome is Outcome.RETRY
    assert "cannot be reached" in result.detail


def test_a_receiver_that_hangs_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = send(f"http://127.0.0.1:{silent.getsockname()[1]}/hook")
    assert result.outcome is Outcome.RETRY
    assert "did not answer" in result.detail


def test_a_receiver_that_hangs_up_is_retried() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            connection, _ = server.accept()
            connection.recv(1)
            connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        result = send(f"http://127.0.0.1:{server.getsockname()[1]}/hook")
        thread.join()
    assert result.outcome is Outcome.RETRY


def test_loopback_is_refused_at_delivery_unless_written_out(receiver: Receiver) -> None:
    for hosts in ([], ["*"], ["localhost"], ["127.0.0.1:1"], ["*.0.0.1"]):
        result = send(f"{receiver.url}/hook", hosts=hosts)
        assert result.outcome is Outcome.FAILED
        assert "internal address" in result.detail
    assert receiver.requests == []


def test_a_name_that_points_inside_is_refused_whatever_patterns_say(receiver: Receiver) -> None:
    result = send(f"http://localhost:{receiver.port}/hook", hosts=["*"])
    assert result.outcome is Outcome.FAILED
    assert receiver.requests == []


def test_a_refused_host_is_named_once(receiver: Receiver) -> None:
    assert "127.0.0.1 is an internal address. If" in send(f"{receiver.url}/hook", hosts=[]).detail
    assert send(f"http://localhost:{receiver.port}/hook", hosts=[]).detail.startswith("localhost (")


def test_a_name_without_an_address_is_tried_again_later() -> None:
    assert send("https://no-such-host.invalid/hook", hosts=["*"]).outcome is Outcome.RETRY


def test_an_unknown_scheme_fails_for_good() -> None:
    assert send("gopher://127.0.0.1/1").outcome is Outcome.FAILED


def test_a_server_channel_is_delivered_by_apprise(receiver: Receiver) -> None:
    result = send(f"gotify://127.0.0.1:{receiver.port}/AbCdEf0123456789")
    assert result.outcome is Outcome.DELIVERED
    [(path, _, document)] = receiver.requests
    assert path.startswith("/message")
    assert document["title"] == "Critical: nonfinite loss in demo/sgd-hot"
    assert "train_loss is NaN at step 22." in document["message"]
    assert "http://127.0.0.1:8700/runs/r1" in document["message"]


def test_a_server_channel_that_refuses_is_retried_and_its_token_not_shown(receiver: Receiver) -> None:
    receiver.will_answer(500)
    result = send(f"gotify://127.0.0.1:{receiver.port}/AbCdEf0123456789")
    assert result.outcome is Outcome.RETRY
    assert "AbCdEf" not in result.detail


def test_a_url_that_apprise_reads_differently_is_refused(receiver: Receiver) -> None:
    # urlsplit takes what follows the last @ for the host, apprise what follows the first.
    result = send(f"gotify://a@127.0.0.1:{receiver.port}@93.184.215.14/AbCdEf0123456789")
    assert result.outcome is Outcome.FAILED
    assert receiver.requests == []


def test_an_incomplete_channel_fails_for_good() -> None:
    assert send("slack://nothing").outcome is Outcome.FAILED


def test_ten_attempts_take_about_a_day() -> None:
    waits = [wait for attempt in range(1, 10) if (wait := next_retry_seconds(attempt)) is not None]
    assert waits == sorted(waits)
    assert len(waits) == 9
    assert 20 * 3600 < sum(waits) < 26 * 3600
    assert next_retry_seconds(10) is None


def test_jitter_spreads_and_the_receivers_wish_only_lengthens() -> None:
    assert next_retry_seconds(1, jitter=0.0) == pytest.approx(12.0)
    assert next_retry_seconds(1, jitter=1.0) == pytest.approx(18.0)
    assert next_retry_seconds(1, retry_after_seconds=120.0) == 120.0
    assert next_retry_seconds(5, retry_after_seconds=1.0) == 1800.0
    assert next_retry_seconds(1, retry_after_seconds=1e9) == 43_200.0
