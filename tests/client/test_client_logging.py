"""What is logged is what arrives."""

from __future__ import annotations

import decimal
import gzip
import itertools
import json
import logging
import math
import re
import threading
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import losscast
from losscast import sender
from losscast.values import to_name
from losscast.wire import batch_body, pack
from tests.client.conftest import MakeRun
from tests.client.local_server import Fault, LocalServer


def test_a_logged_run_arrives_whole(server: LocalServer, make_run: MakeRun) -> None:
    run = make_run(id="gpt-1", project="gpt", name="first", tags=["a"], config={"lr": 3e-4}, total_steps=100)
    for step in range(1, 101):
        run.log({"loss": 1 / step, "lr": 3e-4}, step=step)
    run.finish()

    stored = server.run("gpt-1")
    assert stored.points("loss") == {step: 1 / step for step in range(1, 101)}
    assert stored.points("lr") == dict.fromkeys(range(1, 101), 3e-4)
    assert stored.end == {"status": "finished"}
    said = stored.descriptions[0]
    assert (said["project"], said["name"], said["tags"], said["config"]) == ("gpt", "first", ["a"], {"lr": 3e-4})
    assert said["plan"] == {"total_steps": 100}
    assert run.url == f"{server.url}/runs/gpt-1"


def test_the_module_logs_to_the_run_made_last(server: LocalServer) -> None:
    losscast.init(id="module", url=server.url)
    losscast.log({"loss": 2.5}, step=7)
    losscast.finish()
    assert server.run("module").points("loss") == {7: 2.5}


def test_logging_without_a_run_only_warns(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losscast.current, "_current", None)
    monkeypatch.setattr(losscast.current, "_notices", losscast.notices.Notices())
    losscast.log({"loss": 1.0})
    losscast.log({"loss": 1.0})
    losscast.finish()
    assert len(caplog.records) == 2


class Tensor:
    """Like a tensor on a device: no number itself, but with one inside."""

    def __init__(self, *values: Any) -> None:
        self.values = values

    def item(self) -> Any:
        if len(self.values) != 1:
            raise RuntimeError("a Tensor with many elements cannot be converted to Scalar")
        return self.values[0]


def named(value: object) -> str:
    """Its repr, without the address that some carry: processes that share the tests must agree on their names."""
    return re.sub(r" (object )?at 0x[0-9a-f]+", "", repr(value))


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (1, 1.0),
        (True, 1.0),
        (np.float32(0.5), 0.5),
        (np.float64(0.25), 0.25),
        (np.int64(3), 3.0),
        (np.bool_(True), 1.0),
        (np.array(1.5), 1.5),
        (np.array([[2.5]]), 2.5),
        (Tensor(4.5), 4.5),
        (decimal.Decimal("0.125"), 0.125),
        (Fraction(1, 4), 0.25),
        (10**400, 1.7976931348623157e308),
        (-(10**400), -1.7976931348623157e308),
        (math.inf, math.inf),
        (-math.inf, -math.inf),
        (Tensor(math.inf), math.inf),
    ],
)
def test_anything_that_is_a_number_is_sent_as_one(
    server: LocalServer, make_run: MakeRun, given: Any, stored: float
) -> None:
    run = make_run()
    run.log({"value": given}, step=1)
    run.finish()
    assert server.run(run.id).points("value") == {1: stored}


def test_nan_is_data(server: LocalServer, make_run: MakeRun) -> None:
    run = make_run()
    run.log({"loss": math.nan, "other": 1.0}, step=3)
    run.finish()
    (batch,) = server.run(run.id).batches.values()
    assert batch["metrics"] == {"loss": ["NaN"], "other": [1.0]}


@pytest.mark.filterwarnings("ignore:Converting a tensor:UserWarning")
@pytest.mark.parametrize(
    "odd",
    ["1.5", b"2", [1.0], {"a": 1}, object(), 1 + 2j, np.arange(3.0), Tensor(1.0, 2.0), np.datetime64("2026-01-01")],
    ids=named,
)
def test_what_is_no_number_is_dropped_with_one_warning_and_the_rest_is_kept(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture, odd: Any
) -> None:
    run = make_run()
    for step in (1, 2, 3):
        run.log({"odd": odd, "loss": 1.0}, step=step)
    run.finish()
    assert len(server.run(run.id).points("loss")) == 3
    assert server.run(run.id).points("odd") == {}
    assert [record.message for record in caplog.records if "odd" in record.message] == [
        f"losscast: odd is dropped: {type(odd).__name__} is not a number"
    ]


