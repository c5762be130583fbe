"""TensorBoard's event files, as torch's SummaryWriter wrote them; see tests/data/README.md."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from app.errors import UnreadableFile
from app.importers.curve_file import points_by_metric
from app.importers.event_files import event_files_in
from app.importers.run_files import find_run_files, read_file

RESUMED = Path(__file__).parents[1] / "data" / "tensorboard" / "resumed"


def logged(path: Path, metric: str) -> dict[int, float]:
    points = points_by_metric(list(read_file(path).batches))[metric]
    return dict(zip(points.steps.tolist(), points.values.tolist(), strict=True))


def test_scalars_of_one_file_are_read_with_their_times_and_nan() -> None:
    first = event_files_in(RESUMED)[0]
    loss = points_by_metric(list(read_file(first).batches))["train/loss"]
    assert loss.steps.tolist() == list(range(1, 42))
    expected = np.float32(3 / np.arange(1, 41) ** 0.5)
    np.testing.assert_array_equal(loss.values[:-1], expected.astype(np.float64))
    assert np.isnan(loss.values[-1])
    np.testing.assert_array_equal(loss.times, 1.7e9 + loss.steps)


def test_scalars_that_are_written_as_tensors_are_read_as_well() -> None:
    first = event_files_in(RESUMED)[0]
    rate = logged(first, "lr")
    assert rate == {step: float(np.float32(1e-3 * (1 - step / 40))) for step in range(1, 41)}
    assert logged(first, "eval/loss") == {20: 1 / 3}  # a tensor of doubles


def test_histograms_and_texts_are_no_metrics_and_the_trainers_arguments_are_its_config() -> None:
    run = read_file(RESUMED)
    metrics = {metric for batch in run.batches for metric in batch.metrics}
    assert metrics == {"train/loss", "lr", "eval/loss"}
    assert run.config == {"max_steps": 400, "lr_scheduler_type": "linear"}
    assert run.name == "resumed"
    assert run.warnings == []


def test_a_restart_with_a_purge_step_takes_back_what_came_after_and_one_without_replaces_from_its_first_step() -> None:
    loss = logged(RESUMED, "train/loss")
    assert list(loss) == list(range(1, 35))  # 36 to 41 were purged, 35 lies after the first step of the third file
    assert [loss[step] for step in (30, 31, 32, 33, 34)] == [np.float32(3 / 30**0.5), 131, 132, 233, 234]
    assert max(logged(RESUMED, "lr")) == 30


def test_a_file_that_is_cut_off_anywhere_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    second = event_files_in(RESUMED)[1]
    whole = second.read_bytes()
    seen = set()
    for length in range(1, len(whole), 5):
        path = tmp_path / second.name
        path.write_bytes(whole[:length])
        run = read_file(path)
        points = points_by_metric(list(run.batches))
        seen.add(len(points["train/loss"]) if points else 0)
        assert run.warnings in ([], [f"The last record of {path.name} is cut off in the middle and was left out."])
    assert seen == {0, 1, 2, 3, 4}


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1.host"
    path.write_bytes(b"step,loss\n1,2.5\n2,2.25\n")
    with pytest.raises(UnreadableFile, match="no event file, or damaged at byte 0"):
        read_file(path)


def test_each_folder_of_event_files_is_a_run(tmp_path: Path) -> None:
    for name in ("a", "b/version_0"):
        shutil.copytree(RESUMED, tmp_path / name)
    assert find_run_files(tmp_path) == [tmp_path / "a", tmp_path / "b" / "version_0"]
