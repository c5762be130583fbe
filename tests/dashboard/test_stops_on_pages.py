"""What pages say of orders to stop, of the jobs that got them, and of jobs that have fallen silent."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from sqlalchemy import text

from app.dashboard.pages.goals import read_goals, stops_text
from app.dashboard.pages.ranking import not_ranked, read_ranking
from app.dashboard.pages.run_head import banner
from app.dashboard.pages.verdict import read, shown
from app.dashboard.readings.run import read_run
from app.runs import RunStatus
from app.storage import runs
from app.storage.database import Database
from app.storage.goals import save_project_policy
from app.storage.runs import run_key
from app.storage.stops import log_stop
from app.verdicts.judging import ask_again
from app.verdicts.stopping import Author, Mode, StopEvent
from tests.dashboard.component_words import words
from tests.dashboard.seeding import Seeder, decaying, replayed

TOTAL = 50_000
SENTENCE = "99 % sure that this ends above best (2.8); stopping now saves 77 % of the run, expected regret 0.001."


def logged(database: Database, run_id: str, *events: StopEvent, author: Author = Author.POLICY) -> None:
    with database.write() as connection:
        for event in events:
            log_stop(
                connection,
                run_key(connection, run_id),
                event=event,
                author=Author.JOB if event is StopEvent.HEARD else author,
                segment=1,
                step=11_500,
                why="Ada said yes: stop." if author is Author.PERSON else SENTENCE,
                evidence={"verdict": {"sentence": SENTENCE}},
            )


def ended(database: Database, message: str | None, status: RunStatus = RunStatus.STOPPED) -> str:
    with database.write() as connection:
        runs.finish_run(connection, "run", status, message)
    return words(banner(read_run(database, "run")))


@pytest.fixture
def half(seed: Seeder) -> Seeder:
    """A run of the project "lm" that has made half of its 50,000 steps, beside one that has finished."""
    replayed(seed, "done", "lm_cosine.csv", TOTAL, share=1.0, status=RunStatus.FINISHED, project="lm")
    replayed(seed, "run", "lm_cosine.csv", TOTAL, share=0.5, project="lm")
    return seed


@pytest.mark.parametrize("message", [f"Told to stop: {SENTENCE}", SENTENCE, None])
def test_a_job_that_was_told_to_stop_is_said_to_have_been_told(
    half: Seeder, database: Database, message: str | None
) -> None:
    """Not to have said what the client sent for it: the verdict, in the words of the moment at which it heard."""
    logged(database, "run", StopEvent.ORDERED, StopEvent.HEARD)
    said = ended(database, message)
    assert "Losscast, by the project's policy, told the job to stop, and it ended at step 24,950 of 50,000" in said
    assert "50 % of it was saved" in said
    assert f"When it was ordered, at step 11,500: {SENTENCE}" in said
    assert "The job said" not in said


def test_what_a_job_says_in_its_own_words_is_still_told(half: Seeder, database: Database) -> None:
    logged(database, "run", StopEvent.ORDERED, StopEvent.HEARD, author=Author.PERSON)
    said = ended(database, "out of patience")
    assert "A person told the job to stop" in said
    assert "The job said: out of patience" in said


@pytest.mark.parametrize("events", [(), (StopEvent.ORDERED,), (StopEvent.ORDERED, StopEvent.WITHDRAWN)])
def test_a_run_that_ended_without_hearing_of_an_order_stopped_by_itself(
    half: Seeder, database: Database, events: tuple[StopEvent, ...]
) -> None:
    logged(database, "run", *events)
    said = ended(database, "walltime")
    assert "told the job to stop" not in said
    assert "The job said: walltime" in said


def test_the_log_of_stops_counts_all_of_its_entries_and_leads_to_those_that_it_does_not_show(
    half: Seeder, database: Database
) -> None:
    assert [words(part) for part in stops_text(read_goals(database, "lm"))] == ["", ""]
    half.open("other", project="lm", name="waits for long")
    logged(database, "other", StopEvent.PROPOSED)
    logged(database, "run", *[StopEvent.ORDERED, StopEvent.WITHDRAWN] * 13)
    asked, log = map(words, stops_text(read_goals(database, "lm")))
    assert "waits for long" in asked, "however many entries others have had since"
    assert log.startswith("Log of stops (27)")
    assert log.count(SENTENCE) == 27
    assert "7 before" in log
    assert "the API" not in log
    logged(database, "run", *[StopEvent.ORDERED, StopEvent.WITHDRAWN] * 100)
    _, log = map(words, stops_text(read_goals(database, "lm")))
    assert log.startswith("Log of stops (227)")
    assert "These are the newest 200 of 227: the API has the whole log." in log
    assert words(shown(read(database, "run"), datetime.now(UTC))).count("Log of stops (226)") == 1


def test_a_job_that_never_asked_is_said_not_to_have_asked_where_it_would_be_told(
    half: Seeder, database: Database
) -> None:
    assert "has not asked" not in words(shown(read(database, "run"), datetime.now(UTC)))
    with database.write() as connection:
        save_project_policy(
            connection, "lm", mode=Mode.STOP, policy="predictive", parameters={}, goals={}, baselines=[]
        )
    half.refit("run")
    assert "Its job has not asked so far whether to stop" in words(shown(read(database, "run"), datetime.now(UTC)))


def test_a_verdict_whose_next_step_has_passed_is_said_to_be_overdue(seed: Seeder, database: Database) -> None:
    seed.open("run", plan={"total_steps": 4000})
    steps = np.arange(1, 421)
    seed.log("run", steps, {"loss": decaying(steps)})
    before = read(database, "run")
    assert before.verdict is not None
    assert before.verdict.details["next_step"] == 600
    said = {**before.verdict.details, "sentence": f"Undecided.{ask_again(600)}"}
    before = replace(before, verdict=replace(before.verdict, details=said))
    fresh = words(shown(before, datetime.now(UTC)))
    assert "look again at step 600" in fresh
    assert "Undecided. Ask again at step 600." in fresh
    steps = np.arange(421, 700)
    seed.log("run", steps, {"loss": decaying(steps)}, refit=False)
    after = read(database, "run")
    assert before.verdict is not None
    minutes_ago = replace(before.verdict, judged_at=before.verdict.judged_at - timedelta(minutes=2))
    assert replace(after, verdict=before.verdict).overdue_since is None, "a fast job is there within a second"
    after = replace(after, verdict=minutes_ago)
    assert after.revision != replace(before, verdict=minutes_ago).revision, "an open page would not hear of it"
    stale = words(shown(after, datetime.now(UTC)))
    assert "overdue since step 600" in stale
    assert "gain at step" not in stale
    seed.refit("run")
    assert "look again at step 800" in words(shown(read(database, "run"), datetime.now(UTC)))


def test_of_a_job_that_has_fallen_silent_no_time_left_is_told_and_its_rank_is_said_to_be_in_doubt(
    seed: Seeder, database: Database
) -> None:
    seed.open("run", project="lm", name="ticking", plan={"total_steps": 4000})
    for steps in np.array_split(np.arange(1, 2001), 60):
        seed.log("run", steps, {"loss": decaying(steps)}, refit=False)
    seed.refit("run")
    before = read(database, "run")
    heard = words(shown(before, datetime.now(UTC)))
    assert "time left" in heard
    assert "look again at step" in heard
    with database.write() as connection:
        connection.execute(text("UPDATE run_progress SET last_seen_at = now() - interval '6 minutes'"))
    after = read(database, "run")
    silent = words(shown(after, datetime.now(UTC)))
    assert after.revision != before.revision, "an open page would not hear of it"
    assert "nothing heard for 6 min" in silent
    assert "time left" not in silent
    assert "look again at step" not in silent
    reading, _ = read_ranking(database, "lm")
    assert reading is not None
    said = words(not_ranked(reading))
    assert said == "Silent for some minutes: ticking. Ranked as if still going, for as long as half an hour."
