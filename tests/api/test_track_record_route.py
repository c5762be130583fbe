"""Scores of past forecasts through HTTP: a real web process and a real worker, real runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.forecasting.scores import QuantileForecast, score_value
from app.importers.run_files import read_file
from app.storage.database import Database
from app.storage.scoring import runs_to_score
from app.worker.refit import refit_run
from tests.conftest import database_named
from tests.service import Web, Worker, new_id, wait_for

DATA = Path(__file__).parents[2] / "app" / "demo" / "data"


@pytest.fixture(scope="module")
def service(postgres_url: str, migrated_template: str) -> Iterator[tuple[Web, str]]:
    """A web process over a database of its own, and its address: the worker here works on all that it finds."""
    with database_named(postgres_url, new_id("record").replace("-", "_"), template=migrated_template) as url:
        with Web(url) as web:
            yield web, url


def trained(web: Web, url: str, project: str, file: str, total_steps: int, *, finish: str | None = "finished") -> str:
    """A real run sent in eight parts, refitted after each."""
    run_id = web.new_run(project=project, name=file, plan={"total_steps": total_steps})
    database = Database(url)
    for batch in read_file(DATA / file).batches:
        column = batch.metrics.index("train_loss")
        here = np.flatnonzero(batch.present[column])
        for part in np.array_split(here, 8):
            web.append(run_id, batch.steps[part].tolist(), train_loss=batch.values[column, part].tolist())
            refit_run(database, run_id, [])
    database.close()
    if finish:
        web.post(f"/runs/{run_id}/finish", {"status": finish})
    return run_id


def scored(web: Web, run_id: str) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = web.get(f"/runs/{run_id}/track-record")
        return found if found["end_step"] is not None else None

    return wait_for(ended, "the scores")


def test_a_worker_scores_runs_as_they_end_and_those_that_had_ended(service: tuple[Web, str]) -> None:
    web, url = service
    before = trained(web, url, "demo", "lm_cosine.csv", 50_000)
    with Worker(url):
        old = scored(web, before)
        new = scored(web, trained(web, url, "demo", "lm_wsd.csv", 15_000))
    for record, name, last in ((old, "lm_cosine.csv", 50_000), (new, "lm_wsd.csv", 15_000)):
        values = np.concatenate(
            [
                batch.values[batch.metrics.index("train_loss"), batch.present[batch.metrics.index("train_loss")]]
                for batch in read_file(DATA / name).batches
            ]
        )
        actual = float(np.mean(values[-max(1, round(0.02 * len(values))) :]))
        assert (record["metric"], record["end_step"]) == ("train_loss", last)
        assert record["actual"] == pytest.approx(actual)
        scores = [one["scores"] for one in record["forecasts"] if one["scores"]]
        assert len(scores) >= 5
        for one in scores:
            quantiles = {0.05: one["p05"], 0.5: one["p50"], 0.95: one["p95"]}
            own = score_value(QuantileForecast.from_levels(quantiles), actual)
            assert one["error"] == pytest.approx(own.error)
            assert one["cover90"] == own.cover90
            assert one["seen"] < 1


def test_a_projects_record_counts_its_finished_runs(service: tuple[Web, str]) -> None:
    web, url = service
    finished = [
        trained(web, url, "a/b c", "lm_cosine.csv", 50_000),
        trained(web, url, "a/b c", "lm_wsd.csv", 15_000),
    ]
    stopped = trained(web, url, "a/b c", "lm_wsd.csv", 30_000, finish="stopped")
    trained(web, url, "a/b c", "lm_wsd.csv", 15_000, finish=None)
    with Worker(url):
        each = [scored(web, run_id) for run_id in finished]
        assert all(one["scores"]["horizon_off"] for one in scored(web, stopped)["forecasts"] if one["scores"])
    found = web.get("/projects/a%2Fb%20c/track-record")
    assert (found["n_runs"], found["n_finished"], found["n_waiting"]) == (2, 2, 0)
    assert {run["id"] for run in found["runs"]} == set(finished)
    middle = next(bucket for bucket in found["buckets"] if bucket["seen_from"] == 0.5)
    errors, inside = [], []
    for record in each:
        there = [one["scores"] for one in record["forecasts"] if one["scores"] and 0.5 <= one["scores"]["seen"] < 0.7]
        errors.append(np.mean([abs(one["error"]) for one in there]))
        inside.append(np.mean([one["cover90"] for one in there]))
    assert middle["n_runs"] == 2
    assert middle["median_error"] == pytest.approx(np.median(errors))
    assert middle["coverage"][2]["held"] == pytest.approx(sum(inside))
    assert [one["stated"] for one in found["reliability"]] == [0.5, 0.8, 0.9]
    for one in found["reliability"]:
        assert one["n_runs"] == 2
        assert 0 <= one["low"] <= one["share"] <= one["high"] <= 1
    only = web.get("/projects/a%2Fb%20c/track-record", metric="no such metric")
    assert (only["n_runs"], only["runs"]) == (0, [])


def test_a_record_that_is_not_there_yet_is_empty_and_an_unknown_one_is_404(service: tuple[Web, str]) -> None:
    web, url = service
    run_id = web.new_run(project="quiet")
    assert web.get(f"/runs/{run_id}/track-record") == {
        "metric": None,
        "end_step": None,
        "actual": None,
        "forecasts": [],
    }
    quiet = web.get("/projects/quiet/track-record")
    assert (quiet["n_runs"], quiet["n_finished"], quiet["reliability"]) == (0, 0, [])
    assert [bucket["n_runs"] for bucket in quiet["buckets"]] == [0] * 5
    assert web.http.get("/api/v1/runs/nope/track-record").status_code == 404
    answer = web.http.get("/api/v1/projects/nope/track-record")
    assert answer.status_code == 404
    assert "projects" in answer.json()["message"]
    assert web.http.get("/api/v1/projects/%00/track-record").status_code == 404
    database = Database(url)
    with database.read() as connection:
        assert runs_to_score(connection) == []
    database.close()
