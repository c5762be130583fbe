"""Exporting runs from the command line, and what of it can be imported again."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.service import Web, new_id


def losscast(web_url: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", *map(str, arguments), "--url", web_url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_one_run_goes_to_standard_output_and_nothing_else_does(web: Web) -> None:
    run_id = web.new_run()
    web.append(run_id, [1, 2, 3], loss=[2.5, "NaN", 2.25])
    done = losscast(web.url, "export", run_id)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "step,loss\n1,2.5\n2,nan\n3,2.25\n"


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_an_export_imported_again_is_the_same_run(web: Web, tmp_path: Path, form: str) -> None:
    run_id, again = web.new_run(), new_id("again")
    web.post(f"/runs/{run_id}/batches", {"steps": [-3, 0, 7], "metrics": {"train loss, é": [2.5, "NaN", "Infinity"]}})
    done = losscast(web.url, "export", run_id, "--format", form, "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / f"{run_id}.{form}")]
    (tmp_path / f"{run_id}.{form}").rename(tmp_path / f"{again}.{form}")
    assert losscast(web.url, "import", tmp_path / f"{again}.{form}", "--project", again).returncode == 0
    [imported] = web.get("/runs", project=again)["runs"]
    exports = [web.http.get(f"/api/v1/runs/{each}/export").content for each in (run_id, imported["id"])]
    assert exports[0] == exports[1]


SAID: dict[str, Any] = {
    "name": "wide, é",
    "config": {"lr": 3e-4, "model": {"width": 64}},
    "plan": {"total_steps": 2000, "schedule": {"family": "cosine", "warmup_steps": 100}},
    "tags": ["night"],
    "roles": {"odd": "val_loss"},
}


@pytest.mark.parametrize("status", ["finished", "failed", "stopped"])
def test_a_jsonl_export_imported_again_is_named_planned_and_ended_as_the_run_was(
    web: Web, tmp_path: Path, status: str
) -> None:
    project, elsewhere = new_id("project"), new_id("elsewhere")
    run_id = web.new_run(project=project, **SAID)
    web.append(run_id, [1, 2], loss=[2.5, 2.25], odd=[3.0, 2.5])
    web.post(f"/runs/{run_id}/finish", {"status": status, "message": "out of memory"})
    assert losscast(web.url, "export", run_id, "--format", "jsonl", "--output", tmp_path).returncode == 0
    for arguments in ([], ["--project", elsewhere]):
        done = losscast(web.url, "import", tmp_path / f"{run_id}.jsonl", *arguments)
        assert done.returncode == 0, done.stderr
    in_its_project = {run["id"] for run in web.get("/runs", project=project)["runs"]} - {run_id}
    copies = [*in_its_project, *(run["id"] for run in web.get("/runs", project=elsewhere)["runs"])]
    assert len(copies) == 2
    first = said_of(web, run_id)
    assert (first["name"], first["status"], first["plan"]["total_steps"]) == ("wide, é", status, 2000)
    for copy, where in zip(copies, (project, elsewhere), strict=True):
        tags = ["imported", *first["tags"]]
        assert said_of(web, copy) == {**first, "id": copy, "project": where, "tags": tags}


def test_the_command_lines_word_counts_before_the_files(web: Web, tmp_path: Path) -> None:
    run_id, copy = web.new_run(**SAID), new_id("copy")
    web.append(run_id, [1, 2], loss=[2.5, 2.25])
    assert losscast(web.url, "export", run_id, "--format", "jsonl", "--output", tmp_path).returncode == 0
    asked = ["--id", copy, "--name", "mine", "--project", "p", "--total-steps", "3000", "--finished"]
    asked += ["--rename", "odd=strange"]
    assert losscast(web.url, "import", tmp_path / f"{run_id}.jsonl", *asked).returncode == 0
    said = said_of(web, copy)
    assert (said["name"], said["project"], said["status"], said["roles"]) == (
        "mine", "p", "finished", {"strange": "val_loss"},
    )  # fmt: skip
    assert said["plan"]["total_steps"] == 3000
    assert said["plan"]["schedule"]["family"] == "cosine"


def test_a_run_that_goes_on_is_imported_as_stopped(web: Web, tmp_path: Path) -> None:
    run_id, copy = web.new_run(), new_id("copy")
    web.append(run_id, [1, 2], loss=[2.5, 2.25])
    assert losscast(web.url, "export", run_id, "--format", "jsonl", "--output", tmp_path).returncode == 0
    assert losscast(web.url, "import", tmp_path / f"{run_id}.jsonl", "--id", copy).returncode == 0
    assert (said_of(web, run_id)["status"], said_of(web, copy)["status"]) == ("running", "stopped")


def test_a_forecast_of_an_export_knows_the_declared_plan(web: Web, tmp_path: Path) -> None:
    run_id = web.new_run(**SAID)
    steps = list(range(1, 601))
    web.append(run_id, steps, loss=[2 + 3 * step**-0.5 for step in steps])
    assert losscast(web.url, "export", run_id, "--format", "jsonl", "--output", tmp_path).returncode == 0
    command = [sys.executable, "-m", "app", "forecast", str(tmp_path / f"{run_id}.jsonl"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["horizon"] == 2000


def said_of(web: Web, run_id: str) -> dict[str, Any]:
    """What an export of the run says above its points."""
    export = web.http.get(f"/api/v1/runs/{run_id}/export", params={"format": "jsonl"}).text
    meta: dict[str, Any] = json.loads(export.splitlines()[0])["meta"]
    return meta


def test_a_project_is_exported_with_all_its_runs(web: Web, tmp_path: Path) -> None:
    project = new_id("project")
    run_ids = [web.new_run(project=project) for _ in range(3)]
    web.new_run(project=new_id("another"))
    for run_id in run_ids[:2]:  # the third has no point yet
        web.append(run_id, [1, 2], loss=[2.0, 1.5])
    folder = tmp_path / "new" / "folder"
    done = losscast(web.url, "export", "--project", project, "--format", "parquet", "--output", folder)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{run_id}.parquet" for run_id in run_ids)
    assert pq.read_table(folder / f"{run_ids[0]}.parquet").to_pydict() == {"step": [1, 2], "loss": [2.0, 1.5]}
    assert pq.read_table(folder / f"{run_ids[2]}.parquet").num_rows == 0


def test_a_slip_in_one_id_writes_nothing_and_tells_the_id_to_use(web: Web, tmp_path: Path) -> None:
    name = new_id("a name")
    run_id, named = web.new_run(), web.new_run(name=name)
    failed = losscast(web.url, "export", run_id, name, "--output", tmp_path / "runs")
    assert failed.returncode == 1
    assert f"losscast export {named}" in failed.stderr
    assert not (tmp_path / "runs").exists()


def test_several_runs_need_a_folder_and_a_project_must_exist(web: Web) -> None:
    run_ids = [web.new_run(), web.new_run()]
    for arguments, said, code in [
        (run_ids, "--output DIR", 2),
        (["--project", "never-heard-of"], "never-heard-of", 1),
        ([], "losscast export RUN...", 2),
        ([run_ids[0], "--project", "one"], "losscast export RUN...", 2),
    ]:
        failed = losscast(web.url, "export", *arguments)
        assert failed.returncode == code, failed.stderr
        assert said in failed.stderr
        assert failed.stdout == ""


def test_a_folder_that_cannot_be_written_is_told_in_a_sentence(web: Web, tmp_path: Path) -> None:
    run_id = web.new_run()
    (tmp_path / "file").write_text("in the way")
    failed = losscast(web.url, "export", run_id, "--output", tmp_path / "file" / "runs")
    assert failed.returncode == 2
    assert "Cannot write to" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_an_export_that_is_cut_short_leaves_no_file_and_the_earlier_one_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "broken.csv").write_text("step,loss\n1,2.0\n")
    with service_that_hangs_up() as url:
        failed = losscast(url, "export", "broken", "--output", tmp_path)
    assert failed.returncode == 1
    assert "did not send all" in failed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["broken.csv"]
    assert (tmp_path / "broken.csv").read_text() == "step,loss\n1,2.0\n"


@contextmanager
def service_that_hangs_up() -> Iterator[str]:
    """Knows every run, and dies in the middle of an export."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_export = self.path.partition("?")[0].endswith("/export")
            body = b"step,loss\n1,2.0\n" if is_export else b'{"id": "broken", "name": "broken"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + (1000 if is_export else 0)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
