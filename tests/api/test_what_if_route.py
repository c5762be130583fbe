"""Asking for another future, through HTTP, after a real refit."""

from pathlib import Path

import pytest

from app.importers.run_files import read_file
from app.storage.database import Database
from app.worker.refit import refit_run
from tests.service import Web

RUN = Path(__file__).parents[2] / "app" / "demo" / "data" / "lm_wsd.csv"
ACCURACIES = Path(__file__).parents[1] / "data" / "accuracies" / "text_wsd.csv"


@pytest.fixture(scope="module")
def half_run(web: Web, api_database_url: str) -> str:
    """The first half of a real WSD run, fitted."""
    run_id = web.new_run(plan={"total_steps": 15_000, "schedule": {"family": "wsd_linear", "decay_steps": 6000}})
    for batch in read_file(RUN).batches:
        for metric in ("train_loss", "lr"):
            here = batch.present[batch.metrics.index(metric)] & (batch.steps <= 7500)
            values = batch.values[batch.metrics.index(metric), here].tolist()
            web.append(run_id, batch.steps[here].tolist(), **{metric: values})
    database = Database(api_database_url)
    refit_run(database, run_id, [])
    database.close()
    return run_id


@pytest.fixture(scope="module")
def text_run(web: Web, api_database_url: str) -> str:
    """The first half of a real next-character model, with its accuracy, fitted."""
    run_id = web.new_run(plan={"total_steps": 1000, "schedule": {"family": "constant", "peak": 2e-3}})
    for batch in read_file(ACCURACIES).batches:
        for metric in ("train_loss", "val_acc"):
            here = batch.present[batch.metrics.index(metric)] & (batch.steps <= 500)
            values = batch.values[batch.metrics.index(metric), here].tolist()
            web.append(run_id, batch.steps[here].tolist(), **{metric: values})
    database = Database(api_database_url)
    refit_run(database, run_id, [])
    database.close()
    return run_id


def test_of_an_accuracy_a_cooldown_is_forecast_to_end_higher(web: Web, text_run: str) -> None:
    planned = web.get(f"/runs/{text_run}/forecast", metric="val_acc")
    assert (planned["direction"], planned["bounds"]) == ("rises", [0.0, 1.0])
    assert 0 <= planned["improvement"] <= 1
    best = web.post(f"/runs/{text_run}/what-if", {"metric": "val_acc", "cooldown": {}})
    assert best["metric"] == "val_acc"
    assert planned["final"]["mean"] < best["final"]["mean"] <= 1
    assert best["final"]["p95"] <= 1
    assert best["prior"]["source"] == "population"


def test_a_cooldown_now_is_forecast_beside_the_plan(web: Web, half_run: str) -> None:
    said = web.post(f"/runs/{half_run}/what-if", {"cooldown": {"steps": 1500}})
    assert (said["metric"], said["horizon"]) == ("train_loss", said["cutoff"] + 1500)
    assert "cool-down" in said["asked"]
    assert said["final"]["p05"] < said["final"]["p50"] < said["final"]["p95"]
    assert said["path"][-1]["step"] == said["horizon"]
    assert said["rates"][-1]["rate"] == pytest.approx(0.0, abs=1e-9)
    planned = web.get(f"/runs/{half_run}/forecast")["final"]
    assert said["planned_final"]["mean"] == pytest.approx(planned["mean"], rel=1e-6)
    # Two and a half times the steps, most of them for the decay: the plan gets further.
    assert said["planned_final"]["mean"] < said["final"]["mean"]


def test_the_best_length_of_a_cooldown_is_looked_for(web: Web, half_run: str) -> None:
    best = web.post(f"/runs/{half_run}/what-if", {"cooldown": {}})
    assert best["horizon"] == 15_000
    assert best["final"]["mean"] <= best["planned_final"]["mean"] * 1.001


def test_the_best_shape_and_begin_are_looked_for_under_a_budget(web: Web, half_run: str) -> None:
    best = web.post(f"/runs/{half_run}/what-if", {"best": {}, "total_steps": 12_000, "hold": True})
    assert best["horizon"] == 12_000
    medians = [one["final"]["p50"] for one in best["tried"]]
    assert medians == sorted(medians)
    assert best["final"]["p50"] == medians[0]
    for shape in ("linear", "cosine", "sqrt", "exponential"):
        assert any(f"a {shape} cool-down" in one["asked"] for one in best["tried"])
    same = sum(abs(median / medians[0] - 1) <= 5e-4 for median in medians)
    assert (same > 1) == ("which of them is best is not known" in " ".join(best["notes"]))
    of_one = web.post(f"/runs/{half_run}/what-if", {"best": {"shape": "cosine"}, "total_steps": 12_000, "hold": True})
    assert all("a cosine cool-down" in one["asked"] for one in of_one["tried"])


