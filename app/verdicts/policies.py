"""Ways to decide, by name. Each says stop, continue or undecided; guards and words come later. Lower is better here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Protocol

from app.errors import BadInput
from app.verdicts.estimate import Estimate
from app.verdicts.situation import Situation
from app.verdicts.verdict import Decision


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a policy says before the guards are asked; `reason` in words, without a full stop."""

    decision: Decision
    reason: str


class Policy(Protocol):
    """One way to decide. Its fields are its parameters, all numbers."""

    name: ClassVar[str]

    def rule(self, situation: Situation, estimate: Estimate | None) -> Ruling:
        """`situation` is better when lower; `estimate` is None where there is no forecast."""
        ...


@dataclass(frozen=True, slots=True)
class Predictive:
    """Stop where the forecast is sure that the references are not beaten, and little is lost where it is wrong.

    confidence : least probability of not beating the references, in (0.5, 1)
    tolerance : most expected regret, as a share of the reference's size
    """

    name: ClassVar[str] = "predictive"

    confidence: float = 0.95
    tolerance: float = 0.002

    def __post_init__(self) -> None:
        if not 0.5 < self.confidence < 1:
            raise BadInput(f"confidence lies between 0.5 and 1; got {self.confidence:g}.")
        if not self.tolerance >= 0:
            raise BadInput(f"tolerance is a share of at least 0; got {self.tolerance:g}.")

    def rule(self, situation: Situation, estimate: Estimate | None) -> Ruling:
        if estimate is None:
            return Ruling(Decision.UNDECIDED, "there is no forecast yet")
        if estimate.probability < 0.5:
            return Ruling(Decision.CONTINUE, "going on is likelier than not to pay")
        if estimate.probability < self.confidence:
            return Ruling(Decision.UNDECIDED, f"that is less than the {self.confidence:.0%} asked for")
        if estimate.regret > self.tolerance * abs(estimate.level):
            return Ruling(Decision.UNDECIDED, "too much would be lost if that is wrong")
        return Ruling(Decision.STOP, "going on is not expected to pay")


POLICIES: Mapping[str, type[Policy]] = {policy.name: policy for policy in (Predictive,)}

DEFAULT_POLICY = Predictive.name


def policy_named(name: str, parameters: Mapping[str, float] | None = None) -> Policy:
    """A policy by name, with its parameters. Raises `BadInput` where either is unknown or out of range."""
    if name not in POLICIES:
        raise BadInput(f"No policy named {name!r}. There are: {', '.join(POLICIES)}.")
    kind = POLICIES[name]
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # every policy is a dataclass
    unknown = sorted(set(parameters or {}) - set(known))
    if unknown:
        raise BadInput(f"{name} has no parameter {', '.join(unknown)}. It has: {', '.join(known) or 'none'}.")
    return kind(**dict(parameters or {}))
