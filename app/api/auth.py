"""Who may come in: API keys for programs, the same keys typed once into a sign-in page for people.

Without keys the service answers to its own machine only, and then guards against the two things on that machine that
act for strangers: the browser (foreign host names, which is DNS rebinding, and writes sent by other pages) and a proxy
that passes on what comes from the network.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import logging
import time
from collections.abc import Callable
from urllib.parse import quote, urlsplit

from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from itsdangerous import BadSignature, TimestampSigner
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.error_responses import error_response, response_to
from app.errors import LosscastError, Unavailable
from app.storage.database import Database
from app.storage.keys import good_hashes, record_use, sha256

log = logging.getLogger(__name__)

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
SESSION_SECONDS = 14 * 24 * 3600
COOKIE = "losscast_session"
_KEYS_KNOWN_SECONDS = 5.0  # how long a revoked key may still open
_USE_KNOWN_SECONDS = 60.0  # how often the use of one key is written down


class Keys:
    """The keys that are good, read from the database every few seconds, and when each was last used."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database, self._clock = database, clock
        self._hashes: frozenset[bytes] = frozenset()
        self._read_at = float("-inf")
        self._used_at: dict[bytes, float] = {}

    async def is_good(self, key: str) -> bool:
        """Whether the key opens the door. A set of hashes tells an attacker's clock nothing about any key."""
        return await self.is_good_hash(sha256(key))

    async def is_good_hash(self, wanted: bytes) -> bool:
        if self._clock() - self._read_at > _KEYS_KNOWN_SECONDS:
            self._hashes = await asyncio.to_thread(self._read)
            self._read_at = self._clock()
        is_good = wanted in self._hashes
        if is_good and self._clock() - self._used_at.get(wanted, float("-inf")) > _USE_KNOWN_SECONDS:
            self._used_at[wanted] = self._clock()
            await asyncio.to_thread(self._record_use, wanted)
        return is_good

    def _read(self) -> frozenset[bytes]:
        with self._database.read() as connection:
            return good_hashes(connection)

    def _record_use(self, key_hash: bytes) -> None:
        try:
            with self._database.write() as connection:
                record_use(connection, key_hash)
        except Unavailable as error:  # a full disk is no reason to shut anyone out
            log.warning("that a key was used could not be recorded: %s", error)


class RequireKey:
    """Lets a request through that carries a good key or a signed-in session."""

    OPEN = frozenset({"/healthz", "/livez", "/login", "/favicon.ico"})
    OPEN_FOLDER = "/assets/"

    def __init__(self, app: ASGIApp, *, keys: Keys, secret: str) -> None:
        self._app, self._keys, self._sessions = app, keys, Sessions(secret)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        if scope["path"] in self.OPEN or scope["path"].startswith(self.OPEN_FOLDER):
            return await self._app(scope, receive, send)
        refusal = await self._refusal(scope, Headers(scope=scope))
        if refusal is None:
            return await self._app(scope, receive, send)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4401})
            return None
        return await refusal(scope, receive, send)

    async def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """What is answered in the app's place; None where the request may go on to it."""
        try:
            is_let_in = await self._has_good_session(headers) or await self._has_good_key(headers)
        except LosscastError as error:  # the database is away; the app's own handlers lie further in
            return response_to(error, scope["path"])
        return None if is_let_in else _refusal(scope, headers)

    async def _has_good_session(self, headers: Headers) -> bool:
        key_hash = self._sessions.key_hash(_cookie(headers, COOKIE))
        return key_hash is not None and await self._keys.is_good_hash(key_hash)

    async def _has_good_key(self, headers: Headers) -> bool:
        key = key_of(headers.get("authorization", ""))
        return key is not None and await self._keys.is_good(key)


def key_of(authorization: str) -> str | None:
    """The key out of `Bearer KEY`, or out of the password of `Basic`, as loggers that take only a URL send it."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip() or None
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest).decode().partition(":")[2] or None
        except (binascii.Error, UnicodeDecodeError):
            return None
    return None


def _refusal(scope: Scope, headers: Headers) -> Response:
    path = scope["path"]
    is_page = scope.get("method") == "GET" and "text/html" in headers.get("accept", "")
    if is_page and not path.startswith("/api/"):
        return RedirectResponse(f"/login?next={quote(path, safe='/')}", 303)
    return error_response(401, "unauthorized", _what_is_missing(headers), headers={"WWW-Authenticate": "Bearer"})


def _what_is_missing(headers: Headers) -> str:
    """Why the request was not let in. Nothing of a key is repeated: answers end up in logs."""
    said = headers.get("authorization", "").strip()
    if key_of(said) is not None:
        return (
            "This API key is not known here, or was revoked. 'losscast key list' shows those that are good, "
            "'losscast key create NAME' makes another."
        )
    if said:
        return "The header Authorization holds no key in a form that is read. Send it as 'Authorization: Bearer KEY'."
    if any(name in headers for name in _OTHER_KEY_HEADERS):
        return "The API key is looked for in one header alone. Send it as 'Authorization: Bearer KEY'."
    return "This needs an API key: send the header 'Authorization: Bearer KEY'. Make one with: losscast key create NAME"


_OTHER_KEY_HEADERS = ("x-api-key", "api-key", "x-auth-token")


class Sessions:
    """Signed cookies: who typed a good key stays signed in for two weeks, or until that key is revoked.

    The same on every web process with the same secret. A cookie names the key by its hash, which opens nothing.
    """

    def __init__(self, secret: str) -> None:
        self._signer = TimestampSigner(secret, salt="losscast.session")

    def issue(self, key: str) -> str:
        return self._signer.sign(sha256(key).hex()).decode()

    def key_hash(self, cookie: str | None) -> bytes | None:
        """The hash of the key that was typed, None where the cookie is not ours or too old."""
        try:
            return bytes.fromhex(self._signer.unsign(cookie or "", max_age=SESSION_SECONDS).decode())
        except (BadSignature, ValueError):
            return None


def _cookie(headers: Headers, name: str) -> str | None:
    for part in headers.get("cookie", "").split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            return value
    return None


class LoopbackOnly:
    """Where no key is asked for: only this machine, under its own names, and no writes from other sites' pages."""

    def __init__(self, app: ASGIApp, *, names: frozenset[str] = LOOPBACK_NAMES) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        fault = self._fault(scope, Headers(scope=scope))
        if fault is None:
            return await self._app(scope, receive, send)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4403})
            return None
        return await error_response(403, "forbidden", fault)(scope, receive, send)

    def _fault(self, scope: Scope, headers: Headers) -> str | None:
        """Why the request is not of this machine's own making, None where it is."""
        if passed_on := _passed_on(scope, headers):
            return f"{_KEYLESS}, and this request came through a proxy ({passed_on}). {_LET_IN_BY_PROXY}"
        host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
        origin = headers.get("origin")
        is_foreign_page = origin is not None and urlsplit(origin).hostname not in self._names
        is_write = scope.get("method") not in ("GET", "HEAD")
        if _is_elsewhere(scope) or host not in self._names or (is_foreign_page and is_write):
            return f"{_KEYLESS}. {_LET_IN}"
        return None


