"""The annealing law as a forecaster: what the learning rate's future does to the loss."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from app.curves.curve import Curve
from app.curves.inference.inferred import HOLD
from app.curves.plan import ASSUMED, Plan
from app.curves.schedule import Schedule
from app.forecasting.final_value import final_levels, final_noise
from app.forecasting.forecaster import Array, Paths
from app.forecasting.observations import is_positive, observe
from app.laws.inference.posterior import infer
from app.laws.prior import Gaussian, LogNormal, Prior, Skewed
from app.laws.shipped import shipped_population

N_PATHS = 512
"""Enough for the 5 % quantile to stand within a tenth of the band's width."""

DECAY_PROBABILITY = 0.4
"""Where nothing is known of the schedule: how likely the rate is to be decayed before the end. Not measured."""

COOLDOWN_SHARE = 0.2
"""Share of the run over which such a decay is imagined, linear to zero: the usual cooldown (Hägele et al. 2024)."""

TOLD_STRETCH = 0.15
"""A band that finished runs make wider or narrower by less than this is not spoken of."""

OUTER = float(ndtri(0.95))
"""Deviations from the median of a normal to its 95 % quantile."""

FLOOR_SHARE = 0.2
"""A positive loss is not forecast to fall below zero: under this share of the level, paths bend towards it."""

AS_MANY = 0.95
"""Runs that count for at least this share of their number are told by their number alone."""


@dataclass(frozen=True, slots=True)
class LawForecaster:
    """The annealing law's posterior. Seed and prior are fixed, so the same curve gives the same forecast.

    Without a prior, the shipped population's.
    """

    name: str = "law"
    prior: Prior | None = None
    n_paths: int = N_PATHS
    seed: int = 0

    def predict(self, curve: Curve, plan: Plan, steps: npt.NDArray[np.int64]) -> Paths:
        observations = observe(curve, plan.schedule)
        prior = self.prior or shipped_population().prior
        horizon = max(plan.total_steps, curve.cutoff)
        posterior = infer(observations, plan.schedule, horizon, prior)

        def drawn(schedule: Schedule, n_paths: int) -> tuple[Array, float]:
            """Futures under a schedule, moved and stretched as finished runs say; and how far stretched."""
            values = posterior.paths(schedule, steps, n_paths=n_paths, seed=self.seed)
            if not prior.past_errors.off:
                return values, 1.0
            stated = stated_deviation(Paths(steps, values), curve, horizon)
            share = curve.cutoff / max(horizon, 1)
            shift, stretch = prior.past_errors.shift_and_stretch(share, stated / observations.scale)
            return corrected(values, shift * stated, stretch), stretch

        notes: list[str] = []
        if prior.is_of_a_project:
            notes.append(f"What training and annealing still give is judged from {_heard(prior)}{_counting(prior)}.")
        if schedule_is_guessed(plan):
            n_decayed = round(DECAY_PROBABILITY * self.n_paths)
            decayed = cooled_down(plan.schedule, curve.cutoff, plan.total_steps)
            # Each about its own median: what the rate will do was not guessed in hindsight.
            held, stretch = drawn(plan.schedule, self.n_paths - n_decayed)
            values = np.concatenate([held, drawn(decayed, n_decayed)[0]])
            notes.append(
                "The learning rate's future is not known: the band covers a rate that stays as it is "
                f"({100 * (1 - DECAY_PROBABILITY):.0f} %) and one that decays to zero before the end "
                f"({100 * DECAY_PROBABILITY:.0f} %). Declare the schedule for a sharper forecast."
            )
        else:
            values, stretch = drawn(plan.schedule, self.n_paths)
        if abs(stretch - 1) >= TOLD_STRETCH:
            notes.append(
                f"As sure forecasts of finished runs of this project would have been {stretch:.1f} times as far off as "
                f"foreseen: the law's band is {'wider' if stretch > 1 else 'narrower'} for that."
            )
        if is_positive(curve.values):
            values = above_zero(values, FLOOR_SHARE * observations.level)
        else:
            notes.append("The metric reaches zero or below: errors are judged by its spread, not by its level.")
        return Paths(steps, values, tuple(notes), lawful=posterior.lawful)


def _heard(prior: Prior) -> str:
    """Which runs of the project spoke, in words."""
    finished = _counted(prior.finished_runs, "finished run")
    live = f"{_counted(prior.live_runs, 'run')} still going"
    if not prior.live_runs:
        return f"{finished} of this project"
    return f"{live} in this project" if not prior.finished_runs else f"{finished} of this project and {live}"


