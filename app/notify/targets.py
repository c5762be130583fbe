"""Where alerts may go. A target is a URL that a user typed, so it is checked before anything is sent to it.

Without a check a webhook is a way to make this server talk to machines that only it can reach (server-side request
forgery): its own database, the metadata service of its cloud, a printer. So the schemes are a list of the operator's,
internal hosts are refused unless the operator has written them out, and the addresses behind a name are looked at each
time: a name may point elsewhere by the time of delivery.
"""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlsplit

import httpx

from app.errors import BadInput

# The texts name the settings that app/settings.py reads.
SCHEMES_SETTING = "LOSSCAST_ALERT_ALLOWED_SCHEMES"
HOSTS_SETTING = "LOSSCAST_ALERT_ALLOWED_HOSTS"

# Ours: one POST of AlertMessage.to_json(). apprise's names for it are taken as other words for the same.
WEBHOOK_SCHEMES = {"http": "http", "https": "https", "json": "http", "jsons": "https"}

# Services whose host is fixed in apprise's source (read in 2.2.0), so the URL holds tokens but no address.
SERVICE_SCHEMES = frozenset(
    "slack discord tgram pover pagerduty opsgenie gchat wxteams webex signl4 splunk victorops".split()
)

# Servers that people run themselves: the URL names the host, apprise connects to it.
SERVER_SCHEMES = frozenset(
    "ntfy ntfys gotify gotifys mmost mmosts rocket rockets matrix matrixs workflows mailto mailtos".split()
)

KNOWN_SCHEMES = frozenset(WEBHOOK_SCHEMES) | SERVICE_SCHEMES | SERVER_SCHEMES

# apprise takes many more, among them `template=`, which reads a local file or a URL and sends what it finds there.
HARMLESS_OPTIONS = frozenset(
    "priority sound region image footer silent format thread topic tags channel to from name user pass".split()
)

NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class UnresolvedHost(BadInput):
    """A name without an address, perhaps only for now."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL to POST to and the addresses behind its host, all of them allowed."""

    url: httpx.URL
    addresses: tuple[str, ...]

    @property
    def host(self) -> str:
        return _host(self.url)


def check_target(target: str, *, allowed_schemes: Collection[str], allowed_hosts: Collection[str]) -> None:
    """Raise `BadInput` with what to change unless alerts may be sent to `target`.

    Parameters
    ----------
    target : str
        `https://...`, `slack://...` and the like; see docs/alerts.md.
    allowed_schemes : collection of str
        Schemes the operator allows, of `KNOWN_SCHEMES`.
    allowed_hosts : collection of str
        `host` or `host:port` of receivers with a loopback, private or otherwise internal address. Hosts all of whose
        addresses are public need no entry.
    """
    scheme = scheme_of(target, allowed_schemes)
    if scheme in WEBHOOK_SCHEMES:
        resolve_webhook(target, allowed_hosts)
    else:
        check_options(target)
        if scheme in SERVER_SCHEMES:
            _check_server(target, allowed_hosts)


def scheme_of(target: str, allowed_schemes: Collection[str]) -> str:
    scheme, separator, _ = target.strip().partition("://")
    scheme = scheme.lower()
    if not separator:
        raise BadInput("An alert target is a URL such as https://example.org/hook or slack://A/B/C/#channel.")
    if scheme not in KNOWN_SCHEMES:
        raise BadInput(f"Alerts cannot go to {scheme}://. Known: {', '.join(sorted(KNOWN_SCHEMES))}.")
    if scheme not in allowed_schemes:
        raise BadInput(f"Alerts to {scheme}:// are switched off. The operator can add {scheme} to {SCHEMES_SETTING}.")
    return scheme


