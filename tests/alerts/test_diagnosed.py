"""Which diagnoses become alerts, and that one cause calls once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.alerts.diagnosed import CAUSES, judge_events, without_repeats
from app.alerts.rules import AlertKey, AllClear, Decisions, Finding, decide
from app.diagnostics.event import Event, Severity
from app.diagnostics.registry import DIAGNOSES


def event(kind: str, severity: Severity = Severity.CRITICAL, **changes: object) -> Event:
    base = Event(kind, severity, step=90, raised_at=100, message="It broke.", inputs=("loss", "lr"))
    return replace(base, **changes)  # type: ignore[arg-type]


def decided(events: list[Event], *open_alerts: AlertKey) -> Decisions:
    return decide(open_alerts, judge_events(events, open_alerts))


def fired(events: list[Event], *open_alerts: AlertKey) -> list[str]:
    return [finding.kind for finding in decided(events, *open_alerts).fire]


SPIKE = event("spike", Severity.WARNING)
LASTING = replace(SPIKE, outcome="lasting")
RISK = event("divergence_risk", Severity.WARNING, probability=0.9)
DIVERGENCE = event("divergence")


OVERFIT = event("overfit", Severity.WARNING, inputs=("val_loss", "loss"))
COLLAPSE = event("dimensional_collapse", Severity.WARNING, inputs=("rankme",))
LATER_SPIKE = replace(SPIKE, step=290, raised_at=300)


def test_every_kind_is_one_that_some_diagnosis_says() -> None:
    assert set(CAUSES) <= {kind for diagnosis in DIAGNOSES for kind in diagnosis.kinds}


@pytest.mark.parametrize(
    "one",
    [
        *(DIVERGENCE, event("cold_start"), event("dead"), SPIKE, LASTING, RISK),
        *(event(kind, Severity.WARNING) for kind in ("plateau", "overfit", "ungrokking")),
        *(event(kind, Severity.WARNING) for kind in ("dimensional_collapse", "rank_loss", "mode_collapse")),
    ],
    ids=lambda e: f"{e.kind} {e.outcome}",
)
def test_a_diagnosis_of_warning_or_worse_is_an_alert(one: Event) -> None:
    (finding,) = decided([one]).fire
    assert (finding.kind, finding.metric, finding.step, finding.severity) == (one.kind, "loss", 90, one.severity)
    assert finding.evidence["raised_at"] == 100
    assert not decided([one], AlertKey(one.kind, "loss")).fire, "it is open already"


@pytest.mark.parametrize(
    "one",
    [
        replace(LASTING, resolved_at=200),
        replace(RISK, probability=0.6),
        event("nonfinite"),
        *(event(kind, Severity.INFO) for kind in ("memorised", "grokking", "neural_collapse", "stability_gap")),
    ],
    ids=lambda e: e.kind,
)
def test_what_is_over_or_unlikely_or_no_fault_calls_nobody(one: Event) -> None:
    assert not decided([one]).fire


def test_of_spikes_that_pass_only_the_first_calls() -> None:
    first = replace(SPIKE, resolved_at=120, outcome="benign")
    assert fired([first, LATER_SPIKE]) == []
    assert fired([first, replace(LATER_SPIKE, outcome="lasting")]) == ["spike"]


def test_two_causes_call_twice() -> None:
    assert fired([OVERFIT, COLLAPSE]) == ["overfit", "dimensional_collapse"]
    assert fired([OVERFIT, RISK], AlertKey("overfit", "val_loss")) == ["divergence_risk"], "what is coming is another"
    assert fired([COLLAPSE, event("rank_loss", Severity.WARNING)]) == ["dimensional_collapse"]


def test_beside_something_critical_nothing_less_calls() -> None:
    assert fired([OVERFIT, COLLAPSE, DIVERGENCE]) == ["divergence"]
    assert fired([OVERFIT, COLLAPSE], AlertKey("nonfinite_loss", "loss")) == []
    assert fired([OVERFIT], AlertKey("stop_advised", None)) == ["overfit"]


def test_one_cause_calls_once_and_again_only_where_it_got_worse() -> None:
    assert fired([RISK, LASTING, DIVERGENCE]) == ["divergence"]
    assert fired([event("cold_start"), DIVERGENCE, event("dead")]) == ["cold_start"]
    assert fired([LASTING, DIVERGENCE], AlertKey("spike", "loss")) == ["divergence"]
    assert fired([LASTING, RISK], AlertKey("spike", "loss")) == []
    assert fired([DIVERGENCE], AlertKey("nonfinite_loss", "val_loss")) == []
    assert fired([DIVERGENCE], AlertKey("nonfinite_grad_norm", "grad_norm")) == ["divergence"]


def test_a_divergence_calls_whatever_spike_began_it_and_once() -> None:
    divergent = replace(SPIKE, severity=Severity.CRITICAL, outcome="divergent")
    for said in ([divergent, DIVERGENCE], [DIVERGENCE, divergent]):
        assert fired(said) == ["divergence"]
        assert fired(said, AlertKey("spike", "loss")) == ["divergence"], "the spike had called as a warning"
        assert fired(said, AlertKey("divergence", "loss"), AlertKey("spike", "loss")) == []
        assert fired(said, AlertKey("divergence", "loss")) == []


def test_a_spike_whose_divergence_is_over_calls_nobody_again() -> None:
    divergent = replace(SPIKE, severity=Severity.CRITICAL, outcome="divergent")
    over = replace(DIVERGENCE, resolved_at=300, outcome="recovered")
    assert fired([divergent, over]) == []
    assert fired([divergent, over], AlertKey("divergence", "loss")) == []
    assert not decided([divergent, over], AlertKey("spike", "loss")).resolve, "its own alert lasts as long as it does"


def test_a_broken_gradient_norm_is_no_news_beside_what_is_as_bad_but_a_broken_loss_is() -> None:
    norm = Finding("nonfinite_grad_norm", Severity.WARNING, "grad_norm", 90, "NaN")
    loss = Finding("nonfinite_loss", Severity.CRITICAL, "loss", 90, "NaN")
    over = AllClear("nonfinite_grad_norm", "grad_norm", 90, "over")
    for kind in ("cold_start", "divergence", "spike", "nonfinite_loss"):
        (still,) = without_repeats([norm, loss], [AlertKey(kind, "loss")])
        assert still == replace(loss, calls=kind == "spike")
        assert without_repeats([over], [AlertKey(kind, "loss")]) == [over]
    for kind in ("overfit", "stop_advised"):
        assert without_repeats([norm, loss], [AlertKey(kind, "loss")]) == [norm, loss]


def test_a_loss_that_turns_nan_after_it_blew_up_is_shown_but_calls_nobody_again() -> None:
    loss = Finding("nonfinite_loss", Severity.CRITICAL, "loss", 90, "NaN")
    for kind, calls in {"cold_start": False, "divergence": False, "dead": False, "divergence_risk": True}.items():
        (finding,) = without_repeats([loss], [AlertKey(kind, "loss")])
        assert isinstance(finding, Finding)
        assert finding.calls is calls, kind
    assert without_repeats([loss], [AlertKey("overfit", "val_loss")]) == [loss]


def test_an_alert_resolves_with_its_event_and_says_how_it_went_on() -> None:
    over = replace(DIVERGENCE, resolved_at=300, outcome="recovered")
    (cleared,) = decided([over], AlertKey("divergence", "loss")).resolve
    assert (cleared.step, cleared.message) == (300, "Over at step 300: recovered.")
    again = replace(DIVERGENCE, raised_at=400)
    assert not decided([over, again], AlertKey("divergence", "loss")).resolve


def test_an_alert_whose_points_were_replaced_resolves() -> None:
    (cleared,) = decided([], AlertKey("divergence", "loss")).resolve
    assert "replaced" in cleared.message


def test_an_alert_stays_open_while_its_probability_falls_but_its_event_lasts() -> None:
    assert decided([replace(RISK, probability=0.6)], AlertKey("divergence_risk", "loss")) == Decisions()


def test_alerts_of_other_rules_are_left_alone() -> None:
    assert decided([], AlertKey("nonfinite_loss", "loss")) == Decisions()
