"""What the API gives back."""

import csv
import io
import json
import math
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from app.storage.database import Database
from app.worker.refit import refit_run
from tests.service import Web, new_id


@pytest.fixture(scope="module")
def long_run(web: Web) -> str:
    """120,000 points in order, with a spike and a NaN in them."""
    run_id = web.new_run(project="long")
    values = (2.0 + np.arange(120_000) % 7 / 10).tolist()
    values[70_000], values[90_000] = 99.0, "NaN"
    for at in range(0, 120_000, 20_000):
        web.append(run_id, list(range(at, at + 20_000)), segment=1, seq=at, loss=values[at : at + 20_000])
    return run_id


def test_a_thinned_series_keeps_its_extremes_and_its_nan(web: Web, long_run: str) -> None:
    found = web.points(long_run, max_points=500)
    assert len(found) <= 500
    assert found[70_000] == 99.0
    assert found[90_000] == "NaN"
    assert min(found) == 0
    assert max(found) == 119_999


def test_a_range_of_steps_comes_at_full_resolution(web: Web, long_run: str) -> None:
    found = web.points(long_run, from_step=69_999, to_step=70_001, max_points=500)
    assert found == {69_999: 2.6, 70_000: 99.0, 70_001: 2.1}


def test_runs_are_listed_newest_first_and_paged(web: Web) -> None:
    project = new_id("paged")
    ids = [web.new_run(project=project) for _ in range(5)]
    pages = [web.get("/runs", project=project, limit=2, offset=offset) for offset in (0, 2, 4)]
    assert [row["id"] for page in pages for row in page["runs"]] == ids[::-1]
    assert {page["total"] for page in pages} == {5}


def test_runs_are_found_by_a_part_of_their_name_taken_literally(web: Web) -> None:
    project = new_id("search")
    wanted = web.new_run(project=project, name="Llama_100%")
    web.new_run(project=project, name="llama-1000")
    assert [row["id"] for row in web.get("/runs", project=project, search="llama_100%")["runs"]] == [wanted]


def test_runs_are_filtered_by_status(web: Web) -> None:
    project = new_id("status")
    done, _ = web.new_run(project=project), web.new_run(project=project)
    web.post(f"/runs/{done}/finish")
    assert [row["id"] for row in web.get("/runs", project=project, status="finished")["runs"]] == [done]
    assert project in web.get("/projects")["projects"]


@pytest.mark.parametrize(
    "address",
    [
        "/runs?limit=0",
        "/runs?limit=x",
        "/runs?status=asleep",
        "/runs?offset=-1",
        "/runs/{id}/series?metric=loss&max_points=1",
        "/runs/{id}/series?metric=loss&from_step=99999999999999999999",
        "/runs/{id}/export?format=xlsx",
    ],
)
def test_questions_that_make_no_sense_are_answered_with_422(web: Web, address: str) -> None:
    answer = web.http.get("/api/v1" + address.replace("{id}", web.new_run()))
    assert answer.status_code == 422
    assert answer.json()["error"] == "bad_input"


def test_too_few_points_are_refused_with_the_reason(web: Web) -> None:
    run_id = web.new_run()
    refused = web.http.get(f"/api/v1/runs/{run_id}/series?metric=loss&max_points=9")
    assert refused.status_code == 422
    assert refused.json()["message"] == (
        "max_points: At least 10, so that the first and the last point, the lowest, the highest and each kind of "
        "non-finite value have room."
    )
    web.append(run_id, list(range(100)), segment=1, seq=1, loss=[1.0, "NaN", "Infinity", "-Infinity", 0.5, *[1.0] * 95])
    found = web.points(run_id, max_points=10)
    assert len(found) <= 10
    assert {0, 1, 2, 3, 4, 99} <= set(found)


@pytest.mark.parametrize(
    "address",
    ["/runs/nobody", "/runs/nobody/series", "/runs/nobody/forecast", "/runs/nobody/forecasts", "/runs/nobody/alerts",
     "/runs/nobody/export", "/runs/{id}/series?metric=none", "/runs/{id}/forecast", "/nothing", "/runs/{id}/nothing"],
)  # fmt: skip
def test_what_is_not_there_is_404_with_a_hint(web: Web, address: str) -> None:
    answer = web.http.get("/api/v1" + address.replace("{id}", web.new_run()))
    assert answer.status_code == 404, answer.text
    assert len(answer.json()["message"]) > 20


