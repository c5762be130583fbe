"""Which diagnoses are alerts.

Every diagnosis of warning or worse is one, once for each cause: while an alert of its cause is open, another is only
fired if it is worse, and while a critical one is open, of whatever cause, nothing less is. Two kinds are held back
further, since most of what they say passes by itself: spikes and risks. A divergence speaks for the spike that began
it, which is no news beside it, also where that spike had called. What is not finite has its own rules
(`app.alerts.rules`), which come first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from types import MappingProxyType

from app.alerts.rules import NONFINITE_GRAD_NORM, NONFINITE_LOSS, AlertKey, AllClear, Finding, Judgement
from app.diagnostics.event import Event, Severity

ALERTING_RISK = 0.8
"""A risk of divergence is an event from one half on; that is too often wrong to call somebody."""


class Cause(Enum):
    """What is wrong with a run at bottom; several kinds may be signs of it."""

    OPTIMISATION = "optimisation"
    STANDSTILL = "standstill"
    GENERALISATION = "generalisation"
    FEATURES = "features"
    SAMPLES = "samples"


CAUSES: Mapping[str, Cause] = MappingProxyType(
    {
        "divergence": Cause.OPTIMISATION,
        "cold_start": Cause.OPTIMISATION,
        "dead": Cause.OPTIMISATION,
        "spike": Cause.OPTIMISATION,
        "divergence_risk": Cause.OPTIMISATION,
        "plateau": Cause.STANDSTILL,
        "overfit": Cause.GENERALISATION,
        "ungrokking": Cause.GENERALISATION,
        "dimensional_collapse": Cause.FEATURES,
        "rank_loss": Cause.FEATURES,
        "mode_collapse": Cause.SAMPLES,
    }
)
"""Kind of event -> its cause. Kinds that are never worse than information have none."""

# An open alert -> its cause and how bad it is. Of kinds that are not here, such as advice, nothing depends.
_OPEN: Mapping[str, tuple[Cause, Severity]] = MappingProxyType(
    {
        NONFINITE_LOSS: (Cause.OPTIMISATION, Severity.CRITICAL),
        NONFINITE_GRAD_NORM: (Cause.OPTIMISATION, Severity.WARNING),
        **{kind: (cause, Severity.WARNING) for kind, cause in CAUSES.items()},
        **dict.fromkeys(("divergence", "cold_start", "dead"), (Cause.OPTIMISATION, Severity.CRITICAL)),
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
    open_events = [event for event in events if event.is_open and event.kind in CAUSES]
    return [*_findings(events, open_events, open_alerts), *_all_clears(events, open_events, open_alerts)]


def without_repeats(judgements: Sequence[Judgement], open_alerts: Collection[AlertKey]) -> list[Judgement]:
    """What the rules of `app.alerts.rules` say, less gradient norms where something as bad of their cause is open.

    A loss that is not finite fires whatever is open, since a high loss may come back and this hardly does. Where a
    divergence or a cold start has called before it, it is the same event and calls nobody again.
    """
    known = [_OPEN[key.kind] for key in open_alerts if key.kind in _OPEN]
    said_already = any(cause is Cause.OPTIMISATION or severity is Severity.CRITICAL for cause, severity in known)
    called_already = (Cause.OPTIMISATION, Severity.CRITICAL) in known
    return [
        replace(judgement, calls=False)
        if called_already and isinstance(judgement, Finding) and judgement.kind == NONFINITE_LOSS
        else judgement
        for judgement in judgements
        if not (said_already and isinstance(judgement, Finding) and judgement.kind == NONFINITE_GRAD_NORM)
    ]


def _findings(
    events: Sequence[Event], open_events: Sequence[Event], open_alerts: Collection[AlertKey]
) -> Iterator[Finding]:
    calling = [event for event in open_events if _calls(event, events)]
    known = [_OPEN[key.kind] for key in open_alerts if key.kind in _OPEN]
    worst_of_all = max([_rank(severity) for _, severity in known] + [_rank(event.severity) for event in calling] + [0])
    for cause in Cause:
        of_cause = [event for event in calling if CAUSES[event.kind] is cause]
        worst = max(of_cause, key=lambda event: _rank(event.severity), default=None)  # of equals the first
        if worst is None or _rank(worst.severity) < worst_of_all == _rank(Severity.CRITICAL):
            continue
        if all(_rank(worst.severity) > _rank(severity) for other, severity in known if other is cause):
            yield _finding(worst)


def _calls(event: Event, events: Sequence[Event]) -> bool:
    """Whether an open event is an alert where nothing else is wrong."""
    if event.kind == "spike":
        if event.outcome == "divergent":
            return (
                False  # as grave as its divergence and said before it, it would hide that behind an alert that is open
            )
        return event.outcome == "lasting" or event.id == next(one.id for one in events if one.kind == "spike")
    if event.kind == "divergence_risk":
        return (event.probability or 0.0) >= ALERTING_RISK
    return event.severity is not Severity.INFO


def _rank(severity: Severity) -> int:
    return _ORDER.index(severity)


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
        if key.kind not in CAUSES or key in still:
            continue
        event = over.get(key)
        if event is None:
            yield AllClear(key.kind, key.metric, None, "The points that showed it were replaced.")
        else:
            word = f": {event.outcome}" if event.outcome else ""
            yield AllClear(key.kind, key.metric, event.resolved_at, f"Over at step {event.resolved_at:,}{word}.")


def _key(event: Event) -> AlertKey:
    return AlertKey(event.kind, event.inputs[0])
