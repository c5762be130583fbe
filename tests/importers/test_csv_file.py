"""CSV as people and tools really write it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.errors import UnreadableFile
from app.importers.imported_run import BATCH_ROWS
from app.importers.run_files import read_file
from app.runs import Batch

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str | bytes, name: str = "run.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def only_batch(path: Path) -> Batch:
    [batch] = read_file(path).batches
    return batch


def column(batch: Batch, metric: str) -> list[float | None]:
    row = batch.metrics.index(metric)
    return [value if here else None for value, here in zip(batch.values[row].tolist(), batch.present[row], strict=True)]


def test_a_blank_cell_is_no_value_and_nan_is_one(write: Write) -> None:
    batch = only_batch(write("step,loss,val\n1,2.5,\n2,nan,3.5\n3,inf,\n4,-inf,\n"))
    assert batch.steps.tolist() == [1, 2, 3, 4]
    assert batch.present.tolist() == [[True, True, True, True], [False, True, False, False]]
    loss = batch.values[batch.metrics.index("loss")]
    assert np.isnan(loss[1])
    assert loss[2] == np.inf
    assert loss[3] == -np.inf
    assert batch.n_points == 5


@pytest.mark.parametrize(
    "text",
    [
        "step,loss\n1,2.5\n2,2.25\n",
        "\ufeffstep,loss\n1,2.5\n2,2.25\n",
        "step,loss\r\n1,2.5\r\n2,2.25\r\n",
        '"step","loss"\n"1","2.5"\n"2","2.25"\n',
        " step , loss \n 1 , 2.5 \n 2 , 2.25 \n",
        "step;loss\n1;2.5\n2;2.25\n",
        "step\tloss\n1\t2.5\n2\t2.25\n",
        "# licence: MIT\n\n# origin: here\nstep,loss\n1,2.5\n\n2,2.25",
        "step,loss\n1,2.5\nstep,loss\n2,2.25\n",
        "loss,Step\n2.5,1\n2.25,2\n",
        ",loss\n1,2.5\n2,2.25\n",
        "step,loss\n1.0,2.5\n2e0,2.25\n",
        "step,loss,note\n1,2.5\n2,2.25,\n",
    ],
)
def test_one_table_in_many_dialects(write: Write, text: str) -> None:
    batch = only_batch(write(text))
    assert batch.steps.tolist() == [1, 2]
    assert column(batch, "loss") == [2.5, 2.25]


def test_a_spreadsheets_decimal_commas_are_read_and_said(write: Write) -> None:
    run = read_file(write("step;loss;lr;note\n1;2,5;3e-4;a,b\n2;-2,25;1,5e-4;\n3;;,5;\n"))
    [batch] = run.batches
    assert column(batch, "loss") == [2.5, -2.25, None]
    assert column(batch, "lr") == [3e-4, 1.5e-4, 0.5]
    assert "Commas in the numbers of 'loss', 'lr' were read as decimal points." in run.warnings
    assert any("'note' left out" in warning for warning in run.warnings)


def test_points_between_semicolons_need_no_word(write: Write) -> None:
    run = read_file(write("step;loss\n1;2.5\n"))
    assert column(next(iter(run.batches)), "loss") == [2.5]
    assert run.warnings == []


def test_utf16_and_gzip_are_read(write: Write) -> None:
    text = "step,loss\n7,2.5\n"
    assert only_batch(write(text.encode("utf-16"))).steps.tolist() == [7]
    assert only_batch(write(gzip.compress(text.encode()), "run.csv.gz")).steps.tolist() == [7]


def test_a_name_may_hold_the_delimiter(write: Write) -> None:
    assert only_batch(write('step,"loss, smoothed"\n1,2.5\n')).metrics == ("loss, smoothed",)


def test_steps_are_exact_up_to_two_to_the_62(write: Write) -> None:
    big = 2**62
    assert only_batch(write(f"step,loss\n{big - 1},1\n{big},2\n")).steps.tolist() == [big - 1, big]


def test_a_file_says_its_licence_in_comment_lines(write: Write) -> None:
    run = read_file(write("# licence: MIT\n# origin: https://example.org/x\n# name: wsd\n# seed: 3\nstep,loss\n1,2\n"))
    assert (run.licence, run.origin, run.name) == ("MIT", "https://example.org/x", "wsd")
    assert run.config == {"seed": "3"}


def test_the_name_is_the_files_where_it_says_nothing(write: Write) -> None:
    assert read_file(write("step,loss\n1,2\n", "lr3e-4.v2.csv")).name == "lr3e-4.v2"


def test_a_wall_clock_becomes_times_and_seconds_since_the_start_stay_a_metric(write: Write) -> None:
    clock = only_batch(write("step,time,loss\n1,1700000000.5,2\n2,1700000001.5,1\n"))
    assert clock.metrics == ("loss",)
    assert clock.times.tolist() == [1700000000.5, 1700000001.5]
    milliseconds = only_batch(write("step,timestamp,loss\n1,1700000000500,2\n"))
    assert milliseconds.times.tolist() == [1700000000.5]
    elapsed = only_batch(write("step,time,loss\n1,0.5,2\n2,1.5,1\n"))
    assert elapsed.metrics == ("time", "loss")


def test_columns_that_are_not_numbers_are_left_out_by_name(write: Write) -> None:
    run = read_file(write("step,loss,host\n1,2.5,node-1\n2,oops,node-1\n"))
    [batch] = run.batches
    assert batch.metrics == ("loss",)
    assert column(batch, "loss") == [2.5, None]
    said = "\n".join(run.warnings)
    assert "Column 'host' left out: it holds no numbers (the first cell, on line 2, is 'node-1')." in said
    assert "1 cell of 'loss' left out, not a number (the first, on line 3, is 'oops')." in said


@pytest.mark.parametrize(
    ("cell", "plain"), [("1.234.567", "1234567"), ("1.234,5", "1234.5"), ("12'000.5", "12000.5"), ("-1 234", "-1234")]
)
def test_a_column_whose_thousands_are_set_apart_says_how_to_write_it(write: Write, cell: str, plain: str) -> None:
    run = read_file(write(f"step;loss;lr\n1;{cell};0,5\n"))
    assert [batch.metrics for batch in run.batches] == [("lr",)]
    assert f"is {cell!r}, whose thousands are set apart: write {plain})." in run.warnings[0]


def test_a_step_that_may_be_a_thousand_is_told_as_it_was_read(write: Write) -> None:
    run = read_file(write("step;loss\n1.000;2,5\n2.000;2,4\n"))
    assert [batch.steps.tolist() for batch in run.batches] == [[1, 2]]
    assert "The step '1.000' can mean 1000 or 1; it was read as 1." in run.warnings


def test_words_for_nothing_are_blanks(write: Write) -> None:
    run = read_file(write("step,loss\n1,2.5\n2,None\n3,N/A\n4,null\n"))
    [batch] = run.batches
    assert column(batch, "loss") == [2.5, None, None, None]
    assert run.warnings == []


def test_a_torn_last_line_is_left_out_with_a_warning(write: Write) -> None:
    run = read_file(write("step,lr,loss\n1,0.1,2.5\n2,0."))
    [batch] = run.batches
    assert batch.steps.tolist() == [1]
    assert run.warnings == ["Line 3 is cut off in the middle and was left out."]


def test_a_torn_line_may_be_the_only_one(write: Write) -> None:
    run = read_file(write("step,lr,loss\n1,0."))
    assert list(run.batches) == []
    assert run.warnings == ["Line 2 is cut off in the middle and was left out."]


def test_a_row_without_a_step_is_left_out_with_a_warning(write: Write) -> None:
    run = read_file(write("step,loss\n1,2.5\n,2.25\n3,2.0\n"))
    [batch] = run.batches
    assert batch.steps.tolist() == [1, 3]
    assert run.warnings == ["1 row without a step left out."]


def test_long_files_come_in_batches_without_a_seam(write: Write) -> None:
    n = 2 * BATCH_ROWS + 17
    path = write("step,loss\n" + "".join(f"{i},{i / 8}\n" for i in range(n)))
    batches = list(read_file(path).batches)
    assert [len(batch.steps) for batch in batches] == [BATCH_ROWS, BATCH_ROWS, 17]
    assert np.array_equal(np.concatenate([batch.steps for batch in batches]), np.arange(n))
    assert np.array_equal(np.concatenate([batch.values[0] for batch in batches]), np.arange(n) / 8)


@pytest.mark.parametrize(
    "name", ["", "Steps", "train_iterations", "globalStep", "Unnamed: 0", "batch", "tokens", "epochs"]
)
def test_a_first_column_counts_steps_where_it_has_no_name_or_one_that_counts(write: Write, name: str) -> None:
    assert only_batch(write(f"{name},loss\n500,2\n600,3\n")).steps.tolist() == [500, 600]


@pytest.mark.parametrize("name", ["a", "id", "batch_size", "steps_per_second", "steps_behind", "timestep_error", "lr"])
def test_a_first_column_of_another_name_is_not_taken_for_steps(write: Write, name: str) -> None:
    with pytest.raises(UnreadableFile, match="no column counts steps"):
        read_file(write(f"{name},loss\n500,2\n600,3\n"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "run.csv: the file is empty"),
        ("step\n1\n", "run.csv, line 1: the header has one column"),
        ("step,loss,loss\n1,2,3\n", "run.csv, line 1: two columns are named 'loss'"),
        ("step,loss\n1,2\ntwo,3\n", "run.csv, line 3: 'two' in column 'step' is not a step"),
        ("step,loss\n1.5,2\n", "run.csv, line 2: '1.5' in column 'step' is not a step"),
        (f"step,loss\n{2**62 + 1},2\n", "is not a step"),
        ("step,loss\n1,2\n2,3,4\n", "run.csv, line 3: 3 cells where the header names 2 columns"),
        ("steps,loss\nmonday,2\n", "Name the column that counts steps 'step'"),
        ("a,b\n500,2\n600,3\n", "line 1: no column counts steps (there are 'a', 'b'). Name the one that does 'step'"),
        ("step;loss\n1.234.567;2,5\n", "'1.234.567' in column 'step' is not a step"),
        ("step;loss\n1.234.567;2,5\n", "If its thousands are set apart, write 1234567"),
        ('step,loss\n"1,100",2\n', "If its thousands are set apart, write 1100"),
        ("loss,lr\n2,1e-3\n", "line 1: no column counts steps (there are 'loss', 'lr'). Name the one that does 'step'"),
        (b"step,loss\n1,\xff\xfe\x80\n", "not UTF-8 text"),
        (b"\x89PNG\0\r\n\x1a\n\0\0\0", "Export the run as CSV"),
        ('step,loss\n1,"2\n' + "9" * 200_000, "Look for an unclosed quote there"),
    ],
)
def test_what_cannot_be_read_is_said_with_file_and_line(write: Write, text: str | bytes, says: str) -> None:
    path = write(text)
    with pytest.raises(UnreadableFile) as raised:
        list(read_file(path).batches)
    assert says in str(raised.value)


def test_a_line_number_counts_the_lines_of_earlier_batches(write: Write) -> None:
    path = write("# a comment\nstep,loss\n" + "".join(f"{i},1\n" for i in range(BATCH_ROWS + 5)) + "x,1\n")
    with pytest.raises(UnreadableFile, match=f"line {BATCH_ROWS + 8}:"):
        list(read_file(path).batches)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"gone\.csv: no such file"):
        read_file(tmp_path / "gone.csv")
    with pytest.raises(UnreadableFile, match="this is a folder"):
        read_file(tmp_path)


def test_a_gzipped_file_is_read_whatever_it_is_called(write: Write) -> None:
    packed = gzip.compress(b"step,loss\n1,2.5\n")
    for name, content in {"run.csv": packed, "run.csv.gz": packed, "unpacked.csv.gz": b"step,loss\n1,2.5\n"}.items():
        assert column(only_batch(write(content, name)), "loss") == [2.5]


@pytest.mark.parametrize("text", ["1,2.5\n2,2.25\n", "1;2,5\n2;2,25\n", "0,1.4999999999999999e-05\n1,nan\n"])
def test_a_file_without_a_header_is_refused_with_where_to_put_one(write: Write, text: str) -> None:
    with pytest.raises(UnreadableFile, match=r"run\.csv, line 1: there are numbers where the names"):
        read_file(write(text))
