"""What the client makes of a schedule is what the server takes it for. The two never meet in code but here."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from app.api.parsing import parse_batch
from app.api.schemas import CreateRun
from app.curves.planning.declared import validate_declared_plan
from app.curves.planning.resolve import resolve_plan
from app.storage.metric_names import stored_metric
from losscast.notices import Notices
from losscast.registration import Registration
from losscast.schedule import describe_schedule
from losscast.values import to_name
from losscast.wire import batch_body

TOTAL = 5000


def staircase(step: int) -> float:
    return 0.1 if step < 3001 else 0.01


@pytest.mark.parametrize(
    "stated",
    [
        staircase,
        [staircase(step) for step in range(TOTAL + 1)],
        [(0, 0.1), (3001, 0.1), (3001, 0.01), (TOTAL, 0.01)],
        {"family": "step", "peak": 0.1, "milestones": (3001,), "factor": np.float64(0.1)},
    ],
    ids=["function", "rates", "pairs", "family"],
)
def test_four_ways_to_state_a_jump_are_one_schedule_to_the_server(stated: Any) -> None:
    declared = {"total_steps": TOTAL, "schedule": describe_schedule(stated, TOTAL, Notices())}
    plan = resolve_plan(declared=validate_declared_plan(declared), config={}, rate=None, cutoff=0)
    steps = np.arange(TOTAL + 1)
    assert plan.total_steps == TOTAL
    assert plan.schedule_source == "declared"
    # 0.1 * 0.1 is not the same double as 0.01.
    assert plan.schedule.rate_at(steps) == pytest.approx([staircase(int(step)) for step in steps], rel=1e-12)


def test_what_the_client_says_of_a_run_passes_the_servers_schema() -> None:
    registration = Registration(
        run_id="r" * 200,
        session="s",
        project="p" * 500,
        name="n",
        config={"lr": 1},
        tags=("t",) * 100,
        plan={"total_steps": 5},
        roles={"loss": "train_loss"},
        resume_step=7,
    )
    for body in registration.bodies():
        assert CreateRun.model_validate(body).model_dump(exclude_none=True) == body


def test_a_batch_of_the_client_is_read_by_the_server_as_it_was_logged() -> None:
    rows = [(5, 1.5, {"loss": 0.1, "lr": math.nan}), (6, 2.5, {"loss": -math.inf})]
    parsed = parse_batch(json.dumps(batch_body(rows, segment=2, seq=2**40)).encode())
    assert (parsed.segment, parsed.seq) == (2, 2**40)
    assert parsed.batch.steps.tolist() == [5, 6]
    assert parsed.batch.times.tolist() == [1.5, 2.5]
    found = {name: parsed.batch.values[at][parsed.batch.present[at]] for at, name in enumerate(parsed.batch.metrics)}
    assert found["loss"].tolist() == [0.1, -math.inf]
    assert np.isnan(found["lr"]).tolist() == [True]


@pytest.mark.parametrize(
    "name", ["loss", "x" * 512, "x" * 513, "é" * 600, "layer/" * 20_000, "a b" * 400, "\U0001f600" * 513]
)
def test_a_metric_has_one_name_whoever_cuts_it(name: str) -> None:
    stored = stored_metric(name)
    assert to_name(name) == stored
    assert len(stored) <= 512
    assert stored_metric(stored) == stored


@pytest.mark.parametrize("name", ["constant", "reactive", "cosine", "wsd_linear"])
def test_a_bare_family_name_is_taken(name: str) -> None:
    declared = validate_declared_plan({"schedule": describe_schedule(name, None, Notices())})
    assert declared["schedule"]["family"] == name
