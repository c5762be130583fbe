r"""A bank of fits in closed form: what simple laws say of a curve, as a starting point that a network corrects.

Each fit is a straight line through the context bins, :math:`y = b_0 + b_1 g`, on a fixed shape

.. math:: g = a_j(x) - \rho \, \kappa_j \, z_k

of intrinsic time `x` (powers, the logarithm, exponentials: :math:`a_j`) and a lagged fall of the rate :math:`z_k`, with
:math:`\kappa_j = |da_j / d\ln x|` at the cutoff, so that :math:`\rho` says the same for every shape: what a full decay
of the rate gives, over what an e-fold of training gives now. The fits are averaged by how well they hold. They give
the mean, the spread and, for every :math:`\rho`, the mean on that assumption: early on, before the rate has moved, the
data cannot tell them apart and the network must.

Every shape is a combination of the same few columns :math:`c`, so all sums over bins are taken once, as
:math:`\sum w\,c\,c^\top`, and a hundred fits cost little more than one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from app.pfn.intrinsic_time import N_LAGS, Array

EXPONENTS = (0.1, 0.3, 0.6, 1.2)
"""Of the powers of intrinsic time: from nearly the logarithm to the steepest that is published."""

DECAYS = (1.0, 4.0)
"""Rates of the exponentials, per intrinsic time at the cutoff."""

GAINS = (0.0, 0.3, 1.0, 3.0)
"""rho. A language model near the middle of its run: about 1."""

MISFIT = 0.02
"""No law holds more exactly than this part of the scale; bins far above the recent level count by their height."""

RELATIVE_MISFIT = 0.1

LARGEST = 1e3
"""No fit is followed further than this many scales."""

EARLIEST = 1e-3
"""Powers of the first moments say nothing of the end; shapes are flat before this part of the way to the cutoff."""


@dataclass(frozen=True, slots=True, eq=False)
class BankForecast:
    """What the fits say at some places, in units of the scale above the centre.

    mean, spread : (B, n), over all fits; the spread counts what each leaves open too
    by_gain : (B, n, len(GAINS)), mean of the fits with each rho
    in_steps : (B, n), mean of the fits in plain steps, blind to the rate
    """

    mean: Array
    spread: Array
    by_gain: Array
    in_steps: Array


@dataclass(frozen=True, slots=True, eq=False)
class Bank:
    """Fits of B curves; C columns, F shapes.

    middle : (B, 1, C), weighted mean of each column over the bins
    level, level_variance : (B, 1)
    directions : (B, C, 2 + len(GAINS)): all fits' mean slope by column, that of each rho, that of the fits in steps
    variance : (B, C, C), of the slopes over all fits
    weights : (B, F), how much each fit counts, sum to 1
    residual : (B, 1), root mean square of what the best fit leaves, in tolerances of the bins
    """

    middle: Array
    level: Array
    level_variance: Array
    directions: Array
    variance: Array
    weights: Array
    residual: Array

    @staticmethod
    def fit(columns: Array, values: Array, variances: Array, trust: Array) -> Bank:
        """Weighted least squares for every curve and shape at once.

        Parameters
        ----------
        columns : (B, T, C), `columns_at` the bins
        values : (B, T), in units of the scale, above the centre
        variances : (B, T), of each bin's mean, in that unit
        trust : (B, T), 0 for padding, 1 for a bin that is believed
        """
        weights = trust / (variances + MISFIT**2 + (RELATIVE_MISFIT * values) ** 2)
        total = weights.sum(axis=1, keepdims=True)
        share = (weights / total)[:, None, :]
        middle = share @ columns
        level = (share @ values[:, :, None])[:, :, 0]
        centred = columns - middle
        weighted = weights[:, :, None] * centred
        products = (weighted.swapaxes(1, 2) @ centred).reshape(len(values), -1)
        # A tiny ridge: a shape that does not move over the bins has no slope.
        squares = products @ _OUTER.T + 1e-6 * total
        slopes = (weighted.swapaxes(1, 2) @ (values - level)[:, :, None])[:, :, 0] @ _SHAPES.T / squares
        left = (weights * (values - level) ** 2).sum(axis=1, keepdims=True) - slopes**2 * squares
        n = trust.sum(axis=1, keepdims=True)
        # A fit as good as the tolerance is good enough; neighbouring bins err together, so they count half.
        noise = (np.maximum(left, 0.0) + 0.3 * n + 0.3) / n
        counts = np.exp(-0.25 * n * (np.log(noise) - np.log(noise.min(axis=1, keepdims=True))))
        counts /= counts.sum(axis=1, keepdims=True)
        direction = (counts * slopes) @ _SHAPES
        sums = ((counts * slopes) @ _BY_GROUP).reshape(len(values), len(_GROUPS), -1)
        by_group = sums / np.maximum(counts @ _GROUPS.T, 1e-300)[:, :, None]
        spread = (counts * (slopes**2 + noise / squares)) @ _OUTER
        outer = direction[:, :, None] * direction[:, None, :]
        return Bank(
            middle=middle,
            level=level,
            level_variance=(counts * noise).sum(axis=1, keepdims=True) / total,
            directions=np.concatenate([direction[:, None, :], by_group], axis=1).swapaxes(1, 2),
            variance=spread.reshape(outer.shape) - outer,
            weights=counts,
            residual=np.sqrt(noise.min(axis=1, keepdims=True)),
        )

    def at(self, columns: Array) -> BankForecast:
        """The forecast where the columns are these, (B, n, C)."""
        centred = columns - self.middle
        means = np.clip(self.level[:, :, None] + centred @ self.directions, -LARGEST, LARGEST)
        variance = ((centred @ self.variance) * centred).sum(axis=2)
        spread = np.sqrt(np.clip(variance + self.level_variance, 1e-12, LARGEST**2))
        return BankForecast(means[..., 0], spread, means[..., 1:-1], means[..., -1])


def columns_at(time: Array, steps: Array, lags: Array) -> Array:
    """What every shape is made of, (B, n, C): falling shapes of time, the lags, falling shapes of plain steps.

    Parameters
    ----------
    time, steps : (B, n), intrinsic time and step over those at the cutoff
    lags : (B, n, N_LAGS)
    """
    return np.concatenate([_falling(time), lags, _falling(steps)], axis=2)


def _falling(x: Array) -> Array:
    x = np.maximum(x, EARLIEST)
    log = np.log(x)
    powers = [np.exp(-exponent * log) for exponent in EXPONENTS]
    return np.stack([-log, *powers, *(np.exp(-decay * x) for decay in DECAYS)], axis=2)


def _shapes() -> tuple[Array, Array]:
    """Every shape as a combination of the columns, (F, C), and which group each belongs to: its rho, or plain steps."""
    steepness = [1.0, *EXPONENTS, *(decay * np.exp(-decay) for decay in DECAYS)]
    n = len(steepness)
    shapes, groups = [], []
    for shape, steep in enumerate(steepness):
        for group, gain in enumerate(GAINS):
            for lag in range(N_LAGS if gain else 1):
                row = np.zeros(2 * n + N_LAGS)
                row[shape] = 1.0
                row[n + lag] = -gain * steep
                shapes.append(row)
                groups.append(group)
        row = np.zeros(2 * n + N_LAGS)
        row[n + N_LAGS + shape] = 1.0
        shapes.append(row)
        groups.append(len(GAINS))
    members = np.arange(len(GAINS) + 1)[:, None] == np.array(groups)
    return np.array(shapes), members.astype(np.float64)


_SHAPES, _GROUPS = _shapes()
_OUTER = (_SHAPES[:, :, None] * _SHAPES[:, None, :]).reshape(len(_SHAPES), -1)
_BY_GROUP = (_GROUPS.T[:, :, None] * _SHAPES[:, None, :]).reshape(len(_SHAPES), -1)
