"""A reduced curve brought up to date, at the price of the new points where they came in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from app.curves.reduction import Reduction
from app.curves.strays import curve_range
from app.runs import Points, Series
from app.storage.codec import Chunk
from app.storage.curves import CurveState, FitMark, News
from app.storage.points import LOWEST_STEP, merged, read_series


@dataclass(frozen=True, slots=True, eq=False)
class CaughtUp:
    """A metric's curve, and the points that are none of it for lying far beyond all others (`app.curves.strays`)."""

    state: CurveState
    strays: Points

    @property
    def everything(self) -> Reduction:
        """The curve, with its strays where one of them is not finite: that is told wherever it is."""
        is_news = not np.isfinite(self.strays.values).all()
        curve = self.state.reduction
        return curve.extend(self.strays.steps, self.strays.values) if is_news else curve


def caught_up(
    connection: Connection,
    mark: FitMark,
    series: Series,
    state: CurveState | None,
    news: News,
    news_after: int,
    starts: Mapping[int, int | None],
) -> CaughtUp:
    """The series' curve with everything up to `mark.arrivals`.

    What storage would show is the truth; `news` (batches after `news_after`) is a short cut to it. Points that came
    late, repeat a step, or follow a restart make the curve read again from the earliest step they touch.
    """
    # The first segment replaces nothing, wherever it starts.
    replaced_from = {segment: start for segment, start in starts.items() if segment > 1 and start is not None}

    def done(reduction: Reduction, strays: Points) -> CaughtUp:
        return CaughtUp(CurveState(series.id, mark.arrivals, replaced_from, reduction), strays)

    if state is None or not news.complete or state.arrivals != news_after:
        return done(*_read_again(connection, mark.run_key, series.id, Reduction.empty(), LOWEST_STEP))
    new = [chunk for _, chunk in news.points.get(series.id, ())]
    touched = _moved_starts(state.starts, replaced_from)
    fresh = merged(new)
    if len(fresh) and not _continues(state.reduction, new):
        touched.append(int(fresh.steps[0]))
    reduction = state.reduction
    if reduction.origin is not None and reduction.origin < 0 and len(fresh) and fresh.steps[-1] >= 0:
        return done(*_read_again(connection, mark.run_key, series.id, Reduction.empty(), LOWEST_STEP))
    if touched:
        is_empty = reduction.last_step is None
        kept, again_from = (reduction, LOWEST_STEP) if is_empty else reduction.truncated(min(touched))
        return done(*_read_again(connection, mark.run_key, series.id, kept, again_from))
    grown, strays = _extended(reduction, Points(fresh.steps, fresh.values, fresh.times))
    if _has_strays(series, grown):
        # Whether the curve goes on out there only all of them tell, not the new ones. They are few.
        last = reduction.last_step
        from_step = LOWEST_STEP if last is None else last + 1
        grown, strays = _read_again(connection, mark.run_key, series.id, reduction, from_step)
    return done(grown, strays)


def _read_again(
    connection: Connection, key: int, series_id: int, kept: Reduction, from_step: int
) -> tuple[Reduction, Points]:
    return _extended(kept, read_series(connection, key, series_id, from_step))


def _extended(reduction: Reduction, points: Points) -> tuple[Reduction, Points]:
    """The curve with those of the points that belong to it, and the others."""
    if not len(points):
        return reduction, points
    begin, end = curve_range(points.steps, before=reduction.n_points, origin=reduction.origin, last=reduction.last_step)
    grown = reduction.extend(points.steps[begin:end], points.values[begin:end]) if begin < end else reduction
    return grown, Points(points.steps[end:], points.values[end:], points.times[end:])


def _has_strays(series: Series, reduction: Reduction) -> bool:
    if series.last_step is None or reduction.last_step is None:
        return False
    return series.last_step > reduction.last_step


def _continues(reduction: Reduction, new: list[Chunk]) -> bool:
    """Whether the new points simply follow: none at or before the last step seen."""
    if reduction.last_step is None:
        return True
    return min(int(chunk.steps.min()) for chunk in new if len(chunk)) > reduction.last_step


def _moved_starts(before: Mapping[int, int], now: Mapping[int, int]) -> list[int]:
    """The steps from which the replacing of older segments has changed."""
    changed = set(before.items()) ^ set(now.items())
    return [start for _, start in changed]
