"""Reading a request's body within its limit, compressed or not."""

from __future__ import annotations

import zlib

from fastapi import HTTPException, Request

from app.errors import BadInput


async def read_body(request: Request, limit: int) -> bytes:
    """The body, unpacked where it came gzipped.

    Raises 413 over `limit` bytes, before or after unpacking, and 415 for another coding.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise too_large(limit)
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip", "x-gzip", ""):
        raise HTTPException(415, f"Content-Encoding {coding!r} is not known here. Send the body as it is, or gzipped.")
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large(limit)
        parts.append(part)
    body = b"".join(parts)
    return _unzipped(body, limit) if "gzip" in coding else body


def too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"over {limit} bytes")


def _unzipped(body: bytes, limit: int) -> bytes:
    # Bounded, since a kilobyte of gzip may stand for a gigabyte of zeros.
    inflater = zlib.decompressobj(wbits=31)
    try:
        plain = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise BadInput(f"The body says it is gzipped, but cannot be unpacked: {error}.") from error
    if len(plain) > limit:
        raise too_large(limit)
    if not inflater.eof:
        raise BadInput("The gzipped body ends too early. Send it again whole.")
    return plain
