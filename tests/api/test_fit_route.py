"""Predicting schedules from finished runs, through HTTP, after real refits of real runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.importers.run_files import read_file
from app.storage.database import Database
from app.storage.ends import read_end
from app.worker.refit import refit_run
from app.worker.scoring import score_run
from tests.api.sent_runs import DATA, send
from tests.service import Web


@pytest.fixture(scope="module")
def cosine(web: Web, api_database_url: str) -> str:
    return send(web, api_database_url, "cosine_24000")


@pytest.fixture(scope="module")
def constant(web: Web, api_database_url: str) -> str:
    return send(web, api_database_url, "constant_24000")


@pytest.fixture(scope="module")
def two_stages(web: Web, api_database_url: str) -> str:
    return send(web, api_database_url, "wsdcon_9")


def refusal(web: Web, status: int = 422, **asked: object) -> str:
    answer = web.http.post("/api/v1/fit", json=asked)
    assert answer.status_code == status, answer.text
    message: str = answer.json()["message"]
    return message


def test_three_runs_predict_what_another_schedule_comes_to(
    web: Web, cosine: str, constant: str, two_stages: str
) -> None:
    said = web.post(
        "/fit",
        {
            "runs": [cosine, constant, two_stages],
            "schedules": [
                "constant",
                {"family": "wsd_linear", "decay_steps": 4000, "final_fraction": 0.1, "total_steps": 24_000},
            ],
        },
    )
    assert said["metric"] == "val_loss"
    assert [run["name"] for run in said["runs"]] == ["cosine_24000", "constant_24000", "wsdcon_9"]
    assert set(said["laws"]) == {"annealing", "multi_power", "rate_power"}
    assert all(law["mean_relative_error"] < 0.002 for law in said["laws"].values())
    assert said["laws"]["annealing"]["notes"] == []
    assert "drop_exponent is at its bound, 0.5" in said["laws"]["multi_power"]["notes"][0]
    assert len(said["left_out"]) == 3
    decayed, held = said["predictions"]
    assert (decayed["position"], held["position"]) == (1, 0)
    assert decayed["final"]["p05"] < decayed["final"]["p50"] < decayed["final"]["p95"]
    assert decayed["against_best_run"] < held["against_best_run"]
    # The authors' own run under this schedule, which nobody was shown.
    last = list(read_file(DATA / "multipowerlaw_25M_wsdld.csv").batches)[-1]
    actual = float(last.values[last.metrics.index("val_loss"), -3:].mean())
    assert decayed["final"]["p05"] < actual < decayed["final"]["p95"]
    assert decayed["path"][-1]["step"] == decayed["total_steps"] == decayed["rates"][-1]["step"]
    assert decayed["rates"][-1]["rate"] == pytest.approx(3e-5)


def test_one_run_is_enough_and_says_that_it_is_one(web: Web, cosine: str) -> None:
    said = web.post("/fit", {"runs": [cosine], "schedules": ["cosine"], "total_steps": 48_000})
    assert said["left_out"] == []
    assert "cannot be judged" in " ".join(said["notes"])
    assert "a 90 % band held 67 to 94 of 100 ends" in " ".join(said["notes"])
    assert "2 times as long" in " ".join(said["predictions"][0]["notes"])


def test_a_noisy_run_ends_in_a_fit_where_its_record_says_and_keeps_the_warm_up_it_declared(
    web: Web, api_database_url: str
) -> None:
    steps = np.arange(1, 2001)
    noise = np.random.default_rng(0).normal(0, 0.3, len(steps))
    schedule = {"family": "constant", "warmup_steps": 203}
    run_id = web.new_run(name="noisy", plan={"total_steps": 2000, "schedule": schedule})
    rates = 1e-3 * np.minimum(steps / 203, 1)
    web.append(run_id, steps.tolist(), loss=(2 + 4 * steps**-0.4 + noise).tolist(), lr=rates.tolist())
    web.post(f"/runs/{run_id}/finish", {"status": "finished"})
    database = Database(api_database_url)
    refit_run(database, run_id, [])
    score_run(database, run_id)
    with database.read() as connection:
        end = read_end(connection, run_id, "loss")
    database.close()
    said = web.post("/fit", {"runs": [run_id], "schedules": ["cosine"]})
    assert end is not None
    assert end.is_mean
    assert said["runs"][0]["final"] == pytest.approx(end.level, rel=1e-12)
    assert "warm-up 203" in said["predictions"][0]["asked"]


def test_runs_are_fitted_without_any_schedule_to_predict(web: Web, cosine: str) -> None:
    said = web.post("/fit", {"runs": [cosine]})
    assert said["predictions"] == []
    assert said["laws"]["annealing"]["parameters"]["irreducible_loss"] > 0


def test_runs_that_cannot_be_used_are_refused_by_name(
    web: Web, api_database_url: str, cosine: str, constant: str
) -> None:
    running = send(web, api_database_url, "wsdld", status=None)
    assert "wsdld is still running" in refusal(web, runs=[cosine, running])
    rateless = send(web, api_database_url, "wsdcon_3", lr=None)
    assert "wsdcon_3 has no learning rate" in refusal(web, runs=[rateless])
    perplexity = send(web, api_database_url, "wsd_20000_24000", val_loss=np.exp)
    assert "another scale" in refusal(web, runs=[cosine, perplexity])
    diverged = send(
        web,
        api_database_url,
        "wsdld",
        val_loss=lambda values: [*values[:-3].tolist(), *["NaN"] * 3],
        status="failed",
    )
    assert "NaN" in refusal(web, runs=[diverged])
    assert "same run" in refusal(web, runs=[cosine, cosine])
    assert "no loss named train_loss" in refusal(web, runs=[cosine], metric="train_loss")
    assert "no-such-run" in refusal(web, 404, runs=["no-such-run"])


def test_a_run_whose_main_loss_became_nan_is_not_fitted_by_another_unless_that_is_named(
    web: Web, api_database_url: str
) -> None:
    run_id = web.new_run(name="blew-up")
    steps = np.arange(1, 1001)
    loss = 3 + 2 * steps**-0.5
    rates = 1e-3 * np.cos(steps / 1000)
    web.append(
        run_id,
        steps.tolist(),
        train_loss=[*loss[:-300].tolist(), *["NaN"] * 300],
        val_loss=loss.tolist(),
        lr=rates.tolist(),
    )
    web.post(f"/runs/{run_id}/finish", {"status": "failed"})
    database = Database(api_database_url)
    refit_run(database, run_id, [])
    database.close()
    assert refusal(web, runs=[run_id]).startswith("train_loss of blew-up is NaN or infinite at its end")
    assert web.post("/fit", {"runs": [run_id], "metric": "val_loss"})["metric"] == "val_loss"


@pytest.mark.parametrize(
    "asked",
    [
        {"schedules": ["wobbly"]},
        {"schedules": ["reactive"]},
        {"schedules": [7]},
        {"schedules": [{"family": "cosine", "total_steps": -1}]},
        {"schedules": [{"family": "cosine", "total_steps": 100}]},
        {"schedules": [{"family": "cosine", "peak": 30}]},
        {"schedules": [{"family": "cosine", "total_steps": 10**12}]},
        {"schedules": ["cosine"] * 13},
        {"schedules": "cosine"},
        {"total_steps": 0, "schedules": ["cosine"]},
        {"runs": []},
        {"runs": "all of them"},
    ],
    ids=str,
)
def test_questions_that_make_no_sense_are_422_with_a_reason(web: Web, cosine: str, asked: dict[str, Any]) -> None:
    assert len(refusal(web, **{"runs": [cosine], **asked})) > 20
