"""Bodies of requests, within their limit: packed ones are unpacked before anything else sees them."""

from __future__ import annotations

import zlib

from fastapi import HTTPException, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.error_responses import error_response

TOO_LARGE = "The body is too large. Send the points in several batches; the limit is in /api/docs."


class UnpackedBodies:
    """Lets gzipped bodies in as if they had been sent plain. 413 over `limit` bytes, 415 for another coding."""

    def __init__(self, app: ASGIApp, *, limit: int) -> None:
        self._app, self._limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        coding = Headers(scope=scope).get("content-encoding", "").strip().lower() if scope["type"] == "http" else ""
        if coding in ("", "identity"):
            return await self._app(scope, receive, send)
        if coding not in ("gzip", "x-gzip"):
            said = f"Content-Encoding {coding[:40]!r} is not known here. Send the body as it is, or gzipped."
            return await error_response(415, "unsupported_media_type", said)(scope, receive, send)
        packed = await _whole_body(receive, self._limit)
        if packed is None:
            return await error_response(413, "too_large", TOO_LARGE)(scope, receive, send)
        try:
            plain = _unzipped(packed, self._limit)
        except ValueError as error:
            return await error_response(422, "bad_input", str(error))(scope, receive, send)
        if plain is None:
            return await error_response(413, "too_large", TOO_LARGE)(scope, receive, send)
        headers = MutableHeaders(scope=scope)
        del headers["content-encoding"]
        headers["content-length"] = str(len(plain))
        await self._app(scope, _replayed(plain, receive), send)


async def read_body(request: Request, limit: int) -> bytes:
    """The body. Raises 413 over `limit` bytes."""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise HTTPException(413, TOO_LARGE)
    body = await _whole_body(request.receive, limit)
    if body is None:
        raise HTTPException(413, TOO_LARGE)
    return body


async def _whole_body(receive: Receive, limit: int) -> bytes | None:
    """Everything that is sent, None where it is more than `limit` bytes."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _unzipped(body: bytes, limit: int) -> bytes | None:
    """The body unpacked, None where that is more than `limit` bytes."""
    # Bounded, since a kilobyte of gzip may stand for a gigabyte of zeros.
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise ValueError(f"The body says it is gzipped, but cannot be unpacked: {error}.") from error
    if len(plain) > limit:
        return None
    if not inflater.eof:
        raise ValueError("The gzipped body ends too early. Send it again whole.")
    return plain


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands out the body once, then what the connection has to say."""
    waiting = [body]

    async def once() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return once
