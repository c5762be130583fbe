"""After a replay: did every run get its forecast and its alert, and how good were the forecasts?"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

from app.demo.demo_runs import End
from app.demo.replay import ReplayedRun, ReplayResult
from app.endpoint import Endpoint

# The forecast that is compared with the outcome was made about here: half of the run was still to come.
CUTOFF_SHARE = 0.55
POLL_SECONDS = 1.0


def check(
    base_url: str,
    result: ReplayResult,
    *,
    api_key: str | None = None,
    deadline_seconds: float = 120.0,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Wait until every run of `result` has what it must have, at most `deadline_seconds`; then sum up.

    Returns
    -------
    dict
        Fit for JSON: `{"complete", "missing": [...], "seconds", "runs": [{"name", "id", "state", "points", "metric",
        "forecast": {"cutoff", "horizon", "final_mean", "p05", "p50", "p95", "actual", "in_band"} | None,
        "alerts": [{"kind", "severity", "metric", "step", "message"}]}]}`. The forecast is the one made nearest to 55 %
        of the run, out of those kept as they were made; `actual` is the mean of the last 2 % of the points, None for
        a run that ended in NaN.

    Raises
    ------
    Stopped
        `stop` was set.
    """
    stop = stop or threading.Event()
    deadline = time.monotonic() + deadline_seconds
    ends = [replayed.run.end() for replayed in result.runs]
    with Endpoint(base_url, api_key=api_key, stop=stop) as endpoint:
        while True:
            runs = [_sum_up(endpoint, replayed, end) for replayed, end in zip(result.runs, ends, strict=True)]
            missing = [
                f"{replayed.run.name}: {what}"
                for replayed, found in zip(result.runs, runs, strict=True)
                for what in _missing(replayed, found)
            ]
            if not missing or time.monotonic() > deadline:
                return {"complete": not missing, "missing": missing, "seconds": result.seconds, "runs": runs}
            stop.wait(POLL_SECONDS)


def _sum_up(endpoint: Endpoint, replayed: ReplayedRun, end: End) -> dict[str, Any]:
    run = replayed.run
    found: dict[str, Any] = {
        "name": run.name,
        "id": replayed.run_id,
        "state": replayed.state,
        "points": replayed.points,
        "metric": run.metric,
        "forecast": None,
        "alerts": [],
    }
    if replayed.state == "refused":
        return found
    history = endpoint.get(f"/runs/{replayed.run_id}/forecasts", metric=run.metric, limit=5000)["forecasts"]
    alerts = endpoint.get(f"/runs/{replayed.run_id}/alerts")["alerts"]
    found["forecast"] = _midway(history, end)
    found["alerts"] = [
        {key: alert[key] for key in ("kind", "severity", "metric", "step", "message")} for alert in alerts
    ]
    return found


def _midway(history: list[dict[str, Any]], end: End) -> dict[str, Any] | None:
    made_before_the_end = [forecast for forecast in history if forecast["cutoff"] < end.step]
    if not made_before_the_end:
        return None
    forecast = min(made_before_the_end, key=lambda one: abs(one["cutoff"] - CUTOFF_SHARE * end.step))
    kept = {key: forecast[key] for key in ("cutoff", "horizon", "final_mean", "p05", "p50", "p95")}
    return {**kept, "actual": end.mean, "in_band": _in_band(kept, end.mean)}


def _in_band(forecast: Mapping[str, Any], actual: float | None) -> bool | None:
    low, high = forecast["p05"], forecast["p95"]
    if actual is None or not isinstance(low, float | int) or not isinstance(high, float | int):
        return None
    return bool(low <= actual <= high)


def _missing(replayed: ReplayedRun, found: Mapping[str, Any]) -> list[str]:
    if replayed.error is not None:
        return [f"refused by the server ({replayed.error})"]
    fired = {alert["kind"] for alert in found["alerts"]}
    no_forecast = [] if found["forecast"] else ["no forecast made before its end"]
    return no_forecast + [f"no {kind} alert" for kind in replayed.run.alerts if kind not in fired]
