"""A job asks whether to stop: at no price, and with False for every doubt."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import losscast
from app.importers.run_files import read_file
from app.storage.database import Database
from app.worker.refit import refit_run
from losscast import stop_watch
from tests.client.local_server import Fault, LocalServer
from tests.service import Web, new_id, wait_for

DATA = Path(__file__).parents[1] / "data"
TOTAL = 24_000
TOLD = {"should_stop": True, "sentence": "97 % sure that this ends above run-12."}


def started(make_run: Callable[..., losscast.Run], server: LocalServer, **said: Any) -> losscast.Run:
    """A run that the server knows."""
    run = make_run(**said)
    run.log({"loss": 1.0}, step=7)
    assert run.flush(10)
    return run


def asked(server: LocalServer) -> int:
    return len([request for request in list(server.requests) if request.path.endswith("/verdict")])


def keep_asking(run: losscast.Run, server: LocalServer, times: int = 3) -> list[bool]:
    """What the job is told until the server has been asked so often."""
    before = asked(server)
    answers: list[bool] = []

    def enough() -> bool:
        answers.append(run.should_stop())
        return asked(server) >= before + times and run.should_stop() == answers[-1]

    server.wait_until(enough)
    return answers


def test_a_run_that_is_told_to_stop_hears_it_once_the_answer_is_there(
    make_run: Callable[..., losscast.Run], server: LocalServer, caplog: pytest.LogCaptureFixture
) -> None:
    run = started(make_run, server)
    assert (run.should_stop(), run.stop_reason) == (False, None)
    server.runs[run.id].verdict = TOLD
    server.wait_until(run.should_stop)
    assert run.stop_reason == TOLD["sentence"]
    assert "is told to stop: 97 % sure" in caplog.text
    server.runs[run.id].verdict = {}
    assert run.should_stop(), "what a job has been told is not taken back"
    server.wait_until(lambda: server.runs[run.id].told)
    assert server.runs[run.id].told == [{"segment": 1, "step": 7}]


def test_a_run_that_was_told_to_stop_and_finishes_is_stopped(
    make_run: Callable[..., losscast.Run], server: LocalServer
) -> None:
    run = started(make_run, server)
    server.runs[run.id].verdict = TOLD
    server.wait_until(run.should_stop)
    run.finish(timeout=10)
    stored = server.runs[run.id]
    assert stored.end == {"status": "stopped", "message": f"Told to stop: {TOLD['sentence']}"}
    assert len(stored.told) == 1
    assert run.should_stop()


def test_what_a_job_says_of_its_own_end_wins(make_run: Callable[..., losscast.Run], server: LocalServer) -> None:
    run = started(make_run, server)
    server.runs[run.id].verdict = TOLD
    server.wait_until(run.should_stop)
    run.finish("failed", "out of memory", timeout=10)
    assert server.runs[run.id].end == {"status": "failed", "message": "out of memory"}


def test_a_run_that_nobody_stops_goes_on(make_run: Callable[..., losscast.Run], server: LocalServer) -> None:
    run = started(make_run, server)
    assert not any(keep_asking(run, server))
    run.finish(timeout=10)
    assert server.runs[run.id].end == {"status": "finished"}
    assert (server.runs[run.id].told, run.should_stop()) == ([], False)


@pytest.mark.parametrize(
    "answer",
    [
        {"should_stop": "yes"},
        {"should_stop": 1},
        {"should_stop": None},
        {"should_stop": True, "segment": 2},
        {"should_stop": True, "segment": None},
        {"should_stop": True, "segment": True},
    ],
    ids=str,
)
def test_an_answer_that_is_not_quite_a_yes_is_a_no(
    make_run: Callable[..., losscast.Run], server: LocalServer, answer: dict[str, Any]
) -> None:
    run = started(make_run, server)
    server.runs[run.id].verdict = answer
    assert not any(keep_asking(run, server))


@pytest.mark.parametrize(
    "fault",
    [
        Fault(500),
        Fault(404, body=b'{"error": "not_found", "message": "an older server"}'),
        Fault(200, body=b"<html>please log in</html>"),
        Fault(200, body=b'[{"should_stop": true, "segment": 1}]'),
        Fault(cut="silence"),
        Fault(cut="reset"),
    ],
    ids=["500", "404", "a page", "a list", "silence", "reset"],
)
def test_a_server_that_misbehaves_stops_nobody(
    make_run: Callable[..., losscast.Run], server: LocalServer, fault: Fault
) -> None:
    run = started(make_run, server)
    server.faults = [Fault(**{**vars(fault), "on": "/verdict"})] * 3
    assert not any(keep_asking(run, server, 3))
    server.faults.clear()
    server.runs[run.id].verdict = TOLD
    server.wait_until(run.should_stop)


def test_asking_never_waits_for_a_server_that_does_not_answer(
    make_run: Callable[..., losscast.Run], server: LocalServer
) -> None:
    run = started(make_run, server)
    may_answer = threading.Event()
    server.faults = [Fault(until=may_answer, on="/verdict")]
    assert not run.should_stop()
    server.wait_until(lambda: asked(server) == 1)
    assert not any(run.should_stop() for _ in range(1000))
    assert asked(server) == 1, "one question at a time"
    may_answer.set()


def test_no_server_at_all_is_no_reason_to_stop(refusing_url: str, silent_url: str, impatient: None) -> None:
    for url in (refusing_url, silent_url):
        run = losscast.init(url=url)
        assert not any(run.should_stop() for _ in range(100))
        run.finish(timeout=0)
        assert not run.should_stop()


def test_an_answer_that_is_too_old_counts_no_more(
    make_run: Callable[..., losscast.Run], server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = started(make_run, server)
    server.runs[run.id].verdict = TOLD
    monkeypatch.setattr(stop_watch, "STALE_SECONDS", 0.0)
    assert not any(keep_asking(run, server))


def test_a_job_that_never_asks_costs_the_server_nothing(
    make_run: Callable[..., losscast.Run], server: LocalServer
) -> None:
    run = started(make_run, server)
    run.finish(timeout=10)
    assert asked(server) == 0
    assert "losscast-stop" not in {thread.name for thread in threading.enumerate()}


def test_the_record_that_a_job_was_told_never_holds_up_its_metrics(
    make_run: Callable[..., losscast.Run], server: LocalServer
) -> None:
    run = started(make_run, server)
    server.runs[run.id].verdict = TOLD
    server.faults = [Fault(503, on="/heard")] * 100
    server.wait_until(run.should_stop)
    run.log({"loss": 0.5}, step=8)
    run.finish(timeout=30)
    assert server.runs[run.id].points("loss") == {7: 1.0, 8: 0.5}
    assert server.runs[run.id].end is not None


def test_a_process_that_does_not_report_is_never_told(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    run = losscast.init(url=server.url)
    assert not run.should_stop()
    assert server.requests == []


def test_asking_before_init_is_a_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("losscast.current._current", None)
    assert losscast.should_stop() is False


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_asks_by_itself(make_run: Callable[..., losscast.Run], server: LocalServer) -> None:
    run = started(make_run, server)
    keep_asking(run, server)
    server.runs[run.id].verdict = TOLD
    child = os.fork()
    if child == 0:
        deadline = time.monotonic() + 20
        while not run.should_stop() and time.monotonic() < deadline:
            time.sleep(0.01)
        os._exit(42 if run.should_stop() else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 42


def test_the_real_service_stops_a_hopeless_run(database_url: str) -> None:
    """Over HTTP and Postgres, refits as a worker makes them; the job itself only logs and asks."""
    database = Database(database_url)
    with Web(database_url) as web:
        best = losscast.init(url=web.url, id=new_id("client"), project="gpt", **_plan("cosine"))
        log_real(best, "cosine_24000", 0, TOTAL)
        best.finish(timeout=60)
        refit_run(database, best.id, [])
        web.http.put("/api/v1/projects/gpt/goals", json={"mode": "stop"}).raise_for_status()

        run = losscast.init(url=web.url, id=new_id("client"), project="gpt", **_plan("constant"))
        assert not run.should_stop()
        for begin, end in ((0, 13_000), (13_000, 13_500), (13_500, 14_000)):
            log_real(run, "constant_24000", begin, end)
            assert run.flush(60)
            refit_run(database, run.id, [])
        wait_for(lambda: run.should_stop() or None, "the job to be told")
        run.finish(timeout=60)
        stored = web.get(f"/runs/{run.id}")
        assert (stored["status"], stored["exit_message"]) == ("stopped", f"Told to stop: {run.stop_reason}")
        log = web.get(f"/runs/{run.id}/stops")["stops"]
        assert [(entry["event"], entry["author"]) for entry in log] == [("heard", "job"), ("ordered", "policy")]
        assert log[0]["step"] == log[1]["step"]
        assert web.get(f"/runs/{run.id}/verdict")["should_stop"] is False
    database.close()


def _plan(family: str) -> dict[str, Any]:
    schedule = {"family": family, "peak": 3e-4, "warmup_steps": 2160}
    return {"total_steps": TOTAL, "schedule": schedule}


def log_real(run: losscast.Run, name: str, first: int, last: int) -> None:
    (batch,) = read_file(DATA / f"multipowerlaw_25M_{name}.csv").batches
    for at, step in enumerate(batch.steps.tolist()):
        if first < step <= last:
            run.log({metric: batch.values[row, at] for row, metric in enumerate(batch.metrics)}, step=step)