_KEYLESS = "Without API keys Losscast answers only to this machine under its own name (localhost)"
_LET_IN = "To reach it from elsewhere, create a key with 'losscast key create NAME' and start it with --host."
_LET_IN_BY_PROXY = "To let others in through it, create a key with 'losscast key create NAME' and set LOSSCAST_AUTH=on."
# What proxies add of themselves. None is trusted to tell where a request began, only that it began elsewhere.
_PROXY_HEADERS = frozenset({"forwarded", "via", "x-real-ip", "true-client-ip", "cf-connecting-ip"})


def _passed_on(scope: Scope, headers: Headers) -> str:
    """By what a request shows that somebody passed it on; empty where it shows nothing of the kind."""
    for name in headers:
        if name in _PROXY_HEADERS or name.startswith("x-forwarded-"):
            return f"it carries the header {name}"
    # nginx up to 1.29.6, told nothing but proxy_pass, adds no header and puts its own target into Host. It is known by
    # the version that it then speaks, which browsers, curl and the HTTP clients of Python gave up long ago.
    return "it speaks HTTP/1.0" if scope.get("http_version") == "1.0" else ""


def _is_elsewhere(scope: Scope) -> bool:
    """Whether the connection comes from another machine. uvicorn is told to believe no header about it."""
    try:
        peer = ipaddress.ip_address((scope.get("client") or ("",))[0])
    except ValueError:  # a Unix socket
        return False
    mapped = getattr(peer, "ipv4_mapped", None)
    return not (mapped or peer).is_loopback


def add_sign_in(app: FastAPI, *, keys: Keys, secret: str, is_https: bool) -> None:
    """Routes of the sign-in page."""
    sessions = Sessions(secret)

    @app.get("/login", include_in_schema=False)
    async def login_page(next: str = "/") -> HTMLResponse:
        return HTMLResponse(_PAGE.replace("{note}", ""), headers=_PAGE_HEADERS)

    @app.post("/login", include_in_schema=False)
    async def sign_in(request: Request, key: str = Form(max_length=500), next: str = "/") -> Response:
        if not await keys.is_good(key.strip()):
            note = "<p class='error' role='alert'>That key is not known here, or was revoked.</p>"
            return HTMLResponse(_PAGE.replace("{note}", note), 401, _PAGE_HEADERS)
        # Only a path of our own: "//elsewhere" and "/\\elsewhere" are other hosts to a browser.
        inside = next if next.startswith("/") and not next.startswith(("//", "/\\")) else "/"
        response = RedirectResponse(inside, 303)
        secure = is_https or request.url.scheme == "https"
        response.set_cookie(
            COOKIE, sessions.issue(key.strip()), max_age=SESSION_SECONDS, httponly=True, samesite="lax", secure=secure
        )
        return response


_PAGE_HEADERS = {"Cache-Control": "no-store"}
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sign in · Losscast</title><link rel="icon" href="/assets/favicon.svg" type="image/svg+xml">
<style>
/* The colours are those of static/dashboard/styles/01_tokens.css. */
:root { color-scheme: light dark; --line: light-dark(#dce1e9, #2a3547); --accent: light-dark(#1b5cc4, #73aaff); }
body { font: 15px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 100vh; margin: 0;
  background: light-dark(#f5f6f9, #0d121b); color: light-dark(#16202f, #e9eef6); }
form { width: min(22rem, 100vw - 4rem); display: grid; gap: .75rem; padding: 1.6rem; border-radius: 12px;
  background: light-dark(#fff, #161d29); border: 1px solid var(--line); box-sizing: border-box; }
h1 { font-size: 1.3rem; margin: 0; } p { margin: 0; color: light-dark(#4d5a6e, #a9b5c7); }
.error { color: light-dark(#b91c1c, #ff8a85); }
input, button { font: inherit; padding: .55rem .7rem; border-radius: 8px; border: 1px solid var(--line); }
input { background: transparent; color: inherit; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
button { background: var(--accent); color: light-dark(#fff, #0d121b); border: 0; font-weight: 600; cursor: pointer; }
code { font-size: .88em; }
</style></head><body><form method="post">
<h1>Losscast</h1>{note}
<label for="key">API key</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
<button>Sign in</button>
<p>Whoever runs this server makes keys with <code>losscast key create NAME</code>.</p>
</form></body></html>"""
