"""The client and the real service, over real HTTP and Postgres."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

import losscast
from tests.conftest import database_named
from tests.service import Web, new_id


@pytest.fixture(scope="module")
def web(postgres_url: str, migrated_template: str) -> Iterator[Web]:
    with (
        database_named(postgres_url, new_id("client").replace("-", "_"), template=migrated_template) as url,
        Web(url) as running,
    ):
        yield running


def test_a_run_is_stored_through_a_killed_service_once_and_whole(web: Web) -> None:
    run = losscast.init(
        url=web.url,
        id=new_id("client"),
        project="gpt",
        config={"batch": 8},
        total_steps=2000,
        schedule=lambda step: 1e-3 * (1 - step / 2000),
    )
    for step in range(1, 1001):
        run.log({"loss": 1 / step, "lr": 1e-3}, step=step)
    assert run.flush(60)
    web.kill()
    for step in range(1001, 2001):
        run.log({"loss": math.nan if step == 1500 else 1 / step}, step=step)
    web.start()
    run.finish(timeout=60)

    expected = {step: 1 / step for step in range(1, 2001)} | {1500: "NaN"}
    assert web.points(run.id, max_points=10_000) == expected
    stored = web.get(f"/runs/{run.id}")
    assert (stored["status"], stored["project"], stored["config"]) == ("finished", "gpt", {"batch": 8})
    assert stored["declared_plan"] == {
        "total_steps": 2000,
        "schedule": {"family": "explicit", "steps": [0, 2000], "rates": [1e-3, 0.0]},
    }
    assert run.url == f"{web.url}/runs/{run.id}"
    (loss,) = (series for series in web.get(f"/runs/{run.id}/series")["series"] if series["metric"] == "loss")
    assert loss["points"] == 2000  # repeats would count


def test_what_piled_up_goes_to_the_service_in_large_batches(web: Web) -> None:
    web.kill()
    run = losscast.init(url=web.url, id=new_id("client"))
    for step in range(40_000):
        run.log({"loss": step / 7, "lr": 1e-3}, step=step)
    web.start()
    assert run.flush(60)
    run.finish(timeout=60)
    listed = {series["metric"]: series["points"] for series in web.get(f"/runs/{run.id}/series")["series"]}
    assert listed == {"loss": 40_000, "lr": 40_000}
    assert web.points(run.id, max_points=100_000) == {step: step / 7 for step in range(40_000)}


def test_a_restart_replaces_what_came_after_its_checkpoint(web: Web) -> None:
    run_id = new_id("client")
    with losscast.init(url=web.url, id=run_id) as first:
        for step in range(1, 101):
            first.log({"loss": 1.0}, step=step)
        first.log({"val_loss": 1.5}, step=50)
    with losscast.init(url=web.url, id=run_id, resume_step=50) as second:
        for _ in range(30):
            second.log({"loss": 2.0})
    assert web.points(run_id) == {step: 1.0 if step < 51 else 2.0 for step in range(1, 81)}
    assert web.points(run_id, metric="val_loss") == {50: 1.5}
    assert len(web.get(f"/runs/{run_id}")["segments"]) == 2


def test_a_metric_with_a_long_name_is_found_by_it_however_it_was_sent(web: Web) -> None:
    long, longer = "val/loss/" + "x" * 600, "val/loss/" + "x" * 6000
    run = losscast.init(url=web.url, id=new_id("client"), roles={long: "val_loss"})
    run.log({long: 1.0, longer: 2.0}, step=1)
    assert run.flush(60)
    columns: dict[str, Any] = {long: [3.0, 4.0], longer: [5.0, 6.0]}
    sent = web.append(run.id, [2, 3], **columns)
    run.finish(timeout=60)
    assert "was cut to 512 characters" in str(sent["warnings"])
    assert web.points(run.id, metric=long) == {1: 1.0, 2: 3.0, 3: 4.0}
    assert web.points(run.id, metric=longer) == {1: 2.0, 2: 5.0, 3: 6.0}
    listed = [series["metric"] for series in web.get(f"/runs/{run.id}/series")["series"]]
    assert len(listed) == 2
    assert {len(metric) for metric in listed} == {512}
    for metric in listed:
        assert len(web.points(run.id, metric=metric)) == 3


def test_a_metric_without_a_name_and_one_with_a_nul_are_stored_with_a_warning(web: Web) -> None:
    run_id = web.new_run()
    columns: dict[str, Any] = {"": [1.0], "a\x00b": [2.0]}
    sent = web.append(run_id, [1], **columns)
    assert web.points(run_id, metric="unnamed") == {1: 1.0}
    assert web.points(run_id, metric="a\x00b") == {1: 2.0}
    assert "stored as 'unnamed'" in str(sent["warnings"])
    assert "characters that cannot be stored" in str(sent["warnings"])


def test_curl_and_the_client_may_log_to_one_run(web: Web) -> None:
    run = losscast.init(url=web.url, id=new_id("client"))
    run.log({"loss": 1.0}, step=1)
    assert run.flush(60)
    web.post(f"/log/{run.id}", {"step": 2, "loss": 2.0})
    run.log({"loss": 3.0}, step=3)
    run.finish(timeout=60)
    assert web.points(run.id) == {1: 1.0, 2: 2.0, 3: 3.0}


def test_a_plan_that_the_service_refuses_costs_only_itself(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    run = losscast.init(url=web.url, id=new_id("client"), schedule={"family": "sinus"}, total_steps=10, config={"a": 1})
    run.log({"loss": 1.0}, step=1)
    run.finish(timeout=60)
    assert web.points(run.id) == {1: 1.0}
    assert web.get(f"/runs/{run.id}")["config"] == {"a": 1}
    assert "sinus" in caplog.text


def test_a_job_whose_run_was_deleted_is_told_once_and_goes_on(web: Web, caplog: pytest.LogCaptureFixture) -> None:
    run = losscast.init(url=web.url, id=new_id("client"))
    run.log({"loss": 1.0}, step=1)
    assert run.flush(60)
    assert web.http.delete(f"/api/v1/runs/{run.id}").status_code == 200
    for step in range(2, 50):
        run.log({"loss": 1.0}, step=step)
        assert not run.should_stop()
        if step % 10 == 0:
            assert not run.flush(60)
    run.finish(timeout=60)
    assert web.http.get(f"/api/v1/runs/{run.id}").status_code == 404
    told = [record.getMessage() for record in caplog.records if "was deleted" in record.getMessage()]
    assert len([message for message in told if f"points of run {run.id} are set aside" in message]) == 1
    assert f"48 points of run {run.id} were lost" in caplog.text
    assert "cannot ask whether to stop" not in caplog.text
    # The job's next start makes the run anew.
    with losscast.init(url=web.url, id=run.id) as again:
        again.log({"loss": 2.0}, step=50)
    assert web.points(run.id) == {50: 2.0}
