"""Databases of MLflow and Trackio and wandb's own file, as these tools wrote them; see tests/data/README.md."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from app.errors import UnreadableFile
from app.importers.curve_file import points_by_metric
from app.importers.run_files import find_run_files, read_file, read_runs
from app.runs import Points

WRITTEN = Path(__file__).parents[1] / "data" / "logger_files"


def database(folder: Path, name: str) -> Path:
    path = folder / f"{name}.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((WRITTEN / f"{name}.sql").read_text())
        connection.commit()
    return path


def wandb_file(folder: Path) -> Path:
    path = folder / "run-v1hk6z8m.wandb"
    path.write_bytes(gzip.decompress((WRITTEN / f"{path.name}.gz").read_bytes()))
    return path


def assert_is(points: Points, steps: list[int], values: list[float]) -> None:
    assert points.steps.tolist() == steps
    np.testing.assert_array_equal(points.values, values)


def test_mlflows_database_is_a_run_for_each_of_its_runs(tmp_path: Path) -> None:
    runs = read_runs(database(tmp_path, "mlflow"))
    assert [run.name for run in runs] == ["one", "two"]
    assert len({run.part for run in runs}) == 2
    for run in runs:
        points = points_by_metric(list(run.batches))
        assert_is(points["loss"], list(range(7)), [3 - s / 10 for s in range(5)] + [np.nan, np.inf])
        assert_is(points["lr"], list(range(5)), [1e-3] * 5)
        assert np.all(points["loss"].times > 1.79e9)
        assert run.config == {"lr": 1e-3, "max_steps": 400}


def test_runs_of_mlflow_that_are_deleted_or_empty_are_left_out(tmp_path: Path) -> None:
    path = database(tmp_path, "mlflow")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE runs SET lifecycle_stage = 'deleted' WHERE name = 'one'")
        connection.execute("INSERT INTO runs (run_uuid, name, lifecycle_stage) VALUES ('e', 'empty', 'active')")
        connection.commit()
    (run,) = read_runs(path)
    assert run.name == "two"
    assert run.warnings == ["1 other run of mlflow.db logged nothing."]


def test_trackios_database_is_a_run_for_each_of_its_runs(tmp_path: Path) -> None:
    runs = read_runs(database(tmp_path, "trackio"))
    assert [run.name for run in runs] == ["one", "two"]
    for run in runs:
        points = points_by_metric(list(run.batches))
        assert set(points) == {"train/loss", "lr"}
        assert_is(points["train/loss"], list(range(6)), [3 - s / 10 for s in range(5)] + [np.nan])
        assert np.all(points["lr"].times > 1.79e9)
        assert run.config == {"max_steps": 400}


def test_a_database_of_something_else_is_refused_and_not_found_in_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE metrics (x)")
        connection.commit()
    with pytest.raises(UnreadableFile, match="of no logger that is known"):
        read_runs(path)
    known = database(tmp_path, "trackio")
    assert find_run_files(tmp_path) == [known]


def test_wandbs_file_is_the_run_with_its_name_and_config(tmp_path: Path) -> None:
    run = read_file(wandb_file(tmp_path))
    assert run.name == "brisk-pond-1"
    assert run.config == {"max_steps": 400, "model": {"layers": 2}}
    points = points_by_metric(list(run.batches))
    assert set(points) == {"train/loss", "lr", "nested/b"}  # no histogram, no clock of wandb's
    assert_is(points["train/loss"], list(range(31)), [3 / i**0.5 for i in range(1, 31)] + [np.nan])
    assert_is(points["nested/b"], [30], [2.5])
    assert np.all(points["lr"].times > 1.79e9)


def test_wandbs_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = wandb_file(tmp_path)
    whole = path.read_bytes()
    seen = []
    for length in range(3_000, len(whole), 4_001):
        path.write_bytes(whole[:length])
        run = read_file(path)
        seen.append(len(points_by_metric(list(run.batches))["train/loss"]))
        assert run.warnings[:1] in ([], ["The last record is cut off in the middle and was left out."])
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1] <= 31


def test_a_damaged_file_of_wandbs_is_refused(tmp_path: Path) -> None:
    path = wandb_file(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[2_000] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(UnreadableFile, match="damaged at byte"):
        read_file(path)
