"""What `make bench` runs."""

import subprocess
import sys
from pathlib import Path

from benchmarks.__main__ import names

ROOT = Path(__file__).parents[2]


def test_what_benchmarks_share_is_none_itself() -> None:
    found = names()
    assert {"ingest", "refit_cost", "pfn_against_mcmc"} <= set(found)
    assert not {"held_out", "made_runs", "tiny_transformer"} & set(found)


def test_an_unknown_benchmark_is_told_which_there_are() -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "benchmarks", "held_out"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert asked.returncode == 1
    assert "No benchmark 'held_out'. There are: " in asked.stderr
    assert "refit_cost" in asked.stderr
