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

import numpy as np
import numpy.typing as npt
from scipy.linalg.blas import dtrsm

from app.curves.schedule import Schedule
from app.laws.inference.ahead import Ahead, log_effective
from app.laws.inference.coefficients import back_substitute, eliminate, prior_parts, prior_units
from app.laws.inference.fixed_normals import quasi_normals, rounded_up, scattered_order, shocks_of
from app.laws.inference.grid import Grid, first_grid, whole_grid, zoomed_grid
from app.laws.inference.moments import Moments, gaussian_moments, log_of, moments_of
from app.laws.inference.wiener import integrated_wiener, integrated_wiener_covariance, wiener
from app.laws.prior import Prior

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

MOST_ZOOMS = 3
"""One is enough for nine runs in ten; a jump of the rate tells the memory so well that it takes two or three."""


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
    `log_evidence` is the log density of the observed values under the prior, up to a constant of the data's length.
    """

    observations: Observations
    horizon: float
    prior: Prior
    grid: Grid
    probabilities: Array
    log_evidence: float
    factor: tuple[Array, ...]  # L and D of the LDL' of each cell's precision, see eliminate
    solved: tuple[Array, ...]  # u of each cell

    @property
    def lawful(self) -> float:
        """Probability that the run is a lawful one, in which nothing abrupt happens."""
        return float(self.probabilities[self.grid.is_lawful].sum())

    def marginal_means(self) -> dict[str, float]:
        """Posterior means of the interpretable parameters, for people and tests. [1]"""
        _, reducible, annealing = back_substitute(self.factor, self.solved)
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
        _, reducible, annealing = (np.broadcast_to(v, weights.shape) for v in back_substitute(self.factor, self.solved))
        d1, d2, l21 = (np.broadcast_to(self.factor[i], weights.shape) for i in (1, 2, 5))
        gone = log_effective(schedule, [self.horizon]) - log_effective(schedule, [self.observations.cutoff])
        of_reducible, of_annealing = prior_units(prior, grid, float(gone[0]))
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
            exponent=moments_of(by_exponent[lawful].sum(0), np.log(grid.exponents)),
            memory=moments_of(by_response, np.log(memories)),
            powers=np.bincount(power, by_response).astype(np.float64),
            reducible=gaussian_moments(usual, a, (1 / d1 + l21**2 / d2) / of_reducible**2),
            annealing=log_of(gaussian_moments(usual, d, 1 / d2 / of_annealing**2)),
            misfit_of_power=moments_of(by_size[lawful], logs[lawful, 0]),
            misfit_of_response=moments_of(by_size[lawful], logs[lawful, 1]),
            correlated=correlated,
            parts=weights[lawful].sum((0, 1, 2)),
            abrupt=moments_of(by_size[~lawful], logs[~lawful, 2]),
            abrupt_exponent=moments_of(by_exponent[~lawful].sum(0), np.log(grid.exponents)),
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
        normals = quasi_normals(n_paths, seed)
        factor = tuple(np.broadcast_to(entry, self.probabilities.shape)[cells] for entry in self.factor)
        solved = tuple(np.broadcast_to(entry, self.probabilities.shape)[cells] for entry in self.solved)
        level, reducible, annealing = back_substitute(factor, solved, normals)

        cutoff = self.observations.cutoff
        ahead = Ahead.of(schedule, steps, cutoff, self.horizon)
        powers, responses = ahead.features(self.grid)
        # One path a column: sums along the path then run over whole rows.
        values = level + powers.T[:, exponent] * reducible + responses.T[:, response] * annealing
        sizes, shocks = self.grid.sizes[size].T, shocks_of(n_paths, rounded_up(len(steps)), seed)[:, : len(steps)]
        values += sizes[0] * integrated_wiener(ahead.distance, *shocks[0:2])
        if ahead.swing.any():  # the rate moves
            values += sizes[1] * integrated_wiener(ahead.swing, *shocks[2:4])
        abrupt = np.flatnonzero(sizes[2])
        values[:, abrupt] += sizes[2, abrupt] * wiener(ahead.distance, shocks[4][:, abrupt])
        return (self.observations.level + self.observations.scale * values).T

    def _draw_cells(self, n_paths: int) -> tuple[Ints, ...]:
        """Systematic resampling: each cell as often as its probability says, to the nearest whole number."""
        ends = np.cumsum(self.probabilities.ravel())
        points = (np.arange(n_paths) + 0.5) / n_paths * ends[-1]
        drawn = np.searchsorted(ends, points)
        # The normals are a sequence of low discrepancy in order: neighbours in the grid must not get neighbours there.
        return np.unravel_index(drawn[scattered_order(n_paths)], self.probabilities.shape)


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
    seen: Ahead
    prior: Prior
    parts: Array
    gone: float  # log x from the cutoff to the horizon

    @staticmethod
    def of(observations: Observations, schedule: Schedule, horizon: float, prior: Prior) -> Inference:
        seen = Ahead.of(schedule, observations.steps, observations.cutoff, horizon)
        cutoff, end = log_effective(schedule, [observations.cutoff, horizon])
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

        means, precisions = prior_parts(prior, grid, self.gone)
        factor, solved = eliminate(grams, len(powers), means, precisions)
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


def _log_part_weights(prior: Prior, grid: Grid) -> Array:
    """Shape (n_sizes, n_parts)."""
    lawful, abrupt = np.log(prior.parts()[2]), np.log(prior.abrupt_parts)
    return np.where(grid.is_lawful[:, None], lawful, abrupt)


def _covariances(parts: Array, variances: Array, sizes: Array) -> Array:
    """Shape (n_sizes, n, n)."""
    n = len(variances)
    covariances: Array = (sizes**2 @ parts).reshape(len(sizes), n, n)
    covariances[:, np.arange(n), np.arange(n)] += variances
    return covariances


def _covariance_parts(observations: Observations, seen: Ahead, prior: Prior) -> Array:
    """Of the four processes at unit size, flat, shape (4, n * n)."""
    steps = observations.steps
    behind, swing = np.maximum(-seen.distance, 0.0), np.maximum(-seen.swing, 0.0)
    relative = np.outer(observations.magnitudes, observations.magnitudes)
    power = relative * integrated_wiener_covariance(behind)
    response = relative * integrated_wiener_covariance(swing)
    abrupt = relative * np.minimum.outer(behind, behind)
    # Bins of a few hundred steps and of one alike: the correlation is counted in bins, by the recent bins' spacing.
    spacing = float(np.median(np.diff(steps[len(steps) // 2 :]))) if len(steps) > 2 else 1.0
    lag = np.abs(np.subtract.outer(steps, steps)) / (prior.correlated_bins * spacing)
    deviations = np.sqrt(observations.variances)
    correlated = np.outer(deviations, deviations) * np.exp(-lag)
    return np.stack([power, response, abrupt, correlated]).reshape(4, -1)
