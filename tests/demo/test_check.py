"""What is concluded after a replay."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.demo import check as check_module
from app.demo.check import check
from app.demo.demo_runs import DEMO_RUNS
from app.demo.replay import ReplayedRun, ReplayResult, replay
from tests.demo.conftest import Service

BY_NAME = {run.name: run for run in DEMO_RUNS}
ALERT = {"kind": "nonfinite_loss", "severity": "critical", "metric": "train_loss", "step": 19900, "message": "NaN"}


def forecast(cutoff: int, mean: float = 3.2, half_width: float = 0.1) -> dict[str, float]:
    band = {"p05": mean - half_width, "p50": mean, "p95": mean + half_width}
    return {"cutoff": cutoff, "horizon": 15_000, "final_mean": mean, **band}


@pytest.fixture
def replayed(service: Service) -> ReplayResult:
    runs = (BY_NAME["lm-wsd"], BY_NAME["deepspeech-diverges"])
    return replay(service.url, duration_seconds=0.05, runs=runs)


def test_the_forecast_from_midway_is_held_against_the_outcome(service: Service, replayed: ReplayResult) -> None:
    service.forecasts = {
        "lm-wsd": [forecast(1_000, 9.0), forecast(8_000), forecast(14_900, 9.0)],
        "deepspeech-diverges": [forecast(11_000)],
    }
    service.alerts = {"deepspeech-diverges": [{**ALERT, "id": 1}]}
    summary = check(service.url, replayed)
    assert summary["complete"]
    assert summary["missing"] == []
    wsd, diverged = summary["runs"]
    assert wsd["forecast"]["cutoff"] == 8_000
    assert wsd["forecast"]["actual"] == pytest.approx(3.2033, abs=1e-4)
    assert wsd["forecast"]["in_band"] is True
    assert diverged["forecast"]["actual"] is None
    assert diverged["forecast"]["in_band"] is None
    assert diverged["alerts"] == [ALERT]
    json.dumps(summary, allow_nan=False)


def test_a_band_beside_the_outcome_is_said(service: Service, replayed: ReplayResult) -> None:
    service.forecasts = {"lm-wsd": [forecast(8_000, 5.0)], "deepspeech-diverges": [forecast(11_000)]}
    summary = check(service.url, replayed, deadline_seconds=0.0)
    assert summary["runs"][0]["forecast"]["in_band"] is False


def test_what_does_not_come_in_time_is_named(service: Service, replayed: ReplayResult) -> None:
    service.forecasts = {"lm-wsd": [forecast(15_000)]}  # made at the end: that is no forecast
    summary = check(service.url, replayed, deadline_seconds=0.0)
    assert not summary["complete"]
    assert summary["missing"] == [
        "lm-wsd: no forecast made before its end",
        "deepspeech-diverges: no forecast made before its end",
        "deepspeech-diverges: no nonfinite_loss alert",
    ]


def test_it_waits_for_what_comes_late(
    service: Service, replayed: ReplayResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check_module, "POLL_SECONDS", 0.01)
    service.alerts = {"deepspeech-diverges": [ALERT]}
    asked = 0

    class Late(dict[str, Any]):
        def get(self, name: str, default: Any = None) -> Any:
            nonlocal asked
            asked += 1
            return [forecast(8_000)] if asked > 5 else []

    service.forecasts = Late()
    assert check(service.url, replayed)["complete"]
    assert asked > 5


def test_a_refused_run_is_missing_with_its_reason(service: Service) -> None:
    refused = ReplayedRun(BY_NAME["lm-wsd"], "x", "", "refused", 0, 0, "no key")
    summary = check(service.url, ReplayResult((refused,), 1.0), deadline_seconds=0.0)
    assert summary["missing"] == ["lm-wsd: refused by the server (no key)"]
