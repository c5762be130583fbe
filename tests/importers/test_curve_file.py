"""A file as one curve to forecast."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.errors import BadInput, UnknownMetric, UnreadableFile
from app.importers.curve_file import read_curve_file

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "run.csv"
        path.write_text(text)
        return path

    return write


def test_the_loss_is_found_and_rows_with_only_a_rate_are_the_plan(write: Write) -> None:
    curve = read_curve_file(write("step,lr,train_loss,val_loss\n1,0.1,3,\n2,0.2,2.5,2.6\n3,0.2,,\n10,0.0,,\n"))
    assert curve.metric == "train_loss"
    assert curve.metrics == ("lr", "train_loss", "val_loss")
    assert curve.points.steps.tolist() == [1, 2]
    assert curve.rate is not None
    assert curve.rate.steps.tolist() == [1, 2]
    assert curve.planned is not None
    assert curve.planned.steps.tolist() == [3, 10]
    assert curve.planned.rates.tolist() == [0.2, 0.0]


def test_a_rate_logged_beside_the_train_loss_is_not_the_plan_of_the_validation_loss(write: Write) -> None:
    curve = read_curve_file(write("step,lr,train_loss,val_loss\n1,0.1,3,2.8\n2,0.2,2.5,\n"), metric="val_loss")
    assert curve.points.steps.tolist() == [1]
    assert curve.planned is None
    assert curve.rate is not None
    assert curve.rate.steps.tolist() == [1, 2]


def test_a_file_without_a_rate_has_neither(write: Write) -> None:
    curve = read_curve_file(write("step,loss\n1,3\n2,2\n"))
    assert curve.rate is None
    assert curve.planned is None


def test_steps_are_put_in_order_and_the_later_row_wins(write: Write) -> None:
    curve = read_curve_file(write("step,loss\n1,3\n3,2\n2,2.5\n3,1.5\n"))
    assert curve.points.steps.tolist() == [1, 2, 3]
    assert curve.points.values.tolist() == [3.0, 2.5, 1.5]


def test_a_planned_rate_that_is_not_a_rate_is_passed_over(write: Write) -> None:
    curve = read_curve_file(write("step,lr,loss\n1,0.1,3\n2,nan,\n3,-1,\n4,0.05,\n"))
    assert curve.planned is not None
    assert curve.planned.steps.tolist() == [4]


def test_an_unknown_metric_lists_the_known_ones(write: Write) -> None:
    with pytest.raises(UnknownMetric, match="Known: loss"):
        read_curve_file(write("step,loss\n1,3\n"), metric="accuracy")


def test_no_loss_asks_for_a_name(write: Write) -> None:
    with pytest.raises(BadInput, match="Name one with --metric; there are: gpu_temp"):
        read_curve_file(write("step,gpu_temp\n1,3\n"))


def test_a_file_of_blanks_holds_no_run(write: Write) -> None:
    with pytest.raises(UnreadableFile, match="no row holds a number"):
        read_curve_file(write("step,loss\n1,\n"))


def test_what_tells_the_length_is_kept_by_its_role_the_longest_of_several(write: Write) -> None:
    curve = read_curve_file(write("step,loss,epoch,train/epoch,max_steps\n1,3,,0.1,50\n2,2,0.2,0.2,50\n"))
    assert set(curve.lengths) == {"epoch", "total_steps"}
    assert curve.lengths["epoch"].values.tolist() == [0.1, 0.2]
    assert curve.lengths["total_steps"].values.tolist() == [50, 50]
    assert read_curve_file(write("step,loss\n1,3\n2,2\n")).lengths == {}


def test_steps_that_rows_repeat_are_counted_once_and_said(write: Write) -> None:
    read = read_curve_file(write("step,loss,lr\n" + "".join(f"{step // 2},{step},1e-3\n" for step in range(2, 22))))
    assert read.points.values.tolist() == list(range(3, 22, 2))
    assert read.warnings == ("10 rows repeat a step of loss; the last value at each step counts.",)


def test_a_file_of_which_nothing_is_left_says_what_was_left_out(write: Write) -> None:
    with pytest.raises(UnreadableFile, match=r"no row holds a number. Column 'loss' left out.*write 1234567"):
        read_curve_file(write("step;loss\n1;1.234.567\n2;1.234.566\n"))


@pytest.mark.parametrize("stray", [2**53, 2**62, 1_700_000_000])
def test_a_step_that_cannot_be_is_left_out_with_its_rate_and_said(write: Write, stray: int) -> None:
    rows = "".join(f"{step},{2 + 1 / step},1e-3\n" for step in range(1, 61))
    read = read_curve_file(write(f"step,loss,lr\n{rows}{stray},2.0,1e-3\n"))
    assert read.points.steps.tolist() == list(range(1, 61))
    assert read.rate is not None
    assert read.rate.steps[-1] == 60
    assert read.planned is None
    assert read.warnings == (f"loss at step {stray:,} lies below zero or far beyond all others and was left out.",)


def test_a_run_whose_steps_are_all_far_from_zero_is_read_whole(write: Write) -> None:
    rows = "".join(f"{2**53 + step},{2 + 1 / step}\n" for step in range(1, 61))
    read = read_curve_file(write(f"step,loss\n{rows}"))
    assert read.points.steps.tolist() == list(range(2**53 + 1, 2**53 + 61))
    assert read.warnings == ()


def test_a_rate_that_is_planned_far_ahead_is_no_stray(write: Write) -> None:
    rows = "".join(f"{step},{2 + 1 / step},1e-3\n" for step in range(1, 61))
    read = read_curve_file(write(f"step,loss,lr\n{rows}1000000,,0\n"))
    assert read.planned is not None
    assert read.planned.steps[-1] == 1_000_000
