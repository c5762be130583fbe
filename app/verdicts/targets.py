"""When a level is reached, and when a run ends: both as distributions.

**A level.** The forecast is read as paths that keep their rank: a path at level `p` of the fan stays there. Then the
chance that the level has been reached by a step is the largest chance, up to that step, of lying at or below it. The
loss of one run at two steps of its future is nearly perfectly correlated in every forecaster here (they differ by
parameters, not by noise), so little is lost by it; where bands come from noise, the true chance is larger.

**An end.** Steps are made at a pace. The pace of the last stretch is what counts, pauses are what does not look like a
pace at all, and both come back as often as they did: the future is put together from blocks of the past, drawn with
replacement (Künsch 1989), which keeps pauses, restarts and slow stretches as long and as frequent as they were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.verdicts.contest import Errors, is_positive
from app.verdicts.estimate import errors_of, tells_nothing
from app.verdicts.outlook import Outlook
from app.verdicts.shipped_errors import shipped_errors
from app.verdicts.situation import Situation

Array = npt.NDArray[np.float64]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

PAUSE_FACTOR = 20.0
"""A step that takes so many times the median is a pause: a checkpoint, an evaluation, a queue, a restart."""

RECENT_SHARE = 0.2
"""The pace of now is the median of the last fifth of the steps seen."""

FEWEST_INTERVALS = 20

BLOCKS = 20
"""The past is cut into so many blocks for the draws."""

N_FUTURES = 400

MOST_BLOCKS = 200
"""A future of more blocks goes at their mean pace: what single ones add to it has averaged out."""

ROUNDING = 1e-9
"""Of sums of probabilities."""

SLOWER = 1.25
"""The pace has dropped where the median step takes so many times what it did before, and more than nine in ten did."""

FEWEST_RECENT = 10


@dataclass(frozen=True, slots=True)
class Reaching:
    """When a level will be reached.

    reached_at : the step at which it was reached already; None: not yet                            [steps]
    probability : that it is reached by the horizon; None where nothing is known of what is to come
    steps : level of probability -> step by which it is reached so surely; None: not by then, or not known [steps]
    by_budget : probability that it is reached within the budget that was given; None without one, or not known
    passage : steps to come, and the probability that it has been reached by each; None where there is nothing to come,
        or not known
    """

    level: float
    reached_at: int | None
    probability: float | None
    steps: Mapping[float, int | None]
    by_budget: float | None = None
    passage: tuple[npt.NDArray[np.int64], Array] | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast steps are made.

    seconds : of a step, now                                     [s/step]
    before : of a step, in the first half of the run so far      [s/step]
    has_dropped : whether it is markedly slower now
    paused : share of the time so far that was spent in pauses
    pauses : how many there were
    """

    seconds: float
    before: float
    has_dropped: bool
    paused: float
    pauses: int

    @property
    def sentence(self) -> str:
        """What to tell people; empty where there is nothing to tell."""
        if not self.has_dropped:
            return ""
        return f"A step takes {self.seconds:.3g} s, {self.seconds / self.before:.1f} times what it took before."


@dataclass(frozen=True, slots=True)
class Arrival:
    """When a step will be reached, in seconds from the last point.

    seconds : level of probability -> by when so surely          [s]
    """

    step: int
    seconds: Mapping[float, float]
    pace: Pace


