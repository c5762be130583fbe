"""What a list of runs names first, and how it counts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.dashboard.pages.health import worst_first
from app.dashboard.pages.runs import alerts_in_words
from app.diagnostics.event import Event, Severity
from app.runs import Run, RunRow, RunStatus

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RUN = Run("id", "p", "n", RunStatus.FINISHED, {}, (), {}, {}, NOW, NOW, NOW, None, 1, 0, None)


def event(kind: str, severity: Severity, raised_at: int) -> Event:
    return Event(kind, severity, raised_at, raised_at, kind, ("loss",), {})


def test_of_what_is_critical_nan_is_named_first_and_then_a_divergence() -> None:
    events = [
        event("overfit", Severity.WARNING, 1),
        event("divergence", Severity.CRITICAL, 3),
        event("spike", Severity.CRITICAL, 2),
        event("nonfinite", Severity.CRITICAL, 9),
    ]
    assert [one.kind for one in worst_first(events)] == ["nonfinite", "divergence", "spike", "overfit"]


@pytest.mark.parametrize(
    ("number", "worst", "words"), [(2, 1, "1 critical +1"), (2, 2, "2 critical"), (1, 1, "1 critical")]
)
def test_alerts_less_severe_than_the_worst_are_not_counted_as_such(number: int, worst: int, words: str) -> None:
    assert alerts_in_words(RunRow(RUN, None, number, "critical", worst)) == words
