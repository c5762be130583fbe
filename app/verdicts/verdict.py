"""The answer to "is it worth going on?"."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from app.verdicts.rivals import RivalKind


class Decision(StrEnum):
    """What a verdict comes to. Undecided means: go on, and ask again at `next_step`."""

    CONTINUE = "continue"
    STOP = "stop"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Guard:
    """Something that forbids a stop, whatever the numbers say; `sentence` says why in words for people."""

    name: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The run against one reference.

    value : the reference's level, or the median of its forecast                         [of the metric]
    probability : that the run does NOT beat it by more than delta; of a target, that it does not end below it
    """

    run_id: str
    name: str
    kind: RivalKind
    value: float
    probability: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A decision, and all that it rests on. Probabilities are None where there is no forecast.

    sentence : plain words for people
    policy : the name of the one that decided
    probability : that going on does NOT beat all references by more than delta, nor end below the target
    reference : the name of the one that is the hardest to beat; empty where there is nothing
    reference_probability : the same of this one alone, as in `comparisons`
    expected_improvement : what going on is expected to add to the run's own best        [of the metric]
    saved : share of all the run's steps that stopping now would save, 0..1
    saved_steps : the same in steps
    regret : expected loss of stopping now: by how much the best of all references would have been beaten
    regret_interval : central 90 % of that loss                                          [of the metric]
    next_step : when to look again: the next twentieth of the run, or where its planned rate begins to fall; None for a
        stop, and where nothing is left. Each new forecast is judged, so that the answer may change before
    guards : what forbids a stop now, whether or not one was asked for
    comparisons : every reference by itself, the lowest first
    evidence : numbers behind it, by name
    """

    decision: Decision
    sentence: str
    policy: str
    probability: float | None
    reference: str
    expected_improvement: float | None
    saved: float
    saved_steps: int
    regret: float | None
    regret_interval: tuple[float, float] | None
    next_step: int | None
    guards: tuple[Guard, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    reference_probability: float | None = None
    evidence: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain numbers, strings and lists: for the API, for storage and for the log of automatic stops."""
        return {
            "decision": str(self.decision),
            "sentence": self.sentence,
            "policy": self.policy,
            "probability": self.probability,
            "reference": self.reference,
            "reference_probability": self.reference_probability,
            "expected_improvement": self.expected_improvement,
            "saved": self.saved,
            "saved_steps": self.saved_steps,
            "regret": self.regret,
            "regret_interval": None if self.regret_interval is None else list(self.regret_interval),
            "next_step": self.next_step,
            "guards": [{"name": guard.name, "sentence": guard.sentence} for guard in self.guards],
            "comparisons": [
                {
                    "run_id": one.run_id,
                    "name": one.name,
                    "kind": str(one.kind),
                    "value": one.value,
                    "probability": one.probability,
                }
                for one in self.comparisons
            ],
            "evidence": dict(self.evidence),
        }
