"""Files that may be pipes: `-`, `/dev/stdin`, `<(...)`."""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from app.errors import UnreadableFile

STANDARD_INPUT = "-"
KEPT_AS = "stdin"


def is_pipe(path: Path) -> bool:
    """What can be read once alone, from its beginning to its end."""
    if str(path) == STANDARD_INPUT:
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # whoever reads it says what is wrong with it
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


@contextmanager
def as_file(path: Path) -> Iterator[Path]:
    """The file; of a pipe what came through it, in a temporary one: the readers look at a file more than once."""
    if not is_pipe(path):
        yield path
        return
    with TemporaryDirectory(prefix="losscast-") as folder:
        kept = Path(folder) / KEPT_AS
        try:
            with kept.open("wb") as copy:
                if str(path) == STANDARD_INPUT:
                    shutil.copyfileobj(sys.stdin.buffer, copy)
                else:
                    with path.open("rb") as pipe:
                        shutil.copyfileobj(pipe, copy)
        except OSError as error:
            raise UnreadableFile(f"{path}: {error.strerror or error}. Give it a file instead.") from error
        yield kept
