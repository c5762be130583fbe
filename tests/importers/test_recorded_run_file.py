"""A file as a run that has ended: what rate it followed, by the log or by what was declared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.errors import BadInput
from app.importers.recorded_run_file import read_recorded_run

TOTAL = 1000
STEPS = range(10, TOTAL + 1, 10)


def exported(path: Path, plan: dict[str, Any], rows: list[dict[str, float]]) -> Path:
    """As `losscast export` writes a run."""
    lines = [{"meta": {"name": "a run", "config": {}, "plan": plan}}, *rows]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_the_declared_schedule_stands_for_a_rate_that_nobody_logged(tmp_path: Path) -> None:
    plan = {"total_steps": TOTAL, "schedule": {"family": "linear", "peak": 0.1, "warmup_steps": 100}}
    rows = [{"step": step, "loss": 3 - step / TOTAL} for step in STEPS]
    schedule = read_recorded_run(exported(tmp_path / "run.jsonl", plan, rows)).schedule
    assert schedule is not None
    assert schedule.rate_at([50, 100, 550, 1000]) == pytest.approx([0.05, 0.1, 0.05, 0.0], abs=2e-4)


def test_of_a_run_that_was_stopped_only_the_schedule_so_far_is_taken(tmp_path: Path) -> None:
    plan = {"total_steps": 2 * TOTAL, "schedule": {"family": "linear", "peak": 0.1}}
    rows = [{"step": step, "loss": 3 - step / TOTAL} for step in STEPS]
    run = read_recorded_run(exported(tmp_path / "run.jsonl", plan, rows))
    assert run.total_steps == TOTAL
    assert run.schedule is not None
    assert run.schedule.steps[-1] == TOTAL
    assert run.schedule.rate_at([TOTAL]) == pytest.approx([0.05], abs=2e-4)


def test_a_logged_rate_counts_more_than_a_declared_schedule(tmp_path: Path) -> None:
    plan = {"total_steps": TOTAL, "schedule": {"family": "linear", "peak": 0.1}}
    rows = [{"step": step, "loss": 3 - step / TOTAL, "lr": 0.02} for step in STEPS]
    schedule = read_recorded_run(exported(tmp_path / "run.jsonl", plan, rows)).schedule
    assert schedule is not None
    assert np.unique(schedule.rate_at([100, 500, TOTAL])).tolist() == [0.02]


def test_nothing_declared_and_nothing_logged_is_no_schedule(tmp_path: Path) -> None:
    rows = [{"step": step, "loss": 3 - step / TOTAL} for step in STEPS]
    assert read_recorded_run(exported(tmp_path / "run.jsonl", {"total_steps": TOTAL}, rows)).schedule is None


def test_a_plan_that_is_none_is_told(tmp_path: Path) -> None:
    rows = [{"step": step, "loss": 3 - step / TOTAL} for step in STEPS]
    with pytest.raises(BadInput, match="total_steps is the number of the last step"):
        read_recorded_run(exported(tmp_path / "run.jsonl", {"total_steps": "soon"}, rows))
