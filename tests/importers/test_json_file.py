"""`trainer_state.json` and other JSON documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import UnreadableFile
from app.importers.curve_file import points_by_metric
from app.importers.run_files import find_run_files, read_file


def state(steps: int, **more: Any) -> dict[str, Any]:
    """As the Trainer writes it: a row a log, evaluations in rows of their own, a summary at the end."""
    history: list[dict[str, Any]] = [
        {"epoch": step / 10, "grad_norm": 1.5, "learning_rate": 1e-3, "loss": 3 - step / 100, "step": step}
        for step in range(1, steps + 1)
    ]
    history.append({"epoch": steps / 10, "eval_loss": 2.5, "eval_runtime": 0.1, "step": steps})
    history.append({"epoch": steps / 10, "step": steps, "train_loss": 2.9, "train_runtime": 4.2, "total_flos": 1e9})
    return {"epoch": 1.0, "global_step": steps, "log_history": history, "max_steps": 40, "num_train_epochs": 4, **more}


def test_the_log_of_a_trainer_state_is_the_run(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_text(json.dumps(state(10, eval_steps=0, best_metric=None), indent=2))
    run = read_file(path)
    points = points_by_metric(list(run.batches))
    assert points["loss"].steps.tolist() == list(range(1, 11))
    assert points["loss"].values[-1] == 2.9
    assert points["eval_loss"].steps.tolist() == [10]
    assert not {"train_loss", "train_runtime", "total_flos"} & set(points)  # of the whole run, at no step of it
    assert run.config == {"max_steps": 40, "num_train_epochs": 4}


def test_nan_in_a_trainer_state_is_data(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    path.write_text('{"log_history": [{"step": 1, "loss": NaN}, {"step": 2, "loss": Infinity}]}')
    points = points_by_metric(list(read_file(path).batches))
    assert [str(value) for value in points["loss"].values.tolist()] == ["nan", "inf"]


def test_a_list_of_rows_is_a_run_whatever_the_file_is_called(tmp_path: Path) -> None:
    rows = '[{"step": 1, "loss": 2.5},\n {"step": 2, "loss": 2.25, "note": "x"}]'
    for name in ("rows.json", "rows.csv", "rows.log", "rows"):
        path = tmp_path / name
        path.write_text(rows)
        run = read_file(path)
        assert points_by_metric(list(run.batches))["loss"].values.tolist() == [2.5, 2.25]
        assert run.warnings == ["Column 'note' left out: it holds no numbers (the first cell, on row 2, is 'x')."]


def test_jsonl_that_is_called_json_is_read_as_lines(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 2.25}\n')
    assert points_by_metric(list(read_file(path).batches))["loss"].values.tolist() == [2.5, 2.25]


@pytest.mark.parametrize("text", ['{"loss": [3, 2, 1]}', "[1, 2]", '[{"step": 1, "loss": 2}, 7]', '{\n  "a":\n', "[]"])
def test_other_json_is_refused_with_what_is_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(UnreadableFile, match=r"other\.json"):
        list(read_file(path).batches)


def test_of_the_checkpoints_of_one_training_the_newest_is_found(tmp_path: Path) -> None:
    for name in ("one/checkpoint-500", "one/checkpoint-1000", "two/checkpoint-500", "two", "three/best"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        (tmp_path / name / "trainer_state.json").write_text(json.dumps(state(3)))
        (tmp_path / name / "config.json").write_text("{}")
    assert find_run_files(tmp_path) == [
        tmp_path / "one" / "checkpoint-1000" / "trainer_state.json",
        tmp_path / "three" / "best" / "trainer_state.json",
        tmp_path / "two" / "trainer_state.json",
    ]
