"""Environment variables, ranks, addresses, proxies and certificates."""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

import losscast
from losscast.environment import DEFAULT_URL, Environment, read_environment
from losscast.notices import Notices
from losscast.transport import Transport, _proxy_for
from losscast.values import to_json
from losscast.wire import pack
from tests.client.local_server import LocalServer


def read(**variables: str) -> Environment:
    return read_environment(variables, Notices())


def test_without_variables_the_default_server_is_meant() -> None:
    environment = read(LOSSCAST_URL="", LOSSCAST_RUN_ID=" ")
    assert (environment.url, environment.project, environment.run_id, environment.muted) == (
        DEFAULT_URL,
        "default",
        None,
        None,
    )


def test_variables_name_server_project_run_and_key(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.api_key = "k1"
    for name, value in {"URL": server.url, "API_KEY": "k1", "RUN_ID": "slurm-17", "PROJECT": "gpt"}.items():
        monkeypatch.setenv(f"LOSSCAST_{name}", value)
    run = losscast.init()
    run.log({"loss": 1.0}, step=1)
    run.finish()
    assert run.id == "slurm-17"
    assert server.run("slurm-17").points("loss") == {1: 1.0}
    assert server.run("slurm-17").descriptions[0]["project"] == "gpt"


def test_arguments_win_over_variables(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOSSCAST_PROJECT", "theirs")
    monkeypatch.setenv("LOSSCAST_RUN_ID", "theirs")
    run = losscast.init(url=server.url, project="ours", id="ours")
    run.finish()
    assert server.run("ours").descriptions[0]["project"] == "ours"


def test_a_run_id_from_the_environment_names_one_run_of_the_process(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LOSSCAST_RUN_ID", "job")
    first, second = losscast.init(url=server.url), losscast.init(url=server.url)
    assert first.id == "job" != second.id
    assert "LOSSCAST_RUN_ID" in caplog.text


def test_disabled_means_no_request_and_no_warning(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LOSSCAST_MODE", "disabled")
    with losscast.init(url=server.url) as run:
        run.log({"loss": "no number"}, step=1)
        assert run.flush()
    assert not server.requests
    assert not caplog.records


def test_an_unknown_mode_is_said_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    assert read(LOSSCAST_MODE="ofline").muted is None
    assert "ofline" in caplog.text


@pytest.mark.parametrize(
    ("variables", "reports"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "3", "LOCAL_RANK": "0"}, False),
        ({"RANK": "0", "SLURM_PROCID": "2"}, True),
        ({"SLURM_PROCID": "2"}, False),
        ({"OMPI_COMM_WORLD_RANK": "1"}, False),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "3", "LOSSCAST_RANKS": "all"}, True),
    ],
)
def test_only_rank_zero_reports_unless_told_otherwise(variables: dict[str, str], reports: bool) -> None:
    assert (read(**variables).muted is None) is reports


@pytest.mark.parametrize("url", ["ftp://host", "http://", "http://host:99999", "http://[::1", "http://host:0"])
def test_an_address_that_cannot_be_used_is_said_once_and_nothing_is_sent(
    caplog: pytest.LogCaptureFixture, url: str
) -> None:
    run = losscast.init(url=url)
    run.log({"loss": 1.0}, step=1)
    run.finish()
    assert caplog.text.count("nothing will be sent") == 1


def test_a_key_with_a_line_break_inside_does_not_reach_a_header(
    server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    run = losscast.init(url=server.url, api_key="a\r\nX-Evil: 1")
    run.finish()
    assert not server.requests
    assert "API key" in caplog.text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("localhost:8700", "http://localhost:8700"),
        ("https://host/losscast/", "https://host/losscast"),
        ("http://user:secret@[::1]:80/?q=1", "http://[::1]:80"),
    ],
)
def test_an_address_is_understood_and_shown_without_secrets(given: str, shown: str) -> None:
    assert Transport(given, None).address == shown


@pytest.mark.parametrize(
    ("asked", "sent"), [("my run/1", "my-run-1"), ("-x~1", "x~1"), ("r" * 300, "r" * 200), (7, "7")]
)
def test_a_run_id_is_mended_to_what_the_server_takes(server: LocalServer, asked: Any, sent: Any) -> None:
    run = losscast.init(url=server.url, id=asked)
    run.log({"loss": 1.0}, step=1)
    run.finish()
    assert run.id == sent
    assert server.run(sent).points("loss") == {1: 1.0}


