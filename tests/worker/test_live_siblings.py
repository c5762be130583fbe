"""Runs of a project that go side by side speak to each other: from which marks on, when it is heard, and until when."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import text

from app.runs import RunStatus
from app.storage import runs
from app.storage.database import Database
from app.storage.priors import siblings_from_json
from app.worker.refit import refit_run
from tests.project_runs import (
    FAMILY,
    LIVE,
    PLAN,
    band,
    changed,
    delete,
    finish_family,
    forecast_of,
    go_live,
    heard,
    log,
    real_run,
    stored_prior,
)

AHEAD = "multipowerlaw_25M_wsd_20000_24000"
ITS_PLAN = {
    "total_steps": 24_000,
    "schedule": {"family": "wsd_exponential", "peak": 3e-4, "warmup_steps": 2160, "decay_steps": 4000},
}
SAME_TENTH = 11_000  # of the same tenth as 9800, which ends at 12 000


def go_ahead(database: Database, last: int, first: int = 0, seq: int = 0) -> None:
    """The sibling goes on, and is refitted."""
    log(database, "ahead", real_run(AHEAD, first=first, last=last), plan=ITS_PLAN, seq=seq)


def go_on(database: Database, last: int, first: int = 9800, seq: int = 1) -> None:
    log(database, "live", real_run(LIVE, first=first, last=last), plan=PLAN, seq=seq)


def heard_as(database: Database) -> dict[str, float]:
    """By whom the newest forecast was judged, and how far each had come."""
    return {each.run_id: each.made for each in forecast_of(database).siblings}


def test_a_run_past_its_decay_helps_one_before_its_own_and_is_named(database: Database) -> None:
    alone = go_live(database, "alone", project="another")
    go_ahead(database, last=23_900)
    together = go_live(database)
    whole = real_run(LIVE)
    actual = float(np.mean(whole.values[whole.metrics.index("val_loss")][-4:]))
    errors = [abs(each.final_quantiles[0.5] - actual) for each in (alone, together)]
    assert band(together) < 0.95 * band(alone)
    assert errors[1] < 0.7 * errors[0]
    assert together.final_quantiles[0.05] < actual < together.final_quantiles[0.95]
    (spoke,) = together.siblings
    assert (spoke.run_id, spoke.made, spoke.was_going) == ("ahead", 0.8, True)
    assert spoke.similarity > 0.9
    assert any("one run still going in this project" in note for note in together.notes)


def test_runs_side_by_side_hear_each_other_at_marks_of_their_own_and_at_no_other_time(database: Database) -> None:
    go_ahead(database, last=9700)
    go_live(database, last=9800)
    assert heard_as(database) == {"ahead": 0.4}
    before = stored_prior(database)
    go_ahead(database, first=9700, last=14_600, seq=1)  # over its next mark
    go_on(database, last=SAME_TENTH)
    assert tuple(stored_prior(database)) == tuple(before)
    go_on(database, first=SAME_TENTH, last=12_100, seq=2)
    assert heard_as(database) == {"ahead": 0.6}
    assert stored_prior(database).learned_at > before.learned_at
    assert heard(database, "ahead") == {"live"}
    with database.read() as connection:
        revision = connection.execute(text("SELECT siblings_revision FROM project WHERE name = 'llama'")).scalar_one()
    assert revision == 0


def test_a_run_that_passes_a_mark_beside_the_same_runs_learns_nothing_anew(database: Database) -> None:
    finish_family(database, FAMILY[:1])
    go_live(database, last=21_500)
    before = stored_prior(database)
    go_on(database, first=21_500, last=22_000)
    assert stored_prior(database).cutoff > before.cutoff
    assert stored_prior(database).learned_at == before.learned_at


def ends_in_nan(loss: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(loss)) < len(loss) - 1, loss, math.nan)


@pytest.mark.parametrize("change", [ends_in_nan, lambda loss: 3.0 * loss], ids=["NaN", "diverged"])
def test_a_run_that_breaks_is_heard_no_more_at_the_next_comparison(
    database: Database, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    go_ahead(database, last=9700)
    go_live(database, last=9800)
    log(database, "ahead", changed(real_run(AHEAD, first=9700, last=11_000), change), plan=ITS_PLAN, seq=1)
    go_on(database, last=SAME_TENTH)
    assert heard(database) == {"ahead"}
    go_on(database, first=SAME_TENTH, last=12_100, seq=2)
    assert heard(database) == set()
    assert stored_prior(database).prior is None


def fail(database: Database) -> None:
    end(database, RunStatus.FAILED)


def stop(database: Database) -> None:
    end(database, RunStatus.STOPPED)


def end(database: Database, status: RunStatus) -> None:
    with database.write() as connection:
        runs.finish_run(connection, "ahead", status, None)
    refit_run(database, "ahead", [])


def vanish(database: Database) -> None:
    delete(database, "ahead")


@pytest.mark.parametrize("leave", [fail, stop, vanish])
def test_a_run_that_leaves_is_heard_no_more_at_the_next_refit(
    database: Database, leave: Callable[[Database], None]
) -> None:
    go_ahead(database, last=9700)
    go_live(database, last=9800)
    assert heard(database) == {"ahead"}
    leave(database)
    refit_run(database, "live", [])
    assert heard(database) == set()
    assert stored_prior(database).prior is None


def test_a_run_that_finishes_is_heard_as_finished_at_the_next_refit(database: Database) -> None:
    go_ahead(database, last=9700)
    go_live(database, last=9800)
    log(database, "ahead", real_run(AHEAD, first=9700), plan=ITS_PLAN, seq=1, end=RunStatus.FINISHED)
    refit_run(database, "live", [])
    assert heard_as(database) == {"ahead": 1.0}
    assert any("one finished run of this project" in note for note in forecast_of(database).notes)


def test_a_run_whose_curve_cannot_be_read_is_left_out_and_not_named(database: Database) -> None:
    finish_family(database, FAMILY[:1])
    go_ahead(database, last=9700)
    with database.write() as connection:
        connection.execute(
            text("""
                DELETE FROM curve_state USING series, run
                WHERE series.id = series_id AND run.key = series.run_key AND run.id = 'ahead'
            """)
        )
    go_live(database, last=9800)
    assert heard(database) == {FAMILY[0]}
    assert stored_prior(database).prior["live_runs"] == 0


def test_a_run_that_is_set_back_before_its_first_mark_is_silent(database: Database) -> None:
    go_ahead(database, last=9700)
    with database.write() as connection:
        runs.open_run(connection, runs.RunRequest("ahead", project="llama", session="again", resume_step=3000))
    go_ahead(database, first=3000, last=3400, seq=0)
    assert go_live(database, last=9800).siblings == ()


def test_a_run_before_its_first_mark_says_nothing(database: Database) -> None:
    go_ahead(database, last=4700)
    assert go_live(database).siblings == ()


def test_who_was_heard_before_shares_were_kept_had_finished() -> None:
    (old,) = siblings_from_json([{"run": "old", "similarity": 0.5}])
    assert not old.was_going
