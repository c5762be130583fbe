"""A job, the service and a worker, each as it runs for real: from the project's wish to a job that has stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import losscast
from app.importers.run_files import read_file
from losscast import stop_watch
from tests.service import Web, Worker, new_id, wait_for

DATA = Path(__file__).parents[1] / "data"
TOTAL = 24_000
AGREED = 14_000


@pytest.fixture
def web(database_url: str) -> Iterator[Web]:
    with Web(database_url) as running:
        yield running


def rows(name: str) -> Iterator[tuple[int, dict[str, float]]]:
    (batch,) = read_file(DATA / f"multipowerlaw_25M_{name}.csv").batches
    for at, step in enumerate(batch.steps.tolist()):
        yield step, {metric: float(batch.values[row, at]) for row, metric in enumerate(batch.metrics)}


def init(web: Web, project: str, family: str) -> losscast.Run:
    schedule = {"family": family, "peak": 3e-4, "warmup_steps": 2160}
    return losscast.init(url=web.url, id=new_id(family), project=project, total_steps=TOTAL, schedule=schedule)


def verdict(web: Web, run: losscast.Run) -> Any:
    return web.get(f"/runs/{run.id}/verdict")


def judged_at(web: Web, run: losscast.Run, step: int) -> Any:
    def found() -> Any:
        said = verdict(web, run)
        return said if (said["step"] or 0) >= step else None

    return wait_for(found, f"a verdict at step {step}")


def ranked(web: Web, project: str) -> list[str]:
    found = web.get(f"/projects/{quote(project, safe='')}/ranking")
    return [one["run_id"] for one in found["placings"] if not one["is_live"]]


def test_a_hopeless_run_stops_itself_once_a_person_agrees(
    database_url: str, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_watch, "ASK_SECONDS", 0.2)
    project = "gpt / größer"
    with Worker(database_url):
        best = init(web, project, "cosine")
        for step, row in rows("cosine_24000"):
            best.log(row, step=step)
        best.finish(timeout=60)
        wait_for(lambda: best.id in ranked(web, project) or None, "the finished run to be known")
        run = init(web, project, "constant")
        steps = rows("constant_24000")
        seen = 0
        for step, row in steps:
            run.log(row, step=step)
            if step >= AGREED:
                seen = step
                break
        assert run.flush(60)
        wait_for(lambda: verdict(web, run)["decision"] == "stop" or None, "a stop verdict")
        assert not run.should_stop()

        before = verdict(web, run)["judged_at"]
        web.http.put(f"/api/v1/projects/{quote(project, safe='')}/goals", json={"mode": "ask"}).raise_for_status()
        wait_for(lambda: verdict(web, run)["judged_at"] != before or None, "the run to be judged anew")
        asked = None
        for until in (seen + 0.02 * TOTAL, seen + 0.04 * TOTAL):  # two looks more, further than a stop must hold
            for step, row in steps:
                run.log(row, step=step)
                if step >= until:
                    seen = step
                    break
            assert run.flush(60)
            asked = judged_at(web, run, seen)
        assert asked is not None
        assert (asked["confirmed"], asked["should_stop"], run.should_stop()) == (True, False, False)
        web.post(f"/runs/{run.id}/verdict/answer", {"answer": "stop", "by": "Ada"})

        wait_for(lambda: run.should_stop() or None, "the job to hear of it")
        run.finish(timeout=60)
        stored = web.get(f"/runs/{run.id}")
        assert (stored["status"], stored["last_step"]) == ("stopped", seen)
        log = web.get(f"/runs/{run.id}/stops")["stops"]
        assert [(entry["event"], entry["author"]) for entry in log] == [
            ("heard", "job"),
            ("ordered", "person"),
            ("proposed", "policy"),
        ]
        assert log[2]["evidence"]["verdict"]["reference"] == best.id
        alerts = web.get(f"/runs/{run.id}/alerts")["alerts"]
        assert [alert["kind"] for alert in alerts] == ["stop_advised"]
        assert ranked(web, project) == [best.id], "who was stopped is not ranked"
