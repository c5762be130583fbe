"""Runs of a project speak to each other: jobs report over HTTP, a real worker learns, the API tells from whom."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from app.importers.run_files import read_file
from tests.service import Web, Worker, wait_for

DATA = Path(__file__).parents[1] / "data"
CONFIG = {"model": "llama", "n_params": 25e6, "lr": 3e-4, "data": "fineweb"}
SCHEDULE = {"family": "wsd_linear", "peak": 3e-4, "warmup_steps": 2160, "decay_steps": 4000}
PLAN = {"total_steps": 24_000, "schedule": SCHEDULE}


def log(web: Web, run_id: str, name: str, last: int = 10**9) -> None:
    (batch,) = read_file(DATA / f"{name}.csv").batches
    here = batch.steps <= last
    columns = {metric: batch.values[batch.metrics.index(metric), here].tolist() for metric in ("val_loss", "lr")}
    web.append(run_id, batch.steps[here].tolist(), **columns)


def forecast(web: Web, run_id: str, source: str) -> dict[str, Any]:
    def made() -> dict[str, Any] | None:
        answer = web.http.get(f"/api/v1/runs/{run_id}/forecast")
        found: dict[str, Any] = answer.json()
        return found if answer.status_code == 200 and found["prior"]["source"] == source else None

    return wait_for(made, f"a forecast of {run_id} from the {source}")


def width(final: dict[str, float]) -> float:
    return final["p95"] - final["p05"]


def test_a_live_run_hears_those_that_finish_beside_it(database_url: str) -> None:
    with Web(database_url) as web, Worker(database_url):
        live = web.new_run(project="llama", config=CONFIG, plan=PLAN)
        log(web, live, "multipowerlaw_25M_wsdld", last=12_000)
        alone = forecast(web, live, "population")
        assert alone["prior"]["runs"] == []
        names = ("multipowerlaw_25M_cosine_24000", "multipowerlaw_25M_wsd_20000_24000")
        for name in names:
            run_id = web.new_run(id=name, project="llama", name=f"the {name}", config=CONFIG)
            log(web, run_id, name)
            web.post(f"/runs/{run_id}/finish")
            wait_for(partial(told, web, run_id), f"{run_id} to be seen to have finished")
        log(web, live, "multipowerlaw_25M_wsdld", last=12_200)
        together = forecast(web, live, "project")
        heard = {run["id"]: run for run in together["prior"]["runs"]}
        assert set(heard) == set(names)
        assert {run["name"] for run in heard.values()} == {f"the {name}" for name in names}
        assert all(0.9 < run["similarity"] <= 1 and run["made"] == 1 for run in heard.values())
        assert width(together["final"]) < 0.8 * width(alone["final"])
        # What if is answered by the same prior, from the same curve.
        asked = web.post(f"/runs/{live}/what-if", {"cooldown": {"steps": 2000}})
        assert asked["prior"] == together["prior"]
        assert asked["planned_final"] == together["final"]


def test_a_live_run_hears_one_that_goes_on_beside_it(database_url: str) -> None:
    with Web(database_url) as web, Worker(database_url):
        ahead = web.new_run(project="llama", name="ahead", config=CONFIG, plan=PLAN)
        log(web, ahead, "multipowerlaw_25M_wsd_20000_24000", last=23_000)
        forecast(web, ahead, "population")
        live = web.new_run(project="llama", config=CONFIG, plan=PLAN)
        log(web, live, "multipowerlaw_25M_wsdld", last=12_000)
        (spoke,) = forecast(web, live, "project")["prior"]["runs"]
        assert (spoke["id"], spoke["name"], spoke["made"]) == (ahead, "ahead", 0.8)


def told(web: Web, run_id: str) -> bool | None:
    """Whether the worker has seen the end: then the plan's total is the last step."""
    why = web.get(f"/runs/{run_id}")["plan"]["total_why"] or ""
    return True if why.startswith("The run has finished") else None
