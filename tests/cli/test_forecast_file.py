"""`losscast forecast FILE`, run as people run it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

DEMO_DATA = Path(__file__).parents[2] / "app" / "demo" / "data"


def losscast(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


def cut_run(source: Path, target: Path, share: float, *, with_plan: bool) -> float:
    """A real run as it was after a share of its rows; returns what its train loss came to in the end."""
    head, *lines = [line for line in source.read_text().splitlines() if not line.startswith("#")]
    names = head.split(",")
    cut = int(share * len(lines))
    planned = []
    for line in lines[cut:] if with_plan else []:
        cells = dict(zip(names, line.split(","), strict=True))
        planned.append(",".join(cells[name] if name in ("step", "lr") else "" for name in names))
    target.write_text("\n".join([head, *lines[:cut], *planned]) + "\n")
    at = names.index("train_loss")
    final = [float(line.split(",")[at]) for line in lines[-len(lines) // 50 :] if line.split(",")[at]]
    return sum(final) / len(final)


def test_rows_with_only_a_rate_are_the_planned_schedule(tmp_path: Path) -> None:
    actual = cut_run(DEMO_DATA / "lm_cosine.csv", tmp_path / "run.csv", 0.6, with_plan=True)
    answer = losscast("forecast", tmp_path / "run.csv", "--json")
    assert answer.returncode == 0, answer.stderr
    said = json.loads(answer.stdout)
    assert said["metric"] == "train_loss"
    assert said["horizon"] == 50_000
    assert said["schedule"]["source"] == "declared"
    assert set(said["final"]) == {"mean", "p05", "p25", "p50", "p75", "p95"}
    assert said["path"][0]["step"] > said["cutoff"]
    assert said["path"][-1]["step"] == said["horizon"]
    assert set(said["path"][0]) == {"step", "p05", "p50", "p95"}
    assert sum(share["weight"] for share in said["forecasters"].values()) == pytest.approx(1)
    # A twentieth of the loss: far above the law's error on such runs (well under 1 %), far below a wrong schedule's.
    assert said["final"]["mean"] == pytest.approx(actual, rel=0.05)


def test_a_file_of_negative_steps_alone_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_text("step,loss\n" + "".join(f"{step},{3 - step / 100}\n" for step in range(-60, -1)))
    answer = losscast("forecast", tmp_path / "run.csv")
    assert answer.returncode == 2
    assert "counted from 0 or 1" in answer.stderr


def with_losses(path: Path, broken: range) -> Path:
    """A run of 400 steps whose training loss is NaN at some, and whose validation loss never is."""
    rows = ((step, "nan" if step in broken else 2 + 30 / step, 2.1 + 30 / step) for step in range(10, 400))
    path.write_text("step,train_loss,val_loss\n" + "".join(f"{step},{loss},{val}\n" for step, loss, val in rows))
    return path


@pytest.mark.parametrize("arguments", [(), ("--json",), ("--total-steps", "1000")])
def test_a_loss_that_is_nan_at_its_end_is_refused_as_the_server_refuses_it(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    answer = losscast("forecast", with_losses(tmp_path / "run.csv", range(300, 400)), *arguments)
    assert (answer.returncode, answer.stdout) == (2, "")
    said = " ".join(answer.stderr.split())
    assert "train_loss is not finite at its last step; a forecast of it would mean nothing." in said


def test_another_metric_of_a_file_whose_loss_is_nan_is_forecast_if_it_is_named(tmp_path: Path) -> None:
    file = with_losses(tmp_path / "run.csv", range(300, 400))
    answer = losscast("forecast", file, "--json", "--metric", "val_loss")
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["metric"] == "val_loss"


def test_a_loss_that_recovered_from_nan_is_forecast_and_the_gap_told_once(tmp_path: Path) -> None:
    answer = losscast("forecast", with_losses(tmp_path / "run.csv", range(300, 320)), "--json")
    assert answer.returncode == 0, answer.stderr
    told = [note for note in json.loads(answer.stdout)["notes"] if "NaN" in note]
    assert told == ["20 points were NaN or infinite and are left out."]


def test_the_total_may_be_said_and_the_metric_chosen(tmp_path: Path) -> None:
    cut_run(DEMO_DATA / "lm_cosine.csv", tmp_path / "run.csv", 0.5, with_plan=False)
    answer = losscast("forecast", tmp_path / "run.csv", "--json", "--total-steps", "40000", "--metric", "val_loss")
    said = json.loads(answer.stdout)
    assert (said["metric"], said["horizon"], said["total_steps"]["source"]) == ("val_loss", 40_000, "declared")


def test_what_is_not_known_is_said(tmp_path: Path) -> None:
    lines = ["step,loss"] + [f"{step},{2 + 30 / step}" for step in range(10, 400)]
    (tmp_path / "run.csv").write_text("\n".join(lines))
    said = json.loads(losscast("forecast", tmp_path / "run.csv", "--json").stdout)
    assert said["total_steps"]["source"] == "assumed"
    assert said["schedule"]["source"] == "assumed"
    assert said["notes"]


@pytest.mark.parametrize(
    ("column", "cell", "why"),
    [
        ("max_steps", lambda step: 4000, "The job logs that it will have 4,000 steps."),
        ("progress", lambda step: step / 4000, "of the run is done at step 399"),
        ("percentage", lambda step: step / 40, "of the run is done at step 399"),
    ],
)
def test_a_logged_length_tells_the_total_as_it_does_on_the_server(
    tmp_path: Path, column: str, cell: Callable[[int], float], why: str
) -> None:
    lines = [f"step,loss,{column}"] + [f"{step},{2 + 30 / step},{cell(step)}" for step in range(10, 400)]
    (tmp_path / "run.csv").write_text("\n".join(lines))
    said = json.loads(losscast("forecast", tmp_path / "run.csv", "--json").stdout)
    assert said["total_steps"]["source"] == "inferred"
    assert why in said["total_steps"]["why"]
    assert said["horizon"] == pytest.approx(4000, abs=1)
    told = json.loads(losscast("forecast", tmp_path / "run.csv", "--json", "--total-steps", "5000").stdout)
    assert (told["horizon"], told["total_steps"]["source"]) == (5000, "declared")


def test_the_epochs_so_far_and_in_all_tell_the_total(tmp_path: Path) -> None:
    lines = ["step,loss,epoch,num_epochs"] + [f"{step},{2 + 30 / step},{step / 1000},3" for step in range(10, 400)]
    (tmp_path / "run.csv").write_text("\n".join(lines))
    said = json.loads(losscast("forecast", tmp_path / "run.csv", "--json").stdout)
    assert said["horizon"] == 3000
    assert "epoch 0.399 of 3" in said["total_steps"]["why"]


def test_people_get_a_table(tmp_path: Path) -> None:
    answer = losscast("forecast", DEMO_DATA / "lm_wsd.csv", "--total-steps", "20000")
    assert answer.returncode == 0, answer.stderr
    assert "median" in answer.stdout
    assert "Final train_loss" in answer.stdout


def test_the_headline_is_the_median_and_its_band_no_point(tmp_path: Path) -> None:
    # Smooth, nearly over, and of a known rate: a band far narrower than four digits tell.
    lines = ["step,loss,lr"] + [f"{step},{3.3 + 0.3 / step:.9f},0.001" for step in range(10, 4000)]
    lines += [f"{step},,0.001" for step in range(4000, 4201)]
    (tmp_path / "run.csv").write_text("\n".join(lines))
    final = json.loads(losscast("forecast", tmp_path / "run.csv", "--json").stdout)["final"]
    said = losscast("forecast", tmp_path / "run.csv").stdout
    found = re.search(r"Final loss: (\S+) \(median\), 90 % (\S+) to (\S+),", " ".join(said.split()))
    assert found is not None
    median, low, high = map(float, found.groups())
    assert f"{low:.4g}" == f"{high:.4g}"
    assert low < median < high
    assert median == pytest.approx(final["p50"], abs=(final["p95"] - final["p05"]) / 4)


@pytest.mark.parametrize(
    ("content", "arguments", "says"),
    [
        ("", (), "run.csv"),
        ("step,loss\n1,2\n", (), "at least"),
        ("a,b\nx,y\n", (), "run.csv"),
        ("step,loss\n1,2\n2,1\n", ("--metric", "accuracy"), "Known: loss"),
        ("step,speed\n1,2\n2,1\n", (), "speed"),
        ("step,loss\n1,2\n", ("--total-steps", "-5"), "total-steps"),
    ],
)
def test_errors_are_one_clear_line_and_exit_code_2(
    tmp_path: Path, content: str, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "run.csv").write_text(content)
    answer = losscast("forecast", tmp_path / "run.csv", *arguments)
    assert answer.returncode == 2
    assert says in answer.stderr
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""


def test_a_missing_file_is_named() -> None:
    answer = losscast("forecast", "/nowhere/run.csv")
    assert answer.returncode == 2
    assert "run.csv: no such file" in answer.stderr


def test_help_and_version_load_no_heavy_library() -> None:
    script = (
        "import sys; sys.argv = ['losscast', '--help']\n"
        "from app.cli import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'dash', 'plotly', 'fastapi', 'sqlalchemy', 'pyarrow', 'procrastinate'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "forecast" in answer.stdout
    assert losscast("--version").stdout.startswith("losscast ")


ACCURACIES = Path(__file__).parents[1] / "data" / "accuracies"


def test_an_accuracy_is_forecast_inside_its_bounds_and_said_to_rise() -> None:
    answer = losscast("forecast", ACCURACIES / "text_wsd.csv", "--metric", "val_acc", "--total-steps", "2000", "--json")
    assert answer.returncode == 0, answer.stderr
    said = json.loads(answer.stdout)
    assert (said["metric"], said["direction"], said["bounds"]) == ("val_acc", "rises", [0.0, 1.0])
    assert all(0 <= value <= 1 for row in said["path"] for name, value in row.items() if name != "step")
    assert 0 <= said["improvement"] <= 1


def test_of_a_reward_nobody_says_how_likely_a_new_best_is(tmp_path: Path) -> None:
    rows = [f"{step},{10 - 400 / (step + 40):.4f}" for step in range(10, 4000, 10)]
    (tmp_path / "run.csv").write_text("\n".join(["step,reward", *rows]))
    arguments = ("forecast", tmp_path / "run.csv", "--metric", "reward", "--total-steps", "8000")
    said = json.loads(losscast(*arguments, "--json").stdout)
    assert (said["direction"], said["improvement"]) == (None, None)
    words = " ".join(losscast(*arguments).stdout.split())
    assert "reward looks like a reward: it has no bound that is known" in words
    assert "continued as losses go, which was never measured" in words
    assert "Chance of a new" not in words


def test_a_file_of_nothing_but_a_perplexity_is_told_what_to_log_instead(tmp_path: Path) -> None:
    rows = [f"{step},{20 + 400 / (step + 40):.4f}" for step in range(10, 4000, 10)]
    (tmp_path / "run.csv").write_text("\n".join(["step,val_ppl", *rows]))
    refused = losscast("forecast", tmp_path / "run.csv", "--total-steps", "8000")
    assert refused.returncode == 2
    told = " ".join((refused.stderr + refused.stdout).replace("│", " ").split())
    assert "No column looks like a loss or an accuracy" in told
    assert "val_ppl looks like a perplexity" in told
    named = losscast("forecast", tmp_path / "run.csv", "--total-steps", "8000", "--metric", "val_ppl", "--json")
    said = json.loads(named.stdout)
    assert (said["direction"], said["improvement"]) == (None, None)
    assert "Log its logarithm" in said["notes"][0]


def test_a_file_of_nothing_but_a_bleu_is_forecast_by_it_and_needs_no_rate() -> None:
    answer = losscast("forecast", ACCURACIES / "wmt_bleu.csv", "--total-steps", "200000")
    assert answer.returncode == 0, answer.stderr
    words = " ".join(answer.stdout.split())
    assert "Final val_bleu" in words
    assert "Chance of a new highest level before the end" in words
    assert "Taken for a share of 100" in words
