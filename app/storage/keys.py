"""API keys. Only their SHA-256 is kept: 256 random bits need no slow hash."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from app.errors import NotFound

PREFIX = "lc_"


def create_key(connection: Connection, name: str) -> str:
    """Make a key; the return value is the only time it is seen."""
    key = PREFIX + secrets.token_urlsafe(32)
    add_key(connection, name, key)
    return key


def add_key(connection: Connection, name: str, key: str) -> None:
    """Let a key in that someone else made, such as one from the environment. Adding it twice is once."""
    connection.execute(
        text("""
            INSERT INTO api_key (name, prefix, sha256) VALUES (:name, :prefix, :sha256) ON CONFLICT DO NOTHING
        """),
        {"name": name, "prefix": key[:8], "sha256": sha256(key)},
    )


def good_hashes(connection: Connection) -> frozenset[bytes]:
    """The hashes of all keys that are not revoked."""
    rows = connection.execute(text("SELECT sha256 FROM api_key WHERE revoked_at IS NULL")).scalars()
    return frozenset(bytes(row) for row in rows)


def sha256(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "replace")).digest()


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it may be shown."""

    id: int
    name: str
    prefix: str
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None  # to the minute


def list_keys(connection: Connection) -> list[ApiKey]:
    rows = connection.execute(
        text("SELECT id, name, prefix, created_at, revoked_at, last_used_at FROM api_key ORDER BY id")
    )
    return [ApiKey(*row) for row in rows]


def record_use(connection: Connection, key_hash: bytes) -> None:
    connection.execute(text("UPDATE api_key SET last_used_at = now() WHERE sha256 = :sha256"), {"sha256": key_hash})


def revoke_key(connection: Connection, key_id: int) -> None:
    """Shut a key out; raises `NotFound`. Revoking twice is once."""
    touched = connection.execute(
        text("UPDATE api_key SET revoked_at = coalesce(revoked_at, now()) WHERE id = :id"), {"id": key_id}
    )
    if touched.rowcount == 0:
        raise NotFound(f"There is no key number {key_id}. 'losscast key list' shows them.")
