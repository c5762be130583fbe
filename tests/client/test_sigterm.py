"""SIGTERM: the job that asks for it sends what it has and is stopped; every other ends as it always did."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

import losscast
from losscast import sigterm
from tests.client.conftest import MakeRun, Script
from tests.client.local_server import LocalServer
from tests.conftest import database_named
from tests.service import Web, new_id

pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")

TERMINATED = """
    import losscast, os, signal, time
    run = losscast.init(id="r", {said})
    for step in range(1000):
        run.log({{"loss": 1.0}}, step=step)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
    print("slept")
    """


@pytest.fixture(scope="module")
def web(postgres_url: str, migrated_template: str) -> Iterator[Web]:
    with (
        database_named(postgres_url, new_id("sigterm").replace("-", "_"), template=migrated_template) as url,
        Web(url) as running,
    ):
        yield running


@pytest.mark.parametrize(
    ("said", "variables"), [("stop_on_sigterm=True", {}), ("", {"LOSSCAST_STOP_ON_SIGTERM": "1"})], ids=["said", "set"]
)
def test_a_job_that_asks_for_it_is_stopped_with_all_it_logged(
    server: LocalServer, script: Script, said: str, variables: dict[str, str]
) -> None:
    done = script(TERMINATED.format(said=said), LOSSCAST_URL=server.url, **variables)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGTERM, "", "")
    assert server.run("r").points("loss") == dict.fromkeys(range(1000), 1.0)
    assert server.run("r").end == {"status": "stopped", "message": "SIGTERM"}


@pytest.mark.parametrize("said", ["", "stop_on_sigterm=False"])
def test_any_other_job_dies_of_it_at_once(server: LocalServer, script: Script, said: str) -> None:
    variables = {"LOSSCAST_STOP_ON_SIGTERM": "1"} if said else {}
    done = script(TERMINATED.format(said=said), LOSSCAST_URL=server.url, **variables)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")
    assert server.run("r").end is None


def test_without_a_server_the_job_ends_all_the_same_and_says_what_is_lost(script: Script, refusing_url: str) -> None:
    done = script(TERMINATED.format(said="stop_on_sigterm=True"), LOSSCAST_URL=refusing_url)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")
    assert "1000 points of run r had not arrived" in done.stderr


def test_a_second_signal_waits_for_nothing(script: Script, silent_url: str) -> None:
    done = script(
        """
        import losscast, os, signal, time
        from losscast import sigterm
        sigterm.SIGTERM_SECONDS = 1000.0
        run = losscast.init(stop_on_sigterm=True)
        run.log({"loss": 1.0}, step=1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
        """,
        LOSSCAST_URL=silent_url,
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "")


def test_a_signal_in_the_middle_of_logging_loses_nothing_that_came_before(server: LocalServer, script: Script) -> None:
    done = script(
        """
        import losscast, os, signal, threading
        run = losscast.init(id="r", stop_on_sigterm=True)
        def terminate():
            assert run.flush(30)
            os.kill(os.getpid(), signal.SIGTERM)
        for step in range(2000):
            run.log({"before": 1.0}, step=step)
        threading.Thread(target=terminate).start()
        while True:
            for _ in range(20):
                run.log({"after": 1.0})
            threading.Event().wait(0.001)
        """,
        LOSSCAST_URL=server.url,
    )
    assert done.returncode == -signal.SIGTERM, done.stderr
    assert server.run("r").points("before") == dict.fromkeys(range(2000), 1.0)
    assert server.run("r").end == {"status": "stopped", "message": "SIGTERM"}


@pytest.mark.parametrize("ending", ["run.log({'loss': 2.0}, step=1); sys.exit(3)", "sys.exit(0)"])
def test_a_handler_of_the_jobs_own_decides_how_it_ends_and_the_run_says_why(
    server: LocalServer, script: Script, ending: str
) -> None:
    done = script(
        f"""
        import losscast, os, signal, sys, time
        def handler(number, frame):
            print("saving")
            {ending}
        signal.signal(signal.SIGTERM, handler)
        with losscast.init(id="r", stop_on_sigterm=True) as run:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        """,
        LOSSCAST_URL=server.url,
    )
    assert done.stdout == "saving\n"
    assert done.returncode == (3 if "3" in ending else 0)
    assert server.run("r").points("loss") == ({1: 2.0} if "log" in ending else {})
    assert server.run("r").end == {"status": "stopped", "message": "SIGTERM"}


def test_a_job_that_trains_on_after_the_signal_is_finished_when_it_says_so(server: LocalServer, script: Script) -> None:
    done = script(
        """
        import losscast, os, signal
        signal.signal(signal.SIGTERM, lambda number, frame: None)
        run = losscast.init(id="r", stop_on_sigterm=True)
        os.kill(os.getpid(), signal.SIGTERM)
        run.log({"loss": 1.0}, step=1)
        run.finish()
        """,
        LOSSCAST_URL=server.url,
    )
    assert done.returncode == 0, done.stderr
    assert server.run("r").points("loss") == {1: 1.0}
    assert server.run("r").end == {"status": "finished"}


def test_a_forked_child_that_is_terminated_does_not_end_the_run(server: LocalServer, script: Script) -> None:
    done = script(
        """
        import losscast, os, signal, time
        run = losscast.init(id="r", stop_on_sigterm=True)
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
        run.log({"loss": 1.0}, step=1)
        """,
        LOSSCAST_URL=server.url,
    )
    assert done.returncode == 0, done.stderr
    assert server.run("r").points("loss") == {1: 1.0}
    assert server.run("r").end == {"status": "finished"}


def test_a_process_that_ignores_the_signal_goes_on_doing_so(
    make_run: MakeRun, server: LocalServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        run = make_run(stop_on_sigterm=True)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sigterm._owner is None
    assert "SIGTERM will not stop the run" in caplog.text
    run.finish()


def test_a_setting_that_is_neither_yes_nor_no_is_said_and_ignored(
    make_run: MakeRun, server: LocalServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LOSSCAST_STOP_ON_SIGTERM", "perhaps")
    make_run().finish()
    assert sigterm._owner is None
    assert "LOSSCAST_STOP_ON_SIGTERM=perhaps" in caplog.text


def test_the_service_shows_a_preempted_run_as_stopped(web: Web, script: Script) -> None:
    run_id = new_id("sigterm")
    done = script(TERMINATED.format(said="stop_on_sigterm=True").replace('"r"', repr(run_id)), LOSSCAST_URL=web.url)
    assert done.returncode == -signal.SIGTERM, done.stderr
    shown = web.get(f"/runs/{run_id}")
    assert shown["status"] == "stopped"
    assert web.points(run_id, max_points=10_000) == dict.fromkeys(range(1000), 1.0)
    # The next start of the job goes on with it.
    with losscast.init(url=web.url, id=run_id, resume_step=999) as again:
        again.log({"loss": 2.0})
    assert web.points(run_id, max_points=10_000)[1000] == 2.0
    assert len(web.get(f"/runs/{run_id}")["segments"]) == 2
