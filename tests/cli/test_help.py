"""What `losscast --help` says fits its line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def losscast(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("LOSSCAST_", "DATABASE_"))}
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
        env={**inherited, **environment},
    )


def test_no_command_is_cut_off_in_the_list() -> None:
    shown = losscast("--help", COLUMNS="80").stdout
    commands = shown.split("Commands:")[1].splitlines()
    assert len([line for line in commands if line.strip()]) >= 10
    assert [line for line in commands if line.endswith("...")] == []


@pytest.mark.parametrize("command", ["import", "delete", "forecast", "backtest", "fit", "diagnose", "pg", "key create"])
def test_a_command_that_takes_something_shows_how_it_is_called(command: str) -> None:
    shown = losscast(*command.split(), "--help", COLUMNS="80").stdout
    examples = [line for line in shown.splitlines() if line.startswith(f"  losscast {command} ")]
    assert examples
    assert max(map(len, shown.splitlines())) <= 80
    assert "\b" not in shown


def test_listening_to_others_without_a_key_is_refused_before_a_database_is_built(tmp_path: Path) -> None:
    home = tmp_path / "data"
    answer = losscast("up", "--host", "0.0.0.0", "--port", "0", "--data-dir", str(home))
    assert answer.returncode == 1
    assert "API key" in answer.stderr
    assert not home.exists()


def test_a_port_that_cannot_be_is_told_by_its_option() -> None:
    answer = losscast("up", "--port", "99999")
    assert answer.returncode == 2
    assert "'--port'" in answer.stderr
    assert "LOSSCAST_PORT" not in answer.stderr


def test_an_empty_folder_is_said_to_hold_no_run(tmp_path: Path) -> None:
    answer = losscast("diagnose", str(tmp_path))
    assert answer.returncode == 2
    assert "in this folder or below it" in answer.stderr
    assert "no such file" not in answer.stderr