def _counting(prior: Prior) -> str:
    """What they count for, where that is not what their number says; a prior of before that was kept says nothing."""
    heads = prior.finished_runs + prior.live_runs
    if not 0 < prior.counted_as < AS_MANY * heads:
        return ""
    counts = "counts" if heads == 1 else "together count"
    runs = "of a run" if prior.counted_as < 1 else "runs"
    return f", which {counts} as {prior.counted_as:.2g} {runs} just like this one"


def _counted(count: int, noun: str) -> str:
    return f"one {noun}" if count == 1 else f"{count} {noun}s"


def _without_annealing() -> Prior:
    """With a constant rate there is no response: one cell for it. Sizes are coarser, as befits a baseline."""
    return Prior(
        memory=LogNormal((0.01,), 0.01, 1.0),
        rate_powers=(1.0,),
        rate_power_weights=(1.0,),
        annealing_gains=(1.0,),
        reducible=Gaussian(0.15, 0.15),
        annealing=Skewed(0.001, 0.1),
        misfit_of_response=LogNormal((0.01,), 0.01, 1.0),
        misfit_of_power=LogNormal((0.002, 0.016, 0.128), 0.004, 2.0),
        abrupt=LogNormal((0.01, 0.3), 0.01, 3.0),
        correlated=(1.0,),
        correlated_weights=(1.0,),
    )


@dataclass(frozen=True, slots=True)
class PowerLawForecaster:
    """The usual power law in steps, L0 + A * step^-alpha: blind to the learning rate. For comparison."""

    name: str = "power"
    prior: Prior = field(default_factory=_without_annealing)
    n_paths: int = N_PATHS // 4
    seed: int = 0

    def predict(self, curve: Curve, plan: Plan, steps: npt.NDArray[np.int64]) -> Paths:
        constant = Schedule.constant(1.0, last=float(max(plan.total_steps, curve.cutoff, 1)))
        observations = observe(curve, constant)
        posterior = infer(observations, constant, max(plan.total_steps, curve.cutoff), self.prior, zoom=False)
        values = posterior.paths(constant, steps, n_paths=self.n_paths, seed=self.seed)
        return Paths(
            steps, above_zero(values, FLOOR_SHARE * observations.level) if is_positive(curve.values) else values
        )


def schedule_is_guessed(plan: Plan) -> bool:
    """Whether the future learning rate is an assumption, neither declared nor read off the rate so far."""
    return plan.schedule_source == ASSUMED or plan.schedule_family == HOLD


def cooled_down(schedule: Schedule, cutoff: int, total_steps: int) -> Schedule:
    """The same schedule with a linear decay to zero over its last part, or over what is left if that is less."""
    begin = max(float(cutoff), (1 - COOLDOWN_SHARE) * total_steps)
    end = max(float(total_steps), begin + 1.0)
    before = schedule.until(begin)
    return Schedule(np.append(before.steps, end), np.append(before.rates, 0.0))


def stated_deviation(paths: Paths, curve: Curve, horizon: int, *, above: bool | None = None) -> float:
    """Deviation of the final value that paths state, its noise included, by their 90 % band.

    above : by its upper half, or by its lower one; by default by both   [of the metric]
    """
    low, middle, high = np.quantile(final_levels(paths, curve, horizon), [0.05, 0.5, 0.95])
    half = (high - low) / 2 if above is None else high - middle if above else middle - low
    return float(np.hypot(half / OUTER, final_noise(curve, horizon)))


def corrected(values: Array, shift: float, stretch: float) -> Array:
    """Values, shape (n_paths, n_steps), so many times as far from the median of their step, and all moved.

    shift : of the last step; of the others the less, the less far the values lie apart there   [of the values]
    """
    below, above = (len(values) - 1) // 2, len(values) // 2
    # Along the paths as they lie in memory: a quarter of the time of `np.median`.
    ordered = np.partition(values.T, (below, above), axis=1)
    middle = (ordered[:, below] + ordered[:, above]) / 2
    spread = values.std(axis=0)
    moved = shift * spread / max(float(spread[-1]), np.finfo(float).tiny)
    return np.asarray(middle + moved + stretch * (values - middle))


def above_zero(values: Array, floor: float) -> Array:
    """Values above `floor > 0` unchanged, those below bent so that they stay positive: smooth, order kept."""
    if not floor > 0 or values.min() >= floor:
        return values
    below = np.minimum(values / floor - 1.0, 0.0)
    return np.where(values < floor, floor * np.exp(np.maximum(below, -700.0)), values)
