"""One kept-alive HTTP connection to the server, and what its answers mean. Raises; the sender decides what then."""

from __future__ import annotations

import base64
import copy
import email.utils
import http.client
import io
import ipaddress
import json
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Dict, Tuple
from urllib.parse import SplitResult, unquote, urlsplit

from losscast.notices import plain
from losscast.version import __version__
from losscast.wire import Payload

if TYPE_CHECKING:
    import ssl

TIMEOUT_SECONDS = 5.0
"""For a connection, and for a whole request with its answer, however busily the server trickles."""

SLOWEST_UPLOAD = 32 * 2**10
"""Bytes per second that a line is granted beyond that: a large batch may take longer than a heartbeat."""

LARGEST_ANSWER = 2**20
LONGEST_QUOTE = 300
"""Characters of what a server or an exception says that are quoted in a warning."""

LONGEST_RETRY_AFTER_SECONDS = 300.0
"""A server may ask for patience, not for silence until next week."""

RETRIED_STATUSES = frozenset({401, 403, 408, 409, 425, 429})
"""The usual ones, and those about the key: the batch is good, the key is not, and keys get mended."""


class BadAddress(ValueError):
    """The server's address cannot be used; the text says why."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    body: Dict[str, Any]
    retry_after_seconds: float | None = None
    resent: bool = False
    """Whether an earlier try of the same request may have reached the server as well."""

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def final(self) -> bool:
        """Whether sending the same again would get the same answer.

        Only Losscast's own words count, JSON with an `error` in it: a login page, a redirect or the 404 of a proxy
        whose upstream is being replaced will pass. 413 is the exception, since proxies have limits of their own.
        """
        if self.ok:
            return bool(self.body)
        if self.status == 413:
            return True
        return 400 <= self.status < 500 and self.status not in RETRIED_STATUSES and "error" in self.body

    @property
    def reason(self) -> str:
        """For people: the server's own words where it has some."""
        said = self.body.get("message") or http.client.responses.get(self.status, "")
        return f"{self.status} {plain(str(said), LONGEST_QUOTE)}".strip()


def cause_of(error: Exception) -> str:
    """What went wrong, in the same words each time."""
    return f"{type(error).__name__} {getattr(error, 'errno', None)}"


def reason_of(error: Exception) -> str:
    """What went wrong, for people."""
    if isinstance(error, http.client.HTTPException):  # whose text is what the other side sent, or part of it
        return f"no HTTP answer: {type(error).__name__} {plain(str(error), 60)}".strip()
    return plain(str(error), LONGEST_QUOTE) or type(error).__name__


class Transport:
    """Used by one thread at a time."""

    def __init__(self, url: str, api_key: str | None) -> None:
        self._server = _split_address(url)
        self._headers = {
            "User-Agent": f"losscast-client/{__version__} python/{sys.version_info[0]}.{sys.version_info[1]}",
            "Accept": "application/json",
        }
        if api_key:
            self._headers["Authorization"] = "Bearer " + _checked_key(api_key)
        self._connection: http.client.HTTPConnection | None = None
        self._target = ""
        # Whatever has to be imported is imported here, in the caller's thread: a fork in the middle of an import by
        # another thread leaves the child a module that stays locked for good.
        self._context = _tls_context() if self._server.scheme == "https" else None
        self._proxy = _proxy_for(self._server)
        if self._proxy is not None and self._context is None:
            self._headers.update(_proxy_authorization(self._proxy))

    @property
    def address(self) -> str:
        """The server's address without secrets."""
        return f"{self._server.scheme}://{_host_and_port(self._server)}{self._server.path}"

    def another(self) -> Transport:
        """A second connection to the same server, for another thread."""
        other = copy.copy(self)
        other._connection = None
        return other

    def post(self, path: str, payload: Payload) -> Answer:
        """POST to a path below /api/v1. Raises OSError, HTTPException or ValueError when no answer came."""
        return self._ask("POST", path, payload)

    def get(self, path: str) -> Answer:
        """GET from a path below /api/v1. Raises as `post` does."""
        return self._ask("GET", path, Payload(b"", 0))

    def _ask(self, method: str, path: str, payload: Payload) -> Answer:
        kept_alive = self._connection is not None
        try:
            return self._ask_once(method, path, payload)
        except (http.client.RemoteDisconnected, ConnectionError):
            # The usual end of a connection that idled longer than the server keeps one; not a sign of trouble yet.
            if not kept_alive:
                raise
        answer = self._ask_once(method, path, payload)
        return Answer(answer.status, answer.body, answer.retry_after_seconds, resent=True)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abandon(self) -> None:
        """`close` for a forked child, whose parent goes on using the connection.

        The reader above the socket stays alone: if the parent's thread was reading when it forked, the child holds a
        copy of its locked lock, and `close` would wait for it for ever.
        """
        connection, self._connection = self._connection, None
        if connection is not None and connection.sock is not None:
            connection.sock.close()

    def _ask_once(self, method: str, path: str, payload: Payload) -> Answer:
        deadline = _Deadline(TIMEOUT_SECONDS + len(payload.data) / SLOWEST_UPLOAD)
        try:
            if self._connection is None:
                self._connection, self._target = self._connect()
            self._connection.response_class = deadline.response  # type: ignore[assignment]
            if self._connection.sock is not None:
                self._connection.sock.settimeout(deadline.seconds_left())
            self._connection.request(
                method, f"{self._target}/api/v1{path}", payload.data or None, {**self._headers, **payload.headers}
            )
            response = self._connection.getresponse()
            data = response.read(LARGEST_ANSWER)
            if not response.isclosed():  # more than we care to read: the rest would be taken for the next answer
                self.close()
            return Answer(response.status, _json_object(data), _retry_after(response))
        except BaseException:
            self.close()
            raise

    def _connect(self) -> Tuple[http.client.HTTPConnection, str]:
        """A connection, and what goes before each path on it."""
        host, port = self._server.hostname or "", self._server.port
        via = self._proxy or self._server
        if self._context is not None:
            secure = http.client.HTTPSConnection(
                via.hostname or "", via.port, timeout=TIMEOUT_SECONDS, context=self._context
            )
            if self._proxy is not None:
                secure.set_tunnel(host, port or 443, headers=_proxy_authorization(self._proxy))
            return secure, self._server.path
        plain = http.client.HTTPConnection(via.hostname or "", via.port, timeout=TIMEOUT_SECONDS)
        return plain, self._server.path if self._proxy is None else self.address


