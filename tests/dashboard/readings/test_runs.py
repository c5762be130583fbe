"""The list of runs, page by page."""

from collections.abc import Callable

import numpy as np
from sqlalchemy import event

from app.dashboard.readings.runs import PAGE_SIZE, RunsFilter, SparklineCache, read_runs
from app.storage.database import Database
from tests.dashboard.seeding import Seeder, decaying


def test_a_list_of_runs_comes_in_pages_with_sparklines(database: Database, seed: Seeder) -> None:
    for number in range(PAGE_SIZE + 3):
        seed.open(f"run-{number:03d}", project="sweep")
    steps = np.arange(1, 401)
    seed.open("newest", project="gpt", plan={"total_steps": 1000})
    seed.log("newest", steps, {"loss": decaying(steps)})
    first = read_runs(database, RunsFilter(), SparklineCache())
    assert (len(first.rows), first.total) == (PAGE_SIZE, PAGE_SIZE + 4)
    assert first.rows[0].run.id == "newest"
    assert first.sparklines["newest"] is not None
    assert first.projects == ["gpt", "sweep"]
    second = read_runs(database, RunsFilter(page=1), SparklineCache())
    assert len(second.rows) == 4


def test_a_page_beyond_the_end_is_the_last_page(database: Database, seed: Seeder) -> None:
    seed.open("only")
    reading = read_runs(database, RunsFilter(page=7), SparklineCache())
    assert reading.page == 0
    assert [row.run.id for row in reading.rows] == ["only"]


def statements_of(database: Database, read: Callable[[], object]) -> list[str]:
    """What is asked of the database meanwhile."""
    asked: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        asked.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        read()
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    return asked


def test_the_health_of_all_runs_on_a_page_takes_one_query(database: Database, seed: Seeder) -> None:
    steps = np.arange(1, 401)
    for number in range(8):
        seed.open(f"run-{number}")
    seed.log("run-3", steps, {"loss": np.concatenate([decaying(steps[:380]), np.linspace(6.0, 9.0, 20)])})
    cache = SparklineCache()
    read_runs(database, RunsFilter(), cache)  # draws what there is to draw

    asked = statements_of(database, lambda: read_runs(database, RunsFilter(), cache))
    reading = read_runs(database, RunsFilter(in_trouble=True), cache)

    assert sum("diagnosis_event" in statement for statement in asked) == 1
    assert [row.run.id for row in reading.rows] == ["run-3"]
    assert "divergence" in {trouble.kind for trouble in reading.health["run-3"].troubles}


def test_the_sparklines_of_a_page_take_one_query(database: Database, seed: Seeder) -> None:
    steps = np.arange(1, 401)
    for number in range(4):
        seed.open(f"run-{number}", plan={"total_steps": 1000})
        seed.log(f"run-{number}", steps, {"loss": decaying(steps)})
    seed.open("empty")
    cache = SparklineCache()

    first = statements_of(database, lambda: read_runs(database, RunsFilter(), cache))
    again = statements_of(database, lambda: read_runs(database, RunsFilter(), cache))
    reading = read_runs(database, RunsFilter(), cache)

    assert sum("curve_state" in statement for statement in first) == 1
    assert len(again) == len(first) - 1
    assert {run_id for run_id, drawing in reading.sparklines.items() if drawing} == {f"run-{one}" for one in range(4)}
    assert reading.sparklines["empty"] is None


def test_a_filter_that_matches_nothing_is_not_an_empty_service(database: Database, seed: Seeder) -> None:
    assert not read_runs(database, RunsFilter(), SparklineCache()).any_run
    seed.open("only")
    reading = read_runs(database, RunsFilter(search="other"), SparklineCache())
    assert reading.any_run
    assert reading.total == 0
