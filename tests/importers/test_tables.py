"""CSV as wandb, MLflow and TensorBoard export it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.errors import UnreadableFile
from app.importers.curve_file import points_by_metric
from app.importers.imported_run import ImportedRun
from app.importers.run_files import read_file, read_runs

# As wandb writes a chart of two runs, one logged every other step of the other's.
WANDB = (
    '"Step","brisk-pond-1 - train/loss","brisk-pond-1 - train/loss__MIN","brisk-pond-1 - train/loss__MAX",'
    '"a - b - train/loss","a - b - train/loss__MIN","a - b - train/loss__MAX"\n'
    '"1","3","3","3","","",""\n"2","2.5","2.25","2.75","4","4","4"\n"3","","","","3.5","3","4"\n'
)
# As MLflow's page of metrics writes them.
MLFLOW = (
    "run_id,key,value,step,timestamp\n"
    "b1,loss,2.5,1,1795355780678\nb1,loss,NaN,2,1795355781678\nb1,lr,0.1,1,1795355780678\n"
    "c2,loss,3.5,1,1795355790678\n"
)


def write(folder: Path, text: str, name: str = "export.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def logged(run: ImportedRun) -> dict[str, dict[int, float]]:
    points = points_by_metric(list(run.batches))
    return {name: dict(zip(of.steps.tolist(), of.values.tolist(), strict=True)) for name, of in points.items()}


def test_a_chart_of_wandb_is_as_many_runs_as_it_has_without_its_extremes(tmp_path: Path) -> None:
    first, second = read_runs(write(tmp_path, WANDB))
    assert (first.name, second.name) == ("brisk-pond-1", "a - b")
    assert logged(first) == {"train/loss": {1: 3.0, 2: 2.5}}
    assert logged(second) == {"train/loss": {2: 4.0, 3: 3.5}}
    assert first.warnings == second.warnings == []


def test_rows_of_other_runs_of_the_chart_are_no_rows_of_a_run(tmp_path: Path) -> None:
    first, _ = read_runs(write(tmp_path, WANDB))
    assert [batch.steps.tolist() for batch in first.batches] == [[1, 2]]


def test_a_chart_against_epochs_takes_its_steps_from_the_runs(tmp_path: Path) -> None:
    text = '"epoch","r - _step","r - _step__MIN","r - _step__MAX","r - loss","r - loss__MIN","r - loss__MAX"\n'
    (run,) = read_runs(write(tmp_path, text + "0.5,10,10,10,3,3,3\n1,20,20,20,2,2,2\n"))
    assert logged(run) == {"loss": {10: 3.0, 20: 2.0}}


def test_a_chart_against_time_is_refused_with_what_to_export(tmp_path: Path) -> None:
    text = '"Relative Time (Process)","r - loss","r - loss__MIN","r - loss__MAX"\n0.5,3,3,3\n'
    with pytest.raises(UnreadableFile, match="Export the chart with Step as its x axis"):
        read_runs(write(tmp_path, text))


def test_a_column_that_happens_to_have_a_dash_is_a_metric_of_one_run(tmp_path: Path) -> None:
    run = read_file(write(tmp_path, "step,loss - smoothed,loss\n1,3,3.5\n"))
    assert logged(run) == {"loss - smoothed": {1: 3.0}, "loss": {1: 3.5}}


def test_mlflows_rows_of_points_are_runs_of_metrics(tmp_path: Path) -> None:
    first, second = read_runs(write(tmp_path, MLFLOW))
    assert (first.name, second.name) == ("b1", "c2")
    points = points_by_metric(list(first.batches))
    assert points["loss"].values.tolist()[0] == 2.5
    assert np.isnan(points["loss"].values[1])
    np.testing.assert_allclose(points["loss"].times, [1795355780.678, 1795355781.678])
    assert points["lr"].steps.tolist() == [1]
    assert logged(second) == {"loss": {1: 3.5}}


def test_rows_of_points_may_come_in_any_order_and_the_later_of_two_counts(tmp_path: Path) -> None:
    run = read_file(write(tmp_path, "key,value,step\nloss,1,3\nloss,3,1\nlr,0.1,2\nloss,9,3\n,5,4\n", "runs.csv"))
    assert run.name == "runs"
    assert logged(run) == {"loss": {1: 3.0, 3: 9.0}, "lr": {2: 0.1}}
    assert run.warnings == ["1 row without a step or the name of a metric left out."]


def test_a_file_of_several_runs_is_not_taken_for_one(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"it holds 2 runs \('b1', 'c2'\)"):
        read_file(write(tmp_path, MLFLOW))


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("run-.-tag-train_loss.csv", "train_loss"),
        ("run-version_0-tag-val_loss (1).csv", "val_loss"),
        ("scalar.csv", "Value"),
    ],
)
def test_a_scalar_of_tensorboard_is_named_by_its_file(tmp_path: Path, name: str, metric: str) -> None:
    run = read_file(write(tmp_path, "Wall time,Step,Value\n1700000001.5,1,2.5\n1700000002.5,2,2.25\n", name))
    points = points_by_metric(list(run.batches))
    assert list(points) == [metric]
    assert points[metric].steps.tolist() == [1, 2]
    assert points[metric].times.tolist() == [1700000001.5, 1700000002.5]
