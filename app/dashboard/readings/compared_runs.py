"""What the compare page needs from the database: some runs, one metric of each, and where that is going."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlencode

import numpy as np
from sqlalchemy import Connection

from app.curves.broken import is_broken
from app.curves.curve import Curve
from app.curves.roles import ACCURACY_ROLES, FORECAST_ROLES
from app.dashboard.figures.compare import MOST_RUNS, Along, RunLine
from app.dashboard.figures.loss_chart import Scale
from app.dashboard.liveness import Liveness, liveness
from app.dashboard.readings.metrics import roles_and_loss
from app.errors import NotFound
from app.runs import Run, RunRow, RunStatus, Series, StoredForecast, Summary
from app.storage import curves, forecasts, points, runs
from app.storage.database import Database
from app.storage.ends import read_end
from app.storage.track_record import newest_score

OFFERED = 300  # runs to choose from
CHOSEN_AT_FIRST = 4  # of a project, where nobody has chosen any
POINTS_A_RUN = 700  # as many as a reduced curve has at most
MOST_ASKED = 40  # runs of an address that are remembered, shown or not


@dataclass(frozen=True, slots=True)
class CompareForm:
    """What is chosen on the page, and what its address says.

    beside : a run that others of its project are wanted beside; counts where no `runs` are chosen
    metric : None for the main loss of each run
    """

    runs: Sequence[str] = ()
    project: str | None = None
    beside: str | None = None
    metric: str | None = None
    along: Along = Along.STEPS
    scale: Scale = Scale.FOCUS

    @staticmethod
    def from_query(search: str) -> CompareForm:
        """`?project=gpt&run=a&run=b&along=share&scale=log`; what cannot be read is left out."""
        said = parse_qs(search.lstrip("?"))
        last = {name: values[-1] for name, values in said.items()}
        return CompareForm(
            runs=tuple(dict.fromkeys(said.get("run", [])))[:MOST_ASKED],
            project=last.get("project"),
            beside=last.get("beside"),
            metric=last.get("metric"),
            along=Along(last["along"]) if last.get("along") in set(Along) else Along.STEPS,
            scale=Scale(last["scale"]) if last.get("scale") in set(Scale) else Scale.FOCUS,
        )

    def query(self) -> str:
        pairs = [("project", self.project)] if self.project else []
        pairs += [("beside", self.beside)] if self.beside and not self.runs else []
        pairs += [("run", run_id) for run_id in self.runs]
        pairs += [("metric", self.metric)] if self.metric else []
        pairs += [("along", self.along)] if self.along is not Along.STEPS else []
        pairs += [("scale", self.scale)] if self.scale is not Scale.FOCUS else []
        return urlencode(pairs)


def compare_href(
    *, run_ids: Iterable[str] = (), project: str | None = None, beside: str | None = None, metric: str | None = None
) -> str:
    """The page with these runs chosen, or with those nearest to the one that they are wanted beside."""
    return f"/compare?{CompareForm(tuple(run_ids), project, beside, metric).query()}"


@dataclass(frozen=True, slots=True, eq=False)
class ComparedRun:
    """One run of a comparison.

    metric : the one compared; None where the run has logged none such
    role : of the metric
    curve : what it has logged of it so far; None before the first point
    forecast : the newest one of a run that goes on
    ended_at : what an ended run came to; NaN where that was no finite number, None where it goes on
    is_level : whether `ended_at` is the level at the end; until that is known it is the last value, one point
    """

    run: Run
    summary: Summary | None
    state: Liveness
    metric: str | None
    role: str
    curve: Curve | None
    last_value: float | None  # as logged, one point; may be NaN or infinite
    forecast: StoredForecast | None
    ended_at: float | None
    is_level: bool = False

    @property
    def is_forecast(self) -> bool:
        """Whether metrics of its kind are forecast, and known to be better when lower or when higher."""
        return self.role in FORECAST_ROLES

    @property
    def rises(self) -> bool:
        """Whether more is better."""
        return self.role in ACCURACY_ROLES

    @property
    def total_steps(self) -> int | None:
        """Its length: where it ended, or as far as it is known to go."""
        if self.run.status is not RunStatus.RUNNING:
            return self.run.last_step
        if self.forecast is not None:
            return self.forecast.horizon
        return self.summary.total_steps if self.summary else None

    @property
    def predicted(self) -> tuple[float, float, float] | None:
        """5 %, 50 % and 95 % of the predicted final value; all three the same where it is known."""
        if self.ended_at is not None:
            return (self.ended_at,) * 3 if math.isfinite(self.ended_at) else None
        if self.forecast is None:
            return None
        final = self.forecast.final_quantiles
        return (final[0.05], final[0.5], final[0.95]) if {0.05, 0.5, 0.95} <= set(final) else None

    def line(self, number: int) -> RunLine:
        curve = self.curve
        return RunLine(
            number=number,
            name=self.run.name,
            steps=curve.steps if curve else np.empty(0),
            values=curve.values if curve else np.empty(0),
            end=self.total_steps,
            forecast=self.forecast,
            is_broken=is_broken(self.last_value),
        )


@dataclass(frozen=True, slots=True, eq=False)
class CompareReading:
    """The chosen runs, in the order chosen."""

    runs: Sequence[ComparedRun]
    missing: Sequence[str]  # ids that no run has
    left_out: Sequence[str]  # names of the runs that were one too many
    metrics: Sequence[str]  # all that any of them has logged, those that are forecast first


def comparison_revision(database: Database, run_ids: Sequence[str]) -> str:
    """Changes when something on the page does: some small queries a run, what an open page asks every two seconds."""
    seen: list[tuple[object, ...]] = []
    with database.read() as connection:
        for run_id in list(dict.fromkeys(run_ids))[:MOST_ASKED]:
            seen.append(_seen(connection, run_id))
            if sum(len(one) > 1 for one in seen) == MOST_RUNS:
                break
    return repr(seen)


def _seen(connection: Connection, run_id: str) -> tuple[object, ...]:
    try:
        run = runs.get_run(connection, run_id)
    except NotFound:
        return (run_id,)
    summary, scored = runs.read_summary(connection, run_id), newest_score(connection, run_id=run_id)
    made_at = summary.forecast.made_at if summary and summary.forecast else None
    last_step = summary.last_step if summary else None
    state = liveness(run, datetime.now(UTC))
    end = read_end(connection, run_id, None)
    return run_id, run.name, str(state), run.arrivals, last_step, str(made_at), str(scored), repr(end)


def read_comparison(database: Database, run_ids: Sequence[str], metric: str | None) -> CompareReading:
    """Runs that are not there are named, not refused: a link may outlive one of its runs."""
    found: list[ComparedRun] = []
    missing: list[str] = []
    left_out: list[str] = []
    places: dict[str, int] = {}  # metric -> where its role stands in the list
    with database.read() as connection:
        for run_id in list(dict.fromkeys(run_ids))[:MOST_ASKED]:
            try:
                if len(found) == MOST_RUNS:
                    left_out.append(runs.get_run(connection, run_id).name)
                    continue
                compared, roles = _compared(connection, run_id, metric)
            except NotFound:
                missing.append(run_id)
                continue
            found.append(compared)
            for name, role in roles.items():
                place = FORECAST_ROLES.index(role) if role in FORECAST_ROLES else len(FORECAST_ROLES)
                places[name] = min(places.get(name, place), place)
    return CompareReading(found, missing, left_out, sorted(places, key=lambda name: (places[name], name)))


def _compared(connection: Connection, run_id: str, metric: str | None) -> tuple[ComparedRun, Mapping[str, str]]:
    run = runs.get_run(connection, run_id)
    summary = runs.read_summary(connection, run_id)
    series = runs.list_series(connection, run_id)
    roles, main = roles_and_loss(run, summary, series)
    chosen = metric or main
    logged = next((one for one in series if one.metric == chosen), None)
    end = read_end(connection, run_id, logged.metric) if logged else None
    compared = ComparedRun(
        run=run,
        summary=summary,
        state=liveness(run, datetime.now(UTC)),
        metric=logged.metric if logged else None,
        role=roles.get(chosen or "", ""),
        curve=_curve(connection, logged) if logged else None,
        last_value=logged.last_value if logged else None,
        forecast=_forecast(connection, run, logged) if logged else None,
        ended_at=end.level if end else None,
        is_level=end is not None and end.is_mean,
    )
    return compared, roles


def _curve(connection: Connection, series: Series) -> Curve | None:
    """The reduced curve that forecasts are made from; of other metrics as many points."""
    state = curves.read_curve_states(connection, [series.id]).get(series.id)
    if state is not None:
        curve = state.reduction.to_curve()
    else:
        logged = points.read_points(connection, series.run_id, series.metric, max_points=POINTS_A_RUN)
        curve = Curve.from_points(logged.steps, logged.values)
    return curve if len(curve) else None


def _forecast(connection: Connection, run: Run, series: Series) -> StoredForecast | None:
    """The newest one; none of a run that has ended, which has an end instead."""
    if run.status is not RunStatus.RUNNING:
        return None
    return forecasts.latest_forecast(connection, run.id, series.metric)


def run_options(database: Database, project: str | None, chosen: Sequence[str]) -> list[dict[str, str]]:
    """The newest runs of a project, or of all; those chosen stay."""
    with database.read() as connection:
        rows, _ = runs.list_runs(connection, project=project, limit=OFFERED)
        offered = {row.run.id: _option(row.run, project is None) for row in rows}
        for run_id in chosen:
            if run_id not in offered:
                try:
                    offered[run_id] = _option(runs.get_run(connection, run_id), with_project=True)
                except NotFound:
                    offered[run_id] = {"value": run_id, "label": f"{run_id} (no such run)"}
    return list(offered.values())


def _option(run: Run, with_project: bool) -> dict[str, str]:
    label = f"{run.name} · {run.project}" if with_project else run.name
    return {"value": run.id, "label": label, "search": f"{label} {run.id}"}


def runs_at_first(database: Database, project: str) -> list[str]:
    """Some runs of a project to begin with: those that go on before those that have ended, the newest first."""
    return _drawable(database, project)[:CHOSEN_AT_FIRST]


def runs_beside(database: Database, run_id: str) -> list[str]:
    """A run, and the others of its project that are most like it: those that its forecast heard, then the newest."""
    try:
        with database.read() as connection:
            project = runs.get_run(connection, run_id).project
            newest = forecasts.latest_forecasts(connection, run_id).values()
            heard = sorted((one for made in newest for one in made.siblings), key=lambda one: -one.similarity)
    except NotFound:
        return [run_id]  # the page says that it is not there
    drawable = _drawable(database, project)
    likest = [one.run_id for one in heard if one.run_id in drawable]
    return list(dict.fromkeys([run_id, *likest, *drawable]))[:CHOSEN_AT_FIRST]


def _drawable(database: Database, project: str) -> list[str]:
    with database.read() as connection:
        rows, _ = runs.list_runs(connection, project=project, limit=OFFERED)
    shown = sorted(filter(_can_be_drawn, rows), key=lambda row: row.run.status is not RunStatus.RUNNING)
    return [row.run.id for row in shown]


def _can_be_drawn(row: RunRow) -> bool:
    return row.summary is not None and row.summary.metric is not None
