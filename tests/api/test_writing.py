"""What a job may send, nicely or not, through real HTTP."""

import gzip
import json
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from app.storage.metric_names import stored_metric
from tests.service import Web, new_id


def test_a_run_is_created_once_and_resumed_after(web: Web) -> None:
    run_id = new_id()
    body = {"id": run_id, "project": "p1", "name": "first", "config": {"lr": 3e-4}, "tags": ["a"], "session": "s1"}
    created = web.post("/runs", body, status=201)
    again = web.post("/runs", body, status=200)
    restarted = web.post("/runs", {"id": run_id, "session": "s2"}, status=200)
    assert (created["created"], created["segment"]) == (True, 1)
    assert (again["created"], again["segment"]) == (False, 1)
    assert restarted["segment"] == 2
    detail = web.get(f"/runs/{run_id}")
    assert (detail["name"], detail["project"], detail["config"], detail["tags"]) == ("first", "p1", {"lr": 3e-4}, ["a"])
    assert [one["number"] for one in detail["segments"]] == [1, 2]


def test_a_run_without_an_id_is_given_one(web: Web) -> None:
    made = web.post("/runs", {}, status=201)
    assert made["id"]
    assert made["url"].endswith(f"/runs/{made['id']}")


def test_columns_and_rows_are_the_same_points(web: Web) -> None:
    run_id = web.new_run()
    web.append(run_id, [1, 2], loss=[2.5, 2.4], lr=[0.1, None])
    web.post(f"/runs/{run_id}/batches", {"rows": [{"step": 3, "loss": 2.3}, {"step": 4, "loss": 2.2, "lr": 0.2}]})
    assert web.points(run_id) == {1: 2.5, 2: 2.4, 3: 2.3, 4: 2.2}
    assert web.points(run_id, "lr") == {1: 0.1, 4: 0.2}


def test_the_same_batch_twice_is_one(web: Web) -> None:
    run_id = web.new_run()
    assert web.append(run_id, [1, 2], segment=1, seq=0, loss=[2.0, 1.0])["duplicate"] is False
    second = web.append(run_id, [1, 2], segment=1, seq=0, loss=[9.0, 9.0])
    assert (second["duplicate"], second["stored"]) == (True, 0)
    assert web.points(run_id) == {1: 2.0, 2: 1.0}
    assert web.get(f"/runs/{run_id}/series")["series"][0]["points"] == 2


def test_batches_may_arrive_in_any_order(web: Web) -> None:
    run_id = web.new_run()
    for seq in (3, 0, 2, 1):
        web.append(run_id, [10 * seq, 10 * seq + 5, 100], segment=1, seq=seq, loss=[float(seq), seq + 0.5, float(seq)])
    found = web.points(run_id)
    assert list(found) == [0, 5, 10, 15, 20, 25, 30, 35, 100]
    assert found[100] == 3.0  # the latest seq, not the latest arrival


def test_many_senders_of_the_same_batch_at_once_store_it_once(web: Web) -> None:
    run_id = web.new_run()
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: web.append(run_id, [1], segment=1, seq=0, loss=[1.0]), range(24)))
    assert sorted(answer["duplicate"] for answer in answers) == [False] + [True] * 23
    assert web.get(f"/runs/{run_id}/series")["series"][0]["points"] == 1


def test_a_rewind_after_a_restart_replaces_the_old_tail(web: Web) -> None:
    run_id = web.new_run()
    web.append(run_id, [100, 200, 300], segment=1, seq=0, loss=[3.0, 2.0, 1.0])
    segment = web.post("/runs", {"id": run_id, "session": "again", "resume_step": 150})["segment"]
    assert web.points(run_id) == {100: 3.0, 200: 2.0, 300: 1.0}
    web.append(run_id, [160, 310], segment=segment, seq=0, loss=[2.5, 0.9])
    assert web.points(run_id) == {100: 3.0, 160: 2.5, 310: 0.9}


def test_duplicate_steps_keep_the_last(web: Web) -> None:
    run_id = web.new_run()
    web.append(run_id, [1, 1, 1], loss=[1.0, 2.0, 3.0])
    assert web.points(run_id) == {1: 3.0}


