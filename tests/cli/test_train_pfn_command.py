"""`losscast train-pfn`: what it takes and what it says."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.train_pfn import Curves, train_pfn
from app.errors import BadInput, Conflict, Unavailable
from app.pfn.prior import Prior
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
    assert card["command"] == (
        "losscast train-pfn --output DIR --prior whole --width 16 --layers 1 --batch 64 --peak-rate 0.002 --seed 0 "
        "--curves 256"
    )
    assert Predictor(*read_network(shipped)).network.size.width == 16


def test_a_network_is_begun_from_another_on_the_tractable_prior(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    train_pfn(tmp_path / "one", curves=128, width=16, layers=1, export=first)
    train_pfn(tmp_path / "two", curves=128, prior=Curves.TRACTABLE, begin_from=first, export=second)
    cards = [json.loads((folder / CARD).read_text()) for folder in (first, second)]
    assert [card["trained"]["prior"] for card in cards] == ["whole", "tractable"]
    assert [card["trained"]["begun_from"] for card in cards] == [None, cards[0]["sha256"]]
    assert cards[1]["size"] == cards[0]["size"]


def test_a_network_begun_from_another_keeps_its_size(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="leave them out"):
        train_pfn(tmp_path / "run", curves=128, begin_from=Path("app/pfn/weights"), width=32)


def test_what_can_be_trained_on_is_what_the_priors_are() -> None:
    assert [curves.value for curves in Curves] == [prior.value for prior in Prior]


def test_a_training_is_not_written_over(tmp_path: Path) -> None:
    train_pfn(tmp_path, curves=128, width=16, layers=1)
    with pytest.raises(Conflict, match="--resume"):
        train_pfn(tmp_path, curves=128, width=16, layers=1)
    train_pfn(tmp_path, curves=256, resume=True)
    assert json.loads((tmp_path / "record.jsonl").read_text().splitlines()[-1])["curves"] == 256


def test_a_training_that_goes_on_takes_no_other_recipe(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="leave out --from, --seed, --width, --peak-rate"):
        train_pfn(tmp_path, curves=256, resume=True, seed=9, width=32, peak_rate=1e-3, begin_from=tmp_path)


@pytest.mark.parametrize("option", ["--output", "--export"])
def test_a_file_where_a_folder_should_be_is_refused_before_the_training(tmp_path: Path, option: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    places = {"--output": tmp_path / "run", "--export": tmp_path / "shipped", option: tmp_path / "file"}
    command = [sys.executable, "-m", "app", "train-pfn", "--curves", "64", "--width", "16", "--layers", "1"]
    command += [str(word) for place in places.items() for word in place]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 2
    assert "cannot be a folder to write to" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("run/*"))


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