def test_a_schedule_goes_on_from_the_rate_that_there_is_where_it_is_asked_to_begin(web: Web, half_run: str) -> None:
    said = web.post(f"/runs/{half_run}/what-if", {"schedule": {"family": "cosine"}, "start": 8000, "hold": True})
    rates = {one["step"]: one["rate"] for one in said["rates"]}
    before = [rate for step, rate in rates.items() if step <= 8000]
    after = [rate for step, rate in rates.items() if step > 8000]
    assert min(before) == pytest.approx(max(before), rel=1e-6)
    assert 0.99 * before[0] < after[0] <= before[0]
    assert after == sorted(after, reverse=True)
    assert after[-1] == pytest.approx(0, abs=1e-12)
    assert not any("jumps" in note for note in said["notes"])
    assert said["tried"] == []
    jumped = web.post(f"/runs/{half_run}/what-if", {"schedule": {"family": "cosine", "peak": before[0] / 3}})
    assert "jumps from" in jumped["notes"][0]


def test_another_family_and_another_budget(web: Web, half_run: str) -> None:
    cosine = web.post(f"/runs/{half_run}/what-if", {"schedule": {"family": "cosine"}})
    longer = web.post(f"/runs/{half_run}/what-if", {"total_steps": 30_000})
    assert cosine["horizon"] == 15_000
    assert longer["horizon"] == 30_000
    assert longer["final"]["mean"] < longer["planned_final"]["mean"]


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"total_steps": 5},
        {"cooldown": {"steps": 0}},
        {"cooldown": {"steps": 10, "start": 1}},
        {"cooldown": {}, "total_steps": 9_999_999},
        {"cooldown": {"start": 9000}},
        {"best": {"shape": "zigzag"}},
        {"best": {}, "start": 9000},
        {"best": {}, "schedule": {"family": "cosine"}},
        {"best": {}, "total_steps": 5},
        {"start": 9000},
        {"schedule": {"family": "cosine"}, "start": 5},
        {"schedule": {"family": "wobbly"}},
        {"schedule": "cosine"},
        {"cooldown": {"steps": 10, "final_fraction": 7}},
        {"cooldown": {"steps": 10**9}},
        {"schedule": {"family": "constant", "peak": 1e9}},
    ],
    ids=str,
)
def test_questions_that_make_no_sense_are_422_with_a_reason(web: Web, half_run: str, asked: dict[str, object]) -> None:
    answer = web.http.post(f"/api/v1/runs/{half_run}/what-if", json=asked)
    assert answer.status_code == 422, answer.text
    assert len(answer.json()["message"]) > 20


@pytest.mark.parametrize(
    ("asked", "unknown", "known"),
    [
        ({"cooldown_steps": -1}, "'cooldown_steps'", "metric, total_steps, cooldown, schedule"),
        ({"steps": "NaN", "total_steps": 20_000}, "'steps'", "metric, total_steps, cooldown, schedule"),
        ({"cooldown": {"step": 100}}, "'step'", "steps, start, shape, final_fraction"),
    ],
    ids=str,
)
def test_a_field_that_is_not_known_is_named_with_those_that_are(
    web: Web, half_run: str, asked: dict[str, object], unknown: str, known: str
) -> None:
    answer = web.http.post(f"/api/v1/runs/{half_run}/what-if", json=asked)
    assert answer.status_code == 422, answer.text
    assert f"There is no field {unknown} here; there are: {known}" in answer.json()["message"]


def test_an_end_beyond_what_was_measured_is_answered_with_a_note(web: Web, half_run: str) -> None:
    said = web.post(f"/runs/{half_run}/what-if", {"total_steps": 60_000})
    assert "8 times as far as the run has come" in said["notes"][0]


def test_a_run_that_was_never_fitted_says_so(web: Web, half_run: str) -> None:
    run_id = web.new_run()
    answer = web.http.post(f"/api/v1/runs/{run_id}/what-if", json={"total_steps": 9})
    assert (answer.status_code, answer.json()["error"]) == (404, "no_forecast")
    assert "Nothing of this run can be forecast" in answer.json()["message"]
    assert (
        web.http.post(f"/api/v1/runs/{half_run}/what-if", json={"metric": "lr", "total_steps": 99_999}).status_code
        == 404
    )


def test_of_a_run_whose_main_loss_is_nan_another_loss_is_asked_by_name_only(web: Web, api_database_url: str) -> None:
    run_id = web.new_run(plan={"total_steps": 1000})
    losses = [3 + 2 * step**-0.5 for step in range(1, 501)]
    web.append(run_id, list(range(1, 501)), train_loss=[*losses[:400], *["NaN"] * 100], val_loss=losses)
    database = Database(api_database_url)
    refit_run(database, run_id, [])
    database.close()
    refused = web.http.post(f"/api/v1/runs/{run_id}/what-if", json={"cooldown": {"steps": 100}})
    assert (refused.status_code, refused.json()["error"]) == (404, "no_forecast")
    assert "train_loss cannot be forecast" in refused.json()["message"]
    assert "val_loss" in refused.json()["message"]
    said = web.post(f"/runs/{run_id}/what-if", {"metric": "val_loss", "cooldown": {"steps": 100}})
    assert said["metric"] == "val_loss"
