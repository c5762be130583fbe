"""What is assumed of a run before it is seen: a prior over the annealing law's parameters, free of units.

Coefficients are in units of the loss level at the horizon, memories in fractions of the horizon, so a prior needs no
knowledge of the metric. Everything nonlinear is a grid with weights, everything linear a mixture of Gaussians.
`app.laws.population` learns one from finished runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from app.laws.past_errors import PastErrors

Array = npt.NDArray[np.float64]


SKEWED_PARTS = ((-0.6, 0.5), (0.6, 0.42), (1.8, 0.08))
PART_DEVIATION = 0.75
"""Places and weights of the parts, and their deviations, in log-deviations: together they spread by about one."""


@dataclass(frozen=True, slots=True)
class Gaussian:
    """One part of a mixture prior for a coefficient, in units of the loss level."""

    mean: float
    deviation: float
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class LogNormal:
    """A prior over positive numbers: a normal density of the logarithm, between the first and the last of `points`.

    `points` is where the inference looks first (`app.laws.inference.grid`).
    """

    points: tuple[float, ...]
    median: float
    log_deviation: float

    def log_masses(self, nodes: Array) -> Array:
        """Log of density times spacing at increasing nodes, shape (n,): what each stands for. A single one: all."""
        if len(nodes) == 1:
            return np.zeros(1)
        logs = np.log(nodes)
        off = (logs - np.log(self.median)) / self.log_deviation
        masses: Array = -0.5 * off**2 - np.log(self.log_deviation * np.sqrt(2 * np.pi)) + np.log(spacings(logs))
        return masses

    def weights(self) -> Array:
        """Of `points`, shape (n_points,), summing to 1."""
        masses = self.log_masses(np.asarray(self.points))
        weights: Array = np.exp(masses - masses.max())
        return np.asarray(weights / weights.sum())


@dataclass(frozen=True, slots=True)
class Skewed:
    """Roughly a log-normal, as a mixture of Gaussians: conjugate, and skewed like a positive quantity."""

    median: float
    log_deviation: float

    def parts(self) -> tuple[Gaussian, ...]:
        """Three Gaussians at -0.6, 0.6 and 1.8 log-deviations; below zero lies one per cent."""
        return tuple(
            Gaussian(centre, PART_DEVIATION * self.log_deviation * centre, weight)
            for place, weight in SKEWED_PARTS
            for centre in [float(self.median * np.exp(place * self.log_deviation))]
        )


def spacings(nodes: Array) -> Array:
    """What each of two or more nodes stands for, shape (n,): half of the way between its neighbours."""
    gaps = nodes[1:] - nodes[:-1]
    inner = (nodes[2:] - nodes[:-2]) / 2
    return np.concatenate([gaps[:1], inner, gaps[-1:]])


def geometric(first: float, last: float, count: int) -> tuple[float, ...]:
    return tuple(float(value) for value in np.geomspace(first, last, count))


@dataclass(frozen=True, slots=True)
class Prior:
    """Two kinds of run: lawful ones, whose misfit is smooth, and abrupt ones, of which little else is assumed.

    The defaults are weak: where learning from runs begins, not what forecasts use.
    """

    exponent: LogNormal = LogNormal(geometric(0.1, 1.6, 11), median=0.45, log_deviation=0.3)
    # Powers of the rate whose fall the loss may answer to, their weights, and D under each over `annealing`.
    rate_powers: tuple[float, ...] = (0.5, 0.7, 1.0)
    rate_power_weights: tuple[float, ...] = (0.34, 0.33, 0.33)
    annealing_gains: tuple[float, ...] = (1.2, 1.1, 1.0)
    # Of the horizon, in effective steps.
    memory: LogNormal = LogNormal(geometric(0.001, 0.081, 5), median=0.006, log_deviation=1.2)
    # Of the level, which is known from the data at once.
    level_deviation: float = 0.3
    reducible: Gaussian = Gaussian(0.1, 0.08)
    # D of most lawful runs; and (A, D) of the few of which less is known.
    annealing: Skewed = Skewed(0.055, 0.6)
    unusual: tuple[Gaussian, Gaussian] = (Gaussian(0.15, 0.3), Gaussian(0.25, 0.25))
    unusual_probability: float = 0.03
    # Sizes of the misfit: times sqrt(1/3), its deviation one e-fold of effective steps away from the cutoff...
    misfit_of_power: LogNormal = LogNormal((0.001, 0.005, 0.025, 0.125), 0.004, 1.2)
    # ... and after a decay of the whole rate.
    misfit_of_response: LogNormal = LogNormal((0.003, 0.012, 0.05), 0.008, 1.0)
    # Deviation of the correlated residuals over that of the independent noise, how likely each is, memory in bins.
    correlated: tuple[float, ...] = (0.0, 1.5)
    correlated_weights: tuple[float, ...] = (0.5, 0.5)
    correlated_bins: float = 4.0
    # Abrupt changes that no law foresees (a restore, another data mix, a spike that stays): rare, then of any size.
    abrupt_probability: float = 0.1
    abrupt: LogNormal = LogNormal((0.002, 0.01, 0.05, 0.3, 3.0), 0.02, 3.0)
    abrupt_exponent: LogNormal = LogNormal(geometric(0.1, 1.6, 11), median=0.45, log_deviation=0.8)
    # Weights of the parts of the mixture in such runs.
    abrupt_parts: tuple[float, ...] = (0.3, 0.2, 0.1, 0.4)

    # Runs of one project that it was sharpened by, those that have ended and those still going; 0 for a population's.
    finished_runs: int = 0
    live_runs: int = 0
    # What those count for together, by how alike they are: as many runs just like the one to forecast.
    counted_as: float = 0.0
    # Of the finished ones, forecast in hindsight (`app.forecasting.hindsight`).
    past_errors: PastErrors = field(default_factory=PastErrors)

    @property
    def is_of_a_project(self) -> bool:
        """Whether any run of the project was heard."""
        return self.finished_runs + self.live_runs > 0

    def parts(self) -> tuple[Array, Array, Array]:
        """The mixture for (A, D): means and deviations, each of shape (2, n_parts), and weights, (n_parts,)."""
        narrow, (wide_reducible, wide_annealing) = self.annealing.parts(), self.unusual
        means = [[self.reducible.mean] * len(narrow), [part.mean for part in narrow]]
        deviations = [[self.reducible.deviation] * len(narrow), [part.deviation for part in narrow]]
        wide = (wide_reducible, wide_annealing)
        weights = [(1 - self.unusual_probability) * part.weight for part in narrow]
        return (
            np.array([[*row, part.mean] for row, part in zip(means, wide, strict=True)]),
            np.array([[*row, part.deviation] for row, part in zip(deviations, wide, strict=True)]),
            np.array([*weights, self.unusual_probability]),
        )


def prior_to_dict(prior: Prior) -> dict[str, Any]:
    """What `prior_from_dict` reads: numbers and lists, fit for JSON."""
    return asdict(prior)


def prior_from_dict(given: Mapping[str, Any]) -> Prior:
    """The prior that was written; a field unknown to this version is an error, a missing one keeps its default."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name in ("exponent", "memory", "misfit_of_power", "misfit_of_response", "abrupt", "abrupt_exponent"):
            values[name] = LogNormal(**{**value, "points": tuple(value["points"])})
        elif name == "annealing":
            values[name] = Skewed(**value)
        elif name == "reducible":
            values[name] = Gaussian(**value)
        elif name == "past_errors":
            values[name] = PastErrors(**{each: tuple(numbers) for each, numbers in value.items()})
        elif name == "unusual":
            first, second = (Gaussian(**each) for each in value)
            values[name] = (first, second)
        else:
            values[name] = tuple(value) if isinstance(value, (list, tuple)) else value
    return Prior(**values)
