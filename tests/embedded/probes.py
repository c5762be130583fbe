"""How the tests look at servers and processes from outside."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg


def copy_data_dir(source: Path, target: Path) -> None:
    subprocess.run(["cp", "-a", source, target], check=True)  # with its owners


def query(url: str, statement: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def process_gone(pid: int) -> bool:
    """Whether `pid` has ended; a zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def eventually(condition: Callable[[], bool], *, timeout_seconds: float = 60.0) -> bool:
    """Whether `condition` becomes true; the limit only keeps a failing test from hanging."""
    give_up_at = time.monotonic() + timeout_seconds
    while time.monotonic() < give_up_at:
        if condition():
            return True
        time.sleep(0.02)
    return False
