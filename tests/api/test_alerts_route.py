"""Alerts over HTTP."""

from __future__ import annotations

from app.storage.database import Database
from app.worker.refit import refit_run
from tests.service import Web


def test_the_api_tells_an_open_alert_from_one_whose_run_is_over(web: Web, api_database_url: str) -> None:
    run_id = web.new_run()
    web.append(run_id, [1, 2, 3], loss=[2.0, 1.9, "NaN"])
    database = Database(api_database_url)
    try:
        refit_run(database, run_id, [])
    finally:
        database.close()
    (alert,) = web.get(f"/runs/{run_id}/alerts", open_only=True)["alerts"]
    assert (alert["kind"], alert["state"]) == ("nonfinite_loss", "open")
    assert web.get(f"/runs/{run_id}")["open_alerts"] == 1
    web.post(f"/runs/{run_id}/finish", {"status": "failed"})
    (alert,) = web.get(f"/runs/{run_id}/alerts")["alerts"]
    assert (alert["state"], alert["resolved_at"]) == ("run_over", None)
    assert web.get(f"/runs/{run_id}/alerts", open_only=True)["alerts"] == []
    assert web.get(f"/runs/{run_id}")["open_alerts"] == 0