def test_a_value_that_raises_is_dropped_and_the_rest_is_kept(server: LocalServer, make_run: MakeRun) -> None:
    class Hostile:
        def __float__(self) -> float:
            raise ZeroDivisionError

        @property
        def item(self) -> Any:
            raise KeyError("no")

    run = make_run()
    run.log({"hostile": Hostile(), "loss": 1.0}, step=1)
    run.finish()
    assert server.run(run.id).points("loss") == {1: 1.0}


def test_none_means_no_value_and_is_no_cause_for_a_warning(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run()
    run.log({"loss": 1.0, "val": None}, step=1)
    run.log({"loss": 0.5, "val": 2.0}, step=2)
    run.finish()
    assert server.run(run.id).points("val") == {2: 2.0}
    assert not caplog.records


@pytest.mark.parametrize("metrics", [None, 3, "loss", [("loss", 1)], object()])
def test_logging_something_that_is_no_mapping_only_warns(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture, metrics: Any
) -> None:
    run = make_run()
    run.log(metrics, step=1)
    assert "log() could not use" in caplog.text


def test_metric_names_that_the_server_could_not_keep_are_mended_with_a_warning_for_each_kind(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run()
    odd: dict[Any, float] = {"a\x00b": 1.0, "c\ud800": 2.0, 5: 3.0, "": 4.0, "x" * 1000: 5.0}
    for step in range(3):
        run.log(odd, step=step)
    run.finish()
    metrics = {metric for batch in server.run(run.id).batches.values() for metric in batch["metrics"]}
    assert metrics == {"a\ufffdb", "c\ufffd", "5", "unnamed", to_name("x" * 1000)}
    assert [caplog.text.count(said) for said in ("control characters", "without a name", "longer than 512")] == [1] * 3
    assert len(caplog.records) == 3


def test_long_metric_names_that_begin_alike_stay_different_metrics(server: LocalServer, make_run: MakeRun) -> None:
    names = ["x" * length for length in (512, 513, 5000, 100_000, 100_001)]
    run = make_run(roles={names[3]: "train_loss"})
    run.log({name: float(len(name)) for name in names}, step=1)
    run.finish()
    (batch,) = server.run(run.id).batches.values()
    assert sorted(column[0] for column in batch["metrics"].values()) == [512.0, 513.0, 5000.0, 100_000.0, 100_001.0]
    assert max(map(len, batch["metrics"])) == 512
    assert server.run(run.id).descriptions[0]["roles"] == {to_name(names[3]): "train_loss"}


def test_without_a_step_the_run_counts_on_from_the_last(server: LocalServer, make_run: MakeRun) -> None:
    run = make_run()
    steps: tuple[Any, ...] = (None, None, 10, None, np.int64(20), None)
    for step in steps:
        run.log({"loss": 1.0}, step=step)
    run.finish()
    assert sorted(server.run(run.id).points("loss")) == [1, 2, 10, 11, 20, 21]


def test_a_resumed_run_counts_on_after_its_checkpoint(server: LocalServer, make_run: MakeRun) -> None:
    run = make_run(id="again", resume_step=500)
    run.log({"loss": 1.0})
    run.finish()
    assert server.run("again").descriptions[0]["resume_step"] == 500
    assert list(server.run("again").points("loss")) == [501]


@pytest.mark.parametrize(
    ("given", "sent"),
    [(7.0, 7), (Tensor(8), 8), (np.array(9), 9), ("10", 10), (True, 1), (-5, -5), (2.5, 2), (-0.5, -1)],
    ids=named,
)
def test_a_step_may_be_anything_that_stands_for_a_whole_number(
    server: LocalServer, make_run: MakeRun, given: Any, sent: int
) -> None:
    run = make_run()
    run.log({"loss": 1.0}, step=given)
    run.finish()
    assert list(server.run(run.id).points("loss")) == [sent]


@pytest.mark.parametrize("given", ["ten", math.nan, math.inf, object(), 2**63, -(2**70), [1, 2]], ids=named)
def test_a_step_that_is_none_is_replaced_by_the_next_one(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture, given: Any
) -> None:
    run = make_run()
    run.log({"loss": 1.0}, step=41)
    run.log({"loss": 2.0}, step=given)
    run.finish()
    assert server.run(run.id).points("loss") == {41: 1.0, 42: 2.0}
    assert "is no step" in caplog.text


def test_equal_and_falling_steps_arrive_in_the_order_of_logging(server: LocalServer, make_run: MakeRun) -> None:
    run = make_run()
    for step, value in [(5, 1.0), (5, 2.0), (3, 3.0), (5, 4.0)]:
        run.log({"loss": value}, step=step)
    run.log({"val": 9.0}, step=5)
    run.finish()
    stored = server.run(run.id)
    assert stored.points("loss") == {5: 4.0, 3: 3.0}
    assert stored.points("val") == {5: 9.0}


def test_rows_are_batched_and_large_bodies_compressed(
    server: LocalServer, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BATCH_SECONDS", 60)
    run = make_run()
    for step in range(1200):
        run.log({"loss": step / 7}, step=step)
    run.finish()
    batches = server.sent_to(f"{run.id}/batches")
    assert len(batches) <= 4
    assert max(len(request.body["steps"]) for request in batches) >= 500
    assert all(request.headers.get("content-encoding") == "gzip" for request in batches)
    assert "content-encoding" not in server.sent_to("/finish")[0].headers
    assert [request.body["seq"] for request in batches] == list(range(1, len(batches) + 1))


@pytest.mark.parametrize(("quick_seconds", "largest"), [(60.0, 4000), (0.0, 500)], ids=["quick", "slow"])
def test_batches_grow_with_what_waits_while_they_are_answered_quickly(
    server: LocalServer, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, quick_seconds: float, largest: int
) -> None:
    monkeypatch.setattr(sender, "MOST_BATCH_ROWS", 4000)
    monkeypatch.setattr(sender, "QUICK_SECONDS", quick_seconds)
    answer = threading.Event()
    server.faults.append(Fault(503, until=answer, on="runs"))
    run = make_run()
    for step in range(20_000):
        run.log({"loss": float(step)}, step=step)
    answer.set()
    run.finish(timeout=60)
    assert server.run(run.id).points("loss") == {step: float(step) for step in range(20_000)}
    rows = [len(request.body["steps"]) for request in server.sent_to(f"{run.id}/batches")]
    assert max(rows) == largest
    assert rows[0] == 500
    assert all(later <= 2 * earlier for earlier, later in itertools.pairwise(rows))


def test_a_batch_is_the_same_json_whether_made_at_once_or_in_pieces() -> None:
    rows = [(step, step / 8, {"loss": step / 7, "näme\n": math.nan}) for step in range(2500)]
    body = batch_body(rows, segment=1, seq=1)
    assert gzip.decompress(pack(body).data).decode() == json.dumps(body, separators=(",", ":"))
    assert pack({}).data == b"{}"


def test_rows_of_many_different_metrics_do_not_make_one_huge_table(server: LocalServer, make_run: MakeRun) -> None:
    run = make_run()
    for step in range(400):
        run.log({f"layer{step}.{part}": 1.0 for part in range(20)}, step=step)
    run.finish()
    stored = server.run(run.id)
    assert stored.n_points == 8000
    cells = [len(batch["steps"]) * len(batch["metrics"]) for batch in stored.batches.values()]
    assert max(cells) <= sender.BATCH_CELLS


def test_eight_threads_logging_at_once_lose_nothing(server: LocalServer, make_run: MakeRun) -> None:
    run = make_run()
    gate = threading.Barrier(8)

    def work(number: int) -> None:
        gate.wait()
        for step in range(1000):
            run.log({f"loss{number}": float(step)}, step=step)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.finish(timeout=30)
    for number in range(8):
        assert server.run(run.id).points(f"loss{number}") == {step: float(step) for step in range(1000)}


def test_threads_that_give_no_step_get_different_ones(server: LocalServer, make_run: MakeRun) -> None:
    run = make_run()

    def work() -> None:
        for _ in range(500):
            run.log({"n": 1.0})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run.finish(timeout=30)
    assert sorted(server.run(run.id).points("n")) == list(range(1, 2001))


def test_flush_returns_once_everything_has_arrived(
    server: LocalServer, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "BATCH_SECONDS", 60)
    run = make_run()
    run.log({"loss": 1.0}, step=1)
    assert run.flush(timeout=20)
    assert server.run(run.id).points("loss") == {1: 1.0}


def test_flush_does_not_wait_for_what_others_log_after_it(server: LocalServer, make_run: MakeRun) -> None:
    run = make_run()
    stop = threading.Event()

    def log_without_end() -> None:
        while not stop.wait(0.001):
            for _ in range(50):
                run.log({"endless": 1.0})

    for step in range(2000):
        run.log({"loss": 1.0}, step=step)
    thread = threading.Thread(target=log_without_end)
    thread.start()
    try:
        assert run.flush(60)
        assert server.run(run.id).points("loss") == dict.fromkeys(range(2000), 1.0)
    finally:
        stop.set()
        thread.join()
        run.finish(timeout=60)


def test_a_finished_run_takes_nothing_more_and_says_so_once(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run()
    run.finish()
    run.finish("failed")
    for _ in range(3):
        run.log({"loss": 1.0}, step=1)
    assert server.run(run.id).end == {"status": "finished"}
    assert server.run(run.id).n_points == 0
    assert caplog.text.count("is finished") == 1


def test_a_block_that_raises_ends_the_run_as_failed_with_its_message(server: LocalServer, make_run: MakeRun) -> None:
    with pytest.raises(ValueError, match="bad batch"), make_run(id="block"):
        raise ValueError("bad batch")
    assert server.run("block").end == {"status": "failed", "message": "ValueError: bad batch"}


def test_a_block_that_is_interrupted_ends_the_run_as_stopped(server: LocalServer, make_run: MakeRun) -> None:
    with pytest.raises(KeyboardInterrupt), make_run(id="block"):
        raise KeyboardInterrupt
    assert server.run("block").end == {"status": "stopped", "message": "KeyboardInterrupt"}


@pytest.mark.parametrize(("code", "status"), [(0, "finished"), (None, "finished"), (3, "failed"), ("no", "failed")])
def test_a_block_that_exits_ends_the_run_as_its_code_says(
    server: LocalServer, make_run: MakeRun, code: int | str | None, status: str
) -> None:
    with pytest.raises(SystemExit), make_run(id="block"):
        raise SystemExit(code)
    end = server.run("block").end
    assert end is not None
    assert end["status"] == status


@pytest.mark.parametrize("timeout", [None, "soon", math.nan, math.inf, -1, 10**400], ids=named)
def test_a_timeout_that_is_none_does_not_reach_the_job(server: LocalServer, make_run: MakeRun, timeout: Any) -> None:
    run = make_run()
    run.log({"loss": 1.0}, step=1)
    run.flush(timeout)
    run.finish(timeout=timeout)
    server.wait_until(lambda: server.run(run.id).end)
    assert server.run(run.id).points("loss") == {1: 1.0}


def test_an_unknown_status_is_taken_as_finished(
    server: LocalServer, make_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run()
    run.finish("crashed")
    assert server.run(run.id).end == {"status": "finished"}
    assert "crashed" in caplog.text


def test_a_silent_job_is_kept_alive_by_heartbeats(
    server: LocalServer, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "HEARTBEAT_SECONDS", 0.02)
    run = make_run()
    server.wait_until(lambda: server.run(run.id).heartbeats >= 3)
    run.finish()


def test_a_logging_handler_that_raises_does_not_reach_the_job(server: LocalServer, make_run: MakeRun) -> None:
    class Hostile(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError("handler")

    handler = Hostile()
    logging.getLogger("losscast").addHandler(handler)
    try:
        run = make_run()
        run.log({"odd": "text", "loss": 1.0}, step=1)
        run.finish()
    finally:
        logging.getLogger("losscast").removeHandler(handler)
    assert server.run(run.id).points("loss") == {1: 1.0}
