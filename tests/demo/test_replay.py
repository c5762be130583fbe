"""Real runs sent to a server that is as unreliable as servers are."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from app import endpoint
from app.demo.demo_runs import DATA, DEMO_RUNS, DemoRun
from app.demo.replay import Progress, ReplayResult, replay
from app.importers.curve_file import read_curve_file
from tests.demo.conftest import Service

BY_NAME = {run.name: run for run in DEMO_RUNS}
SHORT = (BY_NAME["lm-wsd"], BY_NAME["deepspeech-diverges"])


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(endpoint, "LONGEST_WAIT_SECONDS", 0.02)


def send(service: Service, *runs: DemoRun, seconds: float = 0.1, **options: Any) -> ReplayResult:
    return replay(service.url, duration_seconds=seconds, runs=runs or SHORT, **options)


def stored_points(service: Service, run: DemoRun, metric: str) -> tuple[list[int], list[float]]:
    stored = service.named(run.name)
    steps = [step for seq in sorted(stored.batches) for step in stored.batches[seq]["steps"]]
    kept = [(step, float(cell)) for step, cell in zip(steps, stored.column(metric), strict=True) if cell is not None]
    return [step for step, _ in kept], [value for _, value in kept]


def assert_all_arrived(service: Service, run: DemoRun) -> None:
    for metric in ("train_loss", "val_loss", "lr"):
        points = read_curve_file(DATA / run.file, metric).points
        steps, values = stored_points(service, run, metric)
        assert steps == points.steps.tolist()
        np.testing.assert_array_equal(values, points.values)


def test_every_point_arrives_and_runs_end_as_they_ended(service: Service) -> None:
    result = send(service)
    assert [(one.state, one.error) for one in result.runs] == [("finished", None), ("failed", None)]
    for run in SHORT:
        assert_all_arrived(service, run)
    assert service.named("lm-wsd").finished == {"status": "finished"}
    ended = service.named("deepspeech-diverges").finished
    assert ended is not None
    assert ended["status"] == "failed"
    assert "NaN" in service.named("deepspeech-diverges").column("train_loss")


def test_runs_declare_what_their_jobs_knew_and_one_declares_nothing(service: Service) -> None:
    send(service, BY_NAME["lm-wsd"], BY_NAME["gpt2-undeclared"])
    said = service.named("lm-wsd").said
    assert said["project"] == "demo"
    assert said["plan"]["total_steps"] == 15_000
    assert said["plan"]["schedule"]["family"] == "wsd_linear"
    assert "plan" not in service.named("gpt2-undeclared").said


@pytest.mark.parametrize("trouble", ["drop_before", "drop_after", "busy"])
def test_trouble_loses_nothing_and_doubles_nothing(service: Service, trouble: str) -> None:
    setattr(service, trouble, 12)
    result = send(service)
    assert getattr(service, trouble) == 0
    assert sum(one.retries for one in result.runs) == 12
    for run in SHORT:
        assert_all_arrived(service, run)
        assert service.named(run.name).sessions == [service.named(run.name).said["session"]]


def test_an_answer_that_was_lost_is_asked_for_again_under_the_same_number(service: Service) -> None:
    finished = []

    def lose_the_next_answer(progress: Progress) -> None:
        if progress.batches_sent == 2:
            service.drop_after = 1
        finished.append(progress)

    send(service, SHORT[0], on_progress=lose_the_next_answer)
    stored = service.named("lm-wsd")
    assert stored.duplicates == 1
    assert sorted(stored.batches) == list(range(len(stored.batches)))
    assert_all_arrived(service, SHORT[0])


def test_progress_is_told_from_the_first_batch_to_the_end(service: Service) -> None:
    told: list[Progress] = []
    [replayed] = send(service, SHORT[0], on_progress=told.append).runs
    assert [progress.batches_sent for progress in told[:-1]] == list(range(1, told[0].batches + 1))
    assert told[-1].state == "finished"
    assert told[-1].points_sent == replayed.points == service_points(service, "lm-wsd")
    assert told[-1].url == f"{service.url}/runs/{replayed.run_id}"


def service_points(service: Service, name: str) -> int:
    batches = service.named(name).batches.values()
    return sum(cell is not None for batch in batches for column in batch["metrics"].values() for cell in column)


def test_batches_are_small_however_short_the_replay(service: Service) -> None:
    send(service)
    for run in SHORT:
        assert max(len(batch["steps"]) for batch in service.named(run.name).batches.values()) <= 48


def test_a_replay_can_be_ended_early(service: Service) -> None:
    stop = threading.Event()
    result = send(service, seconds=60.0, stop=stop, on_progress=lambda progress: stop.set())
    # The first batch to arrive ends both runs at once, long before the minute is over.
    assert {one.state for one in result.runs} == {"stopped"}
    assert all(run.finished == {"status": "stopped"} for run in service.runs.values())


def test_a_key_is_sent(service: Service) -> None:
    service.api_key = "k"
    assert {one.state for one in send(service, SHORT[0], api_key="k").runs} == {"finished"}


def test_a_refusal_is_reported_and_not_retried(service: Service) -> None:
    service.api_key = "k"
    [replayed] = send(service, SHORT[0], api_key="wrong").runs
    assert replayed.state == "refused"
    assert "401: Send a key." in (replayed.error or "")
    assert replayed.retries == 0


def test_a_server_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "GIVE_UP_SECONDS", 0.05)
    [replayed] = replay("http://127.0.0.1:9", duration_seconds=0.1, runs=SHORT[:1]).runs
    assert replayed.state == "refused"
    assert "Is it running?" in (replayed.error or "")


@pytest.mark.parametrize("run", DEMO_RUNS, ids=lambda run: run.name)
def test_each_demo_run_names_its_licence_and_can_be_read(run: DemoRun) -> None:
    imported = run.read()
    assert imported.licence
    assert imported.origin
    assert sum(batch.n_points for batch in imported.batches) > 500
    assert imported.warnings == []
    assert run.file in (DATA / "LICENCES.md").read_text()


def test_the_diverging_run_really_ends_in_nan_and_the_others_do_not() -> None:
    ends = {run.name: run.end() for run in DEMO_RUNS}
    assert ends["deepspeech-diverges"].mean is None
    assert ends["deepspeech-diverges"].step == 19_800
    assert all(end.mean is not None for name, end in ends.items() if name != "deepspeech-diverges")


def test_the_declared_plans_are_those_of_the_logs() -> None:
    for run in DEMO_RUNS:
        if run.plan is None:
            continue
        points = read_curve_file(DATA / run.file, "train_loss").points
        assert run.plan["total_steps"] == pytest.approx(points.steps[-1], rel=0.01)
        if "peak" in run.plan.get("schedule", {}) and "lr" in read_curve_file(DATA / run.file).metrics:
            rates = read_curve_file(DATA / run.file, "lr").points
            assert rates.values.max() == pytest.approx(run.plan["schedule"]["peak"], rel=1e-3)


def test_the_data_is_small() -> None:
    assert sum(file.stat().st_size for file in DATA.iterdir()) < 1_500_000
