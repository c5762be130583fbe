r"""Exact Bayesian inference for the annealing law from one run seen in part, without an optimiser.

Seen from the cutoff, a loss is

.. math:: y(s) = \ell + A\,[(x/x_c)^{-\alpha} - 1] - D\,[z_\tau(s) - z_\tau(s_c)] + h\,(b(s) + o(s)) + \varepsilon

with the features of :mod:`app.laws.annealing`, subscript `c` for the cutoff, and

* :math:`\ell` the level at the cutoff, so that the forecast starts where the data ends;
* :math:`z_\tau` the lagged fall of a power of the rate, on a grid of powers and memories. In proportion to the rate
  itself, long decays from a high rate were forecast 1 to 4 % too high: most of their loss comes late;
* :math:`b` what the law gets wrong: Gaussian processes that are zero at the cutoff and grow in both directions away
  from it. Two are smooth, integrated Wiener processes: one in :math:`\log x` (the power law bends slowly), one in the
  total variation of the rate (so does the response). The third is a Wiener process in :math:`\log x`, for the rare run
  in which something abrupt happened. The law is thereby trusted near the cutoff, distant data bends it but does not
  break it, and the band widens with the distance to go and with the decay still to come. How strongly is inferred: a
  run that does not follow the law gets a wide band;
* :math:`o` an Ornstein-Uhlenbeck process, forgotten within a few bins: neighbouring bins that err together count as
  fewer observations;
* :math:`h \ge 1` the local level over the level at the cutoff: errors are relative, a loss of 10 early in training
  does not outweigh 0.01 near the end;
* :math:`\varepsilon` independent noise of known variance per bin.

Everything is in units of the loss level at the cutoff, and memories in fractions of the horizon, so priors need no
knowledge of the metric (:mod:`app.laws.prior`; :mod:`app.laws.population` learns them). Given :math:`\alpha`, the
power, :math:`\tau` and the sizes of `b` and `o`, the model is linear and Gaussian in :math:`(\ell, A, D)`: evidence and
posterior are closed forms. The rest is a grid. The covariance depends on the sizes alone, so it is factored a few
dozen times and not once for each of the tens of thousands of cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dtrsm
from scipy.special import ndtri

from app.curves.schedule import Schedule
from app.laws.annealing import annealed_fraction, effective_steps, lagged_response
from app.laws.prior import Prior

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


LEAST_ANNEALING = 0.01
"""A posterior mean of D below this share of the level counts as this when its logarithm is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """A run's bins as the inference wants them.

    steps : float64, shape (n,), strictly increasing, all at or before `cutoff`      [steps]
    values : float64, shape (n,), loss minus `level`, over `scale`                   [1]
    variances : float64, shape (n,), of the independent noise of each bin            [1]
    magnitudes : float64, shape (n,), local level over the level at the cutoff, >= 1 [1]
    level, scale : what turns values back into the metric: `level + scale * value`   [of the loss]
    cutoff : last step seen                                                          [steps]
    """

    steps: Array
    values: Array
    variances: Array
    magnitudes: Array
    level: float
    scale: float
    cutoff: float


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Expected sufficient statistics of one run: weight, first and second moment, of logs where a LogNormal is meant.

    `exponent`, `misfit_*`, `correlated` and `parts` speak of the run as a lawful one, `abrupt*` as an abrupt one.
    """

    exponent: Array  # (3,)
    memory: Array  # (3,)
    powers: Array  # (n_powers,)
    reducible: Array  # (3,)
    annealing: Array  # (3,), of log D
    misfit_of_power: Array  # (3,)
    misfit_of_response: Array  # (3,)
    correlated: Array  # (n_correlated,)
    parts: Array  # (n_parts,)
    abrupt: Array  # (3,)
    abrupt_exponent: Array  # (3,)
    abrupt_parts: Array  # (n_parts,)


def _moments(weights: Array, values: Array) -> Array:
    return np.array([weights.sum(), weights @ values, weights @ values**2])


def _gaussian_moments(weights: Array, means: Array, variances: Array) -> Array:
    total = weights.sum()
    return np.array([total, (weights * means).sum(), (weights * (means**2 + variances)).sum()])


def _log_of(moments: Array) -> Array:
    """Moments of the logarithm of a positive quantity, of the log-normal with the same mean and variance."""
    weight = max(float(moments[0]), 1e-300)
    mean = float(moments[1]) / weight
    spread = max(float(moments[2]) / weight - mean**2, 0.0)
    # Of a quantity that may be zero as well, only the order of magnitude is known: that of its deviation.
    mean = max(mean, np.sqrt(spread), LEAST_ANNEALING)
    variance = np.log1p(spread / mean**2)
    centre = np.log(mean) - variance / 2
    return np.array([weight, weight * centre, weight * (centre**2 + variance)])


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """Cells of the grid with their probabilities; `paths` draws the future from them.

    Arrays over cells have the axes (sizes of the misfit, exponent, response, mixture part of the prior).
    """

    observations: Observations
    horizon: float
    prior: Prior
    sizes: Array  # (n_sizes, 4), see _size_grid
    probabilities: Array
    factor: tuple[Array, ...]  # L and D of the LDL' of each cell's precision, see _eliminate
    solved: tuple[Array, ...]  # u of each cell

    def marginal_means(self) -> dict[str, float]:
        """Posterior means of the interpretable parameters, for people and tests. [1]"""
        _, reducible, annealing = _back_substitute(self.factor, self.solved)
        weights = self.probabilities
        memories = _responses(self.prior)[1]
        return {
            "exponent": float((weights.sum((0, 2, 3)) * np.asarray(self.prior.exponent.points)).sum()),
            "memory": float(np.exp((weights.sum((0, 1, 3)) * np.log(memories)).sum())),
            "reducible": float((weights * reducible).sum()),
            "annealing": float((weights * annealing).sum()),
            "misfit_of_power": float(np.exp((weights.sum((1, 2, 3)) * np.log(self.sizes[:, 0])).sum())),
        }

    def moments(self, schedule: Schedule) -> Moments:
        """What the posterior says of each part of the prior, to learn a prior from; A and D as at the horizon."""
        prior, weights = self.prior, self.probabilities
        _, reducible, annealing = (
            np.broadcast_to(v, weights.shape) for v in _back_substitute(self.factor, self.solved)
        )
        d1, d2, l21 = (np.broadcast_to(self.factor[i], weights.shape) for i in (1, 2, 5))
        gone = _log_effective(schedule, [self.horizon]) - _log_effective(schedule, [self.observations.cutoff])
        of_reducible, of_annealing = _prior_units(prior, float(gone[0]))
        # Units of the level at the horizon, by the posterior's own means.
        a, d = reducible / of_reducible, annealing / of_annealing
        lawful = self.sizes[:, 2] == 0
        by_size, by_exponent = weights.sum((1, 2, 3)), weights.sum((2, 3))
        power, memories, _ = _responses(prior)
        by_response = weights[lawful].sum((0, 1, 3))
        usual = weights * lawful[:, None, None, None] * (np.arange(weights.shape[-1]) < weights.shape[-1] - 1)
        logs = np.log(np.maximum(self.sizes, 1e-300))
        correlated = np.array([by_size[lawful & (self.sizes[:, 3] == size)].sum() for size in prior.correlated])
        return Moments(
            exponent=_moments(by_exponent[lawful].sum(0), np.log(prior.exponent.points)),
            memory=_moments(by_response, np.log(memories)),
            powers=np.bincount(power, by_response).astype(np.float64),
            reducible=_gaussian_moments(usual, a, (1 / d1 + l21**2 / d2) / of_reducible**2),
            annealing=_log_of(_gaussian_moments(usual, d, 1 / d2 / of_annealing**2)),
            misfit_of_power=_moments(by_size[lawful], logs[lawful, 0]),
            misfit_of_response=_moments(by_size[lawful], logs[lawful, 1]),
            correlated=correlated,
            parts=weights[lawful].sum((0, 1, 2)),
            abrupt=_moments(by_size[~lawful], logs[~lawful, 2]),
            abrupt_exponent=_moments(by_exponent[~lawful].sum(0), np.log(prior.exponent.points)),
            abrupt_parts=weights[~lawful].sum((0, 1, 2)),
        )

    def paths(self, schedule: Schedule, steps: npt.ArrayLike, *, n_paths: int, seed: int = 0) -> Array:
        """Draw the loss level at `steps`, all after the cutoff, under a schedule that may differ from there on.

        Parameters
        ----------
        schedule : Schedule
            As in `infer` up to the cutoff; what it says after it is a matter of choice ("what if").
        steps : array_like, shape (n_steps,), increasing
            [steps]
        n_paths : int
            Equally likely paths. Cells are drawn systematically and normals are quasi-random and fixed by `seed`, so
            the same data gives the same paths.

        Returns
        -------
        ndarray, shape (n_paths, n_steps)
            In the metric's own unit. The smoothed level: without the noise of single points.
        """
        steps = np.asarray(steps, dtype=np.float64)
        size, exponent, response, part = self._draw_cells(n_paths)
        cells = (size, exponent, response, part)
        normals = _quasi_normals(n_paths, seed)
        factor = tuple(np.broadcast_to(entry, self.probabilities.shape)[cells] for entry in self.factor)
        solved = tuple(np.broadcast_to(entry, self.probabilities.shape)[cells] for entry in self.solved)
        level, reducible, annealing = _back_substitute(factor, solved, normals)

        cutoff = self.observations.cutoff
        powers, responses = _features(schedule, steps, cutoff, self.horizon, self.prior)
        values = level[:, None] + reducible[:, None] * powers[exponent] + annealing[:, None] * responses[response]
        ahead = _log_effective(schedule, steps) - _log_effective(schedule, [cutoff])
        swing = _rate_travelled(schedule, steps, self.horizon) - _rate_travelled(schedule, [cutoff], self.horizon)
        shocks = _shocks(n_paths, len(steps), seed)
        values += self.sizes[size, 0][:, None] * _integrated_wiener(ahead, shocks[0], shocks[1])
        values += self.sizes[size, 1][:, None] * _integrated_wiener(swing, shocks[2], shocks[3])
        values += self.sizes[size, 2][:, None] * _wiener(ahead, shocks[4])
        return self.observations.level + self.observations.scale * values

    def _draw_cells(self, n_paths: int) -> tuple[Ints, ...]:
        """Systematic resampling: each cell as often as its probability says, to the nearest whole number."""
        ends = np.cumsum(self.probabilities.ravel())
        points = (np.arange(n_paths) + 0.5) / n_paths * ends[-1]
        drawn = np.searchsorted(ends, points)
        # The normals are a sequence of low discrepancy in order: neighbours in the grid must not get neighbours there.
        return np.unravel_index(drawn[_scattered_order(n_paths)], self.probabilities.shape)


def infer(observations: Observations, schedule: Schedule, horizon: float, prior: Prior | None = None) -> Posterior:
    """The posterior over the annealing law's parameters.

    Parameters
    ----------
    observations : Observations
        At most a few hundred bins: the cost grows with their cube.
    schedule : Schedule
        Learning rate up to the cutoff at least.
    horizon : float
        Length of the run, the unit of memories. [steps]
    prior : Prior, optional
        Defaults to `Prior()`.
    """
    prior = prior or Prior()
    cutoff = observations.cutoff
    powers, responses = _features(schedule, observations.steps, cutoff, horizon, prior)
    sizes, log_size_weights = _size_grid(prior)
    covariances = _covariances(observations, schedule, horizon, sizes, prior)

    columns = np.concatenate([observations.values[None], np.ones((1, len(observations.steps))), powers, responses])
    lower = np.linalg.cholesky(covariances)
    # A transposed C array is a Fortran array: no copies, and none of solve_triangular's checks, thirty times over.
    white = np.stack([dtrsm(1.0, each.T, columns.T, trans_a=1) for each in lower])
    grams = np.swapaxes(white, 1, 2) @ white
    log_determinants = 2 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)

    gone = _log_effective(schedule, [horizon]) - _log_effective(schedule, [cutoff])
    means, precisions = _prior_parts(prior, float(gone[0]))
    factor, solved = _eliminate(grams, len(powers), means, precisions)
    fit = sum((u**2 / d for u, d in zip(solved, factor[:3], strict=True)), start=np.zeros(()))
    log_prior = sum((np.log(p) - m**2 * p for m, p in zip(means, precisions, strict=True)), start=np.zeros(()))
    log_evidence = 0.5 * (
        fit
        + log_prior
        - (grams[:, 0, 0] + log_determinants)[:, None, None, None]
        - np.log(factor[0] * factor[1] * factor[2])
    )
    log_evidence = (
        log_evidence
        + log_size_weights[:, None, None, None]
        + _log_exponent_weights(prior, sizes)[:, :, None, None]
        + _responses(prior)[2][:, None]
        + _log_part_weights(prior, sizes)[:, None, None, :]
    )
    probabilities = np.exp(log_evidence - log_evidence.max())
    return Posterior(observations, horizon, prior, sizes, probabilities / probabilities.sum(), factor, solved)


# Features -------------------------------------------------------------------------------------------------------------


def _features(schedule: Schedule, steps: Array, cutoff: float, horizon: float, prior: Prior) -> tuple[Array, Array]:
    """What multiplies A, shape (n_exponents, n), and D, shape (n_responses, n); both zero at the cutoff."""
    distance = _log_effective(schedule, steps) - _log_effective(schedule, [cutoff])
    powers = np.expm1(-np.asarray(prior.exponent.points)[:, None] * distance)
    memories = np.maximum(np.asarray(prior.memory.points) * horizon, 1.0)
    at = lagged_response(schedule, np.append(steps, cutoff), memories, prior.rate_powers)
    responses = at[:, :, -1:] - at[:, :, :-1]
    return powers, responses.reshape(-1, len(steps))


@lru_cache(maxsize=8)
def _responses(prior: Prior) -> tuple[Array, Array, Array]:
    """Of each response: the index of its power, its memory [of the horizon], its log weight; (n_responses,) each."""
    n_powers, n_memories = len(prior.rate_powers), len(prior.memory.points)
    log_weights = np.log(prior.rate_power_weights)[:, None] + np.log(prior.memory.weights())
    return np.repeat(np.arange(n_powers), n_memories), np.tile(prior.memory.points, n_powers), log_weights.ravel()


def _log_exponent_weights(prior: Prior, sizes: Array) -> Array:
    """Shape (n_sizes, n_exponents)."""
    lawful, abrupt = (np.log(np.maximum(p.weights(), 1e-300)) for p in (prior.exponent, prior.abrupt_exponent))
    return np.where(sizes[:, 2:3] > 0, abrupt, lawful)


def _log_part_weights(prior: Prior, sizes: Array) -> Array:
    """Shape (n_sizes, n_parts)."""
    lawful, abrupt = np.log(prior.parts()[2]), np.log(prior.abrupt_parts)
    return np.where(sizes[:, 2:3] > 0, abrupt, lawful)


def _log_effective(schedule: Schedule, steps: npt.ArrayLike) -> Array:
    """log x; the first effective step is the smallest distance there is."""
    logs: Array = np.log(np.maximum(effective_steps(schedule, steps), 1.0))
    return logs


def _rate_travelled(schedule: Schedule, steps: npt.ArrayLike, horizon: float) -> Array:
    """Total variation of the annealed fraction up to each step. [1]"""
    knots = np.unique(np.concatenate([schedule.steps, [schedule.warmup_end, horizon]]))
    travelled = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(annealed_fraction(schedule, knots))))])
    passed: Array = np.interp(np.asarray(steps, dtype=np.float64), knots, travelled)
    return passed


# Covariance of everything that is not the law -------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _size_grid(prior: Prior) -> tuple[Array, Array]:
    """Sizes of the four processes, shape (n_sizes, 4), and log weights: the law with its misfit, or an abrupt run.

    Columns: misfit of the power law, misfit of the response, abrupt changes, correlated residuals.
    """
    power, response, abrupt = (
        list(zip(part.points, part.weights(), strict=True))
        for part in (prior.misfit_of_power, prior.misfit_of_response, prior.abrupt)
    )
    lawful = [
        (p, r, 0.0, o, (1 - prior.abrupt_probability) * wp * wr * wo)
        for (p, wp), (r, wr), (o, wo) in product(
            power, response, zip(prior.correlated, prior.correlated_weights, strict=True)
        )
    ]
    # Beside abrupt changes the other processes hardly show: a coarser grid will do.
    smooth, widest = power[::2], response[-1][0]
    unlawful = [
        (p, widest, a, 0.0, prior.abrupt_probability * wa / len(smooth)) for (p, _), (a, wa) in product(smooth, abrupt)
    ]
    table = np.array(lawful + unlawful)
    return table[:, :4], np.log(np.maximum(table[:, 4], 1e-300))


def _covariances(observations: Observations, schedule: Schedule, horizon: float, sizes: Array, prior: Prior) -> Array:
    """Shape (n_sizes, n, n)."""
    steps, cutoff = observations.steps, observations.cutoff
    behind = np.maximum(_log_effective(schedule, [cutoff]) - _log_effective(schedule, steps), 0.0)
    swing = _rate_travelled(schedule, [cutoff], horizon) - _rate_travelled(schedule, steps, horizon)
    relative = np.outer(observations.magnitudes, observations.magnitudes)
    power = relative * _integrated_wiener_covariance(behind)
    response = relative * _integrated_wiener_covariance(swing)
    abrupt = relative * np.minimum.outer(behind, behind)
    # Bins of a few hundred steps and of one alike: the correlation is counted in bins, by the recent bins' spacing.
    spacing = float(np.median(np.diff(steps[len(steps) // 2 :]))) if len(steps) > 2 else 1.0
    lag = np.abs(np.subtract.outer(steps, steps)) / (prior.correlated_bins * spacing)
    deviations = np.sqrt(observations.variances)
    correlated = np.outer(deviations, deviations) * np.exp(-lag)
    parts = np.stack([power, response, abrupt, correlated]).reshape(4, -1)
    covariances: Array = (sizes**2 @ parts).reshape(len(sizes), len(steps), len(steps))
    covariances[:, np.arange(len(steps)), np.arange(len(steps))] += observations.variances
    return covariances


def _wiener(clock: Array, shocks: Array) -> Array:
    """Wiener paths, zero at clock zero; shocks of shape (n_paths, n)."""
    return np.cumsum(np.sqrt(np.diff(clock, prepend=0.0)) * shocks, axis=1)


def _integrated_wiener_covariance(clock: Array) -> Array:
    near, far = np.minimum.outer(clock, clock), np.maximum.outer(clock, clock)
    covariance: Array = near**2 * (far / 2 - near / 6)
    return covariance


def _integrated_wiener(clock: Array, shocks: Array, others: Array) -> Array:
    """Paths whose slope is a Wiener process, both zero at clock zero: exact on the given points."""
    steps = np.diff(clock, prepend=0.0)
    slopes = np.cumsum(np.sqrt(steps) * shocks, axis=1)
    before = slopes - np.sqrt(steps) * shocks
    # Integral of a Wiener process over one step: mean half its end value, conditional variance steps^3 / 12.
    return np.cumsum(before * steps + steps**1.5 * (shocks / 2 + others / np.sqrt(12.0)), axis=1)


# Linear algebra of three coefficients over the whole grid -------------------------------------------------------------


def _prior_units(prior: Prior, gone: float) -> tuple[Array, Array]:
    """What turns the prior's A and D, stated at the horizon, into those at the cutoff; per exponent, per response.

    `gone` is how far, in log x, the cutoff lies behind the horizon. A power law with A left of a level of 1 at the
    horizon had more of both at the cutoff. Shapes (n_exponents, 1, n_parts), (n_exponents, n_responses, n_parts).
    """
    growth = np.exp(np.asarray(prior.exponent.points) * max(gone, 0.0))[:, None, None]
    left = np.clip(prior.parts()[0][0], 0.0, 1.0)
    higher = 1.0 + left * (growth - 1.0)
    gains = np.asarray(prior.annealing_gains)[_responses(prior)[0]][:, None]
    return growth / higher, gains / higher


def _prior_parts(prior: Prior, gone: float) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Means and precisions of (level, A, D), each to be broadcast over (exponents, responses, parts)."""
    of_reducible, of_annealing = _prior_units(prior, gone)
    (reducible, annealing), (of_a, of_d), _ = prior.parts()
    means = (np.zeros(()), of_reducible * reducible, of_annealing * annealing)
    deviations = (np.full((), prior.level_deviation), of_reducible * of_a, of_annealing * of_d)
    return means, tuple(each**-2.0 for each in deviations)


