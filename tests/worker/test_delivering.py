"""Messages to several channels: each goes its own way, whatever the others do."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from sqlalchemy import text

from app.alerts.rules import Finding, Severity
from app.storage import alerts
from app.storage.database import Database
from app.storage.runs import run_key
from app.worker.delivery import Deliveries, targets_of
from tests.service import free_port, wait_for
from tests.storing import start


class Receiver:
    """A webhook that takes messages once its gate is open."""

    def __init__(self) -> None:
        self.gate, self.asked = threading.Event(), threading.Event()
        self.messages: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.asked.set()
                assert receiver.gate.wait(60)
                receiver.messages.append(body)
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_address[1]}"
        self.url = f"http://{self.host}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.gate.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receivers() -> Iterator[tuple[Receiver, Receiver]]:
    slow, quick = Receiver(), Receiver()
    quick.gate.set()
    yield slow, quick
    slow.close()
    quick.close()


def deliveries_to(database: Database, *urls: str, configured: tuple[str, ...] | None = None) -> Deliveries:
    hosts = [url.split("/")[2] for url in urls]
    return Deliveries(database, targets_of(urls if configured is None else configured), ["http"], hosts, str)


def fire(database: Database, step: int, *urls: str) -> None:
    with database.write() as connection:
        finding = Finding("nonfinite_loss", Severity.CRITICAL, f"loss {step}", step, "NaN", {})
        alerts.fire(connection, run_key(connection, "run"), finding, list(targets_of(urls)))


def left(database: Database) -> int:
    with database.read() as connection:
        return int(
            connection.execute(
                text("SELECT count(*) FROM alert_delivery WHERE next_attempt_at IS NOT NULL")
            ).scalar_one()
        )


def test_a_receiver_that_hangs_holds_up_its_own_messages_only(
    database: Database, receivers: tuple[Receiver, Receiver]
) -> None:
    slow, quick = receivers
    start(database)
    deliveries = deliveries_to(database, slow.url, quick.url)
    for step in (1, 2, 3):
        fire(database, step, slow.url, quick.url)
    deliveries.wake()  # comes back although somebody hangs: whoever calls has other work
    assert slow.asked.wait(60)
    wait_for(lambda: len(quick.messages) == 3 or None, "the quick channel's messages")
    assert slow.messages == []
    # More that comes meanwhile takes the same ways, and none is sent twice.
    fire(database, 4, slow.url, quick.url)
    deliveries.wake()
    wait_for(lambda: len(quick.messages) == 4 or None, "the quick channel's fourth message")
    slow.gate.set()
    wait_for(lambda: left(database) == 0 or None, "all to be recorded")
    deliveries.close()
    assert [message["step"] for message in slow.messages] == [1, 2, 3, 4]
    assert sorted(message["step"] for message in quick.messages) == [1, 2, 3, 4]


def test_closing_lets_what_is_being_sent_arrive_and_begins_nothing_new(
    database: Database, receivers: tuple[Receiver, Receiver]
) -> None:
    slow, _ = receivers
    start(database)
    deliveries = deliveries_to(database, slow.url)
    fire(database, 1, slow.url)
    fire(database, 2, slow.url)
    deliveries.wake()
    assert slow.asked.wait(60)
    closing = threading.Thread(target=deliveries.close, args=(60.0,))
    closing.start()
    wait_for(lambda: deliveries._closing.is_set() or None, "the closing to begin")
    slow.gate.set()
    closing.join(60)
    assert [message["step"] for message in slow.messages] == [1]
    assert left(database) == 1
    deliveries.wake()
    assert left(database) == 1


def test_channels_that_are_gone_or_refuse_do_not_keep_others_from_theirs(
    database: Database, receivers: tuple[Receiver, Receiver]
) -> None:
    _, quick = receivers
    nobody, removed = f"http://127.0.0.1:{free_port()}/", "http://127.0.0.1:1/removed"
    start(database)
    deliveries = deliveries_to(database, nobody, quick.url, configured=(nobody, quick.url))
    fire(database, 1, nobody, removed, quick.url)
    deliveries.wake()
    wait_for(lambda: quick.messages or None, "the message")
    wait_for(lambda: left(database) == 1 or None, "the other channels to be recorded")
    deliveries.close()
    with database.read() as connection:
        errors = connection.execute(text("SELECT last_error FROM alert_delivery ORDER BY id")).scalars().all()
    assert "no longer configured" in str(errors[1])
    assert errors[0]
    assert errors[2] is None
