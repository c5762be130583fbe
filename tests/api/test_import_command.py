"""`losscast import` into a running service."""

import subprocess
import sys
from pathlib import Path

from app.importers.run_files import read_file
from tests.service import Web, new_id

DEMO_DATA = Path(__file__).parents[2] / "app" / "demo" / "data"


def losscast_import(web: Web, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "app", "import", *map(str, arguments), "--url", web.url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def imported_points(path: Path, metric: str) -> dict[int, float]:
    points: dict[int, float] = {}
    for batch in read_file(path).batches:
        column = batch.metrics.index(metric) if metric in batch.metrics else None
        if column is not None:
            here = batch.present[column]
            points.update(zip(batch.steps[here].tolist(), batch.values[column, here].tolist(), strict=True))
    return points


def test_a_file_becomes_a_run_and_twice_is_once(web: Web) -> None:
    project = new_id("import")
    first = losscast_import(web, DEMO_DATA / "lm_wsd.csv", "--project", project, "--total-steps", "15000")
    again = losscast_import(web, DEMO_DATA / "lm_wsd.csv", "--project", project)
    assert first.returncode == 0, first.stderr
    assert first.stdout == again.stdout
    (row,) = web.get("/runs", project=project)["runs"]
    assert first.stdout.strip().endswith(f"/runs/{row['id']}")
    assert row["status"] == "stopped"
    assert web.points(row["id"], "train_loss") == imported_points(DEMO_DATA / "lm_wsd.csv", "train_loss")
    detail = web.get(f"/runs/{row['id']}")
    assert len(detail["segments"]) == 1


def test_a_file_that_has_grown_adds_what_is_new(web: Web, tmp_path: Path) -> None:
    project = new_id("import")
    path = tmp_path / "run.csv"
    path.write_text("step,loss\n1,3\n2,2\n")
    losscast_import(web, path, "--project", project)
    path.write_text("step,loss\n1,3\n2,2\n3,1\n")
    assert losscast_import(web, path, "--project", project).returncode == 0
    (row,) = web.get("/runs", project=project)["runs"]
    assert web.points(row["id"]) == {1: 3.0, 2: 2.0, 3: 1.0}


def test_an_export_imported_again_is_the_same_run(web: Web, tmp_path: Path) -> None:
    run_id = web.new_run()
    web.append(run_id, [1, 2, 2**53 + 1], loss=["NaN", None, "-Infinity"], lr=[1e-5, 2.5e-300, None])
    for form in ("csv", "jsonl"):
        path = tmp_path / f"{run_id}.{form}"
        path.write_bytes(web.http.get(f"/api/v1/runs/{run_id}/export", params={"format": form}).content)
        project = new_id(form)
        assert losscast_import(web, path, "--project", project).returncode == 0
        (row,) = web.get("/runs", project=project)["runs"]
        for metric in ("loss", "lr"):
            assert web.points(row["id"], metric) == web.points(run_id, metric)


def test_a_file_that_breaks_half_way_does_not_leave_a_run_that_looks_alive(web: Web, tmp_path: Path) -> None:
    project = new_id("broken")
    path = tmp_path / "mixed.csv"
    path.write_text("step,loss\n1,3\n2,2\nthree,1\n")
    answer = losscast_import(web, path, "--project", project)
    assert answer.returncode == 2
    assert "mixed.csv" in answer.stderr
    assert [row["status"] for row in web.get("/runs", project=project)["runs"]] in ([], ["failed"])


def test_nothing_listening_is_said_plainly(web: Web) -> None:
    command = [sys.executable, "-m", "app", "import", str(DEMO_DATA / "lm_wsd.csv"), "--url", "http://127.0.0.1:9"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1
    assert "No answer from http://127.0.0.1:9" in answer.stderr.splitlines()[0]
    assert "losscast up" in answer.stderr


def test_a_file_without_a_number_makes_no_run(web: Web, tmp_path: Path) -> None:
    project = new_id("empty")
    for name, text in {
        "header.csv": "step,loss\n",
        "blank.csv": "step,loss\n1,\n2,\n",
        "none.jsonl": '{"step": 1}\n',
    }.items():
        path = tmp_path / name
        path.write_text(text)
        answer = losscast_import(web, path, "--project", project)
        assert answer.returncode == 2, answer.stdout
        assert name in answer.stderr
        assert "Traceback" not in answer.stderr
    assert web.get("/runs", project=project)["runs"] == []
    assert "Traceback" not in answer.stderr
