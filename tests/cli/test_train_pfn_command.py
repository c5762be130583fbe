"""`losscast train-pfn`: what it takes and what it says."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.train_pfn import train_pfn
from app.errors import Conflict, Unavailable
from app.pfn.runtime import Predictor
from app.pfn.weights import CARD, read_network
from tests.pfn.torch_or_skip import torch  # noqa: F401  (skips without it)
from tests.service import free_port


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.pfn.training import examples, export, training

    monkeypatch.setattr(examples, "CHUNK", 128)
    monkeypatch.setattr(training, "N_FOR_KNOTS", 256)
    for module in (training, export):
        monkeypatch.setattr(module, "N_VALIDATION", 300)


def test_a_small_network_is_trained_and_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, shipped = tmp_path / "run", tmp_path / "shipped"
    train_pfn(run, curves=256, width=16, layers=1, export=shipped)
    assert "log score" in capsys.readouterr().err
    card = json.loads((shipped / CARD).read_text())
    assert card["trained"]["curves"] == 256
    assert Predictor(*read_network(shipped)).network.size.width == 16


def test_a_training_is_not_written_over(tmp_path: Path) -> None:
    train_pfn(tmp_path, curves=128, width=16, layers=1)
    with pytest.raises(Conflict, match="--resume"):
        train_pfn(tmp_path, curves=128, width=16, layers=1)
    train_pfn(tmp_path, curves=256, resume=True)
    assert json.loads((tmp_path / "record.jsonl").read_text().splitlines()[-1])["curves"] == 256


def test_a_server_that_does_not_answer_does_not_stop_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_pfn(tmp_path, curves=256, width=16, layers=1, losscast=f"http://127.0.0.1:{free_port()}")
    said = capsys.readouterr().err
    assert said.count("training goes on") == 1
    assert "Done" in said


def test_a_length_or_an_export_must_be_named(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app", "train-pfn", "--output", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "--minutes" in done.stderr


def test_without_torch_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match=r"losscast\[train\]"):
        train_pfn(tmp_path, curves=10)
