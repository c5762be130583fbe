"""What is judged, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.curves.plan import Plan
from app.curves.reduction import Reduction
from app.forecasting.forecast import Forecast
from app.runs import Run, StoredForecast
from app.storage.goals import Goal
from app.storage.verdicts import NewVerdict
from app.verdicts.verdict import Decision, Verdict


@dataclass(frozen=True, slots=True, eq=False)
class RunToJudge:
    """The run that is judged, as its refit saw it.

    arrivals : batches of it that the refit knew of
    metrics : those that are forecast, the one that lists show first
    rising : those of them that are better when higher
    reductions : by metric, of these and the learning rate
    forecasts : by metric, fresh or stored; without the metrics that are not finite now
    """

    key: int
    arrivals: int
    run: Run
    plan: Plan | None
    metrics: Sequence[str]
    rising: frozenset[str]
    rate: str | None
    reductions: Mapping[str, Reduction]
    forecasts: Mapping[str, Forecast | StoredForecast]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A verdict on one metric, with what it was made of and how long it has held.

    confirmed : a stop that has held for long enough to count
    settled : whatever it is, it will not be another again with the next forecast
    """

    metric: str
    verdict: Verdict
    stored: NewVerdict
    goal: Goal
    confirmed: bool
    settled: bool

    @property
    def is_stop(self) -> bool:
        return self.verdict.decision is Decision.STOP
