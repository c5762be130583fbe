"""How a run's forecasts moved, and what they came to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from app.forecasting.track_record import JudgedForecast
from app.runs import ForecastPoint, RunStatus
from app.storage import runs
from app.storage.database import Database
from app.storage.track_record import RunTrackRecord, ScoredForecast, run_track_record


@dataclass(frozen=True, slots=True)
class HistoryReading:
    """Past forecasts of one metric, and what happened, once that is known."""

    record: RunTrackRecord | None  # None before the first refit
    is_over: bool

    @property
    def history(self) -> list[ForecastPoint]:
        """What to draw: of an ended run, what each forecast said of the step at which the run ended.

        One that says nothing of that step, as one made when the run stood there, is not drawn among those that do: its
        number is of another step. Of very many forecasts evenly many are left out; `n_forecasts` counts all.
        """
        made = [_as_judged(one, self.end_step) for one in self.record.forecasts] if self.record else []
        of_the_end = [point for point in made if point.horizon == self.end_step]
        return of_the_end or made

    @property
    def n_forecasts(self) -> int:
        return self.record.n_forecasts if self.record else 0

    @property
    def held(self) -> tuple[int, int]:
        """In how many of the judged forecasts the 90 % band held, and how many were judged."""
        return (self.record.n_held, self.record.n_judged) if self.record else (0, 0)

    @property
    def end_step(self) -> int | None:
        return self.record.outcome.end_step if self.record and self.record.outcome else None

    @property
    def actual(self) -> float | None:
        """What the run came to; None until it has been scored, and where that is no finite number."""
        outcome = self.record.outcome if self.record else None
        return outcome.actual if outcome is not None and math.isfinite(outcome.actual) else None

    @property
    def counted(self) -> list[JudgedForecast]:
        """Judged forecasts that stand and spoke of the run's end, oldest first."""
        scored = [one.judged for one in self.record.forecasts if one.judged] if self.record else []
        return [one for one in scored if one.stands and one.judged_step == self.end_step]


def _as_judged(scored: ScoredForecast, end_step: int | None) -> ForecastPoint:
    judged = scored.judged
    if judged is None or judged.judged_step != end_step:
        return scored.point
    return replace(scored.point, horizon=judged.judged_step, p05=judged.p05, p50=judged.p50, p95=judged.p95)


def read_history(database: Database, run_id: str, metric: str | None) -> HistoryReading:
    with database.read() as connection:
        run = runs.get_run(connection, run_id)
        record = run_track_record(connection, run_id, metric)
    return HistoryReading(record, run.status is not RunStatus.RUNNING)
