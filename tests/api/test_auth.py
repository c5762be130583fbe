"""Keys, sessions, and what is open without them."""

import http.client
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.settings import Settings
from app.storage.database import Database
from app.storage.keys import create_key, list_keys, revoke_key
from tests.conftest import unreachable
from tests.service import Process, Web, free_port, new_id, wait_for

KEY = "a-key-from-the-environment"


@pytest.fixture(scope="module")
def locked(api_database_url: str) -> Iterator[Web]:
    with Web(api_database_url, auth="on", api_key=KEY, session_secret="s" * 32) as running:
        yield running


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "losscast key create"),
        ({"Authorization": "Bearer wrong-key-wrong-key"}, "not known here, or was revoked"),
        ({"Authorization": KEY}, "'Authorization: Bearer KEY'"),
        ({"Authorization": f"Token {KEY}"}, "'Authorization: Bearer KEY'"),
        ({"X-API-Key": KEY}, "'Authorization: Bearer KEY'"),
    ],
)
def test_a_refusal_says_what_was_wrong_with_the_key(locked: Web, headers: dict[str, str], said: str) -> None:
    answer = locked.http.get("/api/v1/runs", headers=headers)
    assert answer.status_code == 401
    assert said in answer.json()["message"]
    assert KEY not in answer.text


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


def test_a_revoked_key_ends_the_sessions_that_began_with_it(locked: Web, api_database_url: str) -> None:
    database = Database(api_database_url)
    with database.write() as connection:
        key = create_key(connection, "a person")
        (number,) = [one.id for one in list_keys(connection) if one.name == "a person"]
    with httpx.Client(base_url=locked.url, trust_env=False) as browser:
        wait_for(lambda: browser.post("/login", data={"key": key}).status_code == 303 or None, "the key to be known")
        assert browser.get("/api/v1/runs").status_code == 200
        with database.write() as connection:
            revoke_key(connection, number)
        wait_for(lambda: browser.get("/api/v1/runs").status_code == 401 or None, "the session to end")
    database.close()