@pytest.fixture(scope="module")
def unforecast_run(web: Web, api_database_url: str) -> str:
    """Fitted, its training loss NaN at its end, its validation loss logged three times."""
    run_id = web.new_run(plan={"total_steps": 1000})
    web.append(run_id, list(range(1, 81)), train_loss=[*[3 - step / 80 for step in range(50)], *["NaN"] * 30])
    web.append(run_id, [20, 40, 60], val_loss=[3.0, 2.8, 2.7])
    web.append(run_id, [1, 80], lr=[1e-3, 1e-3])
    database = Database(api_database_url)
    refit_run(database, run_id, [])
    database.close()
    return run_id


@pytest.mark.parametrize(
    ("metric", "error", "says"),
    [
        ({}, "no_forecast", "No forecast of train_loss: train_loss is not finite at its last step"),
        ({"metric": "val_loss"}, "no_forecast", "No forecast of val_loss: A forecast needs at least 5 finite points"),
        ({"metric": "lr"}, "no_forecast", "only losses and accuracies are forecast, and its role is 'lr'"),
        ({"metric": "none"}, "unknown_metric", "No metric named 'none'. Known: lr, train_loss, val_loss."),
    ],
)
def test_a_run_without_a_forecast_says_why(
    web: Web, unforecast_run: str, metric: dict[str, str], error: str, says: str
) -> None:
    answer = web.http.get(f"/api/v1/runs/{unforecast_run}/forecast", params=metric)
    assert (answer.status_code, answer.json()["error"]) == (404, error)
    assert says in answer.json()["message"]


def test_of_a_perplexity_the_answer_says_what_to_log_instead(web: Web, api_database_url: str) -> None:
    run_id = web.new_run(plan={"total_steps": 1000})
    web.append(run_id, list(range(1, 41)), val_ppl=[60.0 - step for step in range(40)])
    database = Database(api_database_url)
    refit_run(database, run_id, [])
    database.close()
    for metric in ({}, {"metric": "val_ppl"}):
        answer = web.http.get(f"/api/v1/runs/{run_id}/forecast", params=metric)
        assert (answer.status_code, answer.json()["error"]) == (404, "no_forecast")
        assert "val_ppl looks like a perplexity: " in answer.json()["message"]
        assert "Log its logarithm" in answer.json()["message"]


def test_a_run_that_no_worker_has_fitted_says_that(web: Web) -> None:
    answer = web.http.get(f"/api/v1/runs/{web.new_run()}/forecast")
    assert (answer.status_code, answer.json()["error"]) == (404, "no_forecast")
    assert "no worker has fitted this run" in answer.json()["message"]


def make_mixed_run(web: Web) -> str:
    run_id = web.new_run()
    columns: dict[str, Any] = {
        "loss": ["NaN", None, "-Infinity"],
        'a,"b"\n': [0.1, None, None],
        "val": [None, 2.0, None],
    }
    web.append(run_id, [1, 2, 2**53 + 1], **columns)
    return run_id


def test_csv_has_blanks_for_no_value_and_words_for_nan(web: Web) -> None:
    answer = web.http.get(f"/api/v1/runs/{make_mixed_run(web)}/export", params={"format": "csv"})
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.reader(io.StringIO(answer.text)))
    assert rows[0] == ["step", 'a,"b"\n', "loss", "val"]
    assert rows[1:] == [["1", "0.1", "nan", ""], ["2", "", "", "2.0"], [str(2**53 + 1), "", "-inf", ""]]


def test_jsonl_leaves_out_what_was_not_logged(web: Web) -> None:
    answer = web.http.get(f"/api/v1/runs/{make_mixed_run(web)}/export", params={"format": "jsonl"})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[0].keys() == {"meta"}
    assert lines[1:] == [
        {"step": 1, 'a,"b"\n': 0.1, "loss": "NaN"},
        {"step": 2, "val": 2.0},
        {"step": 2**53 + 1, "loss": "-Infinity"},
    ]


def test_parquet_keeps_nan_and_null_apart(web: Web) -> None:
    answer = web.http.get(f"/api/v1/runs/{make_mixed_run(web)}/export", params={"format": "parquet"})
    table = pq.read_table(io.BytesIO(answer.content))
    assert table["step"].to_pylist() == [1, 2, 2**53 + 1]
    loss = table["loss"].to_pylist()
    assert math.isnan(loss[0])
    assert loss[1:] == [None, -math.inf]


