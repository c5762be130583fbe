"""API keys. Only their SHA-256 is kept: 256 random bits need no slow hash."""

from __future__ import annotations

import hashlib
import secrets

from sqlalchemy import Connection, text

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
