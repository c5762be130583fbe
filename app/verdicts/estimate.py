"""A run against everything it could be worth beating, by its forecast. Lower is better here."""

from __future__ import annotations

from dataclasses import dataclass

from app.verdicts.contest import contest, lowered, probability_not_below
from app.verdicts.rivals import Rival, RivalKind
from app.verdicts.situation import Situation
from app.verdicts.verdict import Comparison

CORRELATION = 0.5
"""Of the normal scores of siblings' forecasts: how much of their error they share (docs/verdicts.md)."""

OWN_BEST = "its own best so far"
TARGET = "the target"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the forecast makes of a situation; fields as in `Verdict`, of the metric as better when lower.

    level : of the reference that is named
    """

    probability: float
    reference: str
    level: float
    expected_improvement: float
    regret: float
    regret_interval: tuple[float, float]
    comparisons: tuple[Comparison, ...]


def estimate(situation: Situation, correlation: float = CORRELATION) -> Estimate | None:
    """None where there is no forecast, or nothing at all to compare with."""
    outlook = situation.outlook
    references = references_of(situation)
    if outlook is None or not references:
        return None
    comparisons = tuple(
        Comparison(
            rival.run_id,
            rival.name,
            rival.kind,
            rival.median,
            probability_not_below(outlook.final, rival.final, correlation, situation.delta),
        )
        for rival in references
    )
    hardest = sorted(comparisons, key=lambda one: (-one.probability, one.value))
    together = contest([outlook.final, *(rival.final for rival in references)], correlation)
    low, high = together.lead_quantiles((0.05, 0.95))
    return Estimate(
        probability=_probability(situation, references, correlation, hardest[0].probability),
        reference=hardest[0].name,
        level=hardest[0].value,
        expected_improvement=_own_improvement(situation, correlation),
        regret=float(together.worth()[0]),
        regret_interval=(float(low), float(high)),
        comparisons=tuple(hardest),
    )


def references_of(situation: Situation) -> list[Rival]:
    """The rivals that count, with the target and the run's own best.

    A live sibling counts only where it is expected to end lower: else two runs could each be stopped on the other's
    account, and none would be left.
    """
    outlook = situation.outlook
    counted = [
        rival
        for rival in situation.rivals
        if rival.kind is not RivalKind.LIVE or (outlook is not None and rival.median < outlook.median)
    ]
    if situation.target is not None:
        counted.append(Rival("", TARGET, RivalKind.TARGET, situation.target))
    best = situation.best_so_far
    if best is not None and all(rival.kind is not RivalKind.OWN_BEST for rival in counted):
        counted.append(Rival("", OWN_BEST, RivalKind.OWN_BEST, best))
    return counted


def _probability(situation: Situation, references: list[Rival], correlation: float, least: float) -> float:
    """That the run does not beat the lowest of all references by more than delta."""
    assert situation.outlook is not None  # the caller looked
    if len(references) == 1:
        return least
    shifted = [lowered(rival.final, situation.delta) for rival in references]
    return float(1 - contest([situation.outlook.final, *shifted], correlation).best()[0])


def _own_improvement(situation: Situation, correlation: float) -> float:
    assert situation.outlook is not None  # the caller looked
    best = situation.best_so_far
    if best is None:
        return 0.0
    return float(contest([situation.outlook.final, best], correlation).worth()[0])
