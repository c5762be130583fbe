"""What a diagnosis says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How soon a person should look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


Number = float | int | str | bool | None
"""Evidence is fit for JSON: "NaN", "Infinity" and "-Infinity" are spelled out."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a run, or may be about to. Later versions of one event have the same `id`.

    kind : one of the `kinds` of the diagnosis that said it
    step : the step it concerns: where the fault shows [steps]
    raised_at : the step at which it was said, with nothing later known [steps]
    resolved_at : the step at which it was seen to be over; None while it lasts [steps]
    outcome : how it went on, e.g. of a spike "benign", "lasting" or "divergent"; empty while that is not known
    probability : where the event is a forecast, how likely it was held when it was raised or last updated
    message : what was known at `raised_at`, dated by its words where it may change: it is read long after
    inputs : the metrics that decided, by the names they were logged under, at least one
    sharpen : signals (`app.diagnostics.signals`) that are not logged and would have said more, or said it earlier
    """

    kind: str
    severity: Severity
    step: int
    raised_at: int
    message: str
    inputs: tuple[str, ...]
    evidence: dict[str, Number] = field(default_factory=dict)
    outcome: str = ""
    probability: float | None = None
    resolved_at: int | None = None
    sharpen: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.inputs[0]}@{self.raised_at}"

    @property
    def is_open(self) -> bool:
        return self.resolved_at is None

    def resolved(self, step: int, outcome: str, **changes: Any) -> Event:
        return replace(self, resolved_at=step, outcome=outcome, **changes)


@dataclass(frozen=True, slots=True)
class Risk:
    """How likely a divergence is held to begin within the next `horizon` steps, said at `step`."""

    step: int
    horizon: int  # [steps]
    probability: float


@dataclass(frozen=True, slots=True)
class Findings:
    """What was said of some steps. Of several events with one `id` the last one holds."""

    events: tuple[Event, ...] = ()
    risks: tuple[Risk, ...] = ()
