"""A reduced curve brought up to date, at the price of the new points where they came in order."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection

from app.curves.reduction import Reduction
from app.storage.codec import Chunk
from app.storage.curves import CurveState, FitMark, News
from app.storage.points import LOWEST_STEP, merged, read_series


def caught_up(
    connection: Connection,
    mark: FitMark,
    series_id: int,
    state: CurveState | None,
    news: News,
    news_after: int,
    starts: Mapping[int, int | None],
) -> CurveState:
    """The series' curve with everything up to `mark.arrivals`.

    What storage would show is the truth; `news` (batches after `news_after`) is a short cut to it. Points that came
    late, repeat a step, or follow a restart make the curve read again from the earliest step they touch.
    """
    # The first segment replaces nothing, wherever it starts.
    replaced_from = {segment: start for segment, start in starts.items() if segment > 1 and start is not None}
    if state is None or not news.complete or state.arrivals != news_after:
        reduction = _read_again(connection, mark.run_key, series_id, Reduction.empty(), LOWEST_STEP)
        return CurveState(series_id, mark.arrivals, replaced_from, reduction)
    new = [chunk for _, chunk in news.points.get(series_id, ())]
    touched = _moved_starts(state.starts, replaced_from)
    fresh = merged(new)
    if len(fresh) and not _continues(state.reduction, new):
        touched.append(int(fresh.steps[0]))
    reduction = state.reduction
    if touched:
        is_empty = reduction.last_step is None
        kept, again_from = (reduction, LOWEST_STEP) if is_empty else reduction.truncated(min(touched))
        reduction = _read_again(connection, mark.run_key, series_id, kept, again_from)
    elif len(fresh):
        reduction = reduction.extend(fresh.steps, fresh.values)
    return CurveState(series_id, mark.arrivals, replaced_from, reduction)


def _read_again(connection: Connection, key: int, series_id: int, kept: Reduction, from_step: int) -> Reduction:
    points = read_series(connection, key, series_id, from_step)
    return kept.extend(points.steps, points.values) if len(points) else kept


def _continues(reduction: Reduction, new: list[Chunk]) -> bool:
    """Whether the new points simply follow: none at or before the last step seen."""
    if reduction.last_step is None:
        return True
    return min(int(chunk.steps.min()) for chunk in new if len(chunk)) > reduction.last_step


def _moved_starts(before: Mapping[int, int], now: Mapping[int, int]) -> list[int]:
    """The steps from which the replacing of older segments has changed."""
    changed = set(before.items()) ^ set(now.items())
    return [start for _, start in changed]
