"""JSONL as training loops really write it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.errors import UnreadableFile
from app.importers.imported_run import BATCH_ROWS, Said
from app.importers.run_files import read_file
from app.runs import Batch

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(*lines: str, name: str = "run.jsonl", end: str = "\n") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + end)
        return path

    return write


def points(batch: Batch, metric: str) -> dict[int, float]:
    row = batch.metrics.index(metric)
    present = batch.present[row]
    return dict(zip(batch.steps[present].tolist(), batch.values[row, present].tolist(), strict=True))


def test_a_first_line_may_say_what_the_run_is(write: Write) -> None:
    meta = {"name": "sgd", "licence": "MIT", "origin": "ours", "config": {"lr": 1.5}}
    run = read_file(write(json.dumps({"meta": meta}), '{"step": 0, "loss": 4.5}'))
    assert (run.name, run.licence, run.origin, run.config) == ("sgd", "MIT", "ours", {"lr": 1.5})
    [batch] = run.batches
    assert points(batch, "loss") == {0: 4.5}


def test_a_first_line_of_our_own_export_says_what_was_declared(write: Write) -> None:
    plan = {"total_steps": 100, "schedule": {"family": "cosine"}}
    meta = {"config": {"lr": 1.5}, "project": "gpt", "status": "failed", "plan": plan, "tags": ["a"], "roles": None}
    said = read_file(write(json.dumps({"meta": meta}), '{"step": 0, "loss": 4.5}')).said
    assert said == Said(project="gpt", status="failed", plan=plan, tags=("a",))


def test_settings_that_are_called_project_or_plan_are_settings(write: Write) -> None:
    run = read_file(write('{"meta": {"lr": 1.5, "project": "x", "plan": "B"}}', '{"step": 0, "loss": 4.5}'))
    assert (run.said, run.config["project"]) == (Said(), "x")


def test_a_flat_meta_is_the_config(write: Write) -> None:
    assert read_file(write('{"meta": {"lr": 1.5}}', '{"step": 0, "loss": 4.5}')).config == {"lr": 1.5}


@pytest.mark.parametrize("token", ["NaN", '"NaN"', '"nan"'])
def test_nan_is_data_however_it_is_spelled_and_null_is_nothing(write: Write, token: str) -> None:
    [batch] = read_file(write(f'{{"step": 1, "loss": {token}}}', '{"step": 2, "loss": null, "lr": 1}')).batches
    assert list(points(batch, "loss")) == [1]
    assert math.isnan(points(batch, "loss")[1])


@pytest.mark.parametrize("token", ["Infinity", '"Infinity"', '"inf"', "1e999"])
def test_infinity_is_data(write: Write, token: str) -> None:
    [batch] = read_file(write(f'{{"step": 1, "a": {token}}}')).batches
    assert points(batch, "a") == {1: math.inf}


def test_numbers_in_strings_are_numbers(write: Write) -> None:
    [batch] = read_file(write('{"step": "1", "loss": "2.5"}')).batches
    assert points(batch, "loss") == {1: 2.5}


@pytest.mark.parametrize(
    "name", ["step", "global_step", "iteration", "iter", "current_steps", "_step", "Step", "epoch"]
)
def test_the_step_is_found_by_name(write: Write, name: str) -> None:
    [batch] = read_file(write(json.dumps({"loss": 2.5, name: 30}))).batches
    assert points(batch, "loss") == {30: 2.5}


def test_the_trainers_count_outranks_the_loggers(write: Write) -> None:
    [batch] = read_file(write('{"_step": 3, "train/global_step": 300, "train/loss": 2.5}')).batches
    assert points(batch, "train/loss") == {300: 2.5}


def test_nested_objects_are_flattened(write: Write) -> None:
    [batch] = read_file(write('{"step": 1, "train": {"loss": 2.5, "norms": {"grad": 1}}}')).batches
    assert batch.metrics == ("train/loss", "train/norms/grad")


def test_rows_may_hold_different_metrics(write: Write) -> None:
    [batch] = read_file(write('{"step": 1, "loss": 2.5}', '{"step": 1, "val": 3}', '{"step": 2, "loss": 2}')).batches
    assert points(batch, "loss") == {1: 2.5, 2: 2.0}
    assert points(batch, "val") == {1: 3.0}


def test_what_is_not_a_number_is_left_out_by_name(write: Write) -> None:
    run = read_file(write('{"step": 1, "loss": 2.5, "phase": "warmup", "ok": true, "hist": [1, 2]}'))
    [batch] = run.batches
    assert batch.metrics == ("loss",)
    assert [warning.split("'")[1] for warning in run.warnings] == ["phase", "ok", "hist"]


def test_lines_without_a_step_are_counted(write: Write) -> None:
    run = read_file(write('{"step": 1, "loss": 2.5}', '{"event": "saved"}', '{"step": 1.5, "loss": 2}'))
    [batch] = run.batches
    assert batch.n_points == 1
    assert run.warnings == ["2 lines without a whole number in 'step' left out."]


def test_a_torn_last_line_is_left_out_with_a_warning(write: Write) -> None:
    run = read_file(write('{"step": 1, "loss": 2.5}', '{"step": 2, "lo', end=""))
    [batch] = run.batches
    assert batch.steps.tolist() == [1]
    assert run.warnings == ["Line 2 is cut off in the middle and was left out."]


def test_steps_are_exact_up_to_two_to_the_62(write: Write) -> None:
    [batch] = read_file(write(f'{{"step": {2**62 - 1}, "loss": 1}}', f'{{"step": {2**62}, "loss": NaN}}')).batches
    assert batch.steps.tolist() == [2**62 - 1, 2**62]


def test_the_form_is_seen_without_an_ending(write: Write) -> None:
    [batch] = read_file(write('{"step": 1, "loss": 2.5}', name="log")).batches
    assert batch.n_points == 1


def test_long_files_come_in_batches_without_a_seam(write: Write) -> None:
    n = BATCH_ROWS + 3
    batches = list(read_file(write(*(f'{{"step": {i}, "loss": {i / 8}}}' for i in range(n)))).batches)
    assert [len(batch.steps) for batch in batches] == [BATCH_ROWS, 3]
    assert np.array_equal(np.concatenate([batch.values[0] for batch in batches]), np.arange(n) / 8)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([""], "run.jsonl: the file has no rows"),
        (['{"meta": {"lr": 1}}'], "run.jsonl: the file has no rows"),
        (['{"step": 1, "loss": 2}', "{oops", '{"step": 2, "loss": 2}'], "run.jsonl, line 2: not JSON"),
        (["{", '  "log_history": []', "}"], "Losscast reads one JSON object a line"),
        (["[1, 2]"], "run.jsonl, line 1: a JSON list where an object was expected"),
        (['{"when": 1, "loss": 2}'], "no field counts steps (there are 'when', 'loss'). Name the one that does 'step'"),
        ([f'{{"step": 1, "a": {"[" * 100_000}'], "run.jsonl, line 1:"),
    ],
)
def test_what_cannot_be_read_is_said_with_file_and_line(write: Write, lines: list[str], says: str) -> None:
    path = write(*lines)
    with pytest.raises(UnreadableFile) as raised:
        list(read_file(path).batches)
    assert says in str(raised.value)