def test_a_list_of_keys_tells_which_of_two_of_one_name_is_used(
    locked: Web, api_database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    environment = {"DATABASE_URL": api_database_url}
    keys = []
    for _ in range(2):
        with Process("key", "create", "team-a", env=environment) as command:
            assert command.wait() == 0
        said = capfd.readouterr()
        keys.append(said.out.strip())
    assert "was the name of key" in said.err
    header = {"Authorization": f"Bearer {keys[1]}"}
    wait_for(lambda: locked.http.get("/api/v1/runs", headers=header).status_code == 200 or None, "the key to open")
    with Process("key", "list", env=environment) as command:
        command.wait()
    unused, used = [line for line in capfd.readouterr().out.splitlines() if line.endswith("team-a")]
    assert "never used" in unused
    assert "never used" not in used


@pytest.mark.parametrize("command", [("list",), ("create", "x"), ("revoke", "1")])
def test_a_mistyped_folder_gets_no_database_of_its_own(
    command: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "typo"
    with Process("key", *command, "--data-dir", str(nowhere), env={}) as refused:
        assert refused.wait() == 1
    said = capfd.readouterr()
    assert f"There is no Losscast data in {nowhere}" in said.err
    assert said.out == ""
    assert not nowhere.exists()


def test_the_first_key_can_be_made_before_the_service_was_ever_started(
    capfd: pytest.CaptureFixture[str],
) -> None:
    # Not below pytest's own folder, which is closed to the account that Postgres runs as when we are root.
    with tempfile.TemporaryDirectory(prefix="losscast-keys-") as home:
        Path(home).chmod(0o711)
        folder = Path(home) / "data"
        arguments = ("--data-dir", str(folder))
        with Process("key", "create", "first", "--new", *arguments, env={}) as command:
            assert command.wait() == 0
        assert capfd.readouterr().out.startswith("lc_")
        with Process("key", "list", *arguments, env={}) as command:
            assert command.wait() == 0
        assert capfd.readouterr().out.rstrip().endswith("first")


def test_an_empty_list_of_keys_says_so(database_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    with Process("key", "list", env={"DATABASE_URL": database_url}) as command:
        assert command.wait() == 0
    assert "no keys yet" in capfd.readouterr().err


def test_keys_of_a_database_that_is_not_ours_are_not_asked_for(
    empty_database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with Process("key", "list", env={"DATABASE_URL": empty_database_url}) as command:
        assert command.wait() == 1
    assert "losscast migrate" in capfd.readouterr().err
    database = Database(empty_database_url)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT to_regclass('api_key')").scalar_one() is None
    database.close()


def test_where_keys_cannot_be_read_whoever_asks_is_told_to_come_again(postgres_url: str, database_url: str) -> None:
    with Web(database_url, auth="on", api_key=KEY, session_secret="s" * 32) as locked:
        with unreachable(postgres_url, database_url):
            answer = locked.http.get("/api/v1/runs", headers={"Authorization": f"Bearer {KEY}"})
            assert (answer.status_code, answer.json()["error"]) == (503, "unavailable")
            assert int(answer.headers["Retry-After"]) > 0


def test_a_made_up_session_is_no_session(locked: Web) -> None:
    with httpx.Client(base_url=locked.url, trust_env=False, cookies={"losscast_session": "signed-in.x.y"}) as browser:
        assert browser.get("/api/v1/runs").status_code == 401


def test_without_keys_another_sites_page_cannot_write(web: Web) -> None:
    answer = web.http.post(f"/api/v1/log/{new_id()}", data={"loss": 1}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403


def test_without_keys_a_rebound_name_is_refused(web: Web) -> None:
    assert web.http.get("/api/v1/runs", headers={"Host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "header",
    [
        "Forwarded: for=203.0.113.9",
        "X-Forwarded-For: 203.0.113.9",
        "x-forwarded-proto: https",
        "X-Forwarded-Host: losscast.example",
        "X-Real-IP: 203.0.113.9",
        "Via: 1.1 proxy",
        # A proxy that says that it serves this machine alone is believed no more.
        "X-Forwarded-For: 127.0.0.1",
    ],
)
@pytest.mark.parametrize("address", ["/api/v1/runs", "/", "/healthz", "/_dash-layout"])
def test_without_keys_what_came_through_a_proxy_is_refused(web: Web, header: str, address: str) -> None:
    name, _, value = header.partition(": ")
    headers = {"Host": f"127.0.0.1:{web.port}", name: value}
    assert web.http.get(address, headers={"Host": headers["Host"]}).status_code == 200
    answer = web.http.get(address, headers=headers)
    assert answer.status_code == 403
    assert name.lower() in answer.json()["message"]
    assert "LOSSCAST_AUTH=on" in answer.json()["message"]


def test_without_keys_a_write_through_a_proxy_stores_nothing(web: Web) -> None:
    run_id = new_id()
    answer = web.http.post(f"/api/v1/log/{run_id}", data={"loss": 1}, headers={"X-Forwarded-For": "203.0.113.9"})
    assert answer.status_code == 403
    assert web.http.get(f"/api/v1/runs/{run_id}").status_code == 404


def test_without_keys_the_request_of_a_bare_nginx_is_refused(web: Web) -> None:
    # As `proxy_pass http://127.0.0.1:8700;` alone sends it: HTTP/1.0, our own address as Host, nothing of the sender.
    asked = f"GET /api/v1/runs HTTP/1.0\r\nHost: 127.0.0.1:{web.port}\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", web.port)) as connection:
        connection.sendall(asked.encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.status == 403
        assert b"HTTP/1.0" in answer.read()


def test_without_keys_another_machine_is_refused_whatever_host_it_names(database_url: str) -> None:
    if (address := _own_address()) is None:
        pytest.skip("this machine has no address but loopback")
    with Web(database_url, auth="off", host="0.0.0.0") as web:
        headers = {"Host": f"127.0.0.1:{web.port}"}
        with httpx.Client(base_url=f"http://{address}:{web.port}", trust_env=False) as outside:
            assert outside.get("/api/v1/runs", headers=headers).status_code == 403
        assert web.http.get("/api/v1/runs").status_code == 200


def _own_address() -> str | None:
    """An address of this machine that others would reach it by; connections to it come from itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # chooses an address; sends nothing
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if address.startswith("127.") else address


@pytest.mark.parametrize(
    "headers", [{"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}, {"Via": "1.1 proxy"}]
)
def test_with_keys_a_proxy_lets_in_whoever_has_one(locked: Web, headers: dict[str, str]) -> None:
    assert locked.http.get("/api/v1/runs", headers=headers).status_code == 401
    key = {"Authorization": f"Bearer {KEY}"}
    assert locked.http.get("/api/v1/runs", headers={**headers, **key}).status_code == 200
    # Whatever a proxy says of where a request began opens nothing.
    assert locked.http.get("/api/v1/runs", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 401


def test_the_cookie_of_who_signs_in_over_tls_at_a_proxy_stays_there(locked: Web) -> None:
    with httpx.Client(base_url=locked.url, trust_env=False) as browser:
        plain = browser.post("/login", data={"key": KEY})
        behind_tls = browser.post("/login", data={"key": KEY}, headers={"X-Forwarded-Proto": "https"})
    assert "Secure" not in plain.headers["set-cookie"]
    assert "Secure" in behind_tls.headers["set-cookie"]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({}, None),
        ({"public_url": "http://127.0.0.1:8700"}, None),
        ({"public_url": "http://localhost:8700"}, None),
        ({"public_url": "https://losscast.example"}, "LOSSCAST_PUBLIC_URL"),
        ({"host": "0.0.0.0"}, "Listening on 0.0.0.0"),
        ({"auth": "on"}, "LOSSCAST_AUTH=on"),
        ({"auth": "off", "public_url": "https://losscast.example"}, None),
    ],
)
def test_keys_are_asked_for_wherever_others_may_come_from(said: dict[str, str], why: str | None) -> None:
    found = Settings.model_validate(said).why_keys
    assert (found is None) if why is None else (found is not None and found.startswith(why))


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
