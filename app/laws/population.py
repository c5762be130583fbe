r"""Priors learned from finished runs: of the public population, then of one project.

Expectation-maximisation of a hierarchical model. Each run's parameters are drawn from the prior; given the prior, each
run's posterior is exact (:mod:`app.laws.inference.posterior`), and so are its expected sufficient statistics. The
prior's new constants are their averages.

For a *population*, families of runs count alike, however many runs they hold. The next family is a new one, and `F`
families tell their own spread and centre only roughly: the variance between them, over `F`, is too small by
:math:`(F - 1)/F` on average, and their centre is off by a `F`-th of it. So it counts :math:`(F + 1)/(F - 1)` times, as
in the predictive of a normal whose mean and variance are not known; what runs of one family differ by counts once.

For a *project*, a run's parameter is :math:`\theta_i \sim N(\mu, w^2)` around the project's mean
:math:`\mu \sim N(m, b^2)`, where :math:`m` and :math:`b^2 + w^2` are the population's mean and variance and
:math:`w` is how much runs of one family differ, learned with the population. What finished siblings say of
:math:`\mu` is averaged with the population by precision, so that one sibling says something and twenty decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from app.laws.inference.moments import Moments
from app.laws.prior import Gaussian, LogNormal, Prior, Skewed

Array = npt.NDArray[np.float64]

SPREADS = ("exponent", "memory", "reducible", "annealing", "misfit_of_power", "misfit_of_response")
"""Parameters with a Gaussian (of the logarithm, but for `reducible`) that a project may sharpen."""

BETWEEN_SHARE = 0.2
"""At least this share of a parameter's variance is between families, so that siblings always have a say."""

FAMILIAR_RUNS = 2.0
"""Runs that the population's word on how much runs of one project differ, and on alternatives, counts for."""

LEAST_INFORMED = 2.0
"""A family with fewer runs than this (counted by how much they say of a parameter) has no spread of its own."""


@dataclass(frozen=True, slots=True)
class Population:
    """A prior for a run of an unknown family, and the deviation between runs of one family, by parameter."""

    prior: Prior
    within: Mapping[str, float]


def averaged(moments: Sequence[Moments], weights: npt.ArrayLike | None = None) -> Moments:
    """Weighted average of expected statistics, field by field."""
    shares = np.ones(len(moments)) if weights is None else np.asarray(weights, dtype=np.float64)
    means: dict[str, Any] = {
        field.name: np.average([getattr(each, field.name) for each in moments], axis=0, weights=shares)
        for field in fields(Moments)
    }
    return Moments(**means)


def population_prior(prior: Prior, families: Mapping[str, Sequence[Moments]]) -> Prior:
    """One step of maximisation: the prior that the families' runs, seen under `prior`, come from."""
    each = [averaged(runs) for runs in families.values()]
    mean = averaged(each)
    weak, n = Prior(), len(families)
    reducible = (weak.reducible.mean, weak.reducible.deviation)
    annealing = (float(np.log(weak.annealing.median)), weak.annealing.log_deviation)
    log_median, log_deviation = _mean_deviation([one.annealing for one in each], annealing)
    return replace(
        prior,
        exponent=_log_normal(weak.exponent, [one.exponent for one in each]),
        memory=_log_normal(weak.memory, [one.memory for one in each]),
        rate_power_weights=_weights(mean.powers, weak.rate_power_weights, n),
        reducible=Gaussian(*_mean_deviation([one.reducible for one in each], reducible)),
        annealing=Skewed(float(np.exp(log_median)), log_deviation),
        unusual_probability=_weights(
            [mean.parts[-1], mean.parts[:-1].sum()], (weak.unusual_probability, 1 - weak.unusual_probability), n
        )[0],
        misfit_of_power=_log_normal(weak.misfit_of_power, [one.misfit_of_power for one in each]),
        misfit_of_response=_log_normal(weak.misfit_of_response, [one.misfit_of_response for one in each]),
        correlated_weights=_weights(mean.correlated, weak.correlated_weights, n),
        abrupt_probability=_weights(
            [mean.abrupt[0], mean.exponent[0]], (weak.abrupt_probability, 1 - weak.abrupt_probability), n
        )[0],
        abrupt=_log_normal(weak.abrupt, [one.abrupt for one in each]),
        abrupt_exponent=_log_normal(weak.abrupt_exponent, [one.abrupt_exponent for one in each]),
        abrupt_parts=_weights(mean.abrupt_parts, weak.abrupt_parts, n),
    )


def within_families(prior: Prior, families: Mapping[str, Sequence[Moments]]) -> dict[str, float]:
    """How much runs of one family differ, in the units of each parameter's own deviation."""
    within = {}
    for name in SPREADS:
        _, deviation = _gaussian_of(prior, name)
        weights, variances = [], []
        for runs in families.values():
            said = np.array([_centre_and_square(getattr(run, name)) for run in runs])
            # Runs that say nothing of the parameter give the prior back, and its width is not theirs.
            informed = np.clip(1 - said[:, 1] / deviation**2, 0.0, 1.0) * [getattr(run, name)[0] for run in runs]
            if informed.sum() > LEAST_INFORMED:
                centre = np.average(said[:, 0], weights=informed)
                variances.append(np.average((said[:, 0] - centre) ** 2 + said[:, 1], weights=informed))
                weights.append(informed.mean())
        variance = float(np.average(variances, weights=weights)) if variances else np.inf
        within[name] = float(np.sqrt(min(variance, (1 - BETWEEN_SHARE) * deviation**2)))
    return within


