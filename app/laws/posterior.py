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
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dtrsm
from scipy.special import ndtri

from app.curves.schedule import Schedule
from app.laws.annealing import RateFall, annealed_fraction, effective_steps
from app.laws.grid import Grid, first_grid, whole_grid, zoomed_grid
from app.laws.prior import Prior

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


MOST_ZOOMS = 3
"""One is enough for nine runs in ten; a jump of the rate tells the memory so well that it takes two or three."""

SHOCKS_AT_A_TIME = 128
"""Steps of a path that random numbers are drawn for, and kept: a few more than a forecast asks for."""

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
    `log_evidence` is the log density of the observed values under the prior, up to a constant of the data's length.
    """

    observations: Observations
    horizon: float
    prior: Prior
    grid: Grid
    probabilities: Array
    log_evidence: float
    factor: tuple[Array, ...]  # L and D of the LDL' of each cell's precision, see _eliminate
    solved: tuple[Array, ...]  # u of each cell

    @property
    def lawful(self) -> float:
        """Probability that the run is a lawful one, in which nothing abrupt happens."""
        return float(self.probabilities[self.grid.is_lawful].sum())

    def marginal_means(self) -> dict[str, float]:
        """Posterior means of the interpretable parameters, for people and tests. [1]"""
        _, reducible, annealing = _back_substitute(self.factor, self.solved)
        weights = self.probabilities
        memories = self.grid.responses()[1]
        return {
            "exponent": float((weights.sum((0, 2, 3)) * self.grid.exponents).sum()),
            "memory": float(np.exp((weights.sum((0, 1, 3)) * np.log(memories)).sum())),
            "reducible": float((weights * reducible).sum()),
            "annealing": float((weights * annealing).sum()),
            "misfit_of_power": float(np.exp((weights.sum((1, 2, 3)) * np.log(self.grid.sizes[:, 0])).sum())),
        }

    def moments(self, schedule: Schedule) -> Moments:
        """What the posterior says of each part of the prior, to learn a prior from; A and D as at the horizon."""
        prior, grid, weights = self.prior, self.grid, self.probabilities
        _, reducible, annealing = (
            np.broadcast_to(v, weights.shape) for v in _back_substitute(self.factor, self.solved)
        )
        d1, d2, l21 = (np.broadcast_to(self.factor[i], weights.shape) for i in (1, 2, 5))
        gone = _log_effective(schedule, [self.horizon]) - _log_effective(schedule, [self.observations.cutoff])
        of_reducible, of_annealing = _prior_units(prior, grid, float(gone[0]))
        # Units of the level at the horizon, by the posterior's own means.
        a, d = reducible / of_reducible, annealing / of_annealing
        lawful = grid.is_lawful
        by_size, by_exponent = weights.sum((1, 2, 3)), weights.sum((2, 3))
        power, memories, _ = grid.responses()
        by_response = weights[lawful].sum((0, 1, 3))
        usual = weights * lawful[:, None, None, None] * (np.arange(weights.shape[-1]) < weights.shape[-1] - 1)
        logs = np.log(np.maximum(grid.sizes, 1e-300))
        correlated = np.array([by_size[lawful & (grid.sizes[:, 3] == size)].sum() for size in prior.correlated])
        return Moments(
            exponent=_moments(by_exponent[lawful].sum(0), np.log(grid.exponents)),
            memory=_moments(by_response, np.log(memories)),
            powers=np.bincount(power, by_response).astype(np.float64),
            reducible=_gaussian_moments(usual, a, (1 / d1 + l21**2 / d2) / of_reducible**2),
            annealing=_log_of(_gaussian_moments(usual, d, 1 / d2 / of_annealing**2)),
            misfit_of_power=_moments(by_size[lawful], logs[lawful, 0]),
            misfit_of_response=_moments(by_size[lawful], logs[lawful, 1]),
            correlated=correlated,
            parts=weights[lawful].sum((0, 1, 2)),
            abrupt=_moments(by_size[~lawful], logs[~lawful, 2]),
            abrupt_exponent=_moments(by_exponent[~lawful].sum(0), np.log(grid.exponents)),
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
        ahead = _Ahead.of(schedule, steps, cutoff, self.horizon)
        powers, responses = ahead.features(self.grid)
        # One path a column: sums along the path then run over whole rows.
        values = level + powers.T[:, exponent] * reducible + responses.T[:, response] * annealing
        sizes, shocks = self.grid.sizes[size].T, _shocks(n_paths, _rounded_up(len(steps)), seed)[:, : len(steps)]
        values += sizes[0] * _integrated_wiener(ahead.distance, *shocks[0:2])
        if ahead.swing.any():  # the rate moves
            values += sizes[1] * _integrated_wiener(ahead.swing, *shocks[2:4])
        abrupt = np.flatnonzero(sizes[2])
        values[:, abrupt] += sizes[2, abrupt] * _wiener(ahead.distance, shocks[4][:, abrupt])
        return (self.observations.level + self.observations.scale * values).T

    def _draw_cells(self, n_paths: int) -> tuple[Ints, ...]:
        """Systematic resampling: each cell as often as its probability says, to the nearest whole number."""
        ends = np.cumsum(self.probabilities.ravel())
        points = (np.arange(n_paths) + 0.5) / n_paths * ends[-1]
        drawn = np.searchsorted(ends, points)
        # The normals are a sequence of low discrepancy in order: neighbours in the grid must not get neighbours there.
        return np.unravel_index(drawn[_scattered_order(n_paths)], self.probabilities.shape)


def infer(
    observations: Observations, schedule: Schedule, horizon: float, prior: Prior | None = None, *, zoom: bool = True
) -> Posterior:
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
    zoom : bool
        Whether the nodes move to where the data say; otherwise they are the prior's own, at half the cost.
    """
    prior = prior or Prior()
    inference = Inference.of(observations, schedule, horizon, prior)
    if not zoom:
        return inference.posterior(whole_grid(prior))
    grid = first_grid(prior)
    for zooms_left in reversed(range(MOST_ZOOMS)):
        seen = inference.posterior(grid)
        grid = zoomed_grid(prior, grid, seen.probabilities, last=zooms_left == 0)
        if grid.is_whole:
            break
    return inference.posterior(grid)


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """One run's data, ready for any grid: what all grids have in common is evaluated once.

    parts : covariances of the four processes at unit size, flat, shape (4, n * n)
    """

    observations: Observations
    seen: _Ahead
    prior: Prior
    parts: Array
    gone: float  # log x from the cutoff to the horizon

    @staticmethod
    def of(observations: Observations, schedule: Schedule, horizon: float, prior: Prior) -> Inference:
        seen = _Ahead.of(schedule, observations.steps, observations.cutoff, horizon)
        cutoff, end = _log_effective(schedule, [observations.cutoff, horizon])
        parts = _covariance_parts(observations, seen, prior)
        return Inference(observations, seen, prior, parts, float(end - cutoff))

    def posterior(self, grid: Grid) -> Posterior:
        """Evidence and closed forms of every cell."""
        observations, prior = self.observations, self.prior
        powers, responses = self.seen.features(grid)
        columns = np.concatenate([observations.values[None], np.ones((1, len(observations.steps))), powers, responses])
        lower = np.linalg.cholesky(_covariances(self.parts, observations.variances, grid.sizes))
        # A transposed C array is a Fortran array: no copies, and none of solve_triangular's checks, thirty times over.
        white = np.stack([dtrsm(1.0, each.T, columns.T, trans_a=1) for each in lower])
        grams = np.swapaxes(white, 1, 2) @ white
        log_determinants = 2 * np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)

        means, precisions = _prior_parts(prior, grid, self.gone)
        factor, solved = _eliminate(grams, len(powers), means, precisions)
        fits = [u**2 / d - np.log(d) for u, d in zip(solved, factor[:3], strict=True)]
        log_prior = sum((np.log(p) - m**2 * p for m, p in zip(means, precisions, strict=True)), start=np.zeros(()))
        by_size = grid.log_sizes - 0.5 * (grams[:, 0, 0] + log_determinants)
        # Whatever lacks one of the axes is added up first: only the sum is as large as the grid.
        without_response = (
            0.5 * (fits[0] + fits[1])
            + by_size[:, None, None, None]
            + grid.log_exponents[np.where(grid.is_lawful, 0, 1)][:, :, None, None]
            + _log_part_weights(prior, grid)[:, None, None, :]
        )
        log_evidence = fits[2]
        log_evidence *= 0.5
        log_evidence += 0.5 * log_prior + grid.responses()[2][:, None]
        log_evidence += without_response
        highest = float(log_evidence.max())
        log_evidence -= highest
        probabilities = np.exp(log_evidence, out=log_evidence)
        total = float(probabilities.sum())
        probabilities /= total
        whole = highest + float(np.log(total))
        return Posterior(observations, self.seen.horizon, prior, grid, probabilities, whole, factor, solved)


