"""How a run is doing, as a person would say it: what it last said of itself, and how long it has been silent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from app.runs import Run, RunStatus

# Clients send a heartbeat every few tens of seconds. 150 s is several missed in a row; half an hour is longer than a
# checkpoint, an evaluation or a requeue usually takes.
LATE_AFTER_SECONDS = 150.0
LOST_AFTER_SECONDS = 1800.0


class Liveness(StrEnum):
    """`late` and `lost` are running runs that have gone silent."""

    RUNNING = "running"
    LATE = "late"
    LOST = "lost"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class LivenessLook:
    """Word, shape and sentence: colour is never the only sign."""

    word: str
    shape: str
    meaning: str


LOOKS = {
    Liveness.RUNNING: LivenessLook("Running", "●", "Metrics or heartbeats are coming in."),
    Liveness.LATE: LivenessLook("Late", "◐", "Nothing heard for more than 2.5 minutes."),
    Liveness.LOST: LivenessLook("Lost", "○", "Nothing heard for more than 30 minutes, and it never said it was over."),
    Liveness.FINISHED: LivenessLook("Finished", "✓", "The job said that it was done."),
    Liveness.FAILED: LivenessLook("Failed", "✕", "The job said that it failed."),
    Liveness.STOPPED: LivenessLook("Stopped", "■", "The job was stopped before its end."),
}

FINISHED_BROKEN = LivenessLook("Finished in NaN", "✕", "The job said that it was done; its loss was no number by then.")
"""Of a run that has finished, but not well."""


def liveness(run: Run, now: datetime) -> Liveness:
    if run.status is not RunStatus.RUNNING:
        return Liveness(run.status.value)
    silent = (now - run.last_seen_at).total_seconds()
    if silent > LOST_AFTER_SECONDS:
        return Liveness.LOST
    return Liveness.LATE if silent > LATE_AFTER_SECONDS else Liveness.RUNNING
