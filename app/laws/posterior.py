r"""Exact Bayesian inference for the annealing law from one run seen in part, without an optimiser.

Seen from the cutoff, a loss is

.. math:: y(s) = \ell + A\,[(x/x_c)^{-\alpha} - 1] - D\,[z_\tau(s) - z_\tau(s_c)] + h\,(b(s) + o(s)) + \varepsilon

with the features of :mod:`app.laws.annealing`, subscript `c` for the cutoff, and

* :math:`\ell` the level at the cutoff, so that the forecast starts where the data ends;
* :math:`z_\tau` the response with one memory, or with a *spectrum* of memories (weights
  :math:`\tau'^{-1/2} e^{-\tau/\tau'}`): a response that starts as fast but ends as a power law. This is how the
  multi-power law [1]_ responds: its :math:`1 - (1 + C x)^{-\beta}` is a mixture of exponential lags with
  gamma-distributed rates;
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
knowledge of the metric. Given :math:`(\alpha, \tau)` and the sizes of `b` and `o`, the model is linear and Gaussian
in :math:`(\ell, A, D)`: evidence and posterior are closed forms. The rest is a grid. The covariance depends on the
sizes alone, so it is factored a few dozen times and not once for each of the tens of thousands of cells.

.. [1] K. Luo et al., "A Multi-Power Law for Loss Curve Prediction Across Learning Rate Schedules," arXiv:2503.12811,
   2025.
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
from app.laws.annealing import annealed_fraction, annealing_response, effective_steps

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Gaussian:
    """One part of a mixture prior for a coefficient, in units of the loss level at the cutoff."""

    mean: float
    deviation: float
    weight: float


@dataclass(frozen=True, slots=True)
class LogNormal:
    """A prior over positive numbers, as a grid: `points`, weighted by a normal density of their logarithm."""

    points: tuple[float, ...]
    median: float
    log_deviation: float

    def weights(self) -> Array:
        """Shape (n_points,), summing to 1."""
        weights: Array = np.exp(-0.5 * (np.log(np.asarray(self.points) / self.median) / self.log_deviation) ** 2)
        return np.asarray(weights / weights.sum())


def _geometric(first: float, last: float, count: int) -> tuple[float, ...]:
    return tuple(float(value) for value in np.geomspace(first, last, count))


@dataclass(frozen=True, slots=True)
class Prior:
    """What is assumed of a run before it is seen. Weak on purpose, and free of units.

    Chosen on the validation losses of the multi-power-law runs (18 runs, two model sizes) and on curves simulated from
    that law; `docs/forecasting.md` says what was seen of the other families, and how little any of it matters.
    """

    exponent: LogNormal = LogNormal(_geometric(0.1, 1.6, 11), median=0.45, log_deviation=0.5)
    # Of the horizon. The nodes of the spectra go on to longer memories.
    memory: LogNormal = LogNormal(_geometric(0.002, 0.128, 7), median=0.015, log_deviation=1.2)
    # Exponents of the weights of longer memories; None is a single memory.
    spectra: tuple[float | None, ...] = (None, 0.5, 0.25)
    level_deviation: float = 0.3
    reducible: Gaussian = Gaussian(0.15, 0.15, 1.0)
    # Language models give up 3 to 8 % of their loss to annealing; image models several times that: the wide part.
    annealing: tuple[Gaussian, ...] = (Gaussian(0.05, 0.03, 0.97), Gaussian(0.25, 0.25, 0.03))
    # Sizes of the misfit: times sqrt(1/3), its deviation one e-fold of effective steps away from the cutoff...
    misfit_of_power: LogNormal = LogNormal((0.001, 0.004, 0.016, 0.064, 0.256), 0.004, 2.0)
    # ... and after a decay of the whole rate.
    misfit_of_response: LogNormal = LogNormal((0.035, 0.14), 0.035, 0.5)
    # Abrupt changes that no law foresees (a restore, another data mix, a spike that stays): rare, then of any size.
    abrupt: LogNormal = LogNormal((0.002, 0.01, 0.05, 0.3, 3.0), 0.004, 3.0)
    abrupt_probability: float = 0.1
    # Deviation of the correlated residuals over that of the independent noise, and their memory in bins.
    correlated: tuple[float, ...] = (0.0, 1.5)
    correlated_bins: float = 4.0


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
        memories, _ = _memories(self.prior)
        return {
            "exponent": float((weights.sum((0, 2, 3)) * np.asarray(self.prior.exponent.points)).sum()),
            "memory": float(np.exp((weights.sum((0, 1, 3)) * np.log(memories)).sum())),
            "reducible": float((weights * reducible).sum()),
            "annealing": float((weights * annealing).sum()),
            "misfit_of_power": float(np.exp((weights.sum((1, 2, 3)) * np.log(self.sizes[:, 0])).sum())),
        }

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

    means, precisions, log_part_weights = _prior_parts(prior)
    factor, solved = _eliminate(grams, len(powers), means, precisions)
    fit = sum((u**2 / d for u, d in zip(solved, factor[:3], strict=True)), start=np.zeros(()))
    cost = (means**2 * precisions).sum(axis=1) + grams[:, 0, 0, None, None, None]
    log_evidence = 0.5 * (
        fit
        - cost
        - log_determinants[:, None, None, None]
        - np.log(factor[0] * factor[1] * factor[2])
        + np.log(precisions).sum(axis=1)
    )
    log_evidence = (
        log_evidence
        + log_size_weights[:, None, None, None]
        + np.log(prior.exponent.weights())[:, None, None]
        + _memories(prior)[1][:, None]
        + log_part_weights
    )
    probabilities = np.exp(log_evidence - log_evidence.max())
    return Posterior(observations, horizon, prior, sizes, probabilities / probabilities.sum(), factor, solved)


# Features -------------------------------------------------------------------------------------------------------------


def _features(schedule: Schedule, steps: Array, cutoff: float, horizon: float, prior: Prior) -> tuple[Array, Array]:
    """What multiplies A, shape (n_exponents, n), and D, shape (n_responses, n); both zero at the cutoff."""
    distance = _log_effective(schedule, steps) - _log_effective(schedule, [cutoff])
    powers = np.expm1(-np.asarray(prior.exponent.points)[:, None] * distance)
    nodes, mixing = _spectra(prior)
    at = annealing_response(schedule, np.append(steps, cutoff), np.maximum(nodes * horizon, 1.0))
    responses = mixing @ (at[:, -1:] - at[:, :-1])
    return powers, responses


@lru_cache(maxsize=8)
def _spectra(prior: Prior) -> tuple[Array, Array]:
    """Memories to evaluate [of the horizon], shape (n_nodes,), and how responses mix them, (n_responses, n_nodes)."""
    first, second = prior.memory.points[:2]
    ratio = second / first
    n_memories = len(prior.memory.points)
    # Six octaves beyond the longest memory the weights have fallen to 1/8 and the response to nothing.
    n_nodes = n_memories + (int(np.ceil(6 * np.log(2) / np.log(ratio))) if any(prior.spectra) else 0)
    nodes = np.asarray(first * ratio ** np.arange(n_nodes), dtype=np.float64)
    rows = []
    for spectrum in prior.spectra:
        for start in range(n_memories):
            longer = nodes / nodes[start]
            weights = (longer == 1.0) * 1.0
            if spectrum is not None:
                weights = np.where(np.arange(n_nodes) >= start, longer**-spectrum * np.exp(-1 / longer), 0.0)
            rows.append(weights / weights.sum())
    return nodes, np.array(rows)


def _memories(prior: Prior) -> tuple[Array, Array]:
    """Shortest memory of each response [of the horizon] and its log weight, each of shape (n_responses,)."""
    return np.tile(prior.memory.points, len(prior.spectra)), np.tile(np.log(prior.memory.weights()), len(prior.spectra))


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
        (p, r, 0.0, o, (1 - prior.abrupt_probability) * wp * wr / len(prior.correlated))
        for (p, wp), (r, wr), o in product(power, response, prior.correlated)
    ]
    # Beside abrupt changes the other processes hardly show: a coarser grid will do.
    smooth, widest = power[::2], response[-1][0]
    unlawful = [
        (p, widest, a, 0.0, prior.abrupt_probability * wa / len(smooth)) for (p, _), (a, wa) in product(smooth, abrupt)
    ]
    table = np.array(lawful + unlawful)
    return table[:, :4], np.log(table[:, 4])


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


def _prior_parts(prior: Prior) -> tuple[Array, Array, Array]:
    """Means and precisions of (level, A, D), each of shape (n_parts, 3), and log weights, shape (n_parts,)."""
    means = np.array([[0.0, prior.reducible.mean, part.mean] for part in prior.annealing])
    deviations = [[prior.level_deviation, prior.reducible.deviation, part.deviation] for part in prior.annealing]
    return means, np.array(deviations) ** -2.0, np.log([part.weight for part in prior.annealing])


def _eliminate(
    grams: Array, n_exponents: int, means: Array, precisions: Array
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
    one_one = grams[:, 1, 1, None, None, None] + precisions[:, 0]
    one_power = grams[:, 1, power, None, None]
    one_response = grams[:, 1, None, response, None]
    power_power = np.diagonal(grams[:, power, power], axis1=1, axis2=2)[:, :, None, None] + precisions[:, 1]
    power_response = grams[:, power, response, None]
    response_diagonal = np.diagonal(grams[:, response, response], axis1=1, axis2=2)
    response_response = response_diagonal[:, None, :, None] + precisions[:, 2]
    pulls = means * precisions
    data_one = grams[:, 0, 1, None, None, None] + pulls[:, 0]
    data_power = grams[:, 0, power, None, None] + pulls[:, 1]
    data_response = grams[:, 0, None, response, None] + pulls[:, 2]

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
