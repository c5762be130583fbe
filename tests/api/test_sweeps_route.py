"""Sweeps of the learning rate through HTTP: a real web process, runs of a real sweep."""

from __future__ import annotations

import pytest

from app.storage.database import Database
from tests.dashboard.seeding import Seeder
from tests.dashboard.sweep_seeding import real_sweep
from tests.service import Web


def test_a_real_sweep_is_told_with_its_sensitivity(web: Web, api_database_url: str) -> None:
    database = Database(api_database_url)
    real_sweep(Seeder(database), "a/b c")
    database.close()
    found = {one["settings"]["qk"]: one for one in web.get("/projects/a%2Fb%20c/sweeps")}
    assert found[True]["sensitivity"] == pytest.approx(0.17, abs=0.01)
    assert found[False]["sensitivity"] == pytest.approx(0.35, abs=0.01)
    assert [run["peak_rate"] for run in found[False]["runs"]] == [3e-4, 3e-3, 3e-2, 0.3]
    best = found[False]
    assert best["runner_up"]["rate"] == 3e-4 or best["runner_up"]["rate"] == 3e-2
    assert best["seed_deviation"] is None, "no rate was run twice"
    assert 0 < best["runner_up"]["reach"] < 0.2, "the noise of the ends"
    assert best["is_clear"] == (best["runner_up"]["behind"] > best["runner_up"]["reach"])
    assert (found[False]["best_rate"], found[False]["is_edge_best"], found[True]["is_edge_best"]) == (3e-3, False, True)


def test_a_project_that_is_not_there_is_not_found_and_one_without_a_sweep_is_empty(web: Web) -> None:
    web.new_run(project="plain")
    assert web.http.get("/api/v1/projects/plain/sweeps").json() == []
    assert web.http.get("/api/v1/projects/nope/sweeps").status_code == 404
