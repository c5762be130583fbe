"""What `make bench` runs."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import main, module_of, names

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


@pytest.mark.parametrize("name", names())
def test_every_benchmark_says_what_it_is_when_asked(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    benchmark = importlib.import_module(module_of(name))
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        benchmark.main()
    said = capsys.readouterr().out
    assert ended.value.code in (0, None)
    assert len(said) > 80, "what it measures, and how it is run"


def test_asked_for_help_the_whole_names_each_benchmark_and_runs_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--help"])
    main()
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(names()) + 1
    assert any(line.split()[:2] == ["refit_cost", "What"] for line in said)
