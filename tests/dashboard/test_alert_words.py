"""What pages say of alerts: what was known when they fired, and where a run that is over came to."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import numpy as np

from app.dashboard.components import alert_item
from app.dashboard.formatting import format_value
from app.dashboard.pages.run_head import banner
from app.dashboard.readings.run import read_run
from app.runs import RunStatus
from app.storage import runs
from app.storage.database import Database
from tests.dashboard.component_words import words
from tests.dashboard.seeding import Seeder, decaying

STEPS = np.arange(1, 2001)
BLOWN_UP = decaying(STEPS) * np.exp(np.maximum(0, STEPS - 1000) / 100)


def test_a_divergence_is_told_as_of_when_it_fired_and_where_it_ended_once_the_run_is_over(
    database: Database, seed: Seeder
) -> None:
    seed.open("run", plan={"total_steps": 2000})
    seed.log("run", STEPS[:1000], {"loss": BLOWN_UP[:1000]})
    for part in np.split(STEPS[1000:], 20):
        seed.log("run", part, {"loss": BLOWN_UP[part - 1]})
    reading = read_run(database, "run")
    [divergence] = [alert for alert in reading.alerts if alert.kind == "divergence"]
    said_at = divergence.evidence["raised_at"]
    assert re.match(rf"At step {said_at:,} loss was [\d.]+, up from [\d.]+: it had lost ", divergence.message)
    live = words(banner(reading))
    assert divergence.message in live
    assert "run ended" not in live

    with database.write() as connection:
        runs.finish_run(connection, "run", RunStatus.FINISHED, None)
    reading = read_run(database, "run")
    end = format_value(float(BLOWN_UP[-1]))
    first, *others = [words(line) for line in getattr(banner(reading), "children", [])]
    assert f"Still so when the run ended: {divergence.message} The last point of loss, at step 2,000: {end}." in first
    assert others, "the spike that began it had fired as a warning"
    assert all(
        re.search(rf"Said at step 1,0\d\d. The last point of loss, at step 2,000: {end}", line) for line in others
    )
    [divergence] = [alert for alert in reading.alerts if alert.kind == "divergence"]
    assert f"said at step {said_at:,}" in words(alert_item(divergence, datetime.now(UTC), with_run=True))