def test_nan_and_infinities_travel_as_words(web: Web) -> None:
    run_id = web.new_run()
    web.append(run_id, [1, 2, 3, 4, 5], loss=["NaN", "Infinity", "-Infinity", "nan", 1e300])
    assert web.points(run_id) == {1: "NaN", 2: "Infinity", 3: "-Infinity", 4: "NaN", 5: 1e300}


def test_bare_nan_tokens_as_python_writes_them_are_understood(web: Web) -> None:
    run_id = web.new_run()
    body = json.dumps({"steps": [1, 2, 3], "metrics": {"loss": [math.nan, math.inf, -math.inf]}})
    answer = web.http.post(f"/api/v1/runs/{run_id}/batches", content=body)
    assert answer.status_code == 200, answer.text
    assert web.points(run_id) == {1: "NaN", 2: "Infinity", 3: "-Infinity"}


@pytest.mark.parametrize("token", ["1e400", "1" + "0" * 400])
def test_a_number_too_large_for_a_float_is_infinite(web: Web, token: str) -> None:
    run_id = web.new_run()
    answer = web.http.post(f"/api/v1/runs/{run_id}/batches", content=f'{{"steps":[1],"metrics":{{"loss":[-{token}]}}}}')
    assert answer.status_code == 200, answer.text
    assert web.points(run_id) == {1: "-Infinity"}


def test_huge_negative_and_odd_steps_are_no_reason_to_refuse(web: Web) -> None:
    run_id = web.new_run()
    steps = [2**40, -7, 2**53 + 1, 2**80, 3.0, 4.5, "6"]
    answer = web.post(f"/runs/{run_id}/batches", {"steps": steps, "metrics": {"loss": [float(i) for i in range(7)]}})
    assert answer["stored"] == 7
    assert len(answer["warnings"]) == 3  # the fraction, the one beyond 64 bits and both that count nothing
    assert web.points(run_id) == {-7: 1.0, 3: 4.0, 4: 5.0, 6: 6.0, 2**40: 0.0, 2**53 + 1: 2.0, 2**63 - 1: 3.0}


@pytest.mark.parametrize("step", [2**63 - 1, 2**53 + 1, -(2**62)])
def test_a_step_that_no_run_makes_is_stored_and_warned_of(web: Web, step: int) -> None:
    run_id = web.new_run()
    answer = web.append(run_id, [2**53, step], loss=[2.0, 3.0])
    assert answer["stored"] == 2
    [warning] = answer["warnings"]
    assert "overflowed counter" in warning
    logged = web.post(f"/log/{run_id}", {"step": step, "loss": 4.0})
    assert any("overflowed counter" in warning for warning in logged["warnings"])


def test_unicode_names_long_names_and_hostile_names(web: Web) -> None:
    run_id = web.new_run(name="Läufe 🚀 <script>alert(1)</script>", project="проект/学習")
    names = [
        "потеря",
        "損失/訓練",
        "a b/c.d",
        "<img src=x onerror=alert(1)>",
        "x" * 2000,
        "nul\x00byte",
        "'; DROP TABLE run; --",
    ]
    columns: dict[str, Any] = {name: [1.0] for name in names}
    answer = web.append(run_id, [1], **columns)
    assert answer["stored"] == len(names)
    listed = {one["metric"] for one in web.get(f"/runs/{run_id}/series")["series"]}
    assert {"потеря", "損失/訓練", "a b/c.d", "nul\ufffdbyte", stored_metric("x" * 2000)} <= listed
    assert web.points(run_id, "損失/訓練") == {1: 1.0}
    assert web.points(run_id, "nul\x00byte") == {1: 1.0}


def test_a_metric_may_appear_late(web: Web) -> None:
    run_id = web.new_run()
    web.append(run_id, [1, 2], loss=[2.0, 1.9])
    web.append(run_id, [3], loss=[1.8], val_loss=[2.1])
    assert web.points(run_id, "val_loss") == {3: 2.1}
    assert {one["metric"] for one in web.get(f"/runs/{run_id}/series")["series"]} == {"loss", "val_loss"}


