"""Real runs as the network's tasks: the same bins and the same conventions as the invented ones."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from app.curves.curve import Curve
from app.curves.inference.inferred import HOLD
from app.curves.plan import ASSUMED, Plan
from app.curves.schedule import Schedule
from app.errors import CurveTooShort
from app.pfn.bars import Bars
from app.pfn.intrinsic_time import Array
from app.pfn.tasks import MAX_BINS, MAX_KNOTS, Tasks, bin_edges, bin_of

MIN_BINS = 3
"""Fewer bins than the shortest invented curve has: the network has never seen so little."""

HIGHEST_BEGINNINGS = {0.05: 3.4, 0.1: 5.3, 0.2: 10.0, 0.3: 17.0, 0.5: 39.0}
"""Share of what was seen -> how much higher a curve was by then than since, as a multiple of its fall since: 95 % of
invented curves no more than that (`benchmarks.pfn_beginnings`), and no run is read so."""

LARGEST_VALUE = 1e30
"""Of the typical size of the metric: what is beyond counts as this much, so that float32 holds it."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """One run as a task.

    tasks : B = 1
    size : power of two that the values were divided by    [of the metric]
    """

    tasks: Tasks
    size: float

    def restored(self, bars: Bars) -> Bars:
        """Distributions of the task's values, in the metric's own unit."""
        return Bars(bars.knots, bars.masses, bars.location * self.size, bars.unit * self.size)


def read_run(
    curve: Curve,
    plan: Plan,
    steps: npt.NDArray[np.int64],
    *,
    averaged: npt.ArrayLike = np.inf,
    minimum: npt.ArrayLike = False,
) -> Reading:
    """The task of forecasting one run.

    Parameters
    ----------
    curve : Curve
    plan : Plan
    steps : int64, shape (n,), after the curve's cutoff      [steps]
    averaged, minimum : broadcast to `steps`, as in `Tasks`

    Raises
    ------
    CurveTooShort
        With fewer than 3 bins.
    """
    if len(curve) < MIN_BINS:
        raise CurveTooShort(needed=MIN_BINS, got=len(curve))
    horizon = float(max(plan.total_steps, curve.cutoff, int(np.max(steps))))
    # Steps that count from zero, or below: the network's positions are how much training was done, above zero.
    origin = min(float(curve.steps[0]), 1.0) - 1.0
    unit = horizon - origin
    size = _size(curve.values)
    positions, cutoff = (curve.steps - origin) / unit, (curve.cutoff - origin) / unit
    curve = replace(curve, values=_no_higher_than_known(curve.values, positions / cutoff))
    bins = _merged(curve, positions, cutoff, size)
    queries = (np.asarray(steps, dtype=np.float64) - origin) / unit
    past_known, future_known, horizon_known = _known(plan)
    knots, rates = _knots(plan.schedule, origin, unit)
    tasks = Tasks(
        positions=_row(bins.positions),
        values=_row(bins.values),
        spreads=_row(bins.spreads),
        counts=_row(bins.counts),
        seen=(bins.counts > 0)[None, :],
        cutoff=np.array([cutoff], dtype=np.float32),
        horizon=np.array([1.0 if horizon_known else cutoff], dtype=np.float32),
        horizon_known=np.array([horizon_known]),
        knots=_row(knots),
        rates=_row(rates),
        past_known=np.array([past_known]),
        future_known=np.array([future_known]),
        # float32 must tell the first query from the cutoff, as in invented tasks.
        queries=_row(np.maximum(queries, cutoff * (1 + 1e-5))),
        averaged=_row(np.broadcast_to(np.asarray(averaged, dtype=np.float64), queries.shape)),
        minimum=np.broadcast_to(np.asarray(minimum, dtype=bool), queries.shape)[None, :],
    )
    return Reading(tasks, size)


@dataclass(frozen=True, slots=True, eq=False)
class _ContextBins:
    """Bins of the task, (MAX_BINS,); those without a point have count 0."""

    positions: Array
    values: Array
    spreads: Array
    counts: Array


def _no_higher_than_known(values: Array, shares: Array) -> Array:
    """The values, those of the beginning brought down to where nearly all invented curves are.

    A loss that falls from 17 to 3 within some steps, and by 0.3 ever after, says nothing of its end by its first fall;
    one that fell by 3 and has stood still ever since, nothing either. The network, which has hardly seen such a curve,
    would measure by that first fall what is still to come.

    Parameters
    ----------
    values, shares : shape (n,); of what was seen, at each bin, in order
    """
    for share in sorted(HIGHEST_BEGINNINGS, reverse=True):
        height = height_of_beginning(values, shares, share)
        if height is not None and height.times > HIGHEST_BEGINNINGS[share]:
            highest = height.now + (1 + HIGHEST_BEGINNINGS[share]) * height.fall
            values = np.where(shares <= share, np.minimum(values, highest), values)
    return values


@dataclass(frozen=True, slots=True)
class Height:
    """How high a curve began.

    now : level of its newest part
    fall : from where it was after the beginning until now, above zero
    times : how much higher than that it was before, in units of `fall`
    """

    now: float
    fall: float
    times: float


def height_of_beginning(values: Array, shares: Array, share: float) -> Height | None:
    """Of a curve's first `share`; None where there is nothing to tell it by, or nothing has fallen since.

    Parameters
    ----------
    values, shares : shape (n,); of what was seen, at each bin, in order
    """
    is_early = shares <= share
    settled = values[~is_early]
    if len(settled) < MIN_BINS or not is_early.any():
        return None
    now = float(np.median(settled[-max(MIN_BINS, len(settled) // 6) :]))
    fall = float(np.quantile(settled, 0.98)) - now  # a lone spike is no fall
    if not fall > 0:
        return None
    return Height(now, fall, (float(values[is_early].max()) - now) / fall - 1)


def _merged(curve: Curve, positions: Array, cutoff: float, size: float) -> _ContextBins:
    """The curve's bins merged by the task's rule, points weighted alike."""
    edges = bin_edges(float(positions[0]), cutoff)
    index = bin_of(positions, edges)
    counts, values = curve.counts.astype(np.float64), np.clip(curve.values / size, -LARGEST_VALUE, LARGEST_VALUE)
    spreads = np.minimum(curve.spreads / size, LARGEST_VALUE)

    def total(weights: Array) -> Array:
        return np.bincount(index, weights, minlength=MAX_BINS).astype(np.float64)

    merged = total(counts)
    points = np.maximum(merged, 1.0)
    means = total(counts * values) / points
    squares = total((counts - 1) * spreads**2 + counts * (values - means[index]) ** 2)
    return _ContextBins(
        positions=np.where(merged > 0, total(counts * positions) / points, 1.0),
        values=means,
        spreads=np.sqrt(squares / np.maximum(points - 1, 1.0)),
        counts=merged,
    )


def _size(values: Array) -> float:
    typical = float(np.median(np.abs(values))) or float(np.max(np.abs(values)))
    return float(2.0 ** np.round(np.log2(typical))) if typical > 0 else 1.0


def _known(plan: Plan) -> tuple[bool, bool, bool]:
    """Whether the past rate, the rate to come and the horizon are known."""
    guessed = plan.schedule_source == ASSUMED or plan.schedule_family == HOLD
    # A plan without any rate is a flat line at 1; a logged rate that never moves from there tells as little.
    nothing = guessed and bool((plan.schedule.rates == 1.0).all())
    return not nothing, not guessed, plan.total_source != ASSUMED


def _knots(schedule: Schedule, origin: float, unit: float) -> tuple[Array, Array]:
    """The schedule's corners and enough places between them: on a straight piece the answer to the rate is curved."""
    if len(schedule) > MAX_KNOTS:
        schedule = Schedule.through(schedule.steps, schedule.rates, max_knots=MAX_KNOTS)
    ends = origin, origin + unit
    even = np.linspace(*ends, MAX_KNOTS)
    steps = np.unique(np.clip(np.concatenate([even, schedule.steps]), *ends))
    rates = schedule.rate_at(steps)
    peak = float(rates.max())
    return (steps - origin) / unit, rates / peak if peak > 0 else np.ones_like(rates)


def _row(array: Array) -> npt.NDArray[np.float32]:
    return array.astype(np.float32)[None, :]