# Features -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Ahead:
    """Steps as the law sees them from the cutoff: what does not depend on the grid.

    distance : (n,), in log x from the cutoff; negative before it
    fall : of the rate, at the steps and, last, at the cutoff
    swing : (n,), total variation of the rate from the cutoff, negative before it     [1]
    """

    distance: Array
    fall: RateFall
    swing: Array
    horizon: float

    @staticmethod
    def of(schedule: Schedule, steps: Array, cutoff: float, horizon: float) -> _Ahead:
        to_cutoff = np.append(steps, cutoff)
        logs, travelled = _log_effective(schedule, to_cutoff), _rate_travelled(schedule, to_cutoff, horizon)
        return _Ahead(
            distance=logs[:-1] - logs[-1],
            fall=RateFall.of(schedule, to_cutoff),
            swing=travelled[:-1] - travelled[-1],
            horizon=horizon,
        )

    def features(self, grid: Grid) -> tuple[Array, Array]:
        """What multiplies A, shape (n_exponents, n), and D, shape (n_responses, n); both zero at the cutoff."""
        memories = np.maximum(grid.memories.points * self.horizon, 1.0)
        at = self.fall.response(memories, grid.powers)
        responses = at[:, :, -1:] - at[:, :, :-1]
        return np.expm1(-grid.exponents[:, None] * self.distance), responses.reshape(-1, len(self.distance))


