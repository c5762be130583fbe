"""Where alerts may go, and what is shown of it."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from app.errors import BadInput
from app.notify.targets import HOSTS_SETTING, KNOWN_SCHEMES, SCHEMES_SETTING, check_target, mask_target

PUBLIC = "https://93.184.215.14/hook"  # an address, so that no name needs looking up


def check(target: str, *, schemes: Collection[str] = KNOWN_SCHEMES, hosts: Collection[str] = ()) -> None:
    check_target(target, allowed_schemes=schemes, allowed_hosts=hosts)


def test_a_public_webhook_needs_no_entry() -> None:
    check(PUBLIC)


def test_an_internal_host_is_refused_and_the_setting_named() -> None:
    with pytest.raises(BadInput, match=HOSTS_SETTING):
        check("http://10.0.0.8/hook", hosts=["10.0.0.9", "*", "10.*"])


def test_a_scheme_that_is_switched_off_is_refused_and_the_setting_named() -> None:
    with pytest.raises(BadInput, match=SCHEMES_SETTING):
        check(PUBLIC, schemes={"slack"})


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://93.184.215.14/", "dbus://", "syslog://", "exec://x"])
def test_a_scheme_that_is_no_channel_is_refused_even_if_listed(target: str) -> None:
    with pytest.raises(BadInput, match="Known:"):
        check(target, schemes=[*KNOWN_SCHEMES, target.partition(":")[0]])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
        "10.0.0.8",
        "172.16.3.4",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "localhost",
    ],
)
def test_an_internal_address_is_refused_however_it_is_written(host: str) -> None:
    with pytest.raises(BadInput):
        check(f"http://{host}/hook")


@pytest.mark.parametrize("target", ["http://10.0.0.8:9000/hook", "http://10.0.0.8/hook"])
def test_an_internal_address_may_be_written_out(target: str) -> None:
    check(target, hosts=["10.0.0.8"])


def test_a_port_in_the_list_binds() -> None:
    check("http://10.0.0.8:9000/hook", hosts=["10.0.0.8:9000"])
    with pytest.raises(BadInput, match=r"10\.0\.0\.8:5432"):
        check("http://10.0.0.8:5432/", hosts=["10.0.0.8:9000"])


def test_ipv6_is_written_in_brackets() -> None:
    check("http://[::1]:9000/hook", hosts=["[::1]:9000"])


@pytest.mark.parametrize(
    "target",
    [
        "",
        "hook",
        "https://",
        "https:///hook",
        "http://[::1",
        "http://exa mple/",
        "https://a:99999999/",
        "http://\x00/",
        "slack://a[",
        "https ://a/",
        "gotify://]1@[",
        "gotify://a:x/",
    ],
)
def test_what_is_no_url_is_bad_input_and_nothing_worse(target: str) -> None:
    with pytest.raises(BadInput):
        check(target)


def test_a_service_needs_its_scheme_and_no_host() -> None:
    check("slack://TokenA/TokenB/TokenC/#alerts", hosts=[])


def test_a_server_of_ones_own_is_held_to_the_same_rule() -> None:
    check("gotify://93.184.215.14/AbCdEf0123456789")
    with pytest.raises(BadInput, match=HOSTS_SETTING):
        check("gotify://10.0.0.8:8080/AbCdEf0123456789")
    check("gotify://10.0.0.8:8080/AbCdEf0123456789", hosts=["10.0.0.8:8080"])


@pytest.mark.parametrize(
    "option",
    ["template=/etc/passwd", "template=http://10.0.0.1/", "smtp=10.0.0.1", "rto=1e9", "+template=x", "TEMPLATE=x"],
)
def test_options_that_reach_beyond_the_message_are_refused(option: str) -> None:
    with pytest.raises(BadInput, match="option"):
        check(f"slack://TokenA/TokenB/TokenC/?{option}")


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("https://hooks.example.org/T000/SECRET?key=SECRET", "https://hooks.example.org/…"),
        ("https://bot:SECRET@hooks.example.org:8443/x", "https://hooks.example.org:8443/…"),
        ("https://hooks.example.org?SECRET", "https://hooks.example.org/…"),
        ("https://a\\SECRET@b/", "https://a/…"),
        ("https://hooks.example.org", "https://hooks.example.org"),
        ("mailtos://me:SECRET@mail.example.org", "mailtos://mail.example.org"),
        ("SECRET", "…"),
    ],
)
def test_a_shown_target_holds_no_secret(target: str, shown: str) -> None:
    assert mask_target(target) == shown


def test_a_service_is_all_secret_and_yet_told_apart() -> None:
    shown = [mask_target(f"slack://SECRET/{channel}") for channel in "ab"]
    assert all(text.startswith("slack://… (") and "SECRET" not in text for text in shown)
    assert shown[0] != shown[1]
