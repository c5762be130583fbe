"""Diagnoses through HTTP: a real web process, a real run."""

from __future__ import annotations

from pathlib import Path

from app.importers.curve_file import points_by_metric
from app.importers.run_files import read_file
from app.storage.database import Database
from app.worker.refit import refit_run
from tests.service import Web

DATA = Path(__file__).parents[2] / "app" / "demo" / "data"
RUNS = Path(__file__).parents[1] / "data" / "small_runs"


def test_a_run_that_goes_wrong_is_told_with_its_reasons(web: Web, api_database_url: str) -> None:
    run_id = web.new_run()
    before = web.get(f"/runs/{run_id}/diagnostics")
    assert (before["complete"], before["events"], before["states"]) == (False, [], {})
    for batch in read_file(DATA / "lm_too_hot.csv").batches:
        for name in ("train_loss", "lr"):
            column = batch.metrics.index(name)
            here = batch.present[column]
            web.append(run_id, batch.steps[here].tolist(), **{name: batch.values[column, here].tolist()})
    database = Database(api_database_url)
    refit_run(database, run_id, [])
    database.close()
    found = web.get(f"/runs/{run_id}/diagnostics")
    assert found["complete"]
    assert found["watched"] == {"train_loss": "train_loss", "lr": "lr"}
    assert set(found["worth_logging"]) == {"grad_norm", "val_loss", "max_attn_logit"}
    assert found["states"]["cold_start"] == "above its first value"
    assert [risk["horizon"] for risk in found["risk"]] == [10, 100, 1000]
    (event,) = [event for event in found["events"] if event["kind"] == "cold_start"]
    assert (event["step"], event["raised_at"], event["resolved_at"]) == (3600, 3700, None)
    assert (event["severity"], event["inputs"]) == ("critical", ["train_loss"])
    assert event["evidence"]["value"] > 1.1 * event["evidence"]["first_value"]
    assert len(web.get(f"/runs/{run_id}/diagnostics", limit=1)["events"]) == 1


def test_what_a_probe_logged_is_told_as_laws_and_phases(web: Web, api_database_url: str) -> None:
    run_id = web.new_run()
    for metric, points in points_by_metric(list(read_file(RUNS / "lm_probed.jsonl").batches)).items():
        web.append(run_id, points.steps.tolist(), **{metric: points.values.tolist()})
    database = Database(api_database_url)
    refit_run(database, run_id, [])
    database.close()
    said = web.get(f"/runs/{run_id}/diagnostics")["dynamics"]
    assert [one["kind"] for one in said[:4]] == ["noise_scale", "gradient_phase", "effective_rate", "weight_distance"]
    noise = said[0]
    assert noise["metrics"] == ["gradient/noise_scale", "batch_size"]
    assert noise["numbers"]["batch_size"] == 16
    assert 0 < noise["numbers"]["step_efficiency"] < 0.2
    assert [one["metrics"] for one in said[4:]] == [[f"block{at}/massive_ratio"] for at in range(4)]


def test_a_run_that_is_not_there_is_not_found(web: Web) -> None:
    answer = web.http.get("/api/v1/runs/nobody/diagnostics")
    assert (answer.status_code, answer.json()["error"]) == (404, "run_not_found")
