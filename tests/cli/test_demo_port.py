"""Where the demo listens."""

from __future__ import annotations

import pytest

from app.cli.demo import usual_port
from app.cli.services import listening
from tests.service import free_port


def test_the_demo_listens_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("LOSSCAST_PORT", str(port))
    assert usual_port() == port


def test_a_demo_beside_the_service_takes_a_port_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening("127.0.0.1", 0) as taken:
        taken.listen()
        monkeypatch.setenv("LOSSCAST_PORT", str(taken.getsockname()[1]))
        assert usual_port() == 0