def reach(situation: Situation, level: float, *, budget_step: int | None = None) -> Reaching:
    """When a metric gets to a level: already, or by its fan, which errs as far as verdicts take it to.

    Parameters
    ----------
    budget_step : int, optional
        The last step that can be afforded. [steps]
    """
    lower = situation.oriented()
    wanted = level if situation.lower_is_better else -level
    met = np.flatnonzero(lower.history.levels() <= wanted)
    if len(met):
        step = round(float(lower.history.steps[met[0]]))
        by_budget = None if budget_step is None else float(step <= budget_step)
        return Reaching(level, step, 1.0, dict.fromkeys(QUANTILES, step), by_budget)
    is_too_late = budget_step is not None and budget_step <= situation.cutoff
    if lower.outlook is None or tells_nothing(lower):
        return Reaching(level, None, None, dict.fromkeys(QUANTILES), 0.0 if is_too_late else None)
    steps, chances = first_passage(lower.outlook, wanted, errors_of(lower, shipped_errors()))
    by = {quantile: _first(steps, chances, quantile) for quantile in QUANTILES}
    within = None if budget_step is None else _chance_by(steps, chances, budget_step)
    return Reaching(level, None, float(chances[-1]), by, within, (steps, chances))


def first_passage(outlook: Outlook, level: float, errors: Errors) -> tuple[npt.NDArray[np.int64], Array]:
    """Probability that the level has been reached by each step of the path; lower is better here.

    By the last one at least the chance to end below it, as verdicts compare the run with a target.
    """
    chances = errors.alone(outlook.scores_of(level))
    if level <= 0 and is_positive(outlook.final):
        chances = np.zeros_like(chances)
    chances[-1] = max(chances[-1], errors.chance_below(outlook.final, level))
    return outlook.path_steps, np.maximum.accumulate(chances)


