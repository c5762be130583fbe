"""Which reader a file gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.errors import UnreadableFile
from app.importers.run_files import find_run_files, read_file


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"PAR1\x15\x04", "this is Parquet"),
        (b"PK\x03\x04\x14", "this is a zip archive"),
        (b"\x93NUMPY\x01", "an array"),
    ],
)
def test_a_file_that_is_no_log_is_called_what_it_is(tmp_path: Path, head: bytes, what: str) -> None:
    path = tmp_path / "run.bin"
    path.write_bytes(head)
    with pytest.raises(UnreadableFile, match=what):
        read_file(path)


@pytest.mark.parametrize("name", ["nothing.csv", "a" * 300, "nothing/at/all"])
def test_a_path_that_leads_nowhere_is_said_so(tmp_path: Path, name: str) -> None:
    assert find_run_files(tmp_path / name) == [tmp_path / name]
    with pytest.raises(UnreadableFile, match=r"no such file|too long"):
        read_file(tmp_path / name)


def test_hidden_files_and_settings_are_not_found(tmp_path: Path) -> None:
    for name in ("run.csv", "sub/run.jsonl.gz", ".hidden/run.csv", ".run.csv", "config.json", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_run_files(tmp_path) == [tmp_path / "run.csv", tmp_path / "sub" / "run.jsonl.gz"]
