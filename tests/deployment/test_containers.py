"""The shape of docker-compose.yml and Dockerfile: what can be known of them without a container engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.notify.targets import KNOWN_SCHEMES
from app.settings import Settings

CHECKOUT = Path(__file__).parents[2]

OURS = ("migrate", "web", "worker")
SECRET_NAMES = re.compile(r"PASSWORD|SECRET|API_KEY|DATABASE_URL")
# A reference that must be set: `docker compose` stops with the message where it is not.
REQUIRED = re.compile(r"\$\{([A-Z_]+):\?[^}]+\}")
REFERENCE = re.compile(r"\$\{([A-Z_]+)")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
    assert isinstance(loaded, dict)
    return loaded


@pytest.fixture(scope="module")
def dockerfile() -> list[tuple[str, str]]:
    """The instructions as (name, rest), continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (CHECKOUT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", "")
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line.strip()]


def last_stage(instructions: list[tuple[str, str]]) -> list[tuple[str, str]]:
    begin = max(index for index, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[begin:]


def test_there_is_a_database_one_migration_a_web_server_and_workers(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(services) == {"postgres", *OURS}
    assert services["postgres"]["image"] == "postgres:18"
    assert [services[name]["command"][0] for name in OURS] == ["migrate", "serve", "work"]
    assert services["migrate"]["restart"] == "no"


def test_nothing_of_ours_starts_before_a_healthy_database_and_its_schema(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert services["postgres"]["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
    assert "--host=127.0.0.1" in services["postgres"]["healthcheck"]["test"]
    for name in OURS:
        assert services[name]["depends_on"]["postgres"] == {"condition": "service_healthy"}
    for name in ("web", "worker"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_the_data_lies_in_a_volume_where_postgres_18_keeps_it(compose: dict[str, Any]) -> None:
    assert compose["services"]["postgres"]["volumes"] == ["postgres:/var/lib/postgresql"]
    assert "postgres" in compose["volumes"]


def test_the_worker_can_be_scaled(compose: dict[str, Any]) -> None:
    # A fixed name or a port of the host can be had only once.
    assert not {"container_name", "ports"} & set(compose["services"]["worker"])


def test_only_the_web_server_is_published_and_only_to_this_machine(compose: dict[str, Any]) -> None:
    published = {name: service["ports"] for name, service in compose["services"].items() if "ports" in service}
    assert published == {"web": ["${LOSSCAST_PUBLISH:-127.0.0.1:8700}:8700"]}


def test_every_setting_that_is_not_fixed_by_the_image_can_be_given(compose: dict[str, Any]) -> None:
    fixed = {"DATA_DIR", "PG_BIN", "HOST", "PORT", "AUTH", "WORKERS"}
    ours = {f"LOSSCAST_{name.upper()}" for name in Settings.model_fields if name.upper() not in fixed} - {
        "LOSSCAST_DATABASE_URL"
    }
    for name in OURS:
        assert set(compose["services"][name]["environment"]) == {"DATABASE_URL", *ours}


def test_a_setting_that_is_left_empty_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ALERT_ALLOWED_SCHEMES", "ALERT_ALLOWED_HOSTS", "BODY_LIMIT", "QUEUE_LIMIT", "FORECASTS_KEPT"):
        monkeypatch.setenv(f"LOSSCAST_{name}", "")
    assert (Settings().body_limit, Settings().queue_limit, Settings().forecasts_kept) == (32 * 2**20, 2_000, 300)
    assert Settings().alert_allowed_hosts == ()
    assert Settings().alert_allowed_schemes == tuple(sorted(KNOWN_SCHEMES))


def test_the_workers_health_is_that_refits_are_made(compose: dict[str, Any]) -> None:
    worker = compose["services"]["worker"]["healthcheck"]
    asked = re.search(r"http://(\w+):(\d+)(/\w+)", worker["test"][-1])
    assert asked is not None
    assert asked[1] in compose["services"]
    assert compose["services"]["web"]["command"][-1] == asked[2]
    assert asked[3] == "/healthz"
    compile(worker["test"][-1], "health check", "exec")


def test_no_secret_is_written_down_and_each_must_be_given(compose: dict[str, Any]) -> None:
    seen = set()
    for service in compose["services"].values():
        for name, value in service.get("environment", {}).items():
            if SECRET_NAMES.search(name):
                assert REQUIRED.search(value), f"{name} has no required reference"
                if name != "DATABASE_URL":
                    assert REQUIRED.fullmatch(value), f"{name} has a literal part"
                seen.update(REQUIRED.findall(value))
    assert seen == {"POSTGRES_PASSWORD", "LOSSCAST_API_KEY", "LOSSCAST_SESSION_SECRET"}
    assert re.fullmatch(
        r"postgresql://losscast:\$\{POSTGRES_PASSWORD:\?[^}]+\}@postgres:5432/losscast",
        compose["services"]["web"]["environment"]["DATABASE_URL"],
    )


def test_the_example_names_every_variable_and_fills_in_no_secret() -> None:
    used = set(REFERENCE.findall((CHECKOUT / "docker-compose.yml").read_text()))
    lines = (CHECKOUT / ".env.example").read_text().splitlines()
    found = [re.fullmatch(r"(?:# )?([A-Z_]+)=(.*)", line) for line in lines]
    assignments = {match[1]: match[2] for match in found if match is not None}
    assert set(assignments) == used
    assert {name for name, value in assignments.items() if value} == {"LOSSCAST_PUBLISH", "LOSSCAST_PUBLIC_URL"}


def test_our_containers_can_write_nowhere_but_to_memory(compose: dict[str, Any]) -> None:
    for name in OURS:
        service = compose["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "volumes" not in service


def test_the_image_installs_only_what_the_hashes_allow(dockerfile: list[tuple[str, str]]) -> None:
    installs = [rest for name, rest in dockerfile if name == "RUN" and "pip install" in rest]
    assert len(installs) == 2
    assert "--require-hashes -r constraints.txt" in installs[0]
    assert "--no-deps --no-build-isolation" in installs[1]


def test_the_image_runs_as_an_ordinary_user_and_asks_after_its_health(dockerfile: list[tuple[str, str]]) -> None:
    stage = dict(last_stage(dockerfile))
    assert stage["USER"] not in ("root", "0")
    assert "/livez" in stage["HEALTHCHECK"]
    assert stage["ENTRYPOINT"] == '["losscast"]'


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_believes_the_answer(dockerfile: list[tuple[str, str]], status: int, healthy: bool) -> None:
    command = yaml.safe_load(dict(dockerfile)["HEALTHCHECK"].partition("CMD ")[2])
    assert command[0] == "python"
    asked = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.handle_request).start()
        # A proxy of the environment must not be asked.
        env = {**os.environ, "LOSSCAST_PORT": str(server.server_port), "http_proxy": "http://127.0.0.1:9"}
        check = subprocess.run([sys.executable, *command[1:]], env=env, capture_output=True, check=False)
    assert asked == ["/livez"]
    assert (check.returncode == 0) is healthy


def test_all_that_is_copied_exists_and_passes_the_ignore_list(dockerfile: list[tuple[str, str]]) -> None:
    passed = {line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for name, rest in dockerfile
        if name == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert copied == passed
    assert all((CHECKOUT / source).exists() for source in copied)
