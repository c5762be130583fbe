"""From a NaN in a POST to a webhook outside, through the real web and worker processes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.service import Process, Web, Worker, wait_for


class Receiver:
    """A webhook that fails as often as it is told to, then takes what comes."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.failures_left = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if receiver.failures_left:
                    receiver.failures_left -= 1
                    # The receiver's own wish, so that the test need not wait out our first pause.
                    self.send_response(503)
                    self.send_header("Retry-After", "1")
                else:
                    receiver.messages.append(body)
                    self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    yield found
    found.close()


def test_a_nan_reaches_the_webhook_and_so_does_its_end(database_url: str, receiver: Receiver) -> None:
    receiver.failures_left = 1
    settings = {
        "alert_urls": f"http://127.0.0.1:{receiver.port}/hook?token=secret",
        "alert_allowed_hosts": f"127.0.0.1:{receiver.port}",
        "public_url": "https://losscast.example",
    }
    with Web(database_url) as web, Worker(database_url, **settings):
        run_id = web.new_run(project="p", name="läuft")
        steps = list(range(1, 101))
        web.append(run_id, steps, segment=1, seq=0, loss=[3.0 - step / 100 for step in steps])
        web.append(run_id, [101], segment=1, seq=1, loss=["NaN"])
        (fired,) = wait_for(lambda: receiver.messages or None, "the alert")
        assert fired["kind"] == "nonfinite_loss"
        assert fired["severity"] == "critical"
        assert fired["step"] == 101
        assert fired["run"]["url"] == f"https://losscast.example/runs/{run_id}"
        assert fired["run"]["name"] == "läuft"
        assert fired["resolved"] is False

        segment = web.post("/runs", {"id": run_id, "session": "again", "resume_step": 90})["segment"]
        web.append(run_id, steps[89:], segment=segment, seq=0, loss=[2.0] * 11)
        wait_for(lambda: len(receiver.messages) == 2 or None, "the end of the alert")
        assert receiver.messages[1]["resolved"] is True

        (alert,) = web.get(f"/runs/{run_id}/alerts")["alerts"]
        assert alert["resolved_at"] is not None
        assert [one["event"] for one in alert["deliveries"]] == ["fired", "resolved"]
        assert all(one["delivered_at"] for one in alert["deliveries"])
        assert "secret" not in json.dumps(alert)


@pytest.mark.parametrize(
    ("address", "advice"),
    [("htp://foo", "Known: "), ("http://169.254.169.254/latest", "LOSSCAST_ALERT_ALLOWED_HOSTS")],
)
def test_the_service_does_not_start_with_an_address_that_alerts_cannot_go_to(
    address: str, advice: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = {"LOSSCAST_DATA_DIR": str(tmp_path / "data"), "LOSSCAST_ALERT_URLS": address}
    with Process("up", "--port", "0", env=settings) as service:
        assert service.wait() == 2
    said = capfd.readouterr().err
    assert "LOSSCAST_ALERT_URLS" in said
    assert advice in said
    assert not (tmp_path / "data").exists()


def test_one_wrong_address_costs_neither_the_forecasts_nor_the_other_channels(
    database_url: str, receiver: Receiver, capfd: pytest.CaptureFixture[str]
) -> None:
    # As when a name has come to lead inside since the service was started.
    settings = {
        "alert_urls": f"http://169.254.169.254/latest http://127.0.0.1:{receiver.port}/hook",
        "alert_allowed_hosts": f"127.0.0.1:{receiver.port}",
    }
    with Web(database_url) as web, Worker(database_url, **settings) as worker:
        run_id = web.new_run()
        web.append(run_id, [*range(1, 102)], loss=[*(3.0 - step / 100 for step in range(1, 101)), "NaN"])
        (fired,) = wait_for(lambda: receiver.messages or None, "the alert")
        assert fired["kind"] == "nonfinite_loss"
        assert worker.returncode is None
    assert "LOSSCAST_ALERT_ALLOWED_HOSTS" in capfd.readouterr().err