def _eliminate(
    grams: Array, n_exponents: int, means: tuple[Array, ...], precisions: tuple[Array, ...]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """LDL' of every cell's 3 x 3 precision and the forward-solved right-hand side.

    `grams` are the inner products of (data, one, powers, responses) in the whitened space. Every entry is
    broadcast over (sizes, exponents, responses, parts): most depend on two of the four axes, so a cell costs a few
    dozen operations.

    Returns
    -------
    (d0, d1, d2, l10, l20, l21), (u0, u1, u2)
    """
    power, response = slice(2, 2 + n_exponents), slice(2 + n_exponents, None)
    one_one = grams[:, 1, 1, None, None, None] + precisions[0]
    one_power = grams[:, 1, power, None, None]
    one_response = grams[:, 1, None, response, None]
    power_power = np.diagonal(grams[:, power, power], axis1=1, axis2=2)[:, :, None, None] + precisions[1]
    power_response = grams[:, power, response, None]
    response_diagonal = np.diagonal(grams[:, response, response], axis1=1, axis2=2)
    response_response = response_diagonal[:, None, :, None] + precisions[2]
    pulls = [mean * precision for mean, precision in zip(means, precisions, strict=True)]
    data_one = grams[:, 0, 1, None, None, None] + pulls[0]
    data_power = grams[:, 0, power, None, None] + pulls[1]
    data_response = grams[:, 0, None, response, None] + pulls[2]

    d0 = one_one
    l10, l20 = one_power / d0, one_response / d0
    d1 = power_power - l10 * one_power
    rest = power_response - l10 * one_response
    l21 = rest / d1
    d2 = response_response - l20 * one_response - l21 * rest
    u0 = data_one
    u1 = data_power - l10 * u0
    u2 = data_response - l20 * u0 - l21 * u1
    return (d0, d1, d2, l10, l20, l21), (u0, u1, u2)


def _back_substitute(
    factor: tuple[Array, ...], solved: tuple[Array, ...], normals: Array | None = None
) -> tuple[Array, Array, Array]:
    """(level, A, D) of cells: posterior means, or draws where `normals`, shape (3, n_cells), are given."""
    d0, d1, d2, l10, l20, l21 = factor
    v0, v1, v2 = (u / d for u, d in zip(solved, (d0, d1, d2), strict=True))
    if normals is not None:
        v0, v1, v2 = (v + e / np.sqrt(d) for v, e, d in zip((v0, v1, v2), normals, (d0, d1, d2), strict=True))
    annealing = v2
    reducible = v1 - l21 * annealing
    level = v0 - l10 * reducible - l20 * annealing
    return level, reducible, annealing


# Fixed normals --------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _quasi_normals(n_paths: int, seed: int) -> Array:
    """Normals of low discrepancy, shape (3, n_paths): Roberts' additive sequence, shifted by `seed`."""
    # The plastic number's generalisation: root of g^4 = g + 1, whose powers are badly approximable together.
    root = 1.2207440846057596
    shift = np.random.default_rng(seed).random(3)
    multiples = np.arange(1, n_paths + 1)[None] * root ** -np.arange(1.0, 4.0)[:, None]
    normals: Array = ndtri((multiples + shift[:, None]) % 1.0 * (1 - 1e-6) + 5e-7)
    return normals


@lru_cache(maxsize=8)
def _scattered_order(n_paths: int) -> Ints:
    return np.random.default_rng(n_paths).permutation(n_paths)


@lru_cache(maxsize=8)
def _shocks(n_paths: int, n_steps: int, seed: int) -> Array:
    """Independent normals, shape (5, n_paths, n_steps), each with its mirror image: their mean is exactly zero."""
    half = np.random.default_rng([seed, n_paths, n_steps]).standard_normal((5, (n_paths + 1) // 2, n_steps))
    return np.concatenate([half, -half], axis=1)[:, :n_paths]
