"""Keys, sessions, and what is open without them."""

from collections.abc import Iterator

import httpx
import pytest

from app.storage.database import Database
from app.storage.keys import create_key
from tests.service import Process, Web, free_port, new_id, wait_for

KEY = "a-key-from-the-environment"


@pytest.fixture(scope="module")
def locked(api_database_url: str) -> Iterator[Web]:
    with Web(api_database_url, auth="on", api_key=KEY, session_secret="s" * 32) as running:
        yield running


@pytest.mark.parametrize("address", ["/api/v1/runs", "/api/openapi.json", "/api/docs", "/_dash-layout", "/runs/x"])
def test_nothing_is_told_without_a_key(locked: Web, address: str) -> None:
    answer = locked.http.get(address)
    assert answer.status_code == 401
    assert "losscast key create" in answer.json()["message"]


def test_health_and_the_sign_in_page_are_open(locked: Web) -> None:
    assert locked.http.get("/healthz").status_code == 200
    assert "API key" in locked.http.get("/login").text


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"Bearer {KEY}", 200),
        (f"bearer {KEY}", 200),
        ("Bearer wrong-key-wrong-key", 401),
        ("Bearer", 401),
        (f"Token {KEY}", 401),
        ("Basic !!!", 401),
    ],
)
def test_a_good_key_opens_and_others_do_not(locked: Web, header: str, status: int) -> None:
    assert locked.http.get("/api/v1/runs", headers={"Authorization": header}).status_code == status


def test_a_key_in_the_address_opens_as_loggers_send_it(locked: Web) -> None:
    assert locked.http.get("/api/v1/runs", auth=("anyone", KEY)).status_code == 200


def test_a_key_that_is_made_opens_and_a_revoked_one_does_not(
    locked: Web, api_database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    environment = {"DATABASE_URL": api_database_url}
    with Process("key", "create", "tests", env=environment) as command:
        command.wait()
    key = capfd.readouterr().out.strip()
    assert key.startswith("lc_")

    def opens() -> bool:
        return locked.http.get("/api/v1/runs", headers={"Authorization": f"Bearer {key}"}).status_code == 200

    wait_for(lambda: opens() or None, "the new key to open")
    with Process("key", "list", env=environment) as command:
        command.wait()
    listed = capfd.readouterr().out
    number = next(line.split()[0] for line in listed.splitlines() if line.endswith("tests"))
    assert key not in listed
    with Process("key", "revoke", number, env=environment) as command:
        command.wait()
    wait_for(lambda: None if opens() else True, "the revoked key to be shut out")


def test_a_person_signs_in_with_a_key_and_stays_signed_in(locked: Web) -> None:
    with httpx.Client(base_url=locked.url, trust_env=False) as browser:
        page = browser.get("/runs/x", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=/runs/x")
        assert browser.post("/login", data={"key": "wrong"}).status_code == 401
        answer = browser.post("/login?next=/runs/x", data={"key": KEY})
        assert (answer.status_code, answer.headers["location"]) == (303, "/runs/x")
        assert browser.get("/api/v1/runs").status_code == 200


@pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_signing_in_never_leads_elsewhere(locked: Web, elsewhere: str) -> None:
    with httpx.Client(base_url=locked.url, trust_env=False) as browser:
        answer = browser.post("/login", params={"next": elsewhere}, data={"key": KEY})
    assert answer.headers["location"] == "/"


def test_a_made_up_session_is_no_session(locked: Web) -> None:
    with httpx.Client(base_url=locked.url, trust_env=False, cookies={"losscast_session": "signed-in.x.y"}) as browser:
        assert browser.get("/api/v1/runs").status_code == 401


def test_without_keys_another_sites_page_cannot_write(web: Web) -> None:
    answer = web.http.post(f"/api/v1/log/{new_id()}", data={"loss": 1}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403


def test_without_keys_a_rebound_name_is_refused(web: Web) -> None:
    assert web.http.get("/api/v1/runs", headers={"Host": "evil.example"}).status_code == 403


def test_listening_beyond_this_machine_needs_a_key_first(database_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    environment = {"DATABASE_URL": database_url, "LOSSCAST_SESSION_SECRET": "s" * 32}
    arguments = ("serve", "--host", "0.0.0.0", "--port", str(free_port()))
    with Process(*arguments, env=environment) as refused:
        assert refused.wait() != 0
    assert "losscast key create" in capfd.readouterr().err


def test_only_the_hash_of_a_key_is_stored(database: Database) -> None:
    with database.write() as connection:
        key = create_key(connection, "x")
        stored = str(connection.exec_driver_sql("SELECT api_key::text FROM api_key").scalar_one())
    assert key not in stored