def test_a_long_run_is_exported_whole_in_every_form(web: Web, long_run: str) -> None:
    sizes = {}
    for form in ("csv", "jsonl", "parquet"):
        answer = web.http.get(f"/api/v1/runs/{long_run}/export", params={"format": form})
        if form == "parquet":
            steps = pq.read_table(io.BytesIO(answer.content))["step"].to_numpy()
            assert np.array_equal(steps, np.arange(120_000))
            sizes[form] = len(steps)
        else:
            sizes[form] = answer.text.count("\n") - 1  # what stands above the rows
    assert sizes == {"csv": 120_000, "jsonl": 120_000, "parquet": 120_000}


def test_an_empty_run_is_exported_as_an_empty_table(web: Web) -> None:
    run_id = web.new_run()
    assert web.http.get(f"/api/v1/runs/{run_id}/export?format=csv").text == "step\n"
    assert pq.read_table(io.BytesIO(web.http.get(f"/api/v1/runs/{run_id}/export?format=parquet").content)).num_rows == 0


def test_the_description_covers_every_route_and_the_body_of_a_batch(web: Web) -> None:
    described = web.http.get("/api/openapi.json").json()
    operations = {(method, path) for path, methods in described["paths"].items() for method in methods}
    assert {
        ("post", "/api/v1/runs"), ("patch", "/api/v1/runs/{run_id}"), ("post", "/api/v1/runs/{run_id}/batches"),
        ("post", "/api/v1/log/{run_id}"), ("post", "/api/v1/runs/{run_id}/heartbeat"),
        ("post", "/api/v1/runs/{run_id}/finish"), ("get", "/api/v1/runs"), ("get", "/api/v1/runs/{run_id}"),
        ("get", "/api/v1/runs/{run_id}/series"), ("get", "/api/v1/runs/{run_id}/forecast"),
        ("get", "/api/v1/runs/{run_id}/forecasts"), ("get", "/api/v1/runs/{run_id}/alerts"), ("get", "/api/v1/alerts"),
        ("get", "/api/v1/runs/{run_id}/export"), ("get", "/api/v1/projects"), ("get", "/healthz"),
        ("get", "/livez"), ("get", "/metrics"),
    } <= operations  # fmt: skip
    batch = described["paths"]["/api/v1/runs/{run_id}/batches"]["post"]
    assert "metrics" in batch["requestBody"]["content"]["application/json"]["schema"]["properties"]
    assert {"404", "413", "422", "429"} <= batch["responses"].keys()
    assert {"200", "503"} <= described["paths"]["/healthz"]["get"]["responses"].keys()


@pytest.mark.parametrize("address", ["/", "/runs/x", "/api/docs", "/api/v1/runs"])
def test_no_page_may_be_framed_by_another_site(web: Web, address: str) -> None:
    assert web.http.get(address).headers["x-frame-options"] == "DENY"


def test_the_page_of_the_api_loads_nothing_from_elsewhere(web: Web) -> None:
    page = web.http.get("/api/docs").text
    assert "/api/v1/runs/{run_id}/batches" in page
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.parametrize(
    ("method", "address", "status"),
    [
        ("GET", "/runs?project=%00&search=%00", 200),
        ("GET", "/runs/{run}/series?metric=%00", 404),
        ("GET", "/runs/{run}/forecast?metric=%00", 404),
        ("GET", "/runs/{run}/verdict?metric=%00", 200),
        ("GET", "/runs/{run}/track-record?metric=%00", 200),
        ("GET", "/projects/%00/sweeps", 404),
        ("GET", "/projects/%00/ranking?metric=%00", 404),
        ("GET", "/projects/%00/stops", 404),
        ("GET", "/projects/%00/goals", 404),
        ("DELETE", "/projects/%00", 404),
    ],
)
def test_a_name_that_cannot_have_been_stored_is_not_found(web: Web, method: str, address: str, status: int) -> None:
    run_id = web.new_run()
    web.append(run_id, [1], loss=[2.0])
    answer = web.http.request(method, "/api/v1" + address.format(run=run_id))
    assert answer.status_code == status, answer.text


def test_a_metric_that_cannot_have_been_stored_is_unknown(web: Web) -> None:
    run_id = web.new_run()
    web.append(run_id, [1], loss=[2.0])
    web.post(f"/runs/{run_id}/finish")
    what_if = web.http.post(f"/api/v1/runs/{run_id}/what-if", json={"metric": "\x00", "total_steps": 10})
    fit = web.http.post("/api/v1/fit", json={"runs": [run_id], "metric": "\x00", "schedules": ["cosine"]})
    assert [what_if.status_code, fit.status_code] == [404, 422], (what_if.text, fit.text)
