"""What the pages say of a run that came from a file, where the importer speaks and not the job."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from app.dashboard.components import alert_item
from app.dashboard.pages.run_head import banner, header
from app.dashboard.readings.run import read_run
from app.runs import RunStatus
from app.storage import runs
from app.storage.database import Database
from tests.dashboard.component_words import words
from tests.dashboard.seeding import Seeder


def head_of(database: Database) -> tuple[str, str]:
    reading = read_run(database, "run")
    return words(header(reading)), words(banner(reading))


def test_an_import_is_not_said_to_be_what_the_job_said_or_when_it_ran(database: Database, seed: Seeder) -> None:
    seed.open("run", project="lm", tags=["imported"])
    seed.log("run", np.arange(3), {"loss": np.array([3.0, 2.0, 1.0])})
    with database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.STOPPED, "imported from run.csv")
    facts, said = head_of(database)
    assert "imported just now" in facts
    assert "started" not in facts
    assert "ended" not in facts
    assert said == "Imported from run.csv."
    with database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FAILED, "out of memory")
    assert head_of(database)[1] == "The job said: out of memory"


def test_a_job_that_goes_on_from_an_import_or_only_speaks_of_one_is_told_like_any_other(
    database: Database, seed: Seeder
) -> None:
    seed.open("run", project="lm", tags=["imported"])
    seed.log("run", np.arange(3), {"loss": np.array([3.0, 2.0, 1.0])})
    assert "started just now" in head_of(database)[0]
    assert "last heard just now" in head_of(database)[0]
    seed.open("other", project="lm")
    with database.write() as connection:
        runs.finish_run(connection, "other", RunStatus.FINISHED, "imported from elsewhere")
    assert words(banner(read_run(database, "other"))) == "The job said: imported from elsewhere"


def test_an_alert_in_the_list_of_all_names_the_project_and_on_its_runs_page_does_not(
    database: Database, seed: Seeder
) -> None:
    seed.open("run", project="speech", name="deep")
    seed.log("run", np.arange(1, 40), {"loss": np.full(39, np.nan)})
    alert = read_run(database, "run").alerts[0]
    assert "in speech" in words(alert_item(alert, datetime.now(UTC), with_run=True))
    assert "speech" not in words(alert_item(alert, datetime.now(UTC), with_run=False))
