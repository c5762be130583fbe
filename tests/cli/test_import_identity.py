"""What files are called, and which run each is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.cli.import_identity import Source, find_sources, labels, run_id_of, source_of
from app.errors import BadInput


def sources(*places: str) -> list[Source]:
    return [Source(Path(place), Path("/home/me") / place) for place in places]


@pytest.mark.parametrize(
    ("places", "named"),
    [
        (("gpt-7.csv",), ["gpt-7"]),
        (("a/metrics.csv",), ["a/metrics"]),
        (("gpt/logs/metrics.jsonl.gz",), ["gpt/logs/metrics"]),
        (("a/seed.csv", "b/seed.csv", "other.csv"), ["a/seed", "b/seed", "other"]),
        (("a/x/1.csv", "b/x/1.csv"), ["a/x/1", "b/x/1"]),
        (("a/run.csv", "a/run.jsonl"), ["run.csv", "run.jsonl"]),
        (("gpt/lightning_logs/version_0",), ["gpt/lightning_logs/version_0"]),
        (("lr=1.5e-3",), ["lr=1.5e-3"]),
    ],
)
def test_a_name_has_as_many_folders_as_it_takes(places: tuple[str, ...], named: list[str]) -> None:
    assert labels(sources(*places)) == named


def test_an_id_is_the_places_whatever_else_is_imported_beside_it() -> None:
    a, b = sources("a/metrics.csv", "b/metrics.csv")
    ids = {run_id_of(one, "", project, "") for one in (a, b) for project in ("gpt", "vit")}
    assert len(ids) == 4
    assert run_id_of(a, "", "gpt", "one") == run_id_of(a, "", "gpt", "another")
    assert run_id_of(a, "", "gpt", "").startswith("a-metrics-")
    assert run_id_of(a, "r1", "gpt", "") != run_id_of(a, "r2", "gpt", "")


def test_ids_are_ones_that_the_api_takes() -> None:
    for name in ("Läuf (2)", "~", "a" * 300, "r1 - x/y"):
        (source,) = sources(f"{name}.csv")
        run_id = run_id_of(source, name, "gpt", "")
        assert len(run_id) < 200
        assert all(letter.isascii() and (letter.isalnum() or letter in "._~-") for letter in run_id)
        assert run_id[0].isalnum()


def test_a_link_and_a_way_around_lead_to_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "run.csv").touch()
    os.symlink(tmp_path / "a" / "run.csv", tmp_path / "link.csv")
    monkeypatch.chdir(tmp_path)
    found, failed = find_sources([Path("a/run.csv"), Path("a/../link.csv"), tmp_path / "a", Path("a/run.csv")])
    assert [source.place for source in found] == [(tmp_path / "a" / "run.csv").resolve()]
    assert failed == {}


def test_checkpoints_of_one_training_are_one_run_that_goes_on(tmp_path: Path) -> None:
    places = set()
    for step in (500, 1000):
        path = tmp_path / "gpt" / f"checkpoint-{step}" / "trainer_state.json"
        path.parent.mkdir(parents=True)
        path.write_text("{}")
        places.add(source_of(path).place)
    assert len(places) == 1
    found, _ = find_sources([tmp_path / "gpt" / f"checkpoint-{step}" / "trainer_state.json" for step in (1000, 500)])
    assert [source.path.parent.name for source in found] == ["checkpoint-1000"]
    assert labels(found) == ["gpt"]


def test_event_files_beside_a_trainers_state_are_a_run_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.1.host").touch()
    (tmp_path / "trainer_state.json").touch()
    found, _ = find_sources([tmp_path])
    assert len({run_id_of(source, "", "gpt", "") for source in found}) == 2


def test_a_path_that_cannot_be_is_told_by_whoever_reads_it() -> None:
    found, failed = find_sources([Path("a" * 300), Path("nothing.csv")])
    assert len(found) == 2
    assert failed == {}


def test_a_folder_without_runs_does_not_hold_up_the_others(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "run.csv").touch()
    found, failed = find_sources([tmp_path / "empty", tmp_path / "run.csv"])
    assert len(found) == 1
    assert [type(error) for error in failed.values()] == [BadInput]