def test_gzipped_bodies_are_unpacked(web: Web) -> None:
    run_id = web.new_run()
    body = gzip.compress(json.dumps({"steps": [1], "metrics": {"loss": [1.5]}}).encode())
    answer = web.http.post(f"/api/v1/runs/{run_id}/batches", content=body, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 200, answer.text
    assert web.points(run_id) == {1: 1.5}


def test_a_gzipped_announcement_keeps_all_that_it_says(web: Web) -> None:
    run_id = new_id()
    said = {"id": run_id, "name": "packed", "config": {f"key {at}": at for at in range(500)}}
    body = gzip.compress(json.dumps(said).encode())
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    answer = web.http.post("/api/v1/runs", content=body, headers=headers)
    assert answer.status_code == 201, answer.text
    detail = web.get(f"/runs/{run_id}")
    assert (detail["name"], len(detail["config"])) == ("packed", 500)


def test_a_body_of_20_megabytes_is_stored_whole(web: Web) -> None:
    run_id = web.new_run()
    n_points = 900_000
    body = json.dumps(
        {"steps": list(range(n_points)), "metrics": {"loss": [2.0 + step / 3 for step in range(n_points)]}}
    )
    assert len(body) > 20_000_000
    answer = web.http.post(f"/api/v1/runs/{run_id}/batches", content=body)
    assert answer.json()["stored"] == n_points
    assert web.points(run_id, from_step=899_999) == {899_999: 2.0 + 899_999 / 3}


BAD_BODIES = {
    "empty": b"",
    "blanks": b"  \n ",
    "not json": b"loss=2",
    "cut off": b'{"steps": [1, 2',
    "a list": b"[1, 2]",
    "a number": b"7",
    "no steps": b'{"metrics": {"loss": [1]}}',
    "neither shape": b'{"segment": 1}',
    "both shapes": b'{"steps": [1], "metrics": {"a": [1]}, "rows": [{"step": 1, "a": 1}]}',
    "steps of a wrong type": b'{"steps": "abc", "metrics": {"loss": [1]}}',
    "metrics of a wrong type": b'{"steps": [1], "metrics": [1]}',
    "column of a wrong type": b'{"steps": [1], "metrics": {"loss": 1}}',
    "lengths that differ": b'{"steps": [1, 2], "metrics": {"loss": [1]}}',
    "only words": b'{"steps": [1], "metrics": {"loss": ["high"]}}',
    "only objects": b'{"steps": [1], "metrics": {"loss": [{"a": 1}]}}',
    "rows without a step": b'{"rows": [{"loss": 1}]}',
    "no usable step": b'{"steps": ["first"], "metrics": {"loss": [1]}}',
    "negative seq": b'{"seq": -1, "steps": [1], "metrics": {"loss": [1]}}',
    "seq of a wrong type": b'{"seq": "x", "steps": [1], "metrics": {"loss": [1]}}',
    "deeply nested": b"[" * 100_000,
    "not text": b"\xff\xfe\x00\x01",
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_body_that_cannot_be_used_is_answered_with_what_to_send(web: Web, name: str) -> None:
    run_id = web.new_run()
    answer = web.http.post(f"/api/v1/runs/{run_id}/batches", content=BAD_BODIES[name])
    assert answer.status_code == 422, answer.text
    said = answer.json()
    assert said["error"] == "bad_input"
    assert len(said["message"]) > 20
    assert web.get(f"/runs/{run_id}/series")["series"] == []


def test_one_stray_word_does_not_cost_the_numbers_beside_it(web: Web) -> None:
    run_id = web.new_run()
    answer = web.post(f"/runs/{run_id}/batches", {"rows": [{"step": 1, "loss": 2.0, "phase": "warmup", "ok": True}]})
    assert answer["stored"] == 2
    assert "phase" in answer["warnings"][0]
    assert web.points(run_id) == {1: 2.0}
    assert web.points(run_id, "ok") == {1: 1.0}


def test_a_batch_without_rows_is_no_error(web: Web) -> None:
    run_id = web.new_run()
    assert web.post(f"/runs/{run_id}/batches", {"rows": []})["stored"] == 0
    assert web.post(f"/runs/{run_id}/batches", {"steps": [], "metrics": {}})["stored"] == 0


def test_a_body_over_the_limit_is_413_packed_or_not(web: Web) -> None:
    run_id = web.new_run()
    huge = b" " * (33 * 2**20)
    for body, headers in ((huge, {}), (gzip.compress(huge), {"Content-Encoding": "gzip"})):
        answer = web.http.post(f"/api/v1/runs/{run_id}/batches", content=body, headers=headers)
        assert answer.status_code == 413
        assert "several batches" in answer.json()["message"]


@pytest.mark.parametrize(("coding", "body", "status"), [("br", b"x", 415), ("gzip", b"not gzip", 422)])
def test_bodies_in_another_coding_are_refused_clearly(web: Web, coding: str, body: bytes, status: int) -> None:
    run_id = web.new_run()
    answer = web.http.post(f"/api/v1/runs/{run_id}/batches", content=body, headers={"Content-Encoding": coding})
    assert answer.status_code == status, answer.text


def test_rows_with_a_metric_each_cannot_fill_the_memory(web: Web) -> None:
    run_id = web.new_run()
    rows = [{"step": at, f"m{at}": 1.0} for at in range(5000)]
    answer = web.http.post(f"/api/v1/runs/{run_id}/batches", json={"rows": rows})
    assert answer.status_code == 422
    assert "several batches" in answer.json()["message"]


def test_an_unknown_run_is_404(web: Web) -> None:
    answer = web.http.post("/api/v1/runs/nobody/batches", json={"steps": [1], "metrics": {"loss": [1.0]}})
    assert (answer.status_code, answer.json()["error"]) == (404, "run_not_found")


@pytest.mark.parametrize("run_id", ["", "a b", "../x", "x" * 201, "-x", "ü"])
def test_ids_that_would_not_fit_an_address_are_refused(web: Web, run_id: str) -> None:
    answer = web.http.post("/api/v1/runs", json={"id": run_id})
    assert answer.status_code == 422


def test_one_line_of_curl_makes_a_run_and_counts_on(web: Web) -> None:
    run_id = new_id("curl")
    first = web.http.post(f"/api/v1/log/{run_id}?project=shell&total_steps=1000", data={"step": 100, "loss": 2.31})
    second = web.http.post(f"/api/v1/log/{run_id}", data={"loss": "nan"})
    third = web.http.post(f"/api/v1/log/{run_id}", json={"step": 200, "loss": 2.1, "lr": 0.1})
    assert [answer.status_code for answer in (first, second, third)] == [200, 200, 200]
    assert web.points(run_id) == {100: 2.31, 101: "NaN", 200: 2.1}
    detail = web.get(f"/runs/{run_id}")
    assert (detail["project"], detail["declared_plan"]["total_steps"]) == ("shell", 1000)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("totl_steps=900", "totl_steps= in the address is unknown and was ignored: did you mean total_steps?"),
        ("schedule=cosine", "a schedule is declared with the run's plan"),
        ("loss=2.5", "metrics go into the body"),
        ("project=elsewhere", "The run is in project 'shell' and stays there; project=elsewhere was ignored."),
    ],
)
def test_a_slip_in_the_address_of_one_line_of_curl_is_named_and_its_row_is_kept(web: Web, said: str, told: str) -> None:
    run_id = new_id("curl")
    first = web.http.post(f"/api/v1/log/{run_id}?project=shell", data={"step": 1, "loss": 2.4})
    slipped = web.http.post(f"/api/v1/log/{run_id}?{said}", data={"step": 2, "loss": 2.3})
    plain = web.http.post(f"/api/v1/log/{run_id}", data={"step": 3, "loss": 2.2})
    assert first.json()["warnings"] == plain.json()["warnings"] == []
    (warning,) = slipped.json()["warnings"]
    assert told in warning
    assert web.points(run_id) == {1: 2.4, 2: 2.3, 3: 2.2}
    assert web.get(f"/runs/{run_id}")["project"] == "shell"


