"""The runs of a group against each other: which is likely the best, which can be stopped, and what that frees.

What is assumed: the group wants one run, the one that ends best; forecasts of siblings share part of their error
(:mod:`app.verdicts.contest`); a run that is stopped is worth nothing to the group afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.errors import BadInput
from app.forecasting.scores import QuantileForecast
from app.verdicts import policies
from app.verdicts.contest import Contest, Errors, Final, contest
from app.verdicts.shipped_errors import shipped_errors

TOLERANCE = 0.01
"""Most expected loss of the group's best value, as a share of its size: what `rank` proposes to stop costs no more."""

CONFIDENCE = policies.CONFIDENCE
"""The runs that `rank` proposes to stop hold the best one with at most the rest of this probability."""

MEASURED = Errors()
"""How the levels of ended runs err: as far as they say, and not together. Nobody foresaw them; they were measured."""


@dataclass(frozen=True, slots=True, eq=False)
class Competitor:
    """One run of a group.

    final : distribution of the final level; of a run that has ended of the level that was measured
        (:mod:`app.verdicts.measured_end`), or that level itself                           [of the metric]
    cutoff, total_steps : last step seen, last step as planned                           [steps]
    is_live : whether it still runs, and can be stopped
    is_guarded : something forbids a stop (`Verdict.guards`); it is ranked all the same
    """

    run_id: str
    name: str
    final: Final
    cutoff: int
    total_steps: int
    is_live: bool
    is_guarded: bool = False

    @property
    def steps_left(self) -> int:
        return max(self.total_steps - self.cutoff, 0) if self.is_live else 0

    @property
    def median(self) -> float:
        return self.quantile(0.5)

    def quantile(self, level: float) -> float:
        return self.final.quantile(level) if isinstance(self.final, QuantileForecast) else self.final


@dataclass(frozen=True, slots=True)
class Placing:
    """One run's place in its group.

    rank : by the median of the final level, 1 is the best
    chance_best : probability that it ends best of all
    expected_rank : mean place over everything that may happen
    low, median, high : 5 %, 50 % and 95 % of the final level                       [of the metric]
    worth : by how much the group's best is expected to be worse without this run   [of the metric]
    is_to_stop : proposed to be stopped, together with the others so marked
    """

    run_id: str
    name: str
    rank: int
    chance_best: float
    expected_rank: float
    low: float
    median: float
    high: float
    worth: float
    steps_left: int
    is_live: bool
    is_guarded: bool
    is_to_stop: bool


@dataclass(frozen=True, slots=True)
class Proposal:
    """Runs to stop together.

    freed_steps : steps that they would still make                                        [steps]
    freed_share : of all steps that the group would still make
    regret : by how much the group's best is expected to be worse for it                  [of the metric]
    chance_best_lost : probability that the best run is among them
    """

    run_ids: tuple[str, ...]
    freed_steps: int
    freed_share: float
    regret: float
    chance_best_lost: float


@dataclass(frozen=True, slots=True)
class Ranking:
    """A group, the best first, and whom to stop."""

    placings: tuple[Placing, ...]
    proposal: Proposal


def rank(
    competitors: Sequence[Competitor],
    *,
    lower_is_better: bool = True,
    tolerance: float = TOLERANCE,
    confidence: float = CONFIDENCE,
) -> Ranking:
    """Rank a group and propose whom to stop.

    The least likely to be the best go first, for as long as all of them together hold the best run with at most
    `1 - confidence` and the group is expected to lose at most `tolerance` of its best value. The run with the best
    median always stays.
    """
    together = _contest(competitors, lower_is_better)
    best, worth, places = together.best(), together.worth(), together.expected_ranks()
    order = _by_median(competitors, lower_is_better)
    size = abs(competitors[order[0]].median)
    stopped = np.zeros(len(competitors), dtype=bool)
    for place in sorted(_stoppable(competitors, order), key=lambda each: (best[each], worth[each])):
        stopped[place] = True
        if best[stopped].sum() > 1 - confidence or together.loss_without(stopped) > tolerance * size:
            stopped[place] = False
            break
    placings = tuple(
        Placing(
            run_id=one.run_id,
            name=one.name,
            rank=number,
            chance_best=float(best[place]),
            expected_rank=float(places[place]),
            low=one.quantile(0.05),
            median=one.median,
            high=one.quantile(0.95),
            worth=float(worth[place]),
            steps_left=one.steps_left,
            is_live=one.is_live,
            is_guarded=one.is_guarded,
            is_to_stop=bool(stopped[place]),
        )
        for number, place in enumerate(order, start=1)
        for one in (competitors[place],)
    )
    return Ranking(placings, _proposal(competitors, together, best, stopped))


