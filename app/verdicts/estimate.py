"""A run against everything it could be worth beating, by its forecast. Lower is better here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.diagnostics.grokking import PARTIAL_PROGRESS
from app.forecasting.scores import QuantileForecast
from app.verdicts.contest import Contest, Errors, contest, probability_not_below
from app.verdicts.rivals import Rival, RivalKind
from app.verdicts.shipped_errors import shipped_errors
from app.verdicts.situation import Situation
from app.verdicts.verdict import Comparison

MOST_RIVALS = 16
"""So many of the references that may end lowest are weighed jointly; the others can hardly be the lowest."""

MEMORISED = frozenset({"memorised", "turning", "generalising"})
"""States of the grokking diagnosis in which the training data are learned by heart and validation is not there yet."""

ERRORS_MEMORISED = Errors(surprise=1.0, reach=3.0)
"""In these states a forecast knows next to nothing of what is to come, and no sibling's error tells."""

ERRORS_BEFORE_A_RAISE = Errors(surprise=1.0, reach=5.8)
"""Of forecasts across a raise of the rate that is still to come: no sibling's error tells of these either."""

WHOLE_PERCENT = 100.0
"""What is whole of an accuracy that is logged above 1."""

OWN_BEST = "the best level that it has held itself"
TARGET = "the target"


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What the forecast makes of a situation, of the metric as better when lower.

    probability : that the run does not beat the lowest of all references, each by more than its margin
    chance_lost : that the lowest of all is this run or a live one less likely to be it: all of these may be stopped
    reference, level : the reference whose median, less its margin, is the lowest; its median   [of the metric]
    rival : the reference itself
    regret : by how much the lowest of all is expected to be beaten                   [of the metric]
    together : the run, first, with its references
    """

    probability: float
    chance_lost: float
    rival: Rival
    regret: float
    together: Contest

    @property
    def reference(self) -> str:
        return self.rival.name

    @property
    def level(self) -> float:
        return self.rival.median

    def regret_interval(self) -> tuple[float, float]:
        """Central 90 % of what stopping loses."""
        low, high = self.together.lead_quantiles((0.05, 0.95))
        return float(low), float(high)


def estimate(situation: Situation, errors: Errors | None = None) -> Estimate | None:
    """None where there is no forecast, or nothing at all to compare with.

    errors : how forecasts of siblings err; by default as it ships
    """
    outlook = situation.outlook
    references = references_of(situation)
    if outlook is None or not references:
        return None
    own, finals = outlook.final, [each.final for each in references]
    usual = errors or shipped_errors()
    erring = [errors_of(situation, usual), *[usual] * len(finals)]
    together = contest([own, *finals], erring)
    margins = [margin(situation, each) for each in references]
    against = contest([own, *finals], erring, [0.0, *margins]) if any(margins) else together
    chances = against.best()
    is_live = np.array([True, *(each.kind is RivalKind.LIVE for each in references)])
    return Estimate(
        probability=float(1 - chances[0]),
        chance_lost=float(chances[is_live & (chances <= chances[0])].sum()),
        rival=min(references, key=lambda each: each.median - margin(situation, each)),
        regret=float(together.worth()[0]),
        together=together,
    )


def references_of(situation: Situation) -> list[Rival]:
    """The rivals that count, with the target and the run's own best; the hardest to beat first.

    Live siblings count only where one of them is expected to end lower: the leader is never stopped on their account,
    or each could be stopped on the other's and none would be left.
    """
    outlook = situation.outlook
    live = [rival for rival in situation.rivals if rival.kind is RivalKind.LIVE and rival.is_trusted]
    is_leader = outlook is None or all(rival.median >= outlook.median for rival in live)
    ended = [rival for rival in situation.rivals if rival.kind is not RivalKind.LIVE]
    counted = [rival for rival in ended if np.isfinite(rival.median)]  # one that diverged is no reference
    counted += [] if is_leader else live
    if situation.target is not None:
        counted.append(Rival("", TARGET, RivalKind.TARGET, situation.target))
    best = situation.best_so_far
    if best is not None and all(rival.kind is not RivalKind.OWN_BEST for rival in counted):
        counted.append(Rival("", OWN_BEST, RivalKind.OWN_BEST, best))
    possible = sorted(counted, key=_low_end)[:MOST_RIVALS]
    return sorted(possible, key=lambda rival: rival.median)


def margin(situation: Situation, rival: Rival) -> float:
    """By how much the run must end below a reference to beat it: delta, but a target is met at its own level."""
    return 0.0 if rival.kind is RivalKind.TARGET else situation.delta


def compare(situation: Situation) -> tuple[Comparison, ...]:
    """The run against each reference by itself, the hardest to beat first."""
    outlook = situation.outlook
    if outlook is None:
        return ()
    errors = (errors_of(situation, shipped_errors()), shipped_errors())
    return tuple(
        Comparison(
            rival.run_id,
            rival.name,
            rival.kind,
            rival.median,
            probability_not_below(outlook.final, rival.final, errors, margin(situation, rival)),
        )
        for rival in references_of(situation)
    )


def errors_of(situation: Situation, usual: Errors) -> Errors:
    """Of the run's own forecast: in a state in which it is known to err, far wider."""
    if situation.states.get("grokking") in MEMORISED:
        return ERRORS_MEMORISED
    return usual if situation.outlook is None or situation.outlook.raise_start is None else ERRORS_BEFORE_A_RAISE


def is_learning_by_heart(situation: Situation) -> bool:
    """Whether training still falls while validation has turned up, and the metric is no better than where it began.

    A network that will grok looks like this until it has memorised, and so does one that overfits from the beginning.
    One that had learned something that holds, and overfits later, does not.
    """
    states = situation.states
    is_fitting = states.get("grokking") == "fitting" and states.get("overfit") == "overfitting"
    return is_fitting and is_where_it_began(situation)


def is_where_it_began(situation: Situation) -> bool:
    """Whether nothing was learned yet that holds.

    A loss is as high as at the beginning; of an accuracy a little does not count, up to what
    `app.diagnostics.grokking` takes for a turn.
    """
    history = situation.history
    level = history.level()
    if level is None:
        return False
    first = float(history.values[0])
    if first > 0:
        return level >= first
    whole = 1.0 if float(history.values.min()) >= -1 else WHOLE_PERCENT
    return first - level < PARTIAL_PROGRESS * (whole + first)


def tells_nothing(situation: Situation) -> bool:
    """Whether training is learned by heart and of validation nothing has come: no fan tells whether it will."""
    is_by_heart = situation.states.get("grokking") == "memorised" and is_where_it_began(situation)
    return is_by_heart or is_learning_by_heart(situation)


def own_improvement(situation: Situation) -> float | None:
    """By how much the run is expected to end below its own best so far."""
    best = situation.best_so_far
    if situation.outlook is None or best is None:
        return None
    return float(contest([situation.outlook.final, best], Errors()).worth()[0])


def _low_end(rival: Rival) -> float:
    return rival.final.quantile(0.05) if isinstance(rival.final, QuantileForecast) else rival.final