class _Deadline:
    """When a request must be over. A socket's own timeout starts anew with each byte that comes."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = time.monotonic() + seconds

    def seconds_left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"no whole answer within {self._seconds:.3g} s")
        return left

    def response(self, sock: socket.socket, *args: Any, **options: Any) -> http.client.HTTPResponse:
        """A response that is read until then at most; what `http.client` makes of the socket."""
        response = http.client.HTTPResponse(sock, *args, **options)
        response.fp = io.BufferedReader(_TimedReader(response.fp.detach(), sock, self))
        return response


class _TimedReader(io.RawIOBase):
    """Reads from a socket until a deadline."""

    def __init__(self, reader: io.RawIOBase, sock: socket.socket, deadline: _Deadline) -> None:
        self._reader = reader
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._deadline.seconds_left())
        return self._reader.readinto(buffer)

    def close(self) -> None:
        self._reader.close()
        super().close()


def _split_address(url: str) -> SplitResult:
    url = url.strip()
    try:
        parts = urlsplit(url if "://" in url else "http://" + url)
        port = parts.port
    except ValueError as error:
        raise BadAddress(f"{url!r} is not an address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise BadAddress(f"{url!r} is not an http:// or https:// address")
    try:
        parts.hostname.encode("idna")
    except UnicodeError as error:
        raise BadAddress(f"{url!r} names no host: {error}") from None
    return parts._replace(path=parts.path.rstrip("/"), query="", fragment="")


def _host_and_port(parts: SplitResult) -> str:
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    return host if parts.port is None else f"{host}:{parts.port}"


def _checked_key(api_key: str) -> str:
    key = api_key.strip()
    if not (key.isascii() and key.isprintable()):
        raise BadAddress("the API key holds characters that no header can carry")
    return key


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls_context() -> ssl.SSLContext:
    import ssl  # some builds of Python have none; they can still talk http

    return ssl.create_default_context()


def _proxy_for(server: SplitResult) -> SplitResult | None:
    """The proxy that http_proxy, https_proxy and no_proxy ask for; none for a loopback address.

    Only the variables count, never the system's settings: asking macOS for those in a forked process crashes it.
    """
    host = server.hostname or ""
    if _is_loopback(host):
        return None
    from urllib import request  # a slow import that most jobs never need

    if request.proxy_bypass_environment(_host_and_port(server)):  # type: ignore[attr-defined]
        return None
    address = request.getproxies_environment().get(server.scheme)
    if not address:
        return None
    proxy = urlsplit(address if "://" in address else "http://" + address)
    return proxy if proxy.scheme == "http" and proxy.hostname else None


def _proxy_authorization(proxy: SplitResult) -> Dict[str, str]:
    if proxy.username is None:
        return {}
    secret = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": "Basic " + base64.b64encode(secret.encode()).decode("ascii")}


def _json_object(data: bytes) -> Dict[str, Any]:
    try:
        body = json.loads(data)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _retry_after(response: http.client.HTTPResponse) -> float | None:
    """Seconds, from either of the header's two forms."""
    said = response.getheader("Retry-After")
    if said is None:
        return None
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(said).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    if not seconds > 0:  # NaN too
        return 0.0
    return min(seconds, LONGEST_RETRY_AFTER_SECONDS)