def project_prior(population: Population, current: Prior, runs: Sequence[Moments], similarity: npt.ArrayLike) -> Prior:
    """One step of maximisation: the prior of a project whose other runs, seen under `current`, say `runs`.

    Parameters
    ----------
    population : Population
        What is believed of a project without other runs.
    current : Prior
        Under which `runs` were inferred: the population's at first, then the result of the step before.
    runs : sequence of Moments
    similarity : array_like, shape (n_runs,)
        In [0, 1]: how much each run counts for the one to forecast.
    """
    counts = np.asarray(similarity, dtype=np.float64)
    total = float(counts.sum())
    if not runs or total <= 0:
        return population.prior
    prior = population.prior
    for name in SPREADS:
        moments = [getattr(run, name) for run in runs]
        prior = _sharpened(prior, current, name, moments, counts, population.within[name])
    mean = averaged(runs, counts)
    return replace(
        prior,
        rate_power_weights=_updated(prior.rate_power_weights, mean.powers, total),
        correlated_weights=_updated(prior.correlated_weights, mean.correlated, total),
        abrupt_probability=_updated(
            (prior.abrupt_probability, 1 - prior.abrupt_probability), [mean.abrupt[0], mean.exponent[0]], total
        )[0],
        unusual_probability=_updated(
            (prior.unusual_probability, 1 - prior.unusual_probability), [mean.parts[-1], mean.parts[:-1].sum()], total
        )[0],
    )


def _sharpened(
    prior: Prior, current: Prior, name: str, moments: Sequence[Array], counts: Array, within: float
) -> Prior:
    """One parameter's Gaussian, from the population's and from what siblings say."""
    centre, deviation = _gaussian_of(prior, name)
    _, current_deviation = _gaussian_of(current, name)
    between = deviation**2 - within**2
    said = np.array([_centre_and_square(each) for each in moments])
    # A run that is not of the kind that has the parameter says nothing of it.
    counts = counts * np.array([each[0] for each in moments])
    # Of what a run says, the share beyond what the prior told it.
    informed = np.clip(1 - said[:, 1] / current_deviation**2, 0.0, 1.0)
    precision = 1 / between + (counts * informed).sum() / within**2
    shift = (counts * (said[:, 0] - centre)).sum() / within**2 / (1 / between + counts.sum() / within**2)
    around = said[:, 1] + (said[:, 0] - centre - shift) ** 2
    own = (FAMILIAR_RUNS * within**2 + (counts * around).sum()) / (FAMILIAR_RUNS + counts.sum())
    return _with_gaussian(prior, name, centre + shift, float(np.sqrt(own + 1 / precision)))


def _gaussian_of(prior: Prior, name: str) -> tuple[float, float]:
    part = getattr(prior, name)
    return (
        (part.mean, part.deviation) if isinstance(part, Gaussian) else (float(np.log(part.median)), part.log_deviation)
    )


def _with_gaussian(prior: Prior, name: str, centre: float, deviation: float) -> Prior:
    part: Gaussian | LogNormal | Skewed = getattr(prior, name)
    if isinstance(part, Gaussian):
        changed: Any = replace(part, mean=centre, deviation=deviation)
    else:
        changed = replace(part, median=float(np.exp(centre)), log_deviation=deviation)
    return replace(prior, **{name: changed})


def _centre_and_square(moments: Array) -> tuple[float, float]:
    """Mean and variance."""
    mean = float(moments[1] / max(moments[0], 1e-300))
    return mean, max(float(moments[2] / max(moments[0], 1e-300)) - mean**2, 0.0)


def _updated(weights: Sequence[float], shares: npt.ArrayLike, total: float) -> tuple[float, ...]:
    """Dirichlet: the population's weights count as `FAMILIAR_RUNS` runs."""
    shares = np.asarray(shares, dtype=np.float64)
    mixed = FAMILIAR_RUNS * np.asarray(weights) + total * shares / max(float(shares.sum()), 1e-300)
    return tuple(float(share) for share in mixed / mixed.sum())


def _mean_deviation(families: Sequence[Array], weak: tuple[float, float]) -> tuple[float, float]:
    """Mean and deviation for a run of a new family; the weak prior is one family more.

    Families count by how many of their runs the parameter concerns.
    """
    each = np.array([*families, [1.0, weak[0], weak[0] ** 2 + weak[1] ** 2]])
    counts = each[:, 0]
    means = each[:, 1] / np.maximum(counts, 1e-300)
    mean = float(np.average(means, weights=counts))
    within = np.average(each[:, 2] / np.maximum(counts, 1e-300) - means**2, weights=counts)
    between = np.average((means - mean) ** 2, weights=counts)
    return mean, float(np.sqrt(within + _widening(counts) * between))


def _widening(counts: Array) -> float:
    """Of the variance between families, for one family more: (F + 1) / (F - 1) where F of them count alike."""
    n_families = float(counts.sum() ** 2 / (counts**2).sum())
    return (n_families + 1) / max(n_families - 1, 0.5)


def _log_normal(weak: LogNormal, families: Sequence[Array]) -> LogNormal:
    mean, deviation = _mean_deviation(families, (float(np.log(weak.median)), weak.log_deviation))
    return LogNormal(weak.points, float(np.exp(mean)), deviation)


def _weights(shares: npt.ArrayLike, weak: Sequence[float], n_families: int) -> tuple[float, ...]:
    """Of alternatives: the families' average, and the weak prior's as one family more."""
    shares = np.asarray(shares, dtype=np.float64)
    mixed = n_families * shares / max(float(shares.sum()), 1e-300) + np.asarray(weak)
    return tuple(float(share) for share in mixed / mixed.sum())