def halve(
    competitors: Sequence[Competitor],
    *,
    keep: float = 0.5,
    lower_is_better: bool = True,
) -> Proposal:
    """One round of successive halving on predictions: of the live runs the share `keep` with the best chances stays.

    Jamieson and Talwalkar (2016) halve by the loss at the moment; here by the chance to end best, so that a run whose
    rate is still high is not held to one whose rate has fallen. Guarded runs stay.
    """
    if not 0 < keep < 1:
        raise BadInput(f"The share to keep lies between 0 and 1; got {keep:g}.")
    together = _contest(competitors, lower_is_better)
    best, worth = together.best(), together.worth()
    live = [place for place, one in enumerate(competitors) if one.is_live]
    ranked = sorted(live, key=lambda place: (-best[place], -worth[place]))
    stopped = np.zeros(len(competitors), dtype=bool)
    for place in ranked[max(1, round(keep * len(live))) :]:
        stopped[place] = not competitors[place].is_guarded
    return _proposal(competitors, together, best, stopped)


def at_threshold(
    competitors: Sequence[Competitor],
    threshold: float,
    *,
    lower_is_better: bool = True,
) -> Proposal:
    """What if every live run whose chance to be the best is below a threshold were stopped now. Guarded runs stay."""
    if not 0 <= threshold <= 1:
        raise BadInput(f"A threshold of probability lies between 0 and 1; got {threshold:g}.")
    together = _contest(competitors, lower_is_better)
    best = together.best()
    stopped = np.zeros(len(competitors), dtype=bool)
    for place in _stoppable(competitors, _by_median(competitors, lower_is_better)):
        stopped[place] = bool(best[place] < threshold)
    return _proposal(competitors, together, best, stopped)


def _contest(competitors: Sequence[Competitor], lower_is_better: bool) -> Contest:
    if not competitors:
        raise BadInput("There is no run to rank: none of the group has a forecast or has ended.")
    finals = [one.final for one in competitors]
    if not lower_is_better:
        finals = [final.mirrored() if isinstance(final, QuantileForecast) else -final for final in finals]
    return contest(finals, [shipped_errors() if one.is_live else MEASURED for one in competitors])


def _by_median(competitors: Sequence[Competitor], lower_is_better: bool) -> list[int]:
    sign = 1.0 if lower_is_better else -1.0
    return sorted(range(len(competitors)), key=lambda place: (sign * competitors[place].median, place))


def _stoppable(competitors: Sequence[Competitor], order: Sequence[int]) -> list[int]:
    """Live runs that nothing guards, but for the one with the best median."""
    return [place for place in order[1:] if competitors[place].is_live and not competitors[place].is_guarded]


def _proposal(
    competitors: Sequence[Competitor],
    together: Contest,
    best: npt.NDArray[np.float64],
    stopped: npt.NDArray[np.bool_],
) -> Proposal:
    left = np.array([one.steps_left for one in competitors])
    freed = int(left[stopped].sum())
    return Proposal(
        run_ids=tuple(one.run_id for one, is_out in zip(competitors, stopped, strict=True) if is_out),
        freed_steps=freed,
        freed_share=freed / int(left.sum()) if left.sum() > 0 else 0.0,
        regret=together.loss_without(stopped) if stopped.any() else 0.0,
        chance_best_lost=float(best[stopped].sum()),
    )
