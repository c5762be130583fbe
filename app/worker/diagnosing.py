"""The diagnoses of one run, brought up to date after a refit.

They stand apart from the forecasts and alerts of the refit, in a transaction of their own: whatever goes wrong here is
logged, and the rest of the product goes on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.alerts.diagnosed import judge_events
from app.alerts.rules import decide
from app.diagnostics.engine import Engine
from app.diagnostics.signals import Inputs, choose_inputs
from app.errors import BadInput
from app.runs import Points
from app.storage import alerts
from app.storage.alerts import Target
from app.storage.curves import FitMark, fit_mark, read_news
from app.storage.database import Database
from app.storage.diagnoses import (
    DiagnosisState,
    first_step_since,
    read_diagnosis_state,
    read_events,
    save_diagnosis_state,
    save_events,
    step_within,
    take_back,
)
from app.storage.points import HIGHEST_STEP, LOWEST_STEP, merged, read_series, segment_starts
from app.storage.runs import get_run, hold_run, list_series

log = logging.getLogger(__name__)

SLICE_POINTS = 300_000
"""What one look reads at most, about a second's work: a longer run is read in slices, and other runs have their turn
in between."""

REBUILT_FREELY = 100_000
"""Logged steps up to which a run is read again from its start when a metric comes that has something to say. In a
longer one it is heard from there on."""

MOST_METRICS = 64
"""A run may log a loss for each of a thousand layers; so many metrics are read."""

ALWAYS_READ = ("train_loss", "val_loss", "grad_norm")
"""Roles of which every metric is read, not only the one that stands for the role."""


@dataclass(frozen=True, slots=True)
class Diagnosed:
    """What is left for others to do."""

    has_messages: bool = False
    is_behind: bool = False  # the run goes on beyond what one look reads


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """The points that this look adds, and what they are added to.

    again_from : first step that is read a second time, None: everything; what was said from there on no longer holds
    is_rewound : whether anything is
    """

    mark: FitMark
    before: DiagnosisState | None
    starts: Mapping[int, int | None]
    engine: Engine
    points: Mapping[str, Points]
    is_rewound: bool
    again_from: int | None
    read_to: int | None
    is_complete: bool


def diagnose_run(
    database: Database, run_id: str, targets: Sequence[Target], *, is_news: bool, strays_from: int | None = None
) -> Diagnosed:
    """Say what the points since the last look say; never raises.

    is_news : whether something has happened in the run. In one that was over before anybody diagnosed it, nothing that
        is found fires an alert
    strays_from : the first step that lies far beyond all curves; what was logged from there on is not read [steps]
    """
    try:
        return _diagnose(database, run_id, targets, is_news, strays_from)
    except SQLAlchemyError:
        log.exception("the diagnoses of run %s could not be stored; the sweep asks again", run_id)
    except Exception:
        log.exception("run %s could not be diagnosed", run_id)
        _record_failure(database, run_id)
    return Diagnosed()


def _diagnose(
    database: Database, run_id: str, targets: Sequence[Target], is_news: bool, strays_from: int | None
) -> Diagnosed:
    with database.read() as connection:
        found = _next_slice(connection, run_id, strays_from)
    if found is None:
        return Diagnosed()
    may_alert = is_news or (found.before is not None and found.before.is_news)
    said = found.engine.observe(
        {metric: (points.steps, points.values) for metric, points in found.points.items()},
        effective_starts(found.starts),
    )
    with database.write() as connection:
        key = found.mark.run_key
        if not hold_run(connection, key):
            return Diagnosed()
        if found.is_rewound:
            take_back(connection, key, found.again_from)
        save_events(connection, key, said.events)
        save_diagnosis_state(
            connection,
            key,
            DiagnosisState(
                arrivals=found.mark.arrivals,
                starts=_replacing(found.starts),
                read_to=found.read_to,
                is_complete=found.is_complete,
                is_news=may_alert,
                engine=found.engine.to_bytes(),
            ),
            {
                "watched": found.engine.inputs.metrics,
                "states": found.engine.states,
                "risk": found.engine.risk,
            },
        )
        # What is read in slices or anew is not known before it was read whole.
        has_messages = found.is_complete and may_alert and _alert(connection, key, targets)
    return Diagnosed(has_messages, is_behind=not found.is_complete)


def _alert(connection: Connection, run_key: int, targets: Sequence[Target]) -> bool:
    """Fire and resolve; True where messages now wait to be sent."""
    still_open = alerts.open_keys(connection, run_key)
    decided = decide(still_open, judge_events(read_events(connection, run_key), still_open))
    changed = [alerts.fire(connection, run_key, finding, targets) for finding in decided.fire]
    changed += [alerts.resolve(connection, run_key, cleared, targets) for cleared in decided.resolve]
    return bool(targets) and any(one is not None for one in changed)


def _next_slice(connection: Connection, run_id: str, strays_from: int | None) -> Slice | None:
    """None where nothing is new."""
    mark = fit_mark(connection, run_id)
    if mark is None or mark.arrivals == 0:
        return None
    series = {one.metric: one for one in list_series(connection, run_id) if one.points}
    roles = get_run(connection, run_id).declared_roles
    inputs = chosen_inputs({metric: one.points for metric, one in series.items()}, roles)
    starts = segment_starts(connection, mark.run_key)
    before = read_diagnosis_state(connection, mark.run_key)
    kept = _kept_engine(before, inputs)
    if before is None or kept is None:
        engine, is_rewound, again_from, lowest = Engine(inputs), True, None, LOWEST_STEP
    else:
        touched = _first_touched(connection, mark, before, starts)
        if touched is None and before.is_complete and before.arrivals == mark.arrivals:
            return None
        engine, is_rewound, again_from = _rewound(kept, before, touched)
        lowest = _after(before.read_to) if again_from is None and not is_rewound else _or_lowest(again_from)
    ids = {metric: series[metric].id for metric in engine.inputs.roles if metric in series}
    highest = step_within(connection, mark.run_key, list(ids.values()), lowest, SLICE_POINTS)
    points = None
    if before is not None and before.is_complete and not is_rewound and highest is None and strays_from is None:
        points = _news(connection, mark, before, ids, starts)
    if points is None:
        top = min(
            HIGHEST_STEP if highest is None else highest, HIGHEST_STEP if strays_from is None else strays_from - 1
        )
        points = {metric: read_series(connection, mark.run_key, one, lowest, top) for metric, one in ids.items()}
    ends = [int(one.steps[-1]) for one in points.values() if len(one)]
    return Slice(
        mark=mark,
        before=before,
        starts=starts,
        engine=engine,
        points=points,
        is_rewound=is_rewound,
        again_from=again_from,
        read_to=highest if highest is not None else max(ends, default=engine.last_step),
        is_complete=highest is None,
    )


def _news(
    connection: Connection,
    mark: FitMark,
    before: DiagnosisState,
    ids: Mapping[str, int],
    starts: Mapping[int, int | None],
) -> dict[str, Points] | None:
    """The points of the new batches alone: a query where reading the series takes some for each segment.

    None where only the series can tell: batches were compacted, or came for a segment that others replace.
    """
    news = read_news(connection, mark.run_key, ids.values(), before.arrivals, mark.arrivals)
    newest = max((segment for segment, start in starts.items() if start is not None), default=None)
    if not news.complete or any(segment != newest for chunks in news.points.values() for segment, _ in chunks):
        return None
    found = {}
    for metric, series_id in ids.items():
        whole = merged([chunk for _, chunk in news.points.get(series_id, ())])
        found[metric] = Points(whole.steps, whole.values, whole.times)
    return found


def chosen_inputs(points: Mapping[str, int], declared_roles: Mapping[str, str]) -> Inputs:
    """Which metric stands for what, without the metrics that no diagnosis reads."""
    everything = choose_inputs(points, declared_roles)
    stand_for_something = list(dict.fromkeys(everything.metrics.values()))
    others = [metric for metric in everything.with_role(*ALWAYS_READ) if metric not in stand_for_something]
    read = sorted([*stand_for_something, *others][:MOST_METRICS])
    return Inputs({metric: everything.roles[metric] for metric in read}, everything.metrics)


def effective_starts(starts: Mapping[int, int | None]) -> list[int]:
    """Where the segments begin that still show, in order: a restart that went further back has undone those between."""
    shown: list[int] = []
    for start in reversed(list(starts.values())):
        if start is not None and (not shown or start < shown[-1]):
            shown.append(start)
    return shown[::-1]


def _kept_engine(before: DiagnosisState | None, inputs: Inputs) -> Engine | None:
    """The stored engine; None where it must be rebuilt from the points."""
    if before is None or before.engine is None:
        return None
    try:
        engine = Engine.from_bytes(before.engine)
        if engine.inputs == inputs:
            return engine
        # What was said without a metric could be said better with it; only in a long run that is too much reading.
        return None if engine.rows <= REBUILT_FREELY else engine.with_inputs(inputs)
    except BadInput:
        return None


def _first_touched(
    connection: Connection, mark: FitMark, before: DiagnosisState, starts: Mapping[int, int | None]
) -> int | None:
    """The first step at which storage may show something else than it did. [steps]"""
    moved = set(before.starts.items()) ^ set(_replacing(starts).items())
    arrived = first_step_since(connection, mark.run_key, before.arrivals, mark.arrivals)
    return min([*(start for _, start in moved), *([] if arrived is None else [arrived])], default=None)


def _rewound(engine: Engine, before: DiagnosisState, touched: int | None) -> tuple[Engine, bool, int | None]:
    """The engine as it was before the touched step, whether that meant to forget, and the first step to read again."""
    if before.read_to is None:
        return engine, True, None
    if touched is None or touched > before.read_to:
        return engine, False, None
    if engine.last_step is None or touched > engine.last_step:
        # Nothing that it reads lay between the two.
        return engine, False, touched
    shorter, again_from = engine.truncated(touched)
    return shorter, True, again_from


def _replacing(starts: Mapping[int, int | None]) -> dict[int, int]:
    """Where later segments replace earlier ones: the first replaces nothing, wherever it starts."""
    return {segment: start for segment, start in starts.items() if segment > 1 and start is not None}


def _or_lowest(step: int | None) -> int:
    return LOWEST_STEP if step is None else step


def _after(step: int | None) -> int:
    return LOWEST_STEP if step is None else min(step + 1, HIGHEST_STEP)


def _record_failure(database: Database, run_id: str) -> None:
    """Say so, and keep the sweep from asking for the same again; the next point begins anew."""
    try:
        with database.write() as connection:
            mark = fit_mark(connection, run_id)
            if mark is not None:
                state = DiagnosisState(mark.arrivals, {}, None, is_complete=True, is_news=True, engine=None)
                save_diagnosis_state(connection, mark.run_key, state, {"failed": True})
    except SQLAlchemyError:
        log.exception("nor could that be recorded")
