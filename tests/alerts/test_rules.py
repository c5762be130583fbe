"""When the first alerts fire and when they resolve."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from app.alerts.rules import (
    RECOVERY_POINTS,
    AlertKey,
    AllClear,
    Finding,
    Judgement,
    MetricFacts,
    RunFacts,
    Severity,
    decide,
    judge,
)
from app.curves.reduction import Reduction

NAN = math.nan
INF = math.inf
LOSS_ALERT = AlertKey("nonfinite_loss", "train_loss")


def facts_of(values: Sequence[float], *, metric: str = "train_loss", role: str = "train_loss") -> MetricFacts:
    """Facts of a metric logged at steps 0, 1, 2, ..."""
    reduction = Reduction.empty().extend(np.arange(len(values)), np.array(values))
    return MetricFacts.from_reduction(metric, role, reduction)


def run_of(*metrics: MetricFacts, segment_start: int | None = None) -> RunFacts:
    return RunFacts({facts.metric: facts for facts in metrics}, segment_start)


def findings(run: RunFacts) -> list[Finding]:
    return [said for said in judge(run) if isinstance(said, Finding)]


@pytest.mark.parametrize(("value", "spelled"), [(NAN, "NaN"), (INF, "Infinity"), (-INF, "-Infinity")])
def test_a_loss_that_stops_being_finite_is_critical_and_says_where(value: float, spelled: str) -> None:
    [finding] = findings(run_of(facts_of([3.5, 3.25, value])))
    assert finding.key == LOSS_ALERT
    assert finding.severity is Severity.CRITICAL
    assert finding.step == 2
    assert finding.message == f"train_loss is {spelled} at step 2. Its last finite value was 3.25 at step 1."


def test_a_validation_loss_is_judged_too_and_other_metrics_are_not() -> None:
    run = run_of(
        facts_of([1.0, NAN], metric="eval/loss", role="val_loss"),
        facts_of([1.0, NAN], metric="entropy", role="other"),
    )
    assert [finding.metric for finding in findings(run)] == ["eval/loss"]


def test_a_finding_names_the_first_bad_step_and_how_many_there_are() -> None:
    [finding] = findings(run_of(facts_of([2.0, 1.5] + [NAN] * 10)))
    assert finding.step == 2
    assert "has not been finite since step 2" in finding.message
    assert finding.message.endswith("By step 11, 10 of 12 points were not finite.")


def test_a_loss_that_comes_and_goes_is_told_from_the_step_that_the_alert_names() -> None:
    [now_finite] = findings(run_of(facts_of([2.0] * 90 + [NAN] + [2.0] * 8 + [NAN, 2.0])))
    assert now_finite.step == 90
    assert now_finite.message.startswith("train_loss was not finite at step 90 and last at step 99.")
    [now_nan] = findings(run_of(facts_of([2.0] * 90 + [NAN] + [2.0] * 8 + [NAN])))
    assert now_nan.step == 90
    assert now_nan.message.startswith("train_loss is NaN, first so at step 90 and finite now and then since.")
    assert "By step 99, 2 of 100 points were not finite." in now_nan.message


def test_a_loss_that_was_never_finite_says_so() -> None:
    [finding] = findings(run_of(facts_of([NAN, NAN])))
    assert finding.step == 0
    assert "never finite" in finding.message


def test_evidence_is_json_without_bare_nan() -> None:
    [finding] = findings(run_of(facts_of([2.0, NAN])))
    assert json.loads(json.dumps(dict(finding.evidence), allow_nan=False))["value"] == "NaN"


def test_the_last_finite_value_of_a_long_run_lies_before_the_trouble() -> None:
    values = [*np.linspace(4.0, 2.0, 20_000), *[NAN] * 50]
    [finding] = findings(run_of(facts_of(values)))
    assert finding.step == 20_000
    # A mean over one of a few hundred bins, so near the end of the descent and not after it.
    assert finding.evidence["last_finite_value"] == pytest.approx(2.0, abs=0.02)
    assert 19_800 < finding.evidence["last_finite_step"] < 20_000


def test_one_alert_stays_open_while_the_loss_stays_broken() -> None:
    first = judge(run_of(facts_of([2.0, NAN])))
    assert [finding.key for finding in decide([], first).fire] == [LOSS_ALERT]
    later = judge(run_of(facts_of([2.0, NAN, NAN, 2.0])))
    decisions = decide([LOSS_ALERT], later)
    assert decisions.fire == ()
    assert decisions.resolve == ()


def test_an_alert_resolves_once_the_loss_was_finite_for_twenty_points() -> None:
    almost = run_of(facts_of([2.0, NAN] + [2.0] * (RECOVERY_POINTS - 1)))
    assert decide([LOSS_ALERT], judge(almost)).resolve == ()
    recovered = run_of(facts_of([2.0, NAN] + [2.0] * RECOVERY_POINTS))
    [resolved] = decide([LOSS_ALERT], judge(recovered)).resolve
    assert "finite for 20 points, since step 1" in resolved.message


def test_a_long_run_needs_one_percent_of_its_points_to_recover() -> None:
    # 10 000 points: the 20 of a short run are not enough, about 100 are (bins hold a few points each).
    almost = run_of(facts_of([2.0] * 10_000 + [NAN] + [2.0] * 40))
    assert decide([LOSS_ALERT], judge(almost)).resolve == ()
    recovered = run_of(facts_of([2.0] * 10_000 + [NAN] + [2.0] * 200))
    assert len(decide([LOSS_ALERT], judge(recovered)).resolve) == 1


def test_a_loss_that_is_nan_every_other_point_stays_broken_from_its_first() -> None:
    [finding] = findings(run_of(facts_of([2.0, NAN] * 8)))
    assert finding.step == 1
    assert finding.message.startswith("train_loss is NaN")


def test_a_second_episode_is_dated_from_itself_not_from_the_first() -> None:
    [finding] = findings(run_of(facts_of([2.0, NAN] + [1.5] * 60 + [NAN])))
    assert finding.step == 62
    assert finding.evidence["first_nonfinite_step"] == 1
    assert finding.evidence["last_finite_value"] == 1.5


def test_a_restart_resolves_what_came_before_it() -> None:
    broken = facts_of([2.0, 2.0, NAN])
    assert len(findings(run_of(broken, segment_start=1))) == 1
    [resolved] = decide([LOSS_ALERT], judge(run_of(broken, segment_start=3))).resolve
    assert "restarted" in resolved.message


def test_a_loss_that_breaks_again_after_a_restart_fires_again() -> None:
    [finding] = findings(run_of(facts_of([2.0, NAN, 2.0, NAN]), segment_start=2))
    assert finding.step == 3


def test_zero_loss_beside_a_broken_grad_norm_is_a_hidden_nan() -> None:
    run = run_of(
        facts_of([2.3, 2.2, 0.0], metric="loss"), facts_of([1.0, 1.1, NAN], metric="grad_norm", role="grad_norm")
    )
    [hidden] = findings(run)
    assert hidden.key == AlertKey("nonfinite_loss", "loss")
    assert hidden.severity is Severity.CRITICAL
    assert hidden.step == 2
    assert "logging_nan_inf_filter" in hidden.message


def test_a_broken_grad_norm_warns_while_the_loss_still_stands() -> None:
    run = run_of(facts_of([2.3, 2.2]), facts_of([1.0, INF], metric="grad_norm", role="grad_norm"))
    [finding] = findings(run)
    assert finding.key == AlertKey("nonfinite_grad_norm", "grad_norm")
    assert finding.severity is Severity.WARNING
    assert "fp16" in finding.message


def test_one_cause_pages_once() -> None:
    grad_norm = facts_of([1.0, NAN], metric="grad_norm", role="grad_norm")
    judgements = judge(run_of(facts_of([2.3, NAN]), grad_norm))
    assert [finding.kind for finding in decide([], judgements).fire] == ["nonfinite_loss"]
    # A warning that was open before the loss broke stays: its cause has not passed.
    assert decide([AlertKey("nonfinite_grad_norm", "grad_norm")], judgements).resolve == ()


def test_of_several_broken_losses_the_first_to_break_stands_for_all() -> None:
    validation = facts_of([2.0, 2.0, NAN], metric="val_loss", role="val_loss")
    judgements = judge(run_of(validation, facts_of([2.3, NAN, NAN])))
    assert [finding.key for finding in decide([], judgements).fire] == [LOSS_ALERT]
    # One that is open already for the other loss stays: its cause has not passed.
    assert decide([AlertKey("nonfinite_loss", "val_loss")], judgements).resolve == ()


@pytest.mark.parametrize(
    ("losses", "grad_norms"),
    [
        ([2.3, 0.0], [1.0, 0.5]),  # solved to zero, gradients in order
        ([0.0, 0.0], [1.0, NAN]),  # a loss that was never anything else: advantages that cancel
    ],
)
def test_zero_alone_is_not_a_hidden_nan(losses: list[float], grad_norms: list[float]) -> None:
    run = run_of(facts_of(losses), facts_of(grad_norms, metric="grad_norm", role="grad_norm"))
    assert all(finding.kind != "nonfinite_loss" for finding in findings(run))


def test_a_healthy_run_fires_nothing() -> None:
    rng = np.random.default_rng(0)
    run = run_of(
        facts_of(list(2 + 1 / np.arange(1, 500) + rng.normal(0, 0.05, 499))),
        facts_of(list(rng.exponential(1.0, 499)), metric="grad_norm", role="grad_norm"),
    )
    assert findings(run) == []


def test_a_metric_without_points_is_healthy() -> None:
    assert findings(run_of(facts_of([]))) == []


def test_an_alert_that_no_rule_judged_stays_open() -> None:
    decisions = decide([AlertKey("plateau", "train_loss")], judge(run_of(facts_of([2.0]))))
    assert decisions == decide([], [])


def test_a_new_kind_is_one_more_rule_and_may_keep_silent() -> None:
    def heat(run: RunFacts) -> Iterator[Judgement]:
        last = run.metrics["gpu"].last_value or 0.0
        if last > 90:
            yield Finding("heat", Severity.INFO, "gpu", 0, "hot")
        elif last < 80:  # hysteresis: between the two nothing is said
            yield AllClear("heat", "gpu", 0, "cool")

    def decided(celsius: float, open_alerts: list[AlertKey]) -> tuple[int, int]:
        gpu = facts_of([celsius], metric="gpu", role="other")
        decisions = decide(open_alerts, judge(run_of(gpu), rules=[heat]))
        return len(decisions.fire), len(decisions.resolve)

    key = AlertKey("heat", "gpu")
    assert decided(95, []) == (1, 0)
    assert decided(85, []) == (0, 0)
    assert decided(85, [key]) == (0, 0)
    assert decided(75, [key]) == (0, 1)


def test_a_finding_outweighs_an_all_clear_of_the_same_key() -> None:
    finding = Finding("heat", Severity.INFO, "gpu", 0, "hot")
    clear = AllClear("heat", "gpu", 0, "cool")
    assert decide([], [clear, finding]).fire == (finding,)
    assert decide([finding.key], [finding, clear]).resolve == ()
