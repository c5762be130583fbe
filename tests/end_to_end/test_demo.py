"""`losscast demo --check`, as anyone would run it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.service import free_port


def test_the_demo_replays_real_runs_and_finds_what_it_promises(tmp_path: Path) -> None:
    port, real_data = free_port(), tmp_path / "data"
    real_data.mkdir()
    of_the_service = {
        "LOSSCAST_DATA_DIR": str(real_data),
        "DATABASE_URL": "postgresql://nobody@x/y",
        "LOSSCAST_AUTH": "on",
        "LOSSCAST_ALERT_URLS": "http://10.0.0.1/hook",  # refused where it counts: a private network
    }
    named = {"LOSSCAST_PORT": str(port), **of_the_service}
    command = [sys.executable, "-m", "app", "demo", "--check", "--duration", "20"]
    answer = subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, env={**os.environ, **named}
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert f"real training runs at http://127.0.0.1:{port} " in answer.stderr
    assert list(real_data.iterdir()) == [], "the demo's runs stay apart from the service's own"
    summary = json.loads(answer.stdout)
    assert summary["missing"] == []
    runs = {run["name"]: run for run in summary["runs"]}
    assert len(runs) >= 4
    for run in runs.values():
        assert run["points"] > 100
        assert run["forecast"]["p05"] <= run["forecast"]["p95"]
    alerts = {name: [alert["kind"] for alert in run["alerts"]] for name, run in runs.items()}
    assert alerts.pop("deepspeech-diverges") == ["nonfinite_loss"]
    assert alerts.pop("lm-too-hot") == ["cold_start"]
    # The others are healthy. One that another is sure to beat may be told that it could be stopped.
    assert {kind for kinds in alerts.values() for kind in kinds} <= {"stop_advised"}
    assert alerts["gpt2-undeclared"] == alerts["grok-modular-addition"] == [], "alone in their projects"
