"""What a run is compared with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum

from app.forecasting.scores import QuantileForecast
from app.verdicts.history import History


class RivalKind(StrEnum):
    """Where a rival's value comes from."""

    TARGET = "target"  # a level that somebody wants
    FINISHED = "finished"  # a sibling that has come to its end
    STOPPED = "stopped"  # a sibling that was stopped before: its value is the level that it had
    LIVE = "live"  # a sibling that still runs: its value is a forecast
    OWN_BEST = "own_best"  # what the run itself has reached already
    BASELINE = "baseline"  # a run that was pinned


@dataclass(frozen=True, slots=True, eq=False)
class Rival:
    """One value that a run must beat to be worth going on with.

    final : distribution of the final level, or the level itself   [of the metric]
    history : the rival's metric so far, whole where it has ended; what the median rule and ASHA compare with
    fall : what the decay of its rate that is still to come is forecast to bring; 0 where none is   [of the metric]
    is_trusted : False where something speaks against its forecast: nobody is stopped on its account
    """

    run_id: str
    name: str
    kind: RivalKind
    final: QuantileForecast | float
    history: History = field(default_factory=History.empty)
    fall: float = 0.0
    is_trusted: bool = True

    @property
    def median(self) -> float:
        return self.final.quantile(0.5) if isinstance(self.final, QuantileForecast) else self.final

    def mirrored(self) -> Rival:
        final = self.final.mirrored() if isinstance(self.final, QuantileForecast) else -self.final
        return replace(self, final=final, history=self.history.mirrored())
