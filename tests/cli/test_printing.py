"""What commands print where no terminal is: whole sentences, and no blanks to fill a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUN = ROOT / "tests" / "data" / "multipowerlaw_25M_cosine_24000.csv"
SICK = ROOT / "app" / "demo" / "data" / "deepspeech_diverges.csv"


@pytest.mark.parametrize(
    "arguments",
    [
        ("diagnose", SICK),
        ("forecast", RUN, "--total-steps", "3e4"),
        ("fit", RUN, "--schedule", "cosine"),
        ("backtest", RUN, "--forecaster", "power", "--fractions", "0.5", "--processes", "1"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_pipe_gets_whole_sentences_and_no_padding(arguments: tuple[str | Path, ...]) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "app", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        cwd=ROOT,
    )
    lines = answer.stdout.splitlines()
    assert len(lines) >= 3
    assert [line for line in lines if line != line.rstrip()] == []
    assert "\x1b" not in answer.stdout
    # A sentence that was broken would go on with a small letter.
    assert [line for line in lines if line[:1].islower() and line.endswith(".") and ": " not in line] == []
