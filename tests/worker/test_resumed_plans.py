"""Jobs that were started again with another schedule: a refit and a question about it go by the new one."""

from __future__ import annotations

import numpy as np
import pytest

from app.curves.families import build_schedule
from app.curves.planning.declared import validate_declared_plan
from app.curves.schedule import Schedule
from app.storage import runs
from app.storage.curves import read_fitted_run
from app.storage.database import Database
from tests.storing import make_batch, start, store
from tests.worker.refits import refit

PEAK = 1e-3
FIRST = build_schedule("cosine", 4_000, {"peak": PEAK})
SECOND = build_schedule("wsd_linear", 6_000, {"peak": 0.5 * PEAK, "decay_steps": 1_000})
SAID_SECOND = {"family": "wsd_linear", "peak": 0.5 * PEAK, "decay_steps": 1_000}


def log(database: Database, segment: int, schedule: Schedule, first: int, last: int) -> None:
    steps = np.arange(first, last + 1, 10)
    losses = 2 + 8 * (steps + 50.0) ** -0.4
    rates = schedule.rate_at(steps)
    store(database, make_batch(steps.tolist(), train_loss=losses.tolist(), lr=rates.tolist()), segment=segment, seq=0)


def declare(database: Database, total: int, schedule: dict[str, object]) -> None:
    with database.write() as connection:
        plan = validate_declared_plan({"total_steps": total, "schedule": schedule})
        runs.describe_run(connection, "run", plan=plan)


@pytest.mark.parametrize("last", [2_030, 2_600, 4_000])
def test_the_schedule_that_a_restart_declares_is_forecast(database: Database, last: int) -> None:
    log(database, start(database), FIRST, 0, 2_000)
    declare(database, 4_000, {"family": "cosine", "peak": PEAK})
    assert refit(database).schedule_source == "declared"
    segment = start(database, session="second", resume_step=2_000)
    declare(database, 6_000, SAID_SECOND)
    log(database, segment, SECOND, 2_010, last)
    summary = refit(database)
    assert (summary.schedule_source, summary.schedule_family) == ("declared", "wsd_linear")
    assert summary.schedule_why is not None
    assert "since the job's restart at step 2,001" in summary.schedule_why
    with database.read() as connection:
        asked_about = read_fitted_run(connection, "run").plan(last)
    assert asked_about.schedule_why == summary.schedule_why
    assert asked_about.schedule.rate_at(5_500) == pytest.approx(0.25 * PEAK, rel=0.01)


def test_a_restart_that_logs_another_rate_than_it_declares_is_told_so(database: Database) -> None:
    log(database, start(database), FIRST, 0, 2_000)
    segment = start(database, session="second", resume_step=2_000)
    declare(database, 6_000, SAID_SECOND | {"peak": 0.8 * PEAK})
    log(database, segment, SECOND, 2_010, 2_600)
    summary = refit(database)
    assert summary.schedule_why is not None
    assert "does not follow it" in summary.schedule_why
    assert summary.schedule_source == "assumed"
