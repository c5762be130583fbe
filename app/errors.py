"""One tree of errors, named after the fact. No HTTP here: the edges translate.

LosscastError
├── BadInput               what the caller sent cannot be used; the text says what to send instead
│   ├── UnknownMetric
│   ├── UnreadableFile
│   ├── CurveTooShort
│   ├── NotFinite
│   ├── RateNeverSeen
│   └── NotAnAccuracy
├── NotFound               no such run, project, key
│   ├── NoForecast         the run is there
│   └── RunDeleted         there was one
├── Conflict               the request contradicts what is stored
├── Overloaded             try again later
│   └── Busy
└── Unavailable            something the operator must mend: no database, wrong version, no binaries
    └── DiskFull
"""

from __future__ import annotations

from datetime import datetime


class LosscastError(Exception):
    """The root. `str(error)` is written for the person who can act on it."""


class BadInput(LosscastError):
    """What the caller sent cannot be used; the text says what to send instead."""


class UnknownMetric(BadInput):
    """The run has no metric of that name."""

    def __init__(self, metric: str, known: list[str]) -> None:
        shown = ", ".join(sorted(known)[:12]) or "none yet"
        super().__init__(f"No metric named {metric!r}. Known: {shown}.")
        self.metric = metric


class UnreadableFile(BadInput):
    """A file is not in a form that an importer knows."""


class CurveTooShort(BadInput):
    """Too few points to forecast from."""

    def __init__(self, needed: int, got: int) -> None:
        there = "there is 1" if got == 1 else f"there are {got}"
        super().__init__(f"A forecast needs at least {needed} finite points; {there} so far.")
        self.needed = needed
        self.got = got


class NotFinite(BadInput):
    """A metric is NaN or infinite where it stands: what came before says nothing of what is to come."""

    def __init__(self, metric: str) -> None:
        super().__init__(f"{metric} is not finite at its last step; a forecast of it would mean nothing.")
        self.metric = metric


class RateNeverSeen(BadInput):
    """The planned learning rate goes where no run has been: a forecast across it would be made up."""

    def __init__(self, rise: str) -> None:
        super().__init__(f"{rise} A forecast across that would be made up, so there is none.")


class StepsBelowZero(BadInput):
    """A run has logged negative steps alone, and nothing is that many steps from its end."""

    def __init__(self) -> None:
        super().__init__("Every step so far lies below zero. A forecast needs steps that are counted from 0 or 1.")


class NotAnAccuracy(BadInput):
    """A metric that is called an accuracy has values that none can have."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__(
            f"It goes from {low:.4g} to {high:.4g}; an accuracy lies between 0 and 1, or 0 and 100. "
            "Give the metric another role."
        )
        self.low = low
        self.high = high


class NotFound(LosscastError):
    """No such thing; the text names what was asked for."""


class NoForecast(NotFound):
    """Of a run that exists nothing is forecast, or not yet; the text says why."""


class RunDeleted(NotFound):
    """Somebody deleted the run; what a job that still goes on sends of it is not kept."""

    def __init__(self, run_id: str, deleted_at: datetime) -> None:
        super().__init__(
            f"The run {run_id!r} was deleted at {deleted_at:%Y-%m-%d %H:%M} UTC, so this was not stored. Training need "
            "not stop for it; POST /api/v1/runs with the same id makes the run anew."
        )
        self.run_id = run_id
        self.deleted_at = deleted_at


class Conflict(LosscastError):
    """The request contradicts what is stored."""


class Overloaded(LosscastError):
    """The queue is full. Nothing of the request was kept; send it again after `retry_after_seconds`."""

    def __init__(self, retry_after_seconds: float) -> None:
        super().__init__(f"The server is at its limit. Send the same batch again in {retry_after_seconds:g} s.")
        self.retry_after_seconds = retry_after_seconds


class Busy(Overloaded):
    """So much is being worked out already that one more would only make all of it slower."""

    def __init__(self, retry_after_seconds: float, running: int, waiting: int) -> None:
        super().__init__(retry_after_seconds)
        self.args = (
            f"The server works out {running} such questions already and {waiting} wait; ask again in "
            f"{retry_after_seconds:g} s.",
        )


class Unavailable(LosscastError):
    """Something that the operator must mend."""

    retry_after_seconds = 2.0


class DiskFull(Unavailable):
    """The database has no room left. What was stored stays; nothing new can be."""

    retry_after_seconds = 15.0

    def __init__(self) -> None:
        super().__init__(
            f"The disk of the database is full, so nothing of this was stored. Send the same again in "
            f"{self.retry_after_seconds:g} s; whoever runs the server has to make room."
        )
