"""What is told about an alert, as a document for machines and as text for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class AlertMessage:
    """One alert that fired or resolved. `url` is the run's page."""

    alert_id: int
    kind: str
    severity: str  # info | warning | critical
    run_id: str
    run_name: str
    project: str
    url: str
    metric: str | None
    step: int
    message: str
    evidence: Mapping[str, Any]
    fired_at: datetime
    resolved_at: datetime | None = None

    @property
    def resolved(self) -> bool:
        return self.resolved_at is not None

    @property
    def title(self) -> str:
        state = "Resolved" if self.resolved else self.severity.capitalize()
        return f"{state}: {self.kind.replace('_', ' ')} in {self.project}/{self.run_name}"

    @property
    def text(self) -> str:
        return f"{self.message}\n{self.url}"

    def to_json(self) -> dict[str, Any]:
        """The document that webhooks get; docs/alerts.md describes it. Receivers may ignore keys they do not know."""
        return {
            "type": "alert.resolved" if self.resolved else "alert.fired",
            "id": self.alert_id,
            "kind": self.kind,
            "severity": self.severity,
            "run": {"id": self.run_id, "name": self.run_name, "project": self.project, "url": self.url},
            "metric": self.metric,
            "step": self.step,
            "message": self.message,
            "evidence": _spelled_out(self.evidence),
            "fired_at": self.fired_at.isoformat(),
            "resolved": self.resolved,
            "resolved_at": self.resolved_at.isoformat() if self.resolved_at else None,
        }


def _spelled_out(value: Any) -> Any:
    """JSON has no NaN: the non-finite become the strings that the API takes."""
    if isinstance(value, Mapping):
        return {str(key): _spelled_out(cell) for key, cell in value.items()}
    if isinstance(value, list | tuple):
        return [_spelled_out(cell) for cell in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