def pace_of(steps: npt.ArrayLike, times: npt.ArrayLike) -> Pace | None:
    """The pace by the job's own clock; None where it sent none, or too little of it.

    Parameters
    ----------
    steps : shape (n,), strictly increasing    [steps]
    times : shape (n,), NaN where unknown      [s]
    """
    per_step, gaps, widths = _intervals(steps, times)
    if len(per_step) < FEWEST_INTERVALS:
        return None
    is_pause = per_step > PAUSE_FACTOR * float(np.median(per_step))
    running = per_step[~is_pause]
    recent = max(FEWEST_RECENT, round(RECENT_SHARE * len(running)))
    earlier = running[: len(running) // 2]
    now, before, usual = np.median(running[-recent:]), np.median(earlier), np.quantile(earlier, 0.9)
    total = float(gaps.sum())
    in_pauses = float((gaps[is_pause] - np.median(per_step) * widths[is_pause]).sum())
    return Pace(
        seconds=float(now),
        before=float(before),
        has_dropped=bool(now > SLOWER * before and now > usual),
        paused=in_pauses / total if total > 0 else 0.0,
        pauses=int(is_pause.sum()),
    )


def arrive(steps: npt.ArrayLike, times: npt.ArrayLike, step: int, *, rng: np.random.Generator) -> Arrival | None:
    """When a step will be reached; None where the job's clock is not known.

    Between pauses the pace of now goes on, as uneven as it was; pauses come as often and as long as they did.
    """
    pace = pace_of(steps, times)
    if pace is None:
        return None
    left = step - float(np.asarray(steps, dtype=np.float64)[-1])
    if left <= 0:
        return Arrival(step, dict.fromkeys(QUANTILES, 0.0), pace)
    drawn = _drawn(steps, times, pace, np.array([left]), rng)[:, 0]
    seconds = {quantile: float(np.quantile(drawn, quantile)) for quantile in QUANTILES}
    return Arrival(step, seconds, pace)


def time_to_reach(
    reaching: Reaching, steps: npt.ArrayLike, times: npt.ArrayLike, *, rng: np.random.Generator
) -> dict[float, float | None]:
    """Level of probability -> by how many seconds from the last point the level is reached so surely.    [s]

    At which step it is reached and how long steps take are uncertain both, and independently. None: not by the end of
    the run, or not known. The pace is that of `arrive`.
    """
    pace = pace_of(steps, times)
    if pace is None or (reaching.passage is None and reaching.reached_at is None):
        return dict.fromkeys(QUANTILES)
    if reaching.passage is None:
        return dict.fromkeys(QUANTILES, 0.0)
    ahead, chances = reaching.passage
    left = np.maximum(ahead - float(np.asarray(steps, dtype=np.float64)[-1]), 0.0)
    drawn = _drawn(steps, times, pace, left, rng)
    order = np.argsort(drawn, axis=None)
    reached = np.cumsum(np.broadcast_to(np.diff(chances, prepend=0.0) / len(drawn), drawn.shape).ravel()[order])
    places = np.searchsorted(reached, np.array(QUANTILES) - ROUNDING)
    ordered = drawn.ravel()[order]
    return {
        quantile: float(ordered[place]) if place < len(ordered) else None
        for quantile, place in zip(QUANTILES, places, strict=True)
    }


def _drawn(steps: npt.ArrayLike, times: npt.ArrayLike, pace: Pace, left: Array, rng: np.random.Generator) -> Array:
    """Seconds that each of many futures takes for so many steps, shape (N_FUTURES, n)."""
    per_step, gaps, widths = _intervals(steps, times)
    is_pause = per_step > PAUSE_FACTOR * float(np.median(per_step))
    # What was running is brought to the pace of now; what was a pause keeps its length.
    rescaled = np.where(is_pause, gaps, gaps * _to_now(per_step, is_pause, pace.seconds))
    bounds = np.unique(np.linspace(0, len(gaps), BLOCKS + 1).astype(np.intp))[:-1]
    return _futures(np.add.reduceat(rescaled, bounds), np.add.reduceat(widths, bounds), left, rng)


def _intervals(steps: npt.ArrayLike, times: npt.ArrayLike) -> tuple[Array, Array, Array]:
    """Seconds a step, seconds and steps between neighbouring points whose times are known and go on."""
    at, when = np.asarray(steps, dtype=np.float64), np.asarray(times, dtype=np.float64)
    known = np.isfinite(when)
    gaps, widths = np.diff(when[known]), np.diff(at[known])
    forward = (gaps >= 0) & (widths > 0)
    return gaps[forward] / widths[forward], gaps[forward], widths[forward]


def _to_now(per_step: Array, is_pause: npt.NDArray[np.bool_], seconds: float) -> Array:
    """Factor on each interval that takes the pace of its surroundings to that of now."""
    running = np.flatnonzero(~is_pause)
    parts = np.array_split(running, min(BLOCKS, len(running)))
    centres = [float(part.mean()) for part in parts]
    local = [max(float(np.median(per_step[part])), 1e-12) for part in parts]
    return np.asarray(seconds / np.interp(np.arange(len(per_step)), centres, local))


def _futures(seconds: Array, steps: Array, left: Array, rng: np.random.Generator) -> Array:
    """Seconds that each of many futures takes for each of `left` steps, put together from blocks of the past.

    Each future draws from blocks that were themselves drawn from the past: with twenty of them, how often a pause
    comes is not known well, and a future of many blocks would look surer than it is.
    """
    n = len(seconds)
    ends = np.empty((N_FUTURES, len(left)))
    for future in range(N_FUTURES):
        pool = rng.integers(n, size=n)
        per_block = float(steps[pool].mean())
        count = int(np.ceil(1.5 * float(left.max()) / per_block)) + 2
        if count > MOST_BLOCKS:
            ends[future] = left * float(seconds[pool].sum()) / float(steps[pool].sum())
            continue
        chosen = pool[rng.integers(n, size=count)]
        made, took = np.cumsum(steps[chosen]), np.cumsum(seconds[chosen])
        ends[future] = np.interp(left, np.append(0.0, made), np.append(0.0, took))
    return ends


def _first(steps: npt.NDArray[np.int64], chances: Array, probability: float) -> int | None:
    place = int(np.searchsorted(chances, probability))
    return int(steps[place]) if place < len(steps) else None


def _chance_by(steps: npt.NDArray[np.int64], chances: Array, budget_step: int) -> float:
    place = int(np.searchsorted(steps, budget_step, side="right"))
    return float(chances[place - 1]) if place else 0.0