def resolve_webhook(target: str, allowed_hosts: Collection[str]) -> Webhook:
    """Look up the host and check every address behind it. Raises `BadInput`."""
    scheme, _, rest = target.strip().partition("://")
    try:
        url = httpx.URL(f"{WEBHOOK_SCHEMES[scheme.lower()]}://{rest}")
        host = _host(url)
    except (httpx.InvalidURL, UnicodeError) as error:
        raise BadInput(f"{mask_target(target)} is not a URL ({error}).") from error
    if not host:
        raise BadInput("The webhook's URL has no host. Write it as https://example.org/path.")
    port = url.port or {"http": 80, "https": 443}[url.scheme]
    return Webhook(url, tuple(str(address) for address in _allowed_addresses(host, port, allowed_hosts)))


def _host(url: httpx.URL) -> str:
    # The raw form, "xn--...": Python's resolver and httpx would encode other letters by different rules.
    return url.raw_host.decode("ascii")


def check_options(target: str) -> None:
    """Refuse options of apprise that reach beyond the message."""
    query = _split(target).query
    options = {name.lstrip("+-:").lower() for name, _ in parse_qsl(query, keep_blank_values=True)}
    refused = sorted(options - HARMLESS_OPTIONS)
    if refused:
        raise BadInput(f"The option {refused[0]!r} is not allowed in an alert target; leave it out.")


def is_server(target: str, host: str | None, port: int | None) -> bool:
    """Whether `host` and `port` are what `check_target` read in the URL of a server."""
    checked_host, checked_port = _server(target)
    return (host or "").strip("[]").lower() == checked_host and checked_port in (None, port)


def mask_target(target: str) -> str:
    """`target` without its secrets, for logs and pages.

    Hosts of webhooks and servers are shown. All of a service's URL is secret, so four digits of its hash stand for it:
    enough to tell two channels apart, useless for anything else.
    """
    scheme, separator, rest = target.strip().partition("://")
    if not separator:
        return "…"
    if scheme.lower() in SERVICE_SCHEMES or scheme.lower() not in KNOWN_SCHEMES:
        return f"{scheme}://… ({hashlib.sha256(target.encode(errors='replace')).hexdigest()[:4]})"
    authority = rest.replace("\\", "/").split("/")[0].split("?")[0].split("#")[0]
    host = authority.rpartition("@")[2]
    return f"{scheme}://{host}" + ("/…" if len(rest) > len(authority) else "")


def _check_server(target: str, allowed_hosts: Collection[str]) -> None:
    host, port = _server(target)
    if not host:
        raise BadInput(f"{mask_target(target)} names no host.")
    # apprise looks the name up again by itself, so a name whose owner changes it within that second gets past this.
    _allowed_addresses(host, port or 0, allowed_hosts)


def _server(target: str) -> tuple[str, int | None]:
    parts = _split(target)
    try:
        return parts.hostname or "", parts.port
    except ValueError as error:  # the port is looked at only now
        raise BadInput(f"{mask_target(target)} is not a URL: {error}.") from error


def _split(target: str) -> SplitResult:
    try:
        return urlsplit(target)
    except ValueError as error:
        raise BadInput(f"{mask_target(target)} is not a URL: {error}.") from error


def _allowed_addresses(host: str, port: int, allowed_hosts: Collection[str]) -> list[Address]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnresolvedHost(f"No address found for {host}. Check the name.") from error
    addresses = list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))
    internal = next((address for address in addresses if not _is_public(address)), None)
    if internal is not None and not _is_listed(host, port, allowed_hosts):
        shown = host if str(internal) == host.strip("[]") else f"{host} ({internal})"
        raise BadInput(
            f"{shown} is an internal address. If alerts shall go there, the operator adds "
            f"{_entry(host, port or None)} to {HOSTS_SETTING}."
        )
    return addresses


def _is_public(address: Address) -> bool:
    inner = _inner(address)
    return inner.is_global and not inner.is_multicast


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, where it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None) or address


def _is_listed(host: str, port: int, allowed_hosts: Collection[str]) -> bool:
    """Whether the operator has written this very host out, with this port or with none."""
    written = {entry.strip().lower() for entry in allowed_hosts}
    return _entry(host, None) in written or _entry(host, port) in written or host.lower() in written


def _entry(host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else host
    return name.lower() if port is None else f"{name.lower()}:{port}"
