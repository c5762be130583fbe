"""Which reader a file gets."""

from __future__ import annotations

from pathlib import Path

from app.importers.csv_file import read_csv
from app.importers.imported_run import ImportedRun, open_text, unreadable
from app.importers.jsonl_file import read_jsonl

READERS = {".csv": read_csv, ".tsv": read_csv, ".jsonl": read_jsonl, ".ndjson": read_jsonl}


def read_file(path: Path) -> ImportedRun:
    """Read a run from a CSV or JSONL file, chosen by its ending, else by its first character.

    Raises
    ------
    UnreadableFile
        Names the file, the line and what to do. Also raised while `batches` is consumed.
    """
    if path.is_dir():
        raise unreadable(path, None, "this is a folder", "Name one CSV or JSONL file in it")
    reader = READERS.get(Path(path.name.removesuffix(".gz")).suffix.lower())
    return reader(path) if reader is not None else _by_content(path)


def _by_content(path: Path) -> ImportedRun:
    try:
        with open_text(path) as file:
            head = file.read(4096).lstrip()
    except (UnicodeError, EOFError) as error:
        raise unreadable(path, None, "this is not a text file", "Losscast imports CSV and JSONL") from error
    return read_jsonl(path) if head.startswith("{") else read_csv(path)