def _log_part_weights(prior: Prior, grid: Grid) -> Array:
    """Shape (n_sizes, n_parts)."""
    lawful, abrupt = np.log(prior.parts()[2]), np.log(prior.abrupt_parts)
    return np.where(grid.is_lawful[:, None], lawful, abrupt)


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


def _covariances(parts: Array, variances: Array, sizes: Array) -> Array:
    """Shape (n_sizes, n, n)."""
    n = len(variances)
    covariances: Array = (sizes**2 @ parts).reshape(len(sizes), n, n)
    covariances[:, np.arange(n), np.arange(n)] += variances
    return covariances


def _covariance_parts(observations: Observations, seen: _Ahead, prior: Prior) -> Array:
    """Of the four processes at unit size, flat, shape (4, n * n)."""
    steps = observations.steps
    behind, swing = np.maximum(-seen.distance, 0.0), np.maximum(-seen.swing, 0.0)
    relative = np.outer(observations.magnitudes, observations.magnitudes)
    power = relative * _integrated_wiener_covariance(behind)
    response = relative * _integrated_wiener_covariance(swing)
    abrupt = relative * np.minimum.outer(behind, behind)
    # Bins of a few hundred steps and of one alike: the correlation is counted in bins, by the recent bins' spacing.
    spacing = float(np.median(np.diff(steps[len(steps) // 2 :]))) if len(steps) > 2 else 1.0
    lag = np.abs(np.subtract.outer(steps, steps)) / (prior.correlated_bins * spacing)
    deviations = np.sqrt(observations.variances)
    correlated = np.outer(deviations, deviations) * np.exp(-lag)
    return np.stack([power, response, abrupt, correlated]).reshape(4, -1)


def _ticks(clock: Array) -> Array:
    """Steps of a clock that starts at zero, none below it.

    Where the rate is almost nothing the clocks all but stand still, and rounding may set them back.
    """
    return np.maximum(np.diff(clock, prepend=0.0), 0.0)


def _wiener(clock: Array, shocks: Array) -> Array:
    """Wiener paths, zero at clock zero; shocks of shape (n, n_paths)."""
    return _running_sums(np.sqrt(_ticks(clock))[:, None] * shocks)


def _integrated_wiener_covariance(clock: Array) -> Array:
    near, far = np.minimum.outer(clock, clock), np.maximum.outer(clock, clock)
    covariance: Array = near**2 * (far / 2 - near / 6)
    return covariance


def _integrated_wiener(clock: Array, shocks: Array, bends: Array) -> Array:
    """Paths whose slope is a Wiener process, both zero at clock zero: exact on the given points.

    The integral over one step is, given the slopes at its ends, their mean times the step, with variance step^3 / 12:
    `bends` are its deviation, over step^1.5, from the slope at the end of the step times the step.
    """
    ticks = _ticks(clock)[:, None]
    slopes = _running_sums(np.sqrt(ticks) * shocks)
    slopes *= ticks
    slopes += ticks**1.5 * bends
    return _running_sums(slopes)


def _running_sums(rows: Array) -> Array:
    """In place, down the columns: adding whole rows takes a fifth of the time of `np.cumsum` along this axis."""
    for before, row in pairwise(rows):
        row += before
    return rows


# Linear algebra of three coefficients over the whole grid -------------------------------------------------------------


def _prior_units(prior: Prior, grid: Grid, gone: float) -> tuple[Array, Array]:
    """What turns the prior's A and D, stated at the horizon, into those at the cutoff; per exponent, per response.

    `gone` is how far, in log x, the cutoff lies behind the horizon. A power law with A left of a level of 1 at the
    horizon had more of both at the cutoff. Shapes (n_exponents, 1, n_parts), (n_exponents, n_responses, n_parts).
    """
    growth = np.exp(grid.exponents * max(gone, 0.0))[:, None, None]
    left = np.clip(prior.parts()[0][0], 0.0, 1.0)
    higher = 1.0 + left * (growth - 1.0)
    gains = grid.gains[grid.responses()[0]][:, None]
    return growth / higher, gains / higher


def _prior_parts(prior: Prior, grid: Grid, gone: float) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Means and precisions of (level, A, D), each to be broadcast over (exponents, responses, parts)."""
    of_reducible, of_annealing = _prior_units(prior, grid, gone)
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


def _rounded_up(n_steps: int) -> int:
    """Runs differ by a few steps in how far ahead they are forecast: all share the shocks of one length."""
    return -(-n_steps // SHOCKS_AT_A_TIME) * SHOCKS_AT_A_TIME


@lru_cache(maxsize=8)
def _shocks(n_paths: int, n_steps: int, seed: int) -> Array:
    """Normals for two integrated Wiener processes (shocks and bends of each) and a Wiener process.

    Shape (5, n_steps, n_paths); each path with its mirror image, so that their mean is exactly zero.
    """
    half = np.random.default_rng([seed, n_paths, n_steps]).standard_normal((5, (n_paths + 1) // 2, n_steps))
    shocks = np.concatenate([half, -half], axis=1)[:, :n_paths].swapaxes(1, 2).copy()
    shocks[[1, 3]] = shocks[[1, 3]] / np.sqrt(12.0) - shocks[[0, 2]] / 2
    return shocks
