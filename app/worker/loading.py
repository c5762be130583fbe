"""What a refit thinks about, read in one snapshot: the run, its curves so far, and what was said of it before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from app.curves.broken import is_broken
from app.curves.curve import Curve
from app.curves.reduction import Reduction
from app.curves.selection import Selection, select_metrics
from app.runs import Run, Series, StoredForecast
from app.storage import forecasts, runs
from app.storage.curves import FitMark, logged_of, read_curve_states, read_news
from app.storage.points import segment_starts
from app.storage.priors import Standing, read_standing
from app.worker.catch_up import CaughtUp, caught_up


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """Everything that a refit thinks about."""

    mark: FitMark
    run: Run
    series: Mapping[str, Series]
    selected: Selection
    curves: Mapping[str, CaughtUp]
    segment_start: int | None
    previous: Mapping[str, StoredForecast]
    standing: Standing

    def reduction(self, metric: str) -> Reduction:
        return self.curves[metric].state.reduction

    @property
    def reductions(self) -> dict[str, Reduction]:
        return {metric: self.reduction(metric) for metric in self.curves}

    @property
    def strays_from(self) -> int | None:
        """The first step that lies far beyond all curves; None where there is none, or another metric goes so far."""
        strays = [int(each.strays.steps[0]) for each in self.curves.values() if len(each.strays)]
        return min(strays) if strays and min(strays) > (self.last_step or 0) else None

    @property
    def last_step(self) -> int | None:
        """The last step of all curves."""
        return max((each.last_step for each in self.reductions.values() if each.last_step is not None), default=None)

    @property
    def cutoff(self) -> int | None:
        """The last step of the curves that are forecast."""
        reductions = [self.reduction(metric) for metric in self.selected.forecast]
        return max((each.last_step for each in reductions if each.last_step is not None), default=None)

    def curve_of_role(self, role: str) -> Curve | None:
        metric = self.selected.supporting[role]
        return None if metric is None else self.reduction(metric).to_curve()

    def is_broken(self, metric: str) -> bool:
        """Whether the metric is NaN or infinite now."""
        return is_broken(self.reduction(metric).last_value)


def load(connection: Connection, mark: FitMark, run_id: str) -> Loaded:
    run = runs.get_run(connection, run_id)
    series = {one.metric: one for one in runs.list_series(connection, run_id) if one.points}
    known = read_curve_states(connection, [one.id for one in series.values()])
    selected = select_metrics(logged_of(series, known), run.declared_roles)
    starts = segment_starts(connection, mark.run_key)
    chosen = {series[metric].id for metric in selected.metrics}
    states = {series_id: state for series_id, state in known.items() if series_id in chosen}
    after = min((state.arrivals for state in states.values()), default=mark.arrivals)
    news = read_news(connection, mark.run_key, states, after, mark.arrivals)
    current = {
        metric: caught_up(connection, mark, series[metric], states.get(series[metric].id), news, after, starts)
        for metric in selected.metrics
    }
    previous = {metric: forecasts.latest_forecast(connection, run_id, metric) for metric in selected.forecast}
    return Loaded(
        mark=mark,
        run=run,
        series=series,
        selected=selected,
        curves=current,
        segment_start=starts.get(run.segment) if run.segment > 1 else None,
        previous={metric: found for metric, found in previous.items() if found is not None},
        standing=read_standing(connection, mark.run_key),
    )
