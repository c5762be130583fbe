"""Replays real runs through the API, one thread a run, fast enough to watch."""

from __future__ import annotations

import itertools
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from app.demo.demo_runs import DEMO_RUNS, DemoRun
from app.endpoint import Endpoint, Stopped, columns_of
from app.errors import LosscastError
from app.runs import Batch

BATCHES_PER_SECOND = 2.0  # of each run: the page moves, the server idles
MOST_ROWS = 48  # a batch; a client sends about this many every few seconds


@dataclass(frozen=True, slots=True)
class Progress:
    """Where one run is. `state`: running, finished, failed, stopped or refused."""

    name: str
    run_id: str
    url: str
    state: str
    batches_sent: int
    batches: int
    points_sent: int


@dataclass(frozen=True, slots=True)
class ReplayedRun:
    """What became of one run; `error` says why the server refused it."""

    run: DemoRun
    run_id: str
    url: str
    state: str
    points: int
    retries: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayResult:
    runs: tuple[ReplayedRun, ...]
    seconds: float


OnProgress = Callable[[Progress], None]


def replay(
    base_url: str,
    *,
    duration_seconds: float = 60.0,
    api_key: str | None = None,
    on_progress: OnProgress | None = None,
    stop: threading.Event | None = None,
    runs: Sequence[DemoRun] = DEMO_RUNS,
) -> ReplayResult:
    """Send `runs` to the server at `base_url` within about `duration_seconds`, as their jobs would have.

    The server may be restarted meanwhile: batches are sent again under the same number until they are answered, and
    time lost is made up for. What one run meets does not stop the others.

    Parameters
    ----------
    on_progress : callable, optional
        Called after each batch with a `Progress`, from one thread at a time.
    stop : threading.Event, optional
        Set it to end early; runs under way are finished as stopped.
    """
    stop = stop or threading.Event()
    start = time.monotonic()
    report = _one_at_a_time(on_progress)
    try:
        with ThreadPoolExecutor(len(runs), thread_name_prefix="replay") as pool:
            jobs = [_Job(run, base_url, api_key, duration_seconds, stop, report) for run in runs]
            replayed = tuple(pool.map(_Job.run_to_the_end, jobs))
    except BaseException:
        stop.set()  # else the pool would wait for every replay to end
        raise
    return ReplayResult(replayed, time.monotonic() - start)


class _Job:
    """One training job."""

    def __init__(
        self,
        run: DemoRun,
        base_url: str,
        api_key: str | None,
        duration_seconds: float,
        stop: threading.Event,
        report: OnProgress,
    ) -> None:
        self._run = run
        self._duration = duration_seconds
        self._stop = stop
        self._report = report
        self._endpoint = Endpoint(base_url, api_key=api_key, stop=stop)
        # Made here and not by the server: then asking twice for a run makes one.
        self._id = f"{run.name}-{uuid.uuid4().hex[:8]}"
        self._url = ""
        self._points = 0

    def run_to_the_end(self) -> ReplayedRun:
        with self._endpoint:
            try:
                state = self._send()
            except Stopped:
                self._endpoint.post_once(f"/runs/{self._id}/finish", {"status": "stopped"})
                return self._became("stopped")
            except LosscastError as error:
                return self._became("refused", str(error))
            return self._became(state)

    def _send(self) -> str:
        batches = _cut(list(self._run.read().batches), self._duration)
        opened = self._open()
        self._url = opened["url"]
        start, start_clock = time.monotonic(), time.time()
        for seq, batch in enumerate(batches):
            due = self._duration * (seq + 1) / len(batches)
            if self._stop.wait(max(0.0, start + due - time.monotonic())):
                raise Stopped
            self._endpoint.post(
                f"/runs/{self._id}/batches",
                {
                    "segment": opened["segment"],
                    "seq": seq,
                    **columns_of(batch),
                    "times": [start_clock + due] * len(batch.steps),
                },
            )
            self._points += batch.n_points
            self._progress("running", seq + 1, len(batches))
        return self._finish(len(batches))

    def _open(self) -> dict[str, Any]:
        said: dict[str, Any] = {
            "id": self._id,
            "project": self._run.project,
            "name": self._run.name,
            "config": dict(self._run.config),
            "tags": list(self._run.tags),
            "session": uuid.uuid4().hex,
        }
        if self._run.plan is not None:
            said["plan"] = dict(self._run.plan)
        return self._endpoint.post("/runs", said)

    def _finish(self, batches: int) -> str:
        state = "failed" if self._run.failure else "finished"
        message = {"message": self._run.failure} if self._run.failure else {}
        self._endpoint.post(f"/runs/{self._id}/finish", {"status": state, **message})
        self._progress(state, batches, batches)
        return state

    def _progress(self, state: str, sent: int, batches: int) -> None:
        self._report(Progress(self._run.name, self._id, self._url, state, sent, batches, self._points))

    def _became(self, state: str, error: str | None = None) -> ReplayedRun:
        return ReplayedRun(self._run, self._id, self._url, state, self._points, self._endpoint.retries, error)


def _cut(whole: Sequence[Batch], duration_seconds: float) -> list[Batch]:
    rows = sum(len(batch.steps) for batch in whole)
    size = min(MOST_ROWS, math.ceil(rows / max(1.0, BATCHES_PER_SECOND * duration_seconds)))
    return list(itertools.chain.from_iterable(_slices(batch, size) for batch in whole))


def _slices(batch: Batch, size: int) -> Iterator[Batch]:
    for start in range(0, len(batch.steps), size):
        rows = slice(start, start + size)
        yield Batch(batch.steps[rows], batch.times[rows], batch.metrics, batch.values[:, rows], batch.present[:, rows])


def _one_at_a_time(on_progress: OnProgress | None) -> OnProgress:
    lock = threading.Lock()

    def report(progress: Progress) -> None:
        if on_progress is not None:
            with lock:
                on_progress(progress)

    return report