def test_a_negative_step_of_one_line_of_curl_is_kept_and_named(web: Web) -> None:
    run_id = new_id("curl")
    answer = web.http.post(f"/api/v1/log/{run_id}", data={"step": -5, "loss": 2.4}).json()
    assert (answer["stored"], answer["warnings"]) == (1, ["The step is negative (-5); it was stored as it is."])


def test_one_line_of_curl_without_a_metric_says_what_to_send(web: Web) -> None:
    answer = web.http.post(f"/api/v1/log/{new_id()}", content=b"")
    assert answer.status_code == 422
    assert "-d loss=" in answer.json()["message"]


def test_heartbeat_and_finish(web: Web) -> None:
    run_id = web.new_run()
    web.post(f"/runs/{run_id}/heartbeat")
    web.post(f"/runs/{run_id}/finish", {"status": "failed", "message": "CUDA out of memory"})
    detail = web.get(f"/runs/{run_id}")
    assert (detail["status"], detail["exit_message"]) == ("failed", "CUDA out of memory")
    assert detail["finished_at"] is not None
    web.post("/runs", {"id": run_id, "session": "after the crash"})
    assert web.get(f"/runs/{run_id}")["status"] == "running"
    assert web.http.post("/api/v1/runs/nobody/heartbeat", json={}).status_code == 404


