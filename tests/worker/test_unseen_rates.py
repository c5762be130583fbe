"""Runs whose declared rate goes where nobody has been, beside one that does not: as the worker judges both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.importers.run_files import read_file
from app.runs import Batch, Summary
from app.storage.database import Database
from app.storage.forecasts import latest_forecast
from app.storage.goals import save_project_policy
from app.storage.runs import RunRequest, open_run, read_summary
from app.storage.stops import list_stops
from app.storage.verdicts import read_competitors, read_rivals, read_unforeseen, read_verdict
from app.verdicts.stopping import Mode
from app.worker.refit import refit_run
from tests.storing import store

DATA = Path(__file__).parents[1] / "data"
PROJECT, TOTAL = "sweep", 24_000
USUAL = {"family": "constant", "peak": 3e-4, "warmup_steps": 2160}


def rising(to: float) -> dict[str, Any]:
    """The usual rate until step 12,000, from there on exponentially up."""
    after = np.linspace(12_000, TOTAL, 100)
    rates = 3e-4 * (to / 3e-4) ** ((after - 12_000) / (TOTAL - 12_000))
    return {"family": "explicit", "steps": [0, 2160, *after.tolist()], "rates": [0.0, 3e-4, *rates.tolist()]}


def until(step: int, lowered: float = 0.0) -> Batch:
    """A real run so far, its loss lower by so much."""
    (batch,) = read_file(DATA / "multipowerlaw_25M_constant_24000.csv").batches
    here = batch.steps <= step
    values = batch.values[:, here].copy()
    values[batch.metrics.index("val_loss")] -= lowered
    return Batch(batch.steps[here], batch.times[here], batch.metrics, values, batch.present[:, here])


def logged(database: Database, run_id: str, schedule: Mapping[str, Any], batch: Batch) -> None:
    with database.write() as connection:
        plan = {"total_steps": TOTAL, "schedule": schedule}
        open_run(connection, RunRequest(id=run_id, project=PROJECT, session="first", plan=plan))
    store(database, batch, run_id=run_id)
    assert refit_run(database, run_id, []) is not None


def summary_of(database: Database, run_id: str) -> Summary:
    with database.read() as connection:
        found = read_summary(connection, run_id)
    assert found is not None
    return found


@pytest.fixture
def wants_stops(database: Database) -> Database:
    with database.write() as connection:
        open_run(connection, RunRequest(id="usual", project=PROJECT, session="first"))
        save_project_policy(
            connection, PROJECT, mode=Mode.STOP, policy="predictive", parameters={}, goals={}, baselines=[]
        )
    return database


def test_nothing_is_foretold_of_a_run_whose_rate_goes_where_no_run_has_been(wants_stops: Database) -> None:
    logged(wants_stops, "ramp", rising(3.0), until(9_000))
    with wants_stops.read() as connection:
        assert latest_forecast(connection, "ramp") is None
        verdict = read_verdict(connection, "ramp")
    assert any("still to rise to 3, at step 24,000" in note for note in summary_of(wants_stops, "ramp").notes)
    assert verdict is not None
    assert verdict.decision == "undecided"
    assert "nobody has seen what follows" in verdict.details["sentence"]
    assert "too little" not in verdict.details["sentence"]


def test_a_forecast_made_before_such_a_rise_was_planned_counts_for_nothing_after(wants_stops: Database) -> None:
    logged(wants_stops, "ramp", USUAL, until(9_000))
    assert summary_of(wants_stops, "ramp").forecast is not None
    logged(wants_stops, "ramp", rising(3.0), until(9_500))
    assert summary_of(wants_stops, "ramp").forecast is None
    with wants_stops.read() as connection:
        verdict = read_verdict(connection, "ramp")
        (rival,) = read_rivals(connection, PROJECT, "usual", "val_loss")
        assert read_competitors(connection, PROJECT, "val_loss")[0] == []
    assert verdict is not None
    assert verdict.details["guards"][0]["name"] == "no_forecast"
    assert not rival.is_trusted


@pytest.mark.parametrize("to", [1.5e-3, 3.0])
def test_a_run_is_not_stopped_on_account_of_one_whose_rate_goes_where_nobody_has_seen_one(
    wants_stops: Database, to: float
) -> None:
    """Five times the rate is doubtful, ten thousand times is unheard of; both stand a good deal lower by now."""
    logged(wants_stops, "ramp", rising(to), until(9_000, lowered=0.3))
    for step in (9_000, 10_000, 11_000):
        logged(wants_stops, "usual", USUAL, until(step))
    with wants_stops.read() as connection:
        verdict = read_verdict(connection, "usual")
        stops = list_stops(connection, project=PROJECT)
        unforeseen = read_unforeseen(connection, PROJECT, "val_loss")
        ranked, _ = read_competitors(connection, PROJECT, "val_loss")
    assert verdict is not None
    assert "ramp" not in [one["name"] for one in verdict.details["comparisons"]]
    assert stops == []
    assert list(unforeseen) == ["ramp"]
    assert [one.run_id for one in ranked] == ["usual"]


def test_the_same_run_at_a_rate_that_stays_is_a_reference(wants_stops: Database) -> None:
    """What the tests above would not show if the lower run counted for nothing anyway."""
    logged(wants_stops, "lower", USUAL, until(9_000, lowered=0.3))
    for step in (9_000, 10_000, 11_000):
        logged(wants_stops, "usual", USUAL, until(step))
    with wants_stops.read() as connection:
        verdict = read_verdict(connection, "usual")
        ranked, _ = read_competitors(connection, PROJECT, "val_loss")
    assert verdict is not None
    assert "lower" in [one["name"] for one in verdict.details["comparisons"]]
    assert [one.run_id for one in ranked] == ["lower", "usual"]
