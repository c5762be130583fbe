"""What the main chart of a run shows, before anything of it is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from app.curves.schedule import Schedule
from app.runs import Points, StoredForecast


class Scale(StrEnum):
    """How the loss axis is laid out."""

    FOCUS = "focus"  # linear; the first drop may leave the top of the chart, a first rise the bottom
    FULL = "full"  # linear, everything in view
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Restart:
    """Where a later segment took over."""

    number: int
    step: int


@dataclass(frozen=True, slots=True, eq=False)
class LossChart:
    """What the chart shows.

    view : the steps in sight, None for all of the run and its horizon
    others : further metrics of its kind, drawn thinner
    rises : more is better; then the first rise may leave the bottom of the chart
    rate : the learning rate as logged; empty if it was not
    unlogged_rate : what the job or its config says of a rate that it does not log, past and to come
    warned_of : metrics that open alerts name: of these the focused scale shows what the alert is about
    last_step : of the whole run, in view or not; the buttons below the chart count from it
    """

    metric: str
    points: Points
    others: Mapping[str, Points] = field(default_factory=dict)
    forecast: StoredForecast | None = None
    rate: Points = field(default_factory=Points.empty)
    unlogged_rate: Schedule | None = None
    restarts: Sequence[Restart] = ()
    last_step: int = 0
    view: tuple[float, float] | None = None
    scale: Scale = Scale.FOCUS
    smooth: bool = False
    rises: bool = False
    warned_of: frozenset[str] = frozenset()
