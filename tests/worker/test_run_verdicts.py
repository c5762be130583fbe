"""Verdicts on stored runs and what follows from them: real runs, a real database."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import text

from app.errors import BadInput, Conflict, NotFound
from app.importers.run_files import read_file
from app.runs import Batch, RunStatus
from app.storage import alerts, runs
from app.storage.alerts import Target
from app.storage.database import Database
from app.storage.deletion import delete_run
from app.storage.goals import Goal, read_project_policy, save_project_policy
from app.storage.runs import RunRequest, open_run
from app.storage.stops import StopEntry, answer_as_person, list_stops, read_stop_state, record_heard
from app.storage.verdicts import (
    StoredVerdict,
    metric_rises,
    read_competitors,
    read_rivals,
    read_verdict,
    read_verdicts,
    runs_to_judge,
)
from app.verdicts.stopping import Author, Mode, StopEvent
from app.verdicts.sweep import rank
from app.worker.refit import RefitResult, refit_run
from tests.storing import make_batch, store

DATA = Path(__file__).parents[1] / "data"
PROJECT = "speech / größer"
TOTAL = 24_000
CONSTANT = {"total_steps": TOTAL, "schedule": {"family": "constant", "peak": 3e-4, "warmup_steps": 2160}}
COSINE = {
    "total_steps": TOTAL,
    "schedule": {"family": "cosine", "peak": 3e-4, "warmup_steps": 2160, "final_fraction": 0.1},
}
WSD = {
    "total_steps": TOTAL,
    "schedule": {"family": "wsd_linear", "peak": 3e-4, "warmup_steps": 2160, "decay_steps": 4000},
}


def real_run(name: str, first: int = 0, last: int = 10**9) -> Batch:
    (batch,) = read_file(DATA / f"multipowerlaw_25M_{name}.csv").batches
    here = (batch.steps > first) & (batch.steps <= last)
    return Batch(batch.steps[here], batch.times[here], batch.metrics, batch.values[:, here], batch.present[:, here])


def start(
    database: Database, run_id: str, plan: Mapping[str, Any], *, project: str = PROJECT, session: str = "first"
) -> None:
    with database.write() as connection:
        open_run(connection, RunRequest(id=run_id, project=project, session=session, plan=plan))


def refit(database: Database, run_id: str, targets: list[Target] | None = None) -> RefitResult:
    result = refit_run(database, run_id, targets or [])
    assert result is not None
    return result


def finish(database: Database, run_id: str, status: RunStatus = RunStatus.FINISHED) -> None:
    with database.write() as connection:
        runs.finish_run(connection, run_id, status, None)
    refit(database, run_id)


def finished_run(database: Database, run_id: str, name: str, plan: Mapping[str, Any] = WSD) -> None:
    start(database, run_id, plan)
    store(database, real_run(name), run_id=run_id)
    finish(database, run_id)


def verdict(database: Database, run_id: str = "live") -> StoredVerdict:
    with database.read() as connection:
        found = read_verdict(connection, run_id)
    assert found is not None
    return found


def set_policy(database: Database, **said: Any) -> list[str]:
    wanted = {"mode": Mode.STOP, "policy": "predictive", "parameters": {}, "goals": {}, "baselines": []} | said
    with database.write() as connection:
        return save_project_policy(connection, PROJECT, **wanted)


def stops(database: Database, run_id: str = "live") -> list[StopEntry]:
    with database.read() as connection:
        return list_stops(connection, run_id=run_id)[::-1]


def go_on(database: Database, name: str, first: int, last: int, by: int, run_id: str = "live") -> None:
    for begin in range(first, last, by):
        store(database, real_run(name, begin, begin + by), run_id=run_id)
        refit(database, run_id)


def answer(database: Database, event: StopEvent, run_id: str = "live") -> None:
    with database.write() as connection:
        answer_as_person(connection, run_id, event, by="Ada")


def events(database: Database, run_id: str = "live") -> list[tuple[str, str]]:
    return [(entry.event.value, entry.author.value) for entry in stops(database, run_id)]


def is_told_to_stop(database: Database, run_id: str = "live") -> bool:
    with database.read() as connection:
        return read_stop_state(connection, run_id).should_stop


@pytest.fixture
def hopeless(database: Database) -> Database:
    """A run at a constant rate beside one that has finished with a decay: sure to end above it, at step 15,000."""
    finished_run(database, "best", "cosine_24000", COSINE)
    start(database, "live", CONSTANT)
    store(database, real_run("constant_24000", 0, 15_000), run_id="live")
    return database


@pytest.fixture
def doomed(database: Database) -> Database:
    """The same at step 11,000, under a policy that wants less certainty: early enough to restart and go on for long."""
    finished_run(database, "best", "cosine_24000", COSINE)
    start(database, "live", CONSTANT)
    store(database, real_run("constant_24000", 0, 11_000), run_id="live")
    set_policy(database, parameters={"confidence": 0.85})
    return database


def confirm(database: Database, at: int = 15_000) -> None:
    """Three looks, the last further from the first than a stop must have held."""
    refit(database, "live")
    go_on(database, "constant_24000", at, at + 1000, by=500)


def test_a_hopeless_run_is_stopped_once_it_has_looked_hopeless_for_a_while(hopeless: Database) -> None:
    set_policy(hopeless)
    refit(hopeless, "live")
    first = verdict(hopeless)
    assert (first.decision, first.details["confirmed"], stops(hopeless)) == ("stop", False, [])
    assert not is_told_to_stop(hopeless)
    refit(hopeless, "live")
    assert verdict(hopeless).looks == 1, "the same points seen again confirm nothing"
    go_on(hopeless, "constant_24000", 15_000, 15_500, by=250)
    assert (verdict(hopeless).looks, stops(hopeless)) == (3, []), "looks alone are not enough"
    go_on(hopeless, "constant_24000", 15_500, 16_000, by=500)
    assert is_told_to_stop(hopeless)
    (entry,) = stops(hopeless)
    assert (entry.event, entry.author, entry.step) == (StopEvent.ORDERED, Author.POLICY, verdict(hopeless).step)
    assert entry.why == verdict(hopeless).details["sentence"]
    evidence = entry.evidence
    assert evidence["metric"] == "val_loss"
    assert evidence["verdict"]["reference"] == "best"
    assert evidence["verdict"]["probability"] > 0.95
    assert evidence["held"] == {"since_step": first.step, "step": entry.step, "looks": 4}
    assert evidence["forecast"]["final"]["0.05"] > evidence["verdict"]["evidence"]["reference_level"] * 0.99
    assert (evidence["settings"]["mode"], evidence["settings"]["policy"]) == ("stop", "predictive")
    go_on(hopeless, "constant_24000", 16_000, 16_500, by=500)
    assert (verdict(hopeless).decision, verdict(hopeless).looks) == ("stop", 5)
    assert events(hopeless) == [("ordered", "policy")], "said once"


def test_a_job_that_asks_while_the_verdict_wavers_is_not_stopped(hopeless: Database) -> None:
    set_policy(hopeless)
    confirm(hopeless)
    assert is_told_to_stop(hopeless)
    with hopeless.write() as connection:
        delete_run(connection, "best")
    go_on(hopeless, "constant_24000", 16_000, 16_250, by=250)
    assert verdict(hopeless).decision != "stop"
    assert not is_told_to_stop(hopeless)


def test_after_a_stop_that_was_taken_back_the_next_must_hold_for_twice_as_long(hopeless: Database) -> None:
    set_policy(hopeless)
    confirm(hopeless)
    with hopeless.write() as connection:
        delete_run(connection, "best")
    go_on(hopeless, "constant_24000", 16_000, 17_500, by=500)
    assert events(hopeless) == [("ordered", "policy"), ("withdrawn", "policy")]
    finished_run(hopeless, "another", "cosine_24000", COSINE)
    go_on(hopeless, "constant_24000", 17_500, 18_500, by=250)
    assert (verdict(hopeless).decision, verdict(hopeless).looks) == ("stop", 4)
    assert events(hopeless)[2:] == [], "what was enough for the first"
    go_on(hopeless, "constant_24000", 18_500, 19_500, by=500)
    assert events(hopeless)[2:] == [("ordered", "policy")]
    assert is_told_to_stop(hopeless)


def test_where_only_advice_is_wanted_people_are_told_once_and_the_job_never(hopeless: Database) -> None:
    target = Target("hash", "https://example.com")
    refit(hopeless, "live")
    go_on(hopeless, "constant_24000", 15_000, 15_500, by=500)
    store(hopeless, real_run("constant_24000", 15_500, 16_000), run_id="live")
    assert refit(hopeless, "live", [target]).has_messages
    go_on(hopeless, "constant_24000", 16_000, 17_000, by=500)
    assert (stops(hopeless), is_told_to_stop(hopeless)) == ([], False)
    with hopeless.read() as connection:
        (alert,) = alerts.list_alerts(connection, run_id="live")
    assert (alert.kind, alert.severity, alert.metric) == ("stop_advised", "info", "val_loss")
    assert "above best" in alert.message
    finish(hopeless, "live", RunStatus.STOPPED)
    with hopeless.read() as connection:
        (alert,) = alerts.list_alerts(connection, run_id="live")
    assert alert.resolved_at is not None


def test_where_a_person_is_asked_the_job_is_told_when_they_say_yes(hopeless: Database) -> None:
    set_policy(hopeless, mode=Mode.ASK)
    with pytest.raises(Conflict, match="No stop is proposed"):
        answer(hopeless, StopEvent.ORDERED)
    confirm(hopeless)
    assert (events(hopeless), is_told_to_stop(hopeless)) == ([("proposed", "policy")], False)
    answer(hopeless, StopEvent.ORDERED)
    answer(hopeless, StopEvent.ORDERED)
    assert events(hopeless) == [("proposed", "policy"), ("ordered", "person")]
    assert stops(hopeless)[-1].why == "Ada said yes: stop."
    assert is_told_to_stop(hopeless)
    with hopeless.write() as connection:
        record_heard(connection, "live", segment=1, step=16_100)
        record_heard(connection, "live", segment=1, step=16_200)
    assert events(hopeless)[2:] == [("heard", "job")]
    assert (stops(hopeless)[-1].step, is_told_to_stop(hopeless)) == (16_100, True)


def test_a_persons_no_holds_through_a_restart_until_it_is_taken_back(doomed: Database) -> None:
    with pytest.raises(Conflict, match="nothing to take back"):
        answer(doomed, StopEvent.WITHDRAWN)
    answer(doomed, StopEvent.DECLINED)
    confirm(doomed, at=11_000)
    start(doomed, "live", CONSTANT, session="second")
    go_on(doomed, "constant_24000", 12_000, 22_000, by=1000)
    assert (events(doomed), verdict(doomed).details["confirmed"]) == ([("declined", "person")], True)
    answer(doomed, StopEvent.WITHDRAWN)
    go_on(doomed, "constant_24000", 22_000, 23_000, by=1000)
    assert events(doomed)[1:] == [("withdrawn", "person"), ("ordered", "policy")]


def test_a_restart_is_judged_anew_before_it_is_told_to_stop(doomed: Database) -> None:
    confirm(doomed, at=11_000)
    assert is_told_to_stop(doomed)
    start(doomed, "live", CONSTANT, session="second")
    assert not is_told_to_stop(doomed)
    go_on(doomed, "constant_24000", 12_000, 13_000, by=1000)
    assert [guard["name"] for guard in verdict(doomed).details["guards"]] == ["stability_gap"]
    assert not is_told_to_stop(doomed)
    go_on(doomed, "constant_24000", 13_000, 22_000, by=1000)
    assert is_told_to_stop(doomed)
    assert [entry.segment for entry in stops(doomed)] == [1, 2]


def test_a_project_that_wants_no_stops_any_more_has_none_at_once(hopeless: Database) -> None:
    set_policy(hopeless)
    confirm(hopeless)
    assert set_policy(hopeless, mode=Mode.ADVISE) == ["live"]
    assert not is_told_to_stop(hopeless), "before the worker has heard of it"
    refit(hopeless, "live")
    assert events(hopeless) == [("ordered", "policy"), ("withdrawn", "policy")]


def test_a_goal_that_is_missed_stops_a_run_and_a_goal_that_is_met_does_not(hopeless: Database) -> None:
    set_policy(hopeless, goals={"nobody logs it": Goal(target=1.0), "val_loss": Goal(target=3.0)})
    confirm(hopeless)
    assert verdict(hopeless).details["reference"] == "the target"
    assert is_told_to_stop(hopeless)
    start(hopeless, "alone", WSD, project="another")
    with hopeless.write() as connection:
        save_project_policy(
            connection,
            "another",
            mode=Mode.STOP,
            policy="predictive",
            parameters={},
            goals={"val_loss": Goal(target=3.5)},
            baselines=[],
        )
    go_on(hopeless, "wsdld", 0, 16_000, by=4000, run_id="alone")
    assert (verdict(hopeless, "alone").decision, stops(hopeless, "alone")) == ("continue", [])


def test_a_run_before_its_decay_is_never_told_to_stop(database: Database) -> None:
    finished_run(database, "best", "cosine_24000", COSINE)
    start(database, "live", WSD)
    set_policy(database)
    go_on(database, "wsdld", 0, 24_000, by=1500)
    assert stops(database) == []


def test_a_hopeless_run_whose_plan_raises_the_rate_again_is_not_told_to_stop_and_stops_nobody(
    database: Database,
) -> None:
    finished_run(database, "best", "cosine_24000", COSINE)
    rates = [0.0, 3e-4, 3e-4, 9e-4, 9e-4]
    again = {"family": "explicit", "steps": [0, 2160, 20_000, 20_001, TOTAL], "rates": rates}
    start(database, "live", {"total_steps": TOTAL, "schedule": again})
    set_policy(database, parameters={"confidence": 0.6, "tolerance": 1.0})
    go_on(database, "constant_24000", 9_000, 18_000, by=1500)
    assert "raise_to_come" in [guard["name"] for guard in verdict(database).details["guards"]]
    assert verdict(database).details["probability"] > 0.6
    assert verdict(database).details["is_trusted"] is False
    assert stops(database) == []


def test_a_finished_run_leaves_its_level_and_no_verdict(hopeless: Database) -> None:
    with hopeless.read() as connection:
        assert read_verdicts(connection, "best") == []
        (rival,) = read_rivals(connection, PROJECT, "live", "val_loss")
        assert runs_to_judge(connection) == []
    losses = real_run("cosine_24000").values[real_run("cosine_24000").metrics.index("val_loss")]
    assert rival.final_level == pytest.approx(float(np.mean(losses[-4:])), rel=1e-3)
    with hopeless.write() as connection:
        connection.execute(text("DELETE FROM run_verdict"))  # as if it had finished before there were verdicts
    with hopeless.read() as connection:
        assert runs_to_judge(connection) == ["best"]
    refit(hopeless, "best")
    with hopeless.read() as connection:
        assert read_rivals(connection, PROJECT, "live", "val_loss") == [rival]


def test_two_runs_that_ended_within_the_noise_of_each_other_are_a_coin_flip(database: Database) -> None:
    rng = np.random.default_rng(5)
    for name, level in (("a", 2.5), ("b", 2.5001), ("c", 2.9)):
        losses = level + 2 / np.arange(1, 2001) + 0.05 * rng.standard_normal(2000)
        start(database, name, {"total_steps": 2000})
        store(database, make_batch(range(1, 2001), loss=losses.tolist()), run_id=name)
        finish(database, name)
    with database.read() as connection:
        competitors, _ = read_competitors(connection, PROJECT, "loss")
    chances = {one.run_id: one.chance_best for one in rank(competitors).placings}
    assert 0.05 < chances["a"] < 0.95
    assert chances["c"] < 1e-6
    with database.write() as connection:  # as an earlier version left them
        connection.execute(text("UPDATE run_verdict SET details = details - 'error'"))
    with database.read() as connection:
        assert set(runs_to_judge(connection)) == {"a", "b", "c"}
        assert all(one.final == one.median for one in read_competitors(connection, PROJECT, "loss")[0])
    for name in "abc":
        refit(database, name)
    with database.read() as connection:
        assert runs_to_judge(connection) == []
        again, _ = read_competitors(connection, PROJECT, "loss")
    assert {one.run_id: one.chance_best for one in rank(again).placings} == chances


def test_runs_that_failed_or_came_to_nan_are_nobodys_rivals(database: Database) -> None:
    start(database, "failed", COSINE)
    store(database, real_run("cosine_24000"), run_id="failed")
    finish(database, "failed", RunStatus.FAILED)
    start(database, "nan", COSINE)
    store(database, make_batch(range(1, 101), val_loss=[3.0] * 99 + [math.nan]), run_id="nan")
    finish(database, "nan")
    with database.read() as connection:
        assert read_rivals(connection, PROJECT, "live", "val_loss") == []
        assert runs_to_judge(connection) == []


def test_a_baseline_comes_first_however_old_and_goes_with_its_run(hopeless: Database) -> None:
    for number in range(3):
        finished_run(hopeless, f"worse-{number}", "constant_24000", CONSTANT)
    set_policy(hopeless, baselines=["best", "best"])
    with hopeless.read() as connection:
        rivals = read_rivals(connection, PROJECT, "live", "val_loss")
    assert [rival.run_id for rival in rivals] == ["best", "worse-2", "worse-1", "worse-0"]
    assert [rival.is_baseline for rival in rivals] == [True, False, False, False]
    start(hopeless, "stranger", CONSTANT, project="another")
    with pytest.raises(BadInput, match="'stranger' is no run of the project"):
        set_policy(hopeless, baselines=["stranger"])
    with hopeless.write() as connection:
        connection.execute(text("DELETE FROM run WHERE id = 'best'"))
    with hopeless.read() as connection:
        assert read_project_policy(connection, PROJECT).baselines == ()


@pytest.mark.parametrize(
    ("policy", "parameters", "why"),
    [
        ("patience", {"strips": 2.5}, "strips is a whole number; got 2.5"),
        ("of another version", {}, "No policy named 'of another version'. There are: "),
    ],
)
def test_a_policy_that_another_version_accepted_stops_nobody_and_the_verdict_says_why(
    hopeless: Database, policy: str, parameters: Mapping[str, float], why: str
) -> None:
    set_policy(hopeless, policy=policy, parameters=parameters)
    confirm(hopeless)
    found = verdict(hopeless)
    assert found.decision == "undecided"
    assert found.details["sentence"].startswith(f"The project's policy is not accepted any more: {why}")
    assert " The forecast: " in found.details["sentence"]
    assert not is_told_to_stop(hopeless)


@pytest.mark.parametrize("policy", ["median", "asha"])
def test_policies_that_compare_curves_are_shown_the_siblings(hopeless: Database, policy: str) -> None:
    for number in range(4):
        finished_run(hopeless, f"other-{number}", "cosine_24000", COSINE)
    set_policy(hopeless, policy=policy)
    for begin in range(11_000, 24_000, 2000):
        batch = real_run("constant_24000", begin, begin + 2000)
        batch.values[batch.metrics.index("val_loss")] *= 1.1
        store(hopeless, batch, run_id="live")
    refit(hopeless, "live")
    assert verdict(hopeless).decision == "stop"


@pytest.mark.parametrize("level", [0.0, 2.0, -3.0, 1e149, 1e-300])
def test_no_level_is_too_odd_to_be_judged(database: Database, caplog: pytest.LogCaptureFixture, level: float) -> None:
    steps = range(1, 1001)
    for name, size in (("small", 1.0), ("large", 1e149), ("same", level)):
        start(database, name, {"total_steps": 1000})
        store(database, make_batch(steps, loss=[size * (1 + 1 / step) for step in steps]), run_id=name)
        finish(database, name)
    start(database, "live", CONSTANT | {"total_steps": 1100})
    store(database, make_batch(steps, loss=[level * (1 + 1 / step) for step in steps]), run_id="live")
    set_policy(database, goals={"loss": Goal(target=1e-3, delta=0.1, budget_steps=5)}, baselines=["small", "large"])
    refit(database, "live")
    assert "could not be judged" not in caplog.text
    found = verdict(database).details
    assert found["probability"] is None or 0 <= found["probability"] <= 1


def test_a_run_that_is_nan_for_good_is_stopped_and_one_that_was_stopped_is_still_a_rival(database: Database) -> None:
    start(database, "live", WSD)
    set_policy(database)
    store(database, real_run("wsdld", 0, 8000), run_id="live")
    refit(database, "live")
    for begin in (8000, 8500, 9000):
        steps = range(begin + 1, begin + 501, 50)
        store(database, make_batch(steps, val_loss=[math.nan] * len(steps)), run_id="live")
        refit(database, "live")
    assert is_told_to_stop(database)
    assert stops(database)[-1].why.startswith("NaN or infinite since step 8,001, for good")
    start(database, "stopped", WSD)
    store(database, real_run("wsdld", 0, 8000), run_id="stopped")
    finish(database, "stopped", RunStatus.STOPPED)
    with database.read() as connection:
        (rival,) = read_rivals(connection, PROJECT, "live", "val_loss")
        competitors, _ = read_competitors(connection, PROJECT, "val_loss")
    assert rival.run_id == "stopped"
    assert rival.final_level == pytest.approx(3.56, abs=0.1)
    assert [one.run_id for one in competitors] == ["live"], "but it is not ranked with those that may come to their end"


def test_a_verdict_calls_a_stopped_sibling_stopped_and_a_finished_one_finished(database: Database) -> None:
    finished_run(database, "whole", "wsdld")
    start(database, "cut", WSD)
    store(database, real_run("wsdld", 0, 8000), run_id="cut")
    finish(database, "cut", RunStatus.STOPPED)
    start(database, "live", WSD)
    store(database, real_run("constant_24000", 0, 8000), run_id="live")
    refit(database, "live")
    kinds = {one["run_id"]: one["kind"] for one in verdict(database).details["comparisons"]}
    assert {name: kinds[name] for name in ("whole", "cut")} == {"whole": "finished", "cut": "stopped"}


def test_of_an_accuracy_the_highest_is_the_hardest_to_beat(database: Database) -> None:
    grokked = accuracies("grok_mlp_quad_wd03")
    for number, share in enumerate((0.5, 0.9, 0.7, 0.8, 0.6)):
        start(database, f"ended-{number}", {"total_steps": 2000})
        store(database, scaled(grokked, share), run_id=f"ended-{number}")
        finish(database, f"ended-{number}")
    start(database, "live", {"total_steps": 2000})
    set_policy(database, goals={"val_acc": Goal(target=0.95)})
    store(database, scaled(grokked, 0.85, until=1500), run_id="live")
    refit(database, "live")
    found = verdict(database)
    assert (found.metric, found.is_acted_on) == ("val_acc", True)
    compared = [one["name"] for one in found.details["comparisons"] if one["kind"] == "finished"]
    assert sorted(compared) == ["ended-1", "ended-2", "ended-3"], "the three that ended highest"
    with database.read() as connection:
        assert metric_rises(connection, PROJECT, "val_acc")
        assert not metric_rises(connection, PROJECT, "val_loss")
        competitors, _ = read_competitors(connection, PROJECT, "val_acc", most=2)
    assert competitors[0].run_id == "ended-1"


def accuracies(name: str) -> Batch:
    (batch,) = read_file(DATA / "small_runs" / f"{name}.jsonl").batches
    at = batch.metrics.index("val_acc")
    return Batch(batch.steps, batch.times, ("val_acc",), batch.values[at : at + 1], batch.present[at : at + 1])


def scaled(batch: Batch, share: float, until: int = 10**9) -> Batch:
    here = batch.steps <= until
    return Batch(
        batch.steps[here], batch.times[here], batch.metrics, share * batch.values[:, here], batch.present[:, here]
    )


def test_a_project_that_nobody_named_yet_has_no_policy_and_begins_with_one(database: Database) -> None:
    with database.read() as connection, pytest.raises(NotFound, match="begins with its first run"):
        read_project_policy(connection, PROJECT)
    set_policy(database)
    with database.read() as connection:
        assert read_project_policy(connection, PROJECT).mode is Mode.STOP
