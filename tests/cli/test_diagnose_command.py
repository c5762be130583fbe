"""`losscast diagnose`, run as people run it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DEMO_DATA = ROOT / "app" / "demo" / "data"


def losscast(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False, cwd=ROOT,
    )  # fmt: skip


def diagnosed(*arguments: str | Path) -> dict[str, Any]:
    answer = losscast("diagnose", *arguments, "--json")
    assert answer.returncode == 0, answer.stderr
    said: dict[str, Any] = json.loads(answer.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return said


def test_a_real_run_that_became_nan_is_told_at_that_step() -> None:
    [run] = diagnosed(DEMO_DATA / "deepspeech_diverges.csv")["runs"]
    assert run["points"] == 507
    [event] = [event for event in run["events"] if event["kind"] == "nonfinite"]
    assert (event["step"], event["raised_at"], event["resolved_at"]) == (19900, 19900, None)
    assert run["states"]["nonfinite"] == "not finite"
    assert {"step", "horizon", "p"} == set(run["risk"][0])


def test_a_real_run_at_too_high_a_rate_is_told_within_three_points() -> None:
    [run] = diagnosed(DEMO_DATA / "lm_too_hot.csv")["runs"]
    [event] = [event for event in run["events"] if event["kind"] == "cold_start"]
    assert (event["step"], event["raised_at"]) == (3600, 3700), "logged every fifty steps"


def test_a_real_run_with_a_probe_is_told_how_it_moves() -> None:
    file = ROOT / "tests" / "data" / "small_runs" / "lm_probed.jsonl"
    [run] = diagnosed(file)["runs"]
    assert {one["kind"] for one in run["dynamics"]} >= {"noise_scale", "gradient_phase", "weight_distance"}
    assert "Gradients: diffusion since step" in losscast("diagnose", file).stdout


def test_the_stable_phase_and_the_decay_of_a_real_wsd_run_raise_no_alarm() -> None:
    [run] = diagnosed(DEMO_DATA / "lm_wsd.csv")["runs"]
    alarms = {"nonfinite", "cold_start", "spike", "divergence", "divergence_risk", "plateau", "dead", "overfit"}
    assert not [event for event in run["events"] if event["kind"] in alarms]


def test_a_folder_is_read_whole_and_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "good.csv").write_text("step,loss\n0,1.0\n1,nan\n")
    (tmp_path / "bad.csv").write_text("nothing,here\n")
    found = diagnosed(tmp_path)
    assert [Path(run["file"]).name for run in found["runs"]] == ["good.csv"]
    assert [Path(each["file"]).name for each in found["skipped"]] == ["bad.csv"]


def test_people_get_a_table(tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_text("step,loss\n0,1.0\n1,0.9\n2,nan\n")
    answer = losscast("diagnose", tmp_path / "run.csv")
    assert answer.returncode == 0
    assert "nonfinite" in answer.stdout
    assert "loss is NaN at step 2" in answer.stdout


def test_a_file_without_a_loss_is_not_called_well(tmp_path: Path) -> None:
    (tmp_path / "run.csv").write_text("step,lr\n" + "".join(f"{step},1e-3\n" for step in range(60)))
    (tmp_path / "none.csv").write_text("loss,lr\n2,1e-3\n")
    answer = losscast("diagnose", tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert "Nothing to report. No metric is known as a loss" in answer.stdout
    assert f"skipped {tmp_path / 'none.csv'}: line 1: no column counts steps" in answer.stdout
