"""`losscast import` into a running service."""

import hashlib
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from app.importers.run_files import read_file
from tests.service import Web, new_id

DEMO_DATA = Path(__file__).parents[2] / "app" / "demo" / "data"
LOGGER_FILES = Path(__file__).parents[1] / "data" / "logger_files"
TENSORBOARD = Path(__file__).parents[1] / "data" / "tensorboard" / "resumed"


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


def test_a_run_that_counts_its_steps_from_nought_to_its_total_has_finished(web: Web, tmp_path: Path) -> None:
    project = new_id("counted")
    for name, total, rows in (("whole", 3, 3), ("to-its-total", 2, 3), ("cut", 4, 3), ("beyond", 1, 3)):
        meta = f'{{"meta": {{"name": "{name}", "config": {{"max_steps": {total}}}}}}}\n'
        lines = "".join(f'{{"step": {step}, "loss": {3 - step}}}\n' for step in range(rows))
        (tmp_path / f"{name}.jsonl").write_text(meta + lines)
    for name, total in (("sparse", 1000), ("sparse-cut", 1200)):
        lines = "".join(f'{{"step": {step}, "loss": {3 - step / 1000}}}\n' for step in range(30, 1000, 60))
        (tmp_path / f"{name}.jsonl").write_text(f'{{"meta": {{"config": {{"max_steps": {total}}}}}}}\n{lines}')
    (tmp_path / "unsaid.csv").write_text("step,loss\n0,3\n1,2\n")
    assert losscast_import(web, tmp_path, "--project", project).returncode == 0
    ends = {row["name"]: row["status"] for row in web.get("/runs", project=project)["runs"]}
    stopped = dict.fromkeys(("cut", "beyond", "unsaid", "sparse-cut"), "stopped")
    assert ends == {"whole": "finished", "to-its-total": "finished", "sparse": "finished", **stopped}
    losscast_import(web, tmp_path / "unsaid.csv", "--project", project, "--total-steps", "2")
    losscast_import(web, tmp_path / "cut.jsonl", "--project", project, "--finished")
    ends = {row["name"]: row["status"] for row in web.get("/runs", project=project)["runs"]}
    assert (ends["unsaid"], ends["cut"]) == ("finished", "finished")


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


# As a version before ids had the path in them would have made it.
def imported_before(web: Web, project: str, path: Path, session: str) -> str:
    stem = path.name.split(".")[0]
    run_id = f"{stem}-{hashlib.sha256(f'{project}/{path.name}'.encode()).hexdigest()[:8]}"
    web.post("/runs", {"id": run_id, "project": project, "name": stem, "session": session}, status=201)
    points = imported_points(path, "loss")
    web.append(run_id, list(points), loss=list(points.values()))
    web.post(f"/runs/{run_id}/finish", {"status": "stopped"})
    return run_id


