"""Forks, ends of processes, interpreters: each in a process of its own."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import losscast
from tests.client.conftest import Script
from tests.client.local_server import LocalServer

CLIENT = Path(__file__).parents[2] / "client"
SOURCES = sorted((CLIENT / "losscast").glob("*.py"))


def test_a_process_that_ends_without_finish_is_finished(server: LocalServer, script: Script) -> None:
    done = script(
        """
        import losscast
        losscast.init(id="r")
        losscast.log({"loss": 1.0}, step=1)
        """,
        LOSSCAST_URL=server.url,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert server.run("r").points("loss") == {1: 1.0}
    assert server.run("r").end == {"status": "finished"}


def test_a_process_that_dies_of_an_exception_has_failed_and_the_traceback_is_shown(
    server: LocalServer, script: Script
) -> None:
    done = script(
        """
        import losscast, sys
        shown = []
        sys.excepthook = lambda *what: print("theirs", what[1])
        losscast.init(id="r")
        losscast.log({"loss": 1.0}, step=1)
        raise RuntimeError("out of memory")
        """,
        LOSSCAST_URL=server.url,
    )
    assert done.returncode == 1
    assert done.stdout == "theirs out of memory\n"
    assert server.run("r").points("loss") == {1: 1.0}
    assert server.run("r").end == {"status": "failed", "message": "RuntimeError: out of memory"}


def test_an_interrupted_process_is_stopped(server: LocalServer, script: Script) -> None:
    script("import losscast; losscast.init(id='r'); raise KeyboardInterrupt", LOSSCAST_URL=server.url)
    assert server.run("r").end == {"status": "stopped", "message": "KeyboardInterrupt"}


def test_an_exception_that_cannot_be_told_does_not_hide_itself(server: LocalServer, script: Script) -> None:
    done = script(
        """
        import losscast
        class Odd(Exception):
            def __str__(self):
                raise ValueError("no words")
        losscast.init(id="r")
        raise Odd()
        """,
        LOSSCAST_URL=server.url,
    )
    assert "Odd" in done.stderr
    assert server.run("r").end == {"status": "failed", "message": "Odd"}


@pytest.mark.parametrize("address", ["refusing_url", "silent_url"])
def test_a_process_without_a_server_keeps_its_exit_code_and_its_output(
    request: pytest.FixtureRequest, script: Script, address: str
) -> None:
    done = script(
        """
        import losscast, sys
        with losscast.init() as run:
            for step in range(1000):
                run.log({"loss": 1.0}, step=step)
            run.finish(timeout=0.2)
        print("trained")
        sys.exit(7)
        """,
        LOSSCAST_URL=request.getfixturevalue(address),
    )
    assert (done.returncode, done.stdout) == (7, "trained\n")
    assert "1000 points" in done.stderr
    assert "Traceback" not in done.stderr


def test_many_runs_left_open_end_together(server: LocalServer, script: Script) -> None:
    script(
        """
        import losscast
        runs = [losscast.init(id=f"r{n}") for n in range(5)]
        for run in runs:
            run.log({"loss": 1.0}, step=1)
        """,
        LOSSCAST_URL=server.url,
    )
    assert [server.run(f"r{n}").end for n in range(5)] == [{"status": "finished"}] * 5


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_logs_beside_its_parent_and_does_not_end_the_run(server: LocalServer, script: Script) -> None:
    done = script(
        """
        import losscast, os, sys
        run = losscast.init(id="r")
        for step in range(1000):
            run.log({"parent": 1.0}, step=step)
        child = os.fork()
        if child == 0:
            for step in range(1000):
                run.log({"child": 2.0}, step=step)
            sys.exit(0)
        for step in range(1000, 2000):
            run.log({"parent": 1.0}, step=step)
        assert os.waitpid(child, 0)[1] == 0
        """,
        LOSSCAST_URL=server.url,
    )
    assert done.returncode == 0, done.stderr
    stored = server.run("r")
    assert stored.points("parent") == dict.fromkeys(range(2000), 1.0)
    assert stored.points("child") == dict.fromkeys(range(1000), 2.0)
    assert stored.n_points == 3000
    assert len(stored.segments) == 1
    ends = [request for request in server.requests if request.path.endswith("finish")]
    assert len(ends) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_multiprocessing_child_flushes_although_it_leaves_past_atexit(server: LocalServer, script: Script) -> None:
    done = script(
        """
        import losscast, multiprocessing
        run = losscast.init(id="r")
        def work(number):
            run.log({f"child{number}": 1.0}, step=number)
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=work, args=(number,)) for number in range(3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        """,
        LOSSCAST_URL=server.url,
    )
    assert done.returncode == 0, done.stderr
    assert [server.run("r").points(f"child{number}") for number in range(3)] == [{0: 1.0}, {1: 1.0}, {2: 1.0}]
    assert len(server.sent_to("finish")) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_while_other_threads_log_leaves_no_lock_behind(server: LocalServer, script: Script) -> None:
    done = script(
        """
        import losscast, os, threading, time
        run = losscast.init(id="r")
        stop = threading.Event()
        def work():
            while not stop.is_set():
                for _ in range(100):
                    run.log({"busy": 1.0})
                time.sleep(0.002)
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(20):
            child = os.fork()
            if child == 0:
                run.log({"child": 1.0}, step=number)
                run.flush(20)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        stop.set()
        for thread in threads:
            thread.join()
        run.finish(timeout=60)
        """,
        LOSSCAST_URL=server.url,
    )
    assert done.returncode == 0, done.stderr
    assert server.run("r").points("child") == dict.fromkeys(range(20), 1.0)


def test_a_signal_handler_may_log_in_the_middle_of_logging(server: LocalServer, script: Script) -> None:
    done = script(
        """
        import losscast, signal
        run = losscast.init(id="r")
        seen = 0
        def handler(number, frame):
            global seen
            seen += 1
            run.log({"signal": 1.0})
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        while seen < 200:
            run.log({"loss": 1.0})
        signal.setitimer(signal.ITIMER_REAL, 0)
        run.finish(timeout=60)
        print(seen)
        """,
        LOSSCAST_URL=server.url,
    )
    assert done.returncode == 0, done.stderr
    assert len(server.run("r").points("signal")) == int(done.stdout)


def test_the_jobs_random_numbers_do_not_depend_on_the_client(server: LocalServer, script: Script) -> None:
    source = """
        import os, random
        random.seed(1)
        if os.environ.get("LOSSCAST_URL"):
            import losscast
            with losscast.init() as run:
                run.log({"loss": 1.0}, step=1)
        print(random.random())
        """
    assert script(source, LOSSCAST_URL=server.url).stdout == script(source).stdout
    assert server.requests


def test_nothing_outside_the_standard_library_is_imported(server: LocalServer) -> None:
    source = f"""
import sys
sys.path.insert(0, {str(CLIENT)!r})
import losscast
losscast.init(url={server.url!r}, schedule=lambda step: 1e-3, total_steps=10).finish()
losscast.init(url="https://losscast.invalid").finish(timeout=0.1)
known = set(sys.stdlib_module_names) | {{"losscast", "__main__"}}
print(sorted({{name.partition(".")[0] for name in sys.modules}} - known))
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", source], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_source_is_python_3_9(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 9))


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13", "3.14"])
def test_the_client_runs_on_other_pythons_that_are_installed(server: LocalServer, script: Script, version: str) -> None:
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "--version"], capture_output=True, check=False).returncode:
        pytest.skip(f"no python{version} here")
    done = script(
        """
        import losscast, math, types
        with losscast.init(id="r", total_steps=100, schedule=lambda s: 1e-3 * (1 - s / 100),
                           config=types.SimpleNamespace(a=1), tags=["t"]) as run:
            for step in range(2000):
                run.log({"loss": 1.0, "nan": math.nan, "odd": "x"}, step=step)
        try:
            with losscast.init(id="s"):
                raise ValueError("end")
        except ValueError:
            pass
        losscast.init(id="t", url="http://127.0.0.1:9").finish(timeout=0.1)
        """,
        python=python,
        LOSSCAST_URL=server.url,
    )
    assert done.returncode == 0, done.stderr
    assert "internal error" not in done.stderr
    assert server.run("r").points("loss") == dict.fromkeys(range(2000), 1.0)
    assert server.run("r").descriptions[0]["plan"]["schedule"]["steps"] == [0, 100]
    assert server.run("s").end == {"status": "failed", "message": "ValueError: end"}


def test_the_version_is_the_one_of_the_distribution() -> None:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
    assert losscast.__version__ == project["version"]
