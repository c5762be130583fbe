"""What monitoring is told: of the web process alone, of the whole service, and in numbers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from app.storage.database import Database
from tests.conftest import unreachable
from tests.service import Web, Worker, wait_for

KEY = "a-key-from-the-environment"
LATER = "UPDATE procrastinate_events SET at = at - make_interval(secs => 601)"


def health(web: Web, status: int) -> dict[str, Any]:
    answer = web.http.get("/healthz")
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    assert found["status"] == ("ok" if status == 200 else "failing")
    return found


def sample(web: Web, name: str) -> float | None:
    """A value as Prometheus would read it: `name` with its labels, as written."""
    for line in web.http.get("/metrics").text.splitlines():
        if line.rpartition(" ")[0] == name:
            return float(line.rpartition(" ")[2])
    return None


def append_loss(web: Web, run_id: str, seq: int = 0) -> None:
    steps = list(range(seq * 100, seq * 100 + 100))
    web.append(run_id, steps, segment=1, seq=seq, loss=[3.0 - step / 1000 for step in steps])


def wait_for_waiting_refit(web: Web) -> None:
    wait_for(lambda: web.http.get("/healthz").json()["refits_waiting"] or None, "a refit to be asked for")


def execute(database: Database, statement: str) -> None:
    with database.write() as connection:
        connection.execute(text(statement))


def test_refits_that_wait_without_any_worker_are_unhealthy(database_url: str, database: Database) -> None:
    with Web(database_url) as web:
        assert health(web, 200)["refits_waiting"] == 0
        append_loss(web, web.new_run())
        wait_for_waiting_refit(web)
        assert health(web, 200)["workers"] == 0  # it may be about to start
        execute(database, LATER)
        found = health(web, 503)
        assert "no worker runs" in found["message"]
        assert found["oldest_refit_seconds"] > 600
        # What would be restarted for it is not at fault.
        assert web.http.get("/livez").status_code == 200
        with Worker(database_url):
            wait_for(lambda: web.http.get("/healthz").status_code == 200 or None, "the worker to do what waited")
            found = health(web, 200)
            assert found["workers"] == 1
            assert found["worker_heartbeat_seconds"] < 30


def test_workers_that_refit_nothing_although_work_waits_are_unhealthy(database_url: str, database: Database) -> None:
    with Web(database_url) as web:
        append_loss(web, web.new_run())
        wait_for_waiting_refit(web)
        # As of a worker that is started again and again: it shows itself each time.
        execute(database, "INSERT INTO procrastinate_workers DEFAULT VALUES")
        assert health(web, 200)["workers"] == 1
        execute(database, LATER)
        assert "none was made" in health(web, 503)["message"]


def test_a_long_queue_that_is_worked_off_is_healthy(database_url: str, database: Database) -> None:
    with Web(database_url) as web:
        first = web.new_run()
        append_loss(web, first)
        with Worker(database_url):
            wait_for(lambda: web.get(f"/runs/{first}")["metric"], "a refit")
        append_loss(web, web.new_run())
        wait_for_waiting_refit(web)
        execute(database, "INSERT INTO procrastinate_workers DEFAULT VALUES")
        assert health(web, 200)["message"] is None
        execute(database, LATER)
        found = health(web, 200)
        assert found["oldest_refit_seconds"] > 600
        assert found["message"].startswith("1 run waits for a refit, the first for 6")


@contextmanager
def full_disk(database: Database) -> Iterator[None]:
    """Postgres refuses new batches with the very error of a full disk."""
    execute(
        database,
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'could not extend file "base/5/16": No space left on device' USING ERRCODE = 'disk_full';
        END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON metric_batch EXECUTE FUNCTION refuse();
        """,
    )
    yield
    execute(database, "DROP TRIGGER full_disk ON metric_batch")


