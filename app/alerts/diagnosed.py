"""Which diagnoses are alerts.

Diagnoses say more than should wake somebody. An alert is made of what ruins a run, once for each cause: while one is
open, another is only fired if it is worse. What is not finite has its own rules (`app.alerts.rules`), which come first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import MappingProxyType

from app.alerts.rules import NONFINITE_GRAD_NORM, NONFINITE_LOSS, AlertKey, AllClear, Finding, Judgement
from app.diagnostics.event import Event, Severity

ALERTING_RISK = 0.8
"""A risk of divergence is an event from one half on; that is too often wrong to call somebody."""


def _always(event: Event) -> bool:
    return True


# Kind of event -> which of them are alerts.
ALERTING: Mapping[str, Callable[[Event], bool]] = MappingProxyType(
    {
        "divergence": _always,
        "cold_start": _always,
        "dead": _always,
        "spike": lambda event: event.outcome == "lasting",
        "divergence_risk": lambda event: (event.probability or 0.0) >= ALERTING_RISK,
    }
)

# An open alert -> how bad it is: what is to be fired beside it must be worse.
_RANKS: Mapping[str, Severity] = MappingProxyType(
    {
        NONFINITE_LOSS: Severity.CRITICAL,
        NONFINITE_GRAD_NORM: Severity.WARNING,
        "divergence": Severity.CRITICAL,
        "cold_start": Severity.CRITICAL,
        "dead": Severity.CRITICAL,
        "spike": Severity.WARNING,
        "divergence_risk": Severity.WARNING,
    }
)
_ORDER = (Severity.INFO, Severity.WARNING, Severity.CRITICAL)


def judge_events(events: Sequence[Event], open_alerts: Collection[AlertKey]) -> list[Judgement]:
    """What the diagnoses so far mean for the alerts.

    Parameters
    ----------
    events : sequence of Event
        All that was said of the run, in the order it was raised.
    open_alerts : collection of AlertKey
        Of the run, of all kinds.
    """
    open_events = [event for event in events if event.is_open and event.kind in ALERTING]
    return [*_findings(open_events, open_alerts), *_all_clears(events, open_events, open_alerts)]


def _findings(open_events: Sequence[Event], open_alerts: Collection[AlertKey]) -> Iterator[Finding]:
    alerting = [event for event in open_events if ALERTING[event.kind](event)]
    worst = max(alerting, key=lambda event: _ORDER.index(event.severity), default=None)  # of equals the first
    if worst is None:
        return
    ranks = (_RANKS[key.kind] for key in open_alerts if key.kind in _RANKS)
    if all(_ORDER.index(worst.severity) > _ORDER.index(rank) for rank in ranks):
        yield _finding(worst)


def _finding(event: Event) -> Finding:
    evidence = {**event.evidence, "raised_at": event.raised_at}
    if event.probability is not None:
        evidence["probability"] = event.probability
    return Finding(event.kind, event.severity, event.inputs[0], event.step, event.message, evidence)


def _all_clears(
    events: Sequence[Event], open_events: Sequence[Event], open_alerts: Collection[AlertKey]
) -> Iterator[AllClear]:
    """Alerts without an open event: over, or taken back since its points were replaced."""
    still = {_key(event) for event in open_events}
    over = {_key(event): event for event in events if not event.is_open}
    for key in open_alerts:
        if key.kind not in ALERTING or key in still:
            continue
        event = over.get(key)
        if event is None:
            yield AllClear(key.kind, key.metric, None, "The points that showed it were replaced.")
        else:
            word = f": {event.outcome}" if event.outcome else ""
            yield AllClear(key.kind, key.metric, event.resolved_at, f"Over at step {event.resolved_at}{word}.")


def _key(event: Event) -> AlertKey:
    return AlertKey(event.kind, event.inputs[0])
