"""Deleting runs and projects over HTTP and from the command line, beside whatever still writes to them."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from app.storage.database import Database
from tests.service import Web, new_id

KEPT = ("project", "deleted_run", "alembic_version", "api_key", "project_policy")


def delete(web: Web, path: str, status: int = 200) -> Any:
    answer = web.http.delete(f"/api/v1{path}")
    assert answer.status_code == status, answer.text
    return answer.json()


def losscast_delete(web: Web, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", "delete", *arguments, "--url", web.url]
    return subprocess.run(command, input=typed, capture_output=True, text=True, timeout=120, check=False)


def test_a_deleted_run_is_gone_everywhere(web: Web) -> None:
    project = new_id("project")
    run_id, other = web.new_run(project=project), web.new_run(project=project)
    web.append(run_id, [1, 2], loss=[2.0, "NaN"])
    web.append(other, [1], loss=[3.0])
    assert delete(web, f"/runs/{run_id}") == {"deleted": [run_id]}
    for address in ("", "/series", "/forecast", "/alerts", "/diagnostics", "/verdict", "/export"):
        answer = web.http.get(f"/api/v1/runs/{run_id}{address}")
        assert answer.status_code == 404, address
        assert run_id in answer.json()["message"]
    assert [run["id"] for run in web.get("/runs", project=project)["runs"]] == [other]
    assert web.points(other) == {1: 3.0}


@pytest.mark.parametrize("run_id", ["never-heard-of", "x" * 200, "%2e%2e"])
def test_a_run_that_is_not_there_cannot_be_deleted(web: Web, run_id: str) -> None:
    answer = web.http.delete(f"/api/v1/runs/{run_id}")
    assert answer.status_code in (404, 422)
    assert answer.json()["message"]


def test_the_second_delete_finds_nothing(web: Web) -> None:
    run_id = web.new_run()
    delete(web, f"/runs/{run_id}")
    assert delete(web, f"/runs/{run_id}", 404)["error"] == "run_not_found"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/runs/{}/batches", {"segment": 1, "seq": 7, "steps": [3], "metrics": {"loss": [1.0]}}),
        ("/runs/{}/heartbeat", {}),
        ("/runs/{}/finish", {"status": "finished"}),
        ("/log/{}", {"step": 3, "loss": 1.0}),
    ],
)
def test_a_job_that_writes_to_a_deleted_run_is_told_and_does_not_bring_it_back(
    web: Web, path: str, body: dict[str, Any]
) -> None:
    run_id = web.new_run()
    web.append(run_id, [1, 2], loss=[2.0, 1.9])
    delete(web, f"/runs/{run_id}")
    answer = web.post(path.format(run_id), body, status=410)
    assert answer["error"] == "run_deleted"
    assert "was deleted" in answer["message"]
    assert web.http.get(f"/api/v1/runs/{run_id}").status_code == 404


def test_a_deleted_run_can_be_made_anew_and_starts_empty(web: Web) -> None:
    run_id = web.new_run()
    web.append(run_id, [1, 2], loss=[2.0, 1.9])
    delete(web, f"/runs/{run_id}")
    assert web.post("/runs", {"id": run_id, "session": "first"}, status=201)["segment"] == 1
    assert web.append(run_id, [5], loss=[1.0], segment=1, seq=0)["duplicate"] is False
    assert web.points(run_id) == {5: 1.0}


def test_batches_and_deletions_at_once_leave_nothing_half(web: Web, api_database_url: str) -> None:
    run_id = web.new_run()

    def send(seq: int) -> int:
        body = {"segment": 1, "seq": seq, "steps": [seq], "metrics": {f"loss {seq % 5}": [1.0]}}
        return web.http.post(f"/api/v1/runs/{run_id}/batches", json=body).status_code

    def change(at: int) -> int:
        if at % 10 == 5:
            return web.http.delete(f"/api/v1/runs/{run_id}").status_code
        if at % 10 == 8:
            return web.http.post("/api/v1/runs", json={"id": run_id, "session": f"s{at}"}).status_code
        if at % 10 == 9:
            return web.http.post(f"/api/v1/runs/{run_id}/finish", json={}).status_code
        return send(at)

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(change, range(200)))
    assert set(statuses) <= {200, 201, 404, 410}
    web.http.delete(f"/api/v1/runs/{run_id}")
    database = Database(api_database_url)
    with database.read() as connection:
        orphans = connection.execute(
            text("SELECT count(*) FROM metric_batch b WHERE NOT EXISTS (SELECT FROM run WHERE run.key = b.run_key)")
        ).scalar_one()
    database.close()
    assert orphans == 0


def test_a_project_is_deleted_with_its_runs_and_goals(web: Web) -> None:
    project, other = new_id("a/b c"), new_id("other")
    runs = [web.new_run(project=project) for _ in range(3)]
    elsewhere = web.new_run(project=other)
    web.http.put(f"/api/v1/projects/{project}/goals", json={"goals": {"loss": {"target": 2.0}}, "baselines": runs[:1]})
    assert sorted(delete(web, f"/projects/{project}")["deleted"]) == sorted(runs)
    assert project not in web.get("/projects")["projects"]
    assert web.get(f"/runs/{elsewhere}")["project"] == other
    assert "No project" in delete(web, f"/projects/{project}", 404)["message"]
    # Its name is free again, and starts without the goals of before.
    web.new_run(project=project)
    assert web.get(f"/projects/{project}/goals")["goals"] == {}


def test_the_command_asks_first_and_a_no_keeps_everything(web: Web) -> None:
    run_id = web.new_run(name="the first try")
    refused = losscast_delete(web, run_id, typed="n\n")
    assert refused.returncode == 1
    assert "the first try" in refused.stderr
    assert losscast_delete(web, run_id).returncode == 1  # nobody there to ask
    assert web.get(f"/runs/{run_id}")["id"] == run_id
    done = losscast_delete(web, run_id, typed="y\n")
    assert (done.returncode, done.stdout.strip()) == (0, run_id)
    assert web.http.get(f"/api/v1/runs/{run_id}").status_code == 404


def test_one_unknown_name_among_several_deletes_none(web: Web) -> None:
    runs = [web.new_run() for _ in range(2)]
    failed = losscast_delete(web, *runs, "no-such-run", "--yes")
    assert failed.returncode == 1
    assert "'no-such-run', and none is named so" in failed.stderr
    assert [web.get(f"/runs/{run_id}")["id"] for run_id in runs] == runs
    assert losscast_delete(web, *runs, runs[0], "--yes").stdout.split() == runs


def test_a_name_instead_of_an_id_deletes_nothing_and_is_answered_with_the_ids_to_use(web: Web) -> None:
    name = new_id("the 100 % try")
    only = web.new_run(name=name)
    web.new_run(name=f"{name} again")
    failed = losscast_delete(web, name, "--yes")
    assert failed.returncode == 1
    assert f"losscast delete {only}" in failed.stderr
    assert "again" not in failed.stderr
    namesake = web.new_run(name=name)
    failed = losscast_delete(web, name, "--yes")
    assert "2 runs are named so" in failed.stderr
    assert "losscast delete" not in failed.stderr
    for run_id in (only, namesake):
        assert run_id in failed.stderr
        assert web.get(f"/runs/{run_id}")["name"] == name


def test_the_command_deletes_a_project_whole(web: Web) -> None:
    project = new_id("gone / größer")
    runs = {web.new_run(project=project) for _ in range(12)}
    asked = losscast_delete(web, "--project", project, typed="\n")
    assert asked.returncode == 1
    assert "and 2 more" in asked.stderr
    done = losscast_delete(web, "--project", project, "--yes")
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == runs
    assert project not in web.get("/projects")["projects"]
    assert losscast_delete(web, "--project", project, "--yes").returncode == 1
    assert losscast_delete(web).returncode == 2


def test_a_large_project_that_is_deleted_says_how_far_it_is(web: Web) -> None:
    project = new_id("large")
    for _ in range(101):
        web.new_run(project=project)
    done = losscast_delete(web, "--project", project, "--yes")
    assert len(done.stdout.split()) == 101
    assert done.stderr.splitlines()[-2:] == ["100 of 101 runs deleted", "101 of 101 runs deleted"]