def test_on_a_full_disk_jobs_are_asked_to_send_again_and_the_log_stays_short(
    database_url: str, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    with Web(database_url) as web:
        run_id = web.new_run()
        body = {"segment": 1, "seq": 0, "steps": [1], "metrics": {"loss": [2.0]}}
        with full_disk(database):
            for _ in range(20):
                answer = web.http.post(f"/api/v1/runs/{run_id}/batches", json=body)
                assert (answer.status_code, answer.json()["error"]) == (503, "disk_full")
                assert int(answer.headers["Retry-After"]) > 0
            assert "disk of the database is full" in health(web, 503)["message"]
        # The very request that was refused is taken once there is room.
        assert web.post(f"/runs/{run_id}/batches", body)["stored"] == 1
        health(web, 200)
    said = capfd.readouterr().err
    assert said.count("disk of the database is full") == 1
    assert "points are stored again" in said
    assert "Traceback" not in said


def test_every_line_of_the_metrics_is_in_the_form_that_prometheus_reads(web: Web) -> None:
    answer = web.http.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    described: list[str] = []
    for line in answer.text.splitlines():
        if line.startswith("#"):
            described.append(re.fullmatch(r"# (?:HELP (\w+) \S.*|TYPE (\w+) gauge)", line)[0].split()[2])  # type: ignore[index]
            continue
        found = re.fullmatch(r'(losscast_\w+?)(?:\{\w+="\w+"\})? (\S+)', line)
        assert found is not None, line
        assert described[-2:] == [found[1], found[1]]
        float(found[2])
    assert answer.text.endswith("\n")


def test_the_metrics_count_what_there_is(database_url: str, database: Database) -> None:
    with Web(database_url) as web:
        assert sample(web, "losscast_points") == 0
        assert sample(web, "losscast_worker_heartbeat_seconds") is None
        run_id = web.new_run()
        append_loss(web, run_id)
        wait_for_waiting_refit(web)
        assert sample(web, "losscast_points") == 100
        assert sample(web, 'losscast_runs{status="running"}') == 1
        assert sample(web, 'losscast_jobs_waiting{task="refit"}') == 1
        assert sample(web, "losscast_healthy") == 1
        execute(database, LATER)
        assert (sample(web, "losscast_oldest_refit_seconds") or 0) > 600
        assert sample(web, "losscast_healthy") == 0
        execute(
            database,
            """
            INSERT INTO alert (run_key, kind, severity, metric, step, message)
                SELECT key, 'spike', 'warning', 'loss', 5, '' FROM run;
            INSERT INTO alert_delivery (alert_id, event, target_hash, target_label, next_attempt_at, delivered_at)
                SELECT alert.id, 'fired', channel, '', due, taken FROM alert, (VALUES
                    ('a', now(), NULL), ('b', NULL, now()), ('c', NULL, NULL), ('d', NULL, NULL)
                ) AS message(channel, due, taken);
            """,
        )
        states = {state: sample(web, f'losscast_deliveries{{state="{state}"}}') for state in _STATES}
        assert states == {"delivered": 1, "waiting": 1, "failed": 2}
        assert sample(web, "losscast_alerts_open") == 1


_STATES = ("delivered", "waiting", "failed")


def test_the_metrics_need_a_key_where_keys_are_on_and_health_does_not(api_database_url: str) -> None:
    with Web(api_database_url, auth="on", api_key=KEY, session_secret="s" * 32) as locked:
        assert locked.http.get("/metrics").status_code == 401
        assert locked.http.get("/metrics", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
        assert locked.http.get("/healthz").status_code in (200, 503)
        assert locked.http.get("/livez").status_code == 200
        assert locked.http.get("/livez/../metrics").status_code == 401


def test_health_tells_when_the_database_is_away(postgres_url: str, database_url: str) -> None:
    with Web(database_url) as web:
        with unreachable(postgres_url, database_url):
            answers = [web.http.get(path) for path in ("/healthz", "/livez", "/metrics")]
        assert [answer.status_code for answer in answers] == [503, 503, 503]
        assert all("Postgres does not answer" in answer.json()["message"] for answer in answers)
        assert answers[0].json()["status"] == "unavailable"
        wait_for(lambda: web.http.get("/livez").status_code == 200 or None, "the database to be back")