def test_what_is_said_of_a_run_can_be_changed(web: Web) -> None:
    run_id = web.new_run(name="old")
    answer = web.http.patch(
        f"/api/v1/runs/{run_id}",
        json={"name": "new", "tags": ["x"], "plan": {"total_steps": 500}, "roles": {"score": "val_loss"}},
    )
    assert answer.status_code == 200, answer.text
    assert (answer.json()["name"], answer.json()["tags"]) == ("new", ["x"])
    assert answer.json()["declared_plan"]["total_steps"] == 500


@pytest.mark.parametrize(
    "said",
    [
        {"plan": {"total_steps": -1}},
        {"plan": {"total_steps": "many"}},
        {"plan": {"schedule": {"family": "wobbly"}}},
        {"roles": {"loss": "colour"}},
        {"config": "text"},
        {"tags": "text"},
    ],
)
def test_a_description_that_makes_no_sense_is_refused_with_a_reason(web: Web, said: dict[str, object]) -> None:
    answer = web.http.post("/api/v1/runs", json={"id": new_id(), **said})
    assert answer.status_code == 422, answer.text
    assert len(answer.json()["message"]) > 15


def test_a_config_of_any_shape_is_kept(web: Web) -> None:
    deep: dict[str, object] = {"x": 1}
    for _ in range(200):
        deep = {"d": deep}
    run_id = new_id()
    body = json.dumps({"id": run_id, "config": {"nan": math.nan, "nul": "a\x00b", "deep": deep, "list": [1, None]}})
    answer = web.http.post("/api/v1/runs", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 201, answer.text
    config = web.get(f"/runs/{run_id}")["config"]
    assert (config["nan"], config["nul"], config["list"]) == ("NaN", "a\ufffdb", [1, None])


@pytest.mark.parametrize("said", ["2e4", "20000.0", "+20000", " 20_000 "])
def test_a_total_may_be_written_in_any_notation_of_a_whole_number(web: Web, said: str) -> None:
    run_id = new_id("curl")
    answer = web.http.post(f"/api/v1/log/{run_id}", params={"total_steps": said}, data={"step": "1e2", "loss": 2.31})
    assert answer.status_code == 200, answer.text
    assert web.get(f"/runs/{run_id}")["declared_plan"]["total_steps"] == 20_000
    assert web.points(run_id, from_step="1e2", to_step="1e2", max_points="1e3") == {100: 2.31}
    opened = web.http.post("/api/v1/runs", json={"id": run_id, "session": "again", "resume_step": 1e2})
    assert opened.status_code == 200, opened.text
    asked = web.http.put("/api/v1/projects/default/goals", json={"goals": {"loss": {"target": 2, "budget_steps": 2e4}}})
    assert asked.status_code == 200, asked.text
    web.http.put("/api/v1/projects/default/goals", json={}).raise_for_status()


@pytest.mark.parametrize("said", ["many", "1.5", "nan", "1e400", "20,000", ""])
def test_a_total_that_is_no_whole_number_is_refused_in_plain_words(web: Web, said: str) -> None:
    answer = web.http.post(f"/api/v1/log/{new_id()}", params={"total_steps": said}, data={"loss": 2.31})
    assert answer.status_code == 422
    assert "query.total_steps: A whole number is needed, such as 20000 or 2e4." in answer.json()["message"]


def test_a_step_beyond_the_floats_is_taken_exactly(web: Web) -> None:
    run_id = new_id("curl")
    for step in (2**53 + 1, 2**53 + 3):
        web.append(run_id if step > 2**53 + 1 else web.new_run(id=run_id), [step], loss=[1.0])
    assert web.points(run_id, from_step=2**53 + 2) == {2**53 + 3: 1.0}
