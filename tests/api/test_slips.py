"""Names and forms that are nearly right: refused where that costs nothing, told where a job would lose its points."""

from typing import Any

import pytest

from app.api.slips import advice
from tests.service import Web, new_id


def log(web: Web, run_id: str, body: str, content_type: str = "application/x-www-form-urlencoded") -> Any:
    return web.http.post(f"/api/v1/log/{run_id}", content=body, headers={"Content-Type": content_type})


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("/runs?staus=running", "staus= in the address is unknown: did you mean status?"),
        ("/runs?Project=x", "did you mean project?"),
        ("/runs?colour=red", "known are project, status, search, limit and offset."),
        ("/runs/{run}?verbose=1", "this address takes none."),
        ("/runs/{run}/series?metrics=loss", "did you mean metric?"),
        ("/runs/{run}/export?fromat=csv", "did you mean format?"),
        ("/projects/default/ranking?metrik=loss", "did you mean metric?"),
        ("/runs/{run}/verdict?segmnt=1", "known"),
    ],
)
def test_a_read_with_an_unknown_parameter_is_refused(web: Web, address: str, told: str) -> None:
    run_id = web.new_run()
    answer = web.http.get("/api/v1" + address.format(run=run_id))
    assert (answer.status_code, answer.json()["error"]) == (422, "bad_input")
    assert told in answer.json()["message"]


def test_a_slip_in_the_address_deletes_nothing(web: Web) -> None:
    run_id = web.new_run()
    assert web.http.delete(f"/api/v1/runs/{run_id}?dry_run=1").status_code == 422
    assert web.http.get(f"/api/v1/runs/{run_id}").status_code == 200


def test_a_change_that_is_not_heeded_is_refused(web: Web) -> None:
    run_id = web.new_run(name="before")
    answer = web.http.patch(f"/api/v1/runs/{run_id}", json={"name": "after", "project": "elsewhere"})
    assert answer.status_code == 422
    assert "'project'" in answer.json()["message"]
    assert "name, tags, plan, roles" in answer.json()["message"]
    assert web.get(f"/runs/{run_id}")["name"] == "before"


def test_what_a_job_writes_is_kept_whatever_else_it_says(web: Web) -> None:
    opened = web.post("/runs", {"id": new_id(), "total_step": 9, "conifg": {}}, status=201)
    assert ["'total_step'" in told or "did you mean config?" in told for told in opened["warnings"]] == [True, True]
    run_id = opened["id"]
    body = {"steps": [1], "time": [3.0], "metrics": {"loss": [2.0]}, "hostname": "a"}
    stored = web.post(f"/runs/{run_id}/batches?debug=1", body)
    assert stored["stored"] == 1
    assert sorted(stored["warnings"])[1].endswith("did you mean times?")
    assert "'hostname'" in sorted(stored["warnings"])[0]
    done = web.post(f"/runs/{run_id}/finish", {"status": "failed", "mesage": "out of memory"})
    assert "did you mean message?" in done["warnings"][0]
    assert web.get(f"/runs/{run_id}")["status"] == "failed"
    assert web.points(run_id) == {1: 2.0}


def test_what_is_said_right_is_not_warned_of(web: Web) -> None:
    opened = web.post("/runs", {"id": new_id(), "config": {"anything": 1}, "session": "s"}, status=201)
    body = {"segment": 1, "seq": 0, "steps": [1], "times": [3.0], "metrics": {"whatever": [2.0]}}
    assert opened["warnings"] == web.post(f"/runs/{opened['id']}/batches", body)["warnings"] == []
    assert web.post(f"/runs/{opened['id']}/finish", {"status": "finished"})["warnings"] == []


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain"])
def test_a_row_that_holds_nothing_is_told_so(web: Web, content_type: str) -> None:
    answer = log(web, new_id(), "step=104", content_type).json()
    assert answer["stored"] == 0
    assert "nothing was stored" in answer["warnings"][0]
    assert "-d loss=" in answer["warnings"][0]


def test_a_metric_that_is_sent_twice_in_a_row_is_told_which_counts(web: Web) -> None:
    run_id = new_id()
    answer = log(web, run_id, "step=1&loss=1&loss=2").json()
    assert answer["warnings"] == ["loss was sent 2 times; the last value counts."]
    assert web.points(run_id) == {1: 2.0}


@pytest.mark.parametrize("value", ["abc", "1,5"])
def test_a_row_without_a_number_is_told_a_form_that_its_address_takes(web: Web, value: str) -> None:
    answer = log(web, new_id(), f"step=1&loss={value}")
    assert answer.status_code == 422
    assert value in answer.json()["message"]
    assert "-d loss=2.31" in answer.json()["message"]
    assert '"rows"' not in answer.json()["message"]


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_several_rows_in_one_line_are_told_where_they_belong(web: Web, content_type: str) -> None:
    run_id = new_id()
    answer = log(web, run_id, '[{"step": 1, "loss": 2.0}]', content_type)
    assert answer.status_code == 422
    assert "/batches" in answer.json()["message"]
    assert web.http.get(f"/api/v1/runs/{run_id}").status_code == 404


@pytest.mark.parametrize(
    ("method", "address", "allowed"),
    [
        ("GET", "/log/my-run", "POST"),
        ("PUT", "/log/my-run", "POST"),
        ("POST", "/runs/my-run", "DELETE, GET, PATCH"),
        ("GET", "/runs/my-run/batches", "POST"),
        ("DELETE", "/runs", "GET, POST"),
    ],
)
def test_an_address_that_takes_another_method_says_which(web: Web, method: str, address: str, allowed: str) -> None:
    answer = web.http.request(method, "/api/v1" + address)
    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    assert answer.json()["error"] == "method_not_allowed"
    assert allowed in answer.json()["message"]


def test_an_address_that_there_is_not_is_not_found_by_any_method(web: Web) -> None:
    assert web.http.put("/api/v1/nothing").status_code == 404


@pytest.mark.parametrize("run_id", ["a b", "-x", "ä", "x" * 201])
def test_a_bad_id_is_told_in_words_what_an_id_is(web: Web, run_id: str) -> None:
    for answer in (web.http.post("/api/v1/runs", json={"id": run_id}), web.http.get(f"/api/v1/runs/{run_id}")):
        assert answer.status_code == 422
        assert "begins with a letter or digit" in answer.json()["message"]
        assert "[A-Z" not in answer.json()["message"]


def test_a_deleted_run_is_told_by_reads_too(web: Web) -> None:
    run_id = web.new_run()
    web.http.delete(f"/api/v1/runs/{run_id}")
    for address in ("", "/series", "/forecast", "/verdict"):
        answer = web.http.get(f"/api/v1/runs/{run_id}{address}")
        assert answer.status_code == 404
        assert "was deleted at 20" in answer.json()["message"]


def test_advice_names_the_one_near_or_all() -> None:
    assert advice("metricc", ["metric", "limit"]) == "did you mean metric?"
    assert advice("zzz", ["metric", "limit"]) == "known are metric and limit."
    assert advice("zzz", ["metric"]) == "known is metric."