def write(path: Path, losses: list[float]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("step,loss\n" + "".join(f"{step},{loss}\n" for step, loss in enumerate(losses, start=1)))
    return path


def losses_by_name(web: Web, project: str) -> dict[str, list[float]]:
    return {row["name"]: list(web.points(row["id"]).values()) for row in web.get("/runs", project=project)["runs"]}


def test_files_of_one_name_are_runs_of_their_own(web: Web, tmp_path: Path) -> None:
    project = new_id("same")
    a, b = write(tmp_path / "a" / "seed.csv", [3, 2]), write(tmp_path / "b" / "seed.csv", [5, 4])
    assert losscast_import(web, a, b, "--project", project).returncode == 0
    assert losses_by_name(web, project) == {"a/seed": [3, 2], "b/seed": [5, 4]}
    # And one after the other, to another project.
    assert losscast_import(web, a, "--project", f"{project}-2").returncode == 0
    assert losscast_import(web, b, "--project", f"{project}-2").returncode == 0
    assert sorted(
        points
        for row in web.get("/runs", project=f"{project}-2")["runs"]
        for points in [list(web.points(row["id"]).values())]
    ) == [[3, 2], [5, 4]]


def test_a_run_that_an_earlier_version_imported_goes_on(web: Web, tmp_path: Path) -> None:
    project = new_id("before")
    path = write(tmp_path / "a" / "metrics.csv", [3, 2])
    run_id = imported_before(web, project, path, "import-former")
    write(path, [3, 2, 1])
    assert losscast_import(web, path, "--project", project).stdout.strip().endswith(f"/runs/{run_id}")
    assert web.points(run_id) == {1: 3.0, 2: 2.0, 3: 1.0}


def test_another_file_of_the_name_leaves_the_run_of_an_earlier_version_alone(web: Web, tmp_path: Path) -> None:
    project = new_id("before")
    run_id = imported_before(web, project, write(tmp_path / "a" / "metrics.csv", [3, 2]), "import-former")
    other = losscast_import(web, write(tmp_path / "b" / "metrics.csv", [3, 2.5, 1]), "--project", project)
    assert other.returncode == 0
    assert not other.stdout.strip().endswith(f"/runs/{run_id}")
    assert web.points(run_id) == {1: 3.0, 2: 2.0}


def test_another_run_at_the_same_path_is_refused_until_told_what_it_is(web: Web, tmp_path: Path) -> None:
    project = new_id("again")
    path = write(tmp_path / "a" / "metrics.csv", [3, 2])
    losscast_import(web, path, "--project", project)
    (row,) = web.get("/runs", project=project)["runs"]
    write(path, [4, 3.5])
    refused = losscast_import(web, path, "--project", project)
    assert refused.returncode == 2
    assert "begins otherwise: loss is 3.0 at step 1, and 4 in the file" in refused.stderr
    assert web.points(row["id"]) == {1: 3.0, 2: 2.0}
    new = new_id("second")
    assert losscast_import(web, path, "--project", project, "--id", new, "--name", "second").returncode == 0
    assert losses_by_name(web, project) == {row["name"]: [3, 2], "second": [4, 3.5]}


def test_a_job_that_went_back_and_wrote_its_later_steps_anew_is_the_same_run(web: Web, tmp_path: Path) -> None:
    project = new_id("resumed")
    path = write(tmp_path / "a" / "metrics.csv", [3, 2, 1])
    losscast_import(web, path, "--project", project)
    write(path, [3, 2, 1.5, 1.25])
    assert losscast_import(web, path, "--project", project).returncode == 0
    assert list(losses_by_name(web, project).values()) == [[3, 2, 1.5, 1.25]]


def test_a_name_that_somebody_gave_the_run_meanwhile_stays(web: Web, tmp_path: Path) -> None:
    project = new_id("named")
    path = write(tmp_path / "a" / "run-7.csv", [3, 2])
    losscast_import(web, path, "--project", project)
    (row,) = web.get("/runs", project=project)["runs"]
    assert row["name"] == "run-7"
    web.http.patch(f"/api/v1/runs/{row['id']}", json={"name": "the good one"})
    write(path, [3, 2, 1])
    losscast_import(web, path, "--project", project)
    assert losses_by_name(web, project) == {"the good one": [3, 2, 1]}


def test_a_folder_is_imported_and_what_is_bad_in_it_is_named(web: Web, tmp_path: Path) -> None:
    project = new_id("folder")
    write(tmp_path / "a" / "metrics.csv", [3, 2])
    write(tmp_path / "b" / "metrics.csv", [5, 4])
    (tmp_path / "b" / "broken.csv").write_text("step,loss\n1,3\nx,2\n")
    (tmp_path / "empty.csv").write_text("")
    shutil.copytree(TENSORBOARD, tmp_path / "board")
    answer = losscast_import(web, tmp_path, "--project", project)
    assert answer.returncode == 1
    assert len(answer.stdout.splitlines()) == 3
    said = answer.stderr.splitlines()
    assert said[-1] == "3 imported, 2 failed."
    assert [line for line in said if line.startswith(f"{tmp_path / 'b' / 'broken.csv'}: line 3: 'x'")]
    assert [line for line in said if line.startswith(f"{tmp_path / 'empty.csv'}: the file is empty")]
    names = {row["name"]: row["status"] for row in web.get("/runs", project=project)["runs"]}
    assert {"a/metrics", "b/metrics", "board"} <= set(names)
    assert set(names.values()) <= {"stopped", "failed"}


def test_runs_of_one_file_are_imported_apart(web: Web, tmp_path: Path) -> None:
    project = new_id("chart")
    path = tmp_path / "chart.csv"
    extremes = "{0} - loss,{0} - loss__MIN,{0} - loss__MAX"
    header = f"Step,{extremes.format('r1')},{extremes.format('r2')}"
    path.write_text(f"{header}\n1,3,3,3,,,\n2,2,2,2,5,5,5\n")
    first = losscast_import(web, path, "--project", project)
    assert first.stdout == losscast_import(web, path, "--project", project).stdout
    assert losses_by_name(web, project) == {"r1": [3, 2], "r2": [5]}
    assert losscast_import(web, path, "--project", project, "--name", "x").returncode == 2


def test_of_a_database_only_the_runs_that_have_grown_are_sent_again(web: Web, tmp_path: Path) -> None:
    project = new_id("database")
    with closing(sqlite3.connect(tmp_path / "gpt.db")) as connection:
        connection.executescript((LOGGER_FILES / "trackio.sql").read_text())
        connection.commit()
        losscast_import(web, tmp_path, "--project", project)
        connection.execute(
            "INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) "
            "SELECT run_id, max(timestamp), run_name, 6, '{\"train/loss\": 2}' FROM metrics WHERE run_name = 'two'"
        )
        connection.commit()
        assert losscast_import(web, tmp_path, "--project", project).returncode == 0
    rows = {row["name"]: row["id"] for row in web.get("/runs", project=project)["runs"]}
    assert {name: len(web.get(f"/runs/{run_id}")["segments"]) for name, run_id in rows.items()} == {"one": 1, "two": 2}
    assert web.points(rows["two"], "train/loss") == {**web.points(rows["one"], "train/loss"), 6: 2.0}


def test_a_pipe_is_read_as_a_file_is(web: Web, tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "run.csv", [3, 2])
    project = new_id("piped")
    for arguments in ("-", "/dev/stdin", "<(cat)"):
        command = f'cat "{path}" | "{sys.executable}" -m app import {arguments} --project {project} --url {web.url}'
        answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
        assert answer.returncode == 0, answer.stderr
    assert losses_by_name(web, project) == {"stdin": [3, 2]}  # the same contents: the same run


def test_a_metric_is_renamed_and_what_was_read_is_told(web: Web, tmp_path: Path) -> None:
    project = new_id("renamed")
    path = tmp_path / "scalar.csv"
    path.write_text("Wall time,Step,Value,lr\n" + "".join(f"{1.7e9 + i},{i},{3 - i / 10},0.1\n" for i in range(1, 9)))
    plain = losscast_import(web, path, "--project", project)
    assert "8 rows, steps 1 to 8; no metric is known as a loss or an accuracy" in plain.stderr
    answer = losscast_import(web, path, "--project", project, "--rename", "Value=loss", "--total-steps", "5")
    assert "scalar: 8 rows, steps 1 to 8; forecast: loss; rate: lr" in answer.stderr.splitlines()
    assert "scalar: It goes on to step 8, beyond --total-steps 5." in answer.stderr.splitlines()
    (row,) = web.get("/runs", project=project)["runs"]
    assert web.points(row["id"])[8] == 2.2
    assert losscast_import(web, path, "--rename", "Value").returncode == 2
    assert "it has no metric 'x'" in losscast_import(web, path, "--project", project, "--rename", "x=y").stderr.lower()


def test_an_address_that_is_none_is_refused_at_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a" / "run.csv", [3, 2])
    for url in ("foo", "127.0.0.1:8700", "ftp://x", "http://"):
        command = [sys.executable, "-m", "app", "import", str(path), "--url", url]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert answer.returncode == 2
        assert f"{url!r} is no address of a service. Write it as http://HOST:PORT" in answer.stderr
        assert "Trying" not in answer.stderr


def test_a_key_that_is_refused_ends_the_command_and_what_is_left_is_told(api_database_url: str, tmp_path: Path) -> None:
    paths = [write(tmp_path / name / "run.csv", [3, 2]) for name in ("a", "b", "c")]
    with Web(api_database_url, auth="on", api_key="the-right-key-" + "x" * 16, session_secret="s" * 32) as locked:
        answer = losscast_import(locked, tmp_path / "none.csv", *paths, "--api-key", "another-key-" + "x" * 16)
    assert answer.returncode == 2
    assert answer.stdout == ""
    said = answer.stderr.splitlines()
    assert said[-2] == f"0 imported, 1 failed, 3 left, from {paths[0]} on."
    assert "was refused with 401" in said[-1]
