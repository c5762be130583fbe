"""The metrics of a run: what each means, which is shown first, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence

from app.curves.roles import assign_roles, forecastable, primary_loss
from app.runs import Run, Series, Summary


def roles_and_loss(run: Run, summary: Summary | None, series: Sequence[Series]) -> tuple[dict[str, str], str | None]:
    """Roles and the loss to show first: the worker's word, or the same rules where it has not spoken yet."""
    if summary is not None and summary.metric is not None:
        return {metric: str(match["role"]) for metric, match in summary.roles.items()}, summary.metric
    matches = assign_roles([one.metric for one in series], run.declared_roles)
    points_of = {one.metric: one.points for one in series}
    metric = primary_loss(matches, points_of) or next(iter(forecastable(matches, points_of)), None)
    first = series[0].metric if series else None
    return {name: match.role for name, match in matches.items()}, metric or first


def newest_value(run: Run, summary: Summary | None, series: Series | None) -> tuple[int | None, float | None]:
    """The last step of a metric and its value; a step far beyond the curve of the one shown first is none."""
    if series is None or series.last_step is None:
        return None, None
    is_stray = run.last_step is not None and series.last_step > run.last_step
    if is_stray and summary is not None and summary.metric == series.metric and summary.last_step is not None:
        return summary.last_step, summary.last_value
    return series.last_step, series.last_value
