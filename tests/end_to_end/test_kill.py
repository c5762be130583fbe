"""The whole service, killed in mid-replay: what was acknowledged stays, nothing is doubled, forecasts go on."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.demo.demo_runs import DEMO_RUNS
from app.runs import Batch
from tests.service import Process, free_port, new_id, wait_for

RUN = next(run for run in DEMO_RUNS if run.name == "lm-cosine")
N_BATCHES = 60
PAUSE_SECONDS = 0.15  # between batches: the kills fall into the middle


class Job:
    """A training job that sends each batch until it is answered, and remembers what was acknowledged."""

    def __init__(self, url: str) -> None:
        self.run_id = new_id("killed")
        self.acknowledged: dict[int, float] = {}
        self.sent = 0
        self._http = httpx.Client(base_url=f"{url}/api/v1", timeout=5.0, trust_env=False)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def finish(self) -> None:
        self._thread.join(120)
        assert not self._thread.is_alive(), "the job never got through"
        self._http.close()

    def wait_until_sent(self, batches: int) -> None:
        wait_for(lambda: self.sent >= batches or None, f"{batches} batches to be acknowledged")

    def post(self, path: str, body: object) -> object:
        def answered() -> object | None:
            try:
                answer = self._http.post(path, json=body)
            except httpx.HTTPError:
                return None
            assert answer.is_success or answer.status_code in (429, 500, 503), answer.text
            return answer.json() if answer.is_success else None

        return wait_for(answered, f"an answer to {path}")

    def _run(self) -> None:
        self.post("/runs", {"id": self.run_id, "session": "only", "plan": {"total_steps": 50_000}})
        for seq, (steps, losses) in enumerate(batches_of(RUN.read().batches)):
            body = {"segment": 1, "seq": seq, "steps": steps, "metrics": {"train_loss": losses}}
            self.post(f"/runs/{self.run_id}/batches", body)
            self.acknowledged.update(zip(steps, losses, strict=True))
            self.sent += 1
            threading.Event().wait(PAUSE_SECONDS)


def batches_of(whole: Iterator[Batch]) -> Iterator[tuple[list[int], list[float]]]:
    steps, losses = [], []
    for batch in whole:
        here = batch.present[batch.metrics.index("train_loss")]
        steps.append(batch.steps[here])
        losses.append(batch.values[batch.metrics.index("train_loss"), here])
    pairs = zip(
        np.array_split(np.concatenate(steps), N_BATCHES), np.array_split(np.concatenate(losses), N_BATCHES), strict=True
    )
    return ((some.tolist(), values.tolist()) for some, values in pairs)


def processes(words: str) -> list[int]:
    """Processes whose command line holds these words in a row."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if words in line and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def children(parent: int, words: str) -> list[int]:
    """Processes below `parent` whose command line holds these words in a row."""

    def is_below(pid: int) -> bool:
        while pid > 1 and pid != parent:
            try:
                pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                return False
        return pid == parent

    return [pid for pid in processes(words) if is_below(pid)]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the processes to kill in /proc")
def test_nothing_acknowledged_is_lost_when_each_process_is_killed_in_turn(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {"LOSSCAST_DATA_DIR": str(tmp_path / "data"), "LOSSCAST_PORT": str(port), "DATABASE_URL": ""}
    with Process("up", env=environment) as service, httpx.Client(base_url=url, trust_env=False) as http:

        def healthy() -> bool | None:
            try:
                return http.get("/livez").status_code == 200 or None
            except httpx.HTTPError:
                return None

        wait_for(healthy, "the service to start")
        job = Job(url)
        job.start()
        for sent, words in {12: "-m app serve", 24: "-m app work", 36: "postgres -D"}.items():
            job.wait_until_sent(sent)
            (victim,) = children(service.pid, words)
            os.kill(victim, signal.SIGKILL)
        job.finish()
        wait_for(healthy, "the service to answer again")

        series = http.get(f"/api/v1/runs/{job.run_id}/series", params={"metric": "train_loss"}).json()
        stored = dict(zip(series["steps"], series["values"], strict=True))
        assert stored == job.acknowledged
        (listed,) = http.get(f"/api/v1/runs/{job.run_id}/series").json()["series"]
        assert listed["points"] == len(job.acknowledged)  # nothing was stored twice

        last = max(job.acknowledged)

        def fresh_forecast() -> dict[str, object] | None:
            answer = http.get(f"/api/v1/runs/{job.run_id}/forecast")
            found: dict[str, object] | None = answer.json() if answer.status_code == 200 else None
            return found if found and found["cutoff"] == last else None

        wait_for(fresh_forecast, "a forecast of all the points")