def test_a_run_id_of_nothing_usable_is_made_up(server: LocalServer, caplog: pytest.LogCaptureFixture) -> None:
    run = losscast.init(url=server.url, id="///")
    run.finish()
    assert server.run(run.id).end
    assert "///" in caplog.text


def test_labels_are_cut_to_the_servers_limits(server: LocalServer) -> None:
    run = losscast.init(url=server.url, project="p" * 600, name="n" * 600, tags=["", "t" * 600] * 200)
    run.finish()
    (said,) = server.run(run.id).descriptions
    assert (said["project"], said["name"]) == ("p" * 500, "n" * 500)
    assert said["tags"] == ["t" * 500] * 100


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"total_steps": "many"}, "total_steps"),
        ({"total_steps": 0}, "total_steps"),
        ({"resume_step": object()}, "resume_step"),
        ({"tags": 5}, "tags"),
        ({"roles": 5}, "roles"),
        ({"config": 5}, "config"),
        ({"config": {"text": ["x" * 9000] * 200}}, "bytes"),
    ],
)
def test_a_wrong_argument_costs_itself_and_not_the_run(
    server: LocalServer, caplog: pytest.LogCaptureFixture, said: dict[str, Any], complaint: str
) -> None:
    run = losscast.init(url=server.url, **said)
    run.log({"loss": 1.0}, step=1)
    run.finish()
    assert complaint in caplog.text
    assert server.run(run.id).points("loss") == {1: 1.0}


@dataclasses.dataclass
class Optimizer:
    name: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)


def test_a_config_is_sent_as_json_whatever_is_in_it(server: LocalServer) -> None:
    config = argparse.Namespace(
        lr=np.float64(3e-4),
        steps=np.int64(10),
        out=pathlib.PurePosixPath("/data/out"),
        optimizer=Optimizer(),
        limit=float("inf"),
        note="nul\x00 and half \ud800",
        big=10**30,
        on=True,
        nothing=None,
        nested={1: {"a": {1}}},
    )
    run = losscast.init(url=server.url, config=config)
    run.finish()
    assert server.run(run.id).descriptions[0]["config"] == {
        "lr": 3e-4,
        "steps": 10,
        "out": "/data/out",
        "optimizer": {"name": "adamw", "betas": [0.9, 0.95]},
        "limit": "Infinity",
        "note": "nul\ufffd and half \ufffd",
        "big": "1" + "0" * 30,
        "on": True,
        "nothing": None,
        "nested": {"1": {"a": [1]}},
    }


def test_a_config_that_contains_itself_ends_somewhere() -> None:
    circle: dict[str, object] = {}
    circle["self"] = circle
    assert isinstance(to_json(circle), dict)


def test_another_host_is_reached_through_the_proxy_of_the_environment(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The server plays the proxy: a proxied request names the whole address in its first line.
    monkeypatch.setenv("http_proxy", server.url.replace("http://", "http://me:secret@"))
    transport = Transport("http://losscast.example:1234/prefix", None)
    transport.post("/runs", pack({"id": "r", "session": "s"}))
    transport.close()
    (request,) = server.requests
    assert request.path == "http://losscast.example:1234/prefix/api/v1/runs"
    assert request.headers["host"] == "losscast.example:1234"
    assert request.headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"


def test_loopback_is_never_proxied(server: LocalServer, monkeypatch: pytest.MonkeyPatch, refusing_url: str) -> None:
    monkeypatch.setenv("http_proxy", refusing_url)
    run = losscast.init(url=server.url)
    run.log({"loss": 1.0}, step=1)
    run.finish()
    assert server.run(run.id).points("loss") == {1: 1.0}


def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", ".internal")
    assert _proxy_for(urlsplit("https://losscast.internal")) is None
    found = _proxy_for(urlsplit("https://losscast.example"))
    assert found is not None
    assert found.hostname == "proxy"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_https_works_with_a_trusted_certificate_and_refuses_another(
    server: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    assert server._http is not None
    server._http.socket = context.wrap_socket(server._http.socket, server_side=True)
    url = f"https://localhost:{server.port}"

    with pytest.raises(ssl.SSLCertVerificationError):
        Transport(url, None).post("/runs", pack({"id": "r", "session": "s"}))
    assert not server.requests

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    run = losscast.init(url=url)
    run.log({"loss": 1.0}, step=1)
    run.finish()
    assert server.run(run.id).points("loss") == {1: 1.0}
