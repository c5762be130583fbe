"""Verdicts, goals, stops and rankings through HTTP: a real web process, real runs, refits as a worker makes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from app.importers.run_files import read_file
from app.storage.database import Database
from app.storage.stops import NEVER_ASKED, read_stop_state
from app.worker.refit import refit_run
from tests.service import Web, new_id

DATA = Path(__file__).parents[1] / "data"
TOTAL = 24_000
COSINE = {"total_steps": TOTAL, "schedule": {"family": "cosine", "peak": 3e-4, "warmup_steps": 2160}}
CONSTANT = {"total_steps": TOTAL, "schedule": {"family": "constant", "peak": 3e-4, "warmup_steps": 2160}}


@pytest.fixture
def database(api_database_url: str) -> Iterator[Database]:
    opened = Database(api_database_url)
    yield opened
    opened.close()


@pytest.fixture
def project() -> str:
    """A name that an address has to carry whole."""
    return new_id("größe/日本 a+b%2F")


def append(web: Web, run_id: str, name: str, first: int, last: int) -> None:
    (batch,) = read_file(DATA / f"multipowerlaw_25M_{name}.csv").batches
    here = (batch.steps > first) & (batch.steps <= last)
    columns = {metric: batch.values[row, here].tolist() for row, metric in enumerate(batch.metrics)}
    web.append(run_id, batch.steps[here].tolist(), **columns)


@pytest.fixture
def hopeless(web: Web, database: Database, project: str) -> str:
    """A run that is sure to end above a finished one, after one look of a worker."""
    best = web.new_run(project=project, name="the best", plan=COSINE)
    append(web, best, "cosine_24000", 0, TOTAL)
    web.post(f"/runs/{best}/finish")
    refit_run(database, best, [])
    live = web.new_run(project=project, plan=CONSTANT)
    append(web, live, "constant_24000", 0, 15_000)
    refit_run(database, live, [])
    return live


def confirm(web: Web, database: Database, run_id: str) -> None:
    for begin in (15_000, 15_400, 15_800):
        append(web, run_id, "constant_24000", begin, begin + 400)
        refit_run(database, run_id, [])


def goals_at(project: str) -> str:
    return f"/api/v1/projects/{quote(project, safe='')}/goals"


def put_goals(web: Web, project: str, body: Any, *, status: int = 200) -> Any:
    answer = web.http.put(goals_at(project), json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_a_job_that_asks_is_told_to_stop_only_where_its_project_wants_that(
    web: Web, database: Database, hopeless: str, project: str
) -> None:
    confirm(web, database, hopeless)
    advice = web.get(f"/runs/{hopeless}/verdict")
    assert (advice["decision"], advice["confirmed"], advice["mode"]) == ("stop", True, "advise")
    assert (advice["metric"], advice["reference"], advice["should_stop"]) == ("val_loss", "the best", False)
    assert advice["probability"] > 0.95
    assert advice["saved"] == pytest.approx(1 - advice["step"] / TOTAL)
    assert advice["regret_interval"][0] <= advice["regret"]
    assert "only wants advice" in advice["stop_sentence"]

    put_goals(web, project, {"mode": "stop"})
    confirmed_anew = ((16_200, 16_600), (16_600, 17_000), (17_000, 17_400))
    for begin, end in confirmed_anew:
        assert not web.get(f"/runs/{hopeless}/verdict")["should_stop"]
        append(web, hopeless, "constant_24000", begin, end)
        refit_run(database, hopeless, [])
    told = web.get(f"/runs/{hopeless}/verdict")
    assert (told["should_stop"], told["segment"]) == (True, 1)
    (entry,) = web.get(f"/runs/{hopeless}/stops")["stops"]
    assert (entry["event"], entry["author"], entry["why"]) == ("ordered", "policy", told["sentence"])
    assert entry["evidence"]["settings"]["mode"] == "stop"

    web.post(f"/runs/{hopeless}/verdict/heard", {"segment": 1, "step": 18_010})
    web.post(f"/runs/{hopeless}/finish", {"status": "stopped", "message": "as told"})
    over = web.get(f"/runs/{hopeless}/verdict")
    assert (over["should_stop"], over["stop_sentence"]) == (False, "The run is over: stopped.")
    listed = web.http.get(f"/api/v1/projects/{quote(project, safe='')}/stops").json()["stops"]
    assert [(one["event"], one["step"]) for one in listed] == [("heard", 18_010), ("ordered", entry["step"])]


def test_a_goal_that_changes_puts_every_stop_in_doubt(
    web: Web, database: Database, hopeless: str, project: str
) -> None:
    put_goals(web, project, {"mode": "stop"})
    confirm(web, database, hopeless)
    assert web.get(f"/runs/{hopeless}/verdict")["should_stop"]
    put_goals(web, project, {"mode": "stop", "goals": {"val_loss": {"target": 3.4}}})
    found = web.get(f"/runs/{hopeless}/verdict")
    assert (found["should_stop"], found["stop_sentence"]) == (
        False,
        "The project's goals have changed; the run is being judged again.",
    )


def test_a_person_who_is_asked_decides(web: Web, database: Database, hopeless: str, project: str) -> None:
    put_goals(web, project, {"mode": "ask"})
    web.post(f"/runs/{hopeless}/verdict/answer", {"answer": "stop"}, status=409)
    confirm(web, database, hopeless)
    asked = web.get(f"/runs/{hopeless}/verdict")
    assert (asked["should_stop"], asked["stop_sentence"]) == (
        False,
        "A stop is proposed and waits for a person to say yes or no.",
    )
    declined = web.post(f"/runs/{hopeless}/verdict/answer", {"answer": "continue", "by": "Ada\x00"})
    assert not declined["should_stop"]
    web.post(f"/runs/{hopeless}/verdict/answer", {"answer": "take_back"})
    append(web, hopeless, "constant_24000", 16_200, 16_600)
    refit_run(database, hopeless, [])
    agreed = web.post(f"/runs/{hopeless}/verdict/answer", {"answer": "stop", "by": "Ada"})
    assert (agreed["should_stop"], agreed["stop_sentence"]) == (
        True,
        "A person agreed: the job is told to stop when it asks.",
    )
    log = web.get(f"/runs/{hopeless}/stops")["stops"]
    assert [entry["event"] for entry in log] == ["ordered", "proposed", "withdrawn", "declined", "proposed"]
    assert log[0]["why"] == "Ada said yes: stop."


def test_a_run_that_nobody_has_judged_is_undecided(web: Web, project: str) -> None:
    run_id = web.new_run(project=project)
    found = web.get(f"/runs/{run_id}/verdict")
    assert (found["decision"], found["should_stop"], found["metric"], found["probability"]) == (
        "undecided",
        False,
        None,
        None,
    )
    assert "Nothing has been judged yet" in found["sentence"]
    assert "accuracy is not judged" in web.get(f"/runs/{run_id}/verdict", metric="accuracy")["sentence"]
    assert web.get(f"/runs/{run_id}/stops") == {"stops": []}
    web.post(f"/runs/{run_id}/verdict/heard", status=409)
    web.post(f"/runs/{run_id}/finish")
    assert "over" in web.get(f"/runs/{run_id}/verdict")["sentence"]
    web.post(f"/runs/{run_id}/verdict/answer", {"answer": "continue"}, status=409)


def test_goals_come_back_as_they_were_set_and_say_what_may_be_a_slip(web: Web, hopeless: str, project: str) -> None:
    assert web.http.get(goals_at(project)).json()["revision"] == 0
    wanted = {
        "mode": "ask",
        "policy": "predictive",
        "parameters": {"confidence": 0.97},
        "goals": {
            "val_loss": {"target": 3.2, "delta": 0.01, "budget_steps": 20_000},
            "nobody/logs it": {"target": -1.5},
        },
        "baselines": [hopeless],
    }
    said = put_goals(web, project, wanted)
    assert said["warnings"] == ["No run of this project has logged 'nobody/logs it' yet."]
    kept = web.http.get(goals_at(project)).json()
    assert kept["goals"]["val_loss"] == wanted["goals"]["val_loss"]  # type: ignore[index]
    assert (kept["project"], kept["revision"], kept["parameters"]) == (project, 1, {"confidence": 0.97})
    assert [one["id"] for one in kept["baselines"]] == [hopeless]
    emptied = put_goals(web, project, {})
    assert (emptied["mode"], emptied["goals"], emptied["baselines"]) == ("advise", {}, [])
    assert emptied["revision"] == 2


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('{"goals": {"loss": {"target": NaN}}}', "target"),
        ('{"goals": {"loss": {"target": 1e999}}}', "target"),
        ('{"goals": {"loss": {"delta": -1}}}', "delta"),
        ('{"goals": {"loss": {"budget_steps": 0}}}', "budget_steps"),
        ('{"goals": {"": {"target": 1}}}', "goals"),
        ('{"goals": {"loss": {"goal": 1}}}', "goal"),
        ('{"mode": "kill"}', "mode"),
        ('{"policy": "astrology"}', "astrology"),
        ('{"policy": "predictive", "parameters": {"confidence": 2}}', "confidence"),
        ('{"policy": "predictive", "parameters": {"luck": 1}}', "luck"),
        ('{"baselines": ["of/another"]}', "baselines"),
        ("[]", "body"),
    ],
)
def test_goals_that_cannot_be_meant_are_refused_by_name(web: Web, project: str, body: str, named: str) -> None:
    web.new_run(project=project)
    answer = web.http.put(goals_at(project), content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (422, "bad_input"), answer.text
    assert named in answer.text
    assert web.http.get(goals_at(project)).json()["revision"] == 0


def test_a_sweep_is_judged_by_what_was_wanted_of_it_before_its_first_run(
    web: Web, database: Database, project: str
) -> None:
    said = put_goals(web, project, {"mode": "ask", "policy": "asha", "goals": {"val_loss": {"target": 3.2}}})
    assert said["warnings"] == [f"The project {project!r} has no run yet; its first one is judged by this."]
    assert project in web.get("/projects")["projects"]
    assert web.http.get(f"/api/v1/projects/{quote(project, safe='')}/ranking").status_code == 200
    first = web.new_run(project=project, plan=COSINE)
    append(web, first, "cosine_24000", 0, 6_000)
    refit_run(database, first, [])
    found = web.get(f"/runs/{first}/verdict")
    assert (found["mode"], found["policy"], found["goal"]["target"]) == ("ask", "asha", 3.2)
    assert web.http.get(goals_at(project)).json()["revision"] == 1


def test_what_is_refused_makes_no_project(web: Web, project: str) -> None:
    put_goals(web, project, {"baselines": [new_id("nobody")]}, status=422)
    put_goals(web, project, {"policy": "astrology"}, status=422)
    put_goals(web, "", {}, status=422)
    put_goals(web, "x" * 501, {}, status=422)
    assert web.http.get(goals_at(project)).status_code == 404
    assert not {project, "", "x" * 501} & set(web.get("/projects")["projects"])


def test_a_project_that_no_run_has_reported_to_can_be_deleted(web: Web, project: str) -> None:
    put_goals(web, project, {"mode": "stop"})
    assert web.http.delete(f"/api/v1/projects/{quote(project, safe='')}").json() == {"deleted": []}
    web.new_run(project=project)
    assert web.http.get(goals_at(project)).json()["mode"] == "advise"


def test_a_run_of_another_project_is_no_baseline(web: Web, project: str) -> None:
    web.new_run(project=project)
    stranger = web.new_run(project=new_id("another"))
    refused = put_goals(web, project, {"baselines": [stranger]}, status=422)
    assert f"'{stranger}' is no run of the project" in refused["message"]
    assert web.http.get(goals_at(project)).json()["baselines"] == []


def test_what_is_not_there_is_not_found(web: Web) -> None:
    for address in ("/runs/nobody/verdict", "/runs/nobody/stops"):
        answer = web.http.get(f"/api/v1{address}")
        assert (answer.status_code, answer.json()["error"]) == (404, "run_not_found")
    for address in ("goals", "stops", "ranking"):
        answer = web.http.get(f"/api/v1/projects/no/body/{address}")
        assert (answer.status_code, answer.json()["error"]) == (404, "not_found")
    assert web.http.post("/api/v1/runs/nobody/verdict/answer", json={"answer": "stop"}).status_code == 404


def test_runs_of_a_project_are_ranked_by_where_they_will_end(
    web: Web, database: Database, hopeless: str, project: str
) -> None:
    address = f"/projects/{quote(project, safe='')}/ranking"
    other = web.new_run(project=project, plan=COSINE)
    append(web, other, "cosine_24000", 0, 18_000)
    refit_run(database, other, [])
    failed = web.new_run(project=project, plan=CONSTANT)
    append(web, failed, "constant_24000", 0, 12_000)
    web.post(f"/runs/{failed}/finish", {"status": "failed"})
    refit_run(database, failed, [])

    found = web.get(address, threshold=0.01)
    assert (found["metric"], found["left_out"]) == ("val_loss", 0)
    assert {one["run_id"] for one in found["placings"]} > {hopeless, other}
    assert failed not in {one["run_id"] for one in found["placings"]}
    assert [(one["run_id"], one["why"]) for one in found["not_ranked"]] == [(failed, "failed")]
    last = found["placings"][-1]
    assert (last["run_id"], last["is_live"], last["is_to_stop"]) == (hopeless, True, True)
    assert last["chance_best"] < 0.05
    assert sum(one["chance_best"] for one in found["placings"]) == pytest.approx(1, abs=1e-6)
    assert found["proposal"]["run_ids"] == [hopeless]
    assert 0.3 < found["proposal"]["freed_share"] < 1
    assert found["halving"]["run_ids"] == [hopeless]
    assert found["threshold"]["chance_best_lost"] < 0.01

    nothing = web.get(address, metric="accuracy")
    assert (nothing["placings"], nothing["proposal"]) == ([], None)
    empty = web.new_run(project=new_id("empty"))
    project_of = web.get(f"/runs/{empty}")["project"]
    assert web.get(f"/projects/{project_of}/ranking")["metric"] is None


def test_people_see_whether_a_job_asks_at_all(web: Web, database: Database, hopeless: str, project: str) -> None:
    """What the page of the run says; whoever asks over HTTP is the one who asks."""

    def on_the_page() -> str:
        with database.read() as connection:
            return read_stop_state(connection, hopeless).sentence

    put_goals(web, project, {"mode": "stop"})
    confirm(web, database, hopeless)
    ordered = "The project's policy wants it: the job is told to stop when it asks."
    assert on_the_page() == f"{ordered} {NEVER_ASKED}"
    web.get(f"/runs/{hopeless}/verdict", metric="train_loss")
    assert on_the_page().endswith(NEVER_ASKED), "a look at another metric is not a job that asks"
    assert web.get(f"/runs/{hopeless}/verdict")["stop_sentence"] == ordered
    assert on_the_page() == ordered
    web.post("/runs", {"id": hopeless, "project": project, "session": "restarted"})
    assert on_the_page().endswith(NEVER_ASKED), "the new start has not asked"
